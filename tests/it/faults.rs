//! Kills at failpoints, full disks, cut networks, receivers that misbehave: nothing acknowledged is lost.

mod failpoints;
mod log_reader;
mod reload;
mod runtime_hang;
mod runtime_jobs;
mod runtime_restart;
