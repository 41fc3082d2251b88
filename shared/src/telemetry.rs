//! How a program reports on itself: its log, its metrics, its health, and the small HTTP server
//! that shows the last two.
//!
//! Owns the form of the reports. Must not know which metrics or conditions exist.

mod health;
mod logging;
mod registry;
mod status;

pub use health::{Condition, Health, Need};
pub use logging::{LevelHandle, LogError, LogFormat, LogLevel, init_logging};
pub use registry::Registry;
pub use status::status_server;
