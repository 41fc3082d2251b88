//! Kills at failpoints, full disks, cut networks, receivers that misbehave: nothing acknowledged is lost.

mod burst;
mod clocks;
mod delivery;
mod disk_full;
mod failpoints;
mod flood;
mod frozen;
mod laws;
mod log_reader;
mod measure;
mod partition;
mod power_loss;
mod receivers;
mod reload;
mod runtime_hang;
mod runtime_jobs;
mod runtime_restart;
mod settings;
mod tally;
mod torn;
mod transport;
mod watch;
