//! Sources turn what the host offers into observations. Each runs by itself, publishes whether it is live, and never
//! concludes anything: that is detection's part.
//!
//! A new source is one file here, one line in `run.rs`, one fixture.

pub mod containerd;
pub mod cri;
pub mod docker;
pub mod kill_counter;
pub mod kmsg;
pub mod log_tail;
pub mod pod_logs;
mod reading;
mod statuses;
pub mod trace;

pub use statuses::{SourceHealth, SourceState, Statuses};
