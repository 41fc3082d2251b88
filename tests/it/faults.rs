//! Kills at failpoints, full disks, cut networks, receivers that misbehave: nothing acknowledged is lost.

mod burst;
mod failpoints;
mod flood;
mod frozen;
mod log_reader;
mod partition;
mod receivers;
mod reload;
mod runtime_hang;
mod runtime_jobs;
mod runtime_restart;
mod settings;
mod tally;
mod transport;
mod watch;
