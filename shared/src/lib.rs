//! What both programs and the command line mean by a word: the model, the one cause table, the one text catalogue,
//! wire conversions, configuration, and the plumbing of a well-behaved process.
//!
//! Knows nothing of Kubernetes clients, databases or container runtimes.

pub mod cause;
pub mod clock;
pub mod config;
pub mod failpoint;
pub mod matcher;
pub mod model;
pub mod redact;
pub mod reload;
pub mod secret;
pub mod start;
pub mod supervisor;
pub mod tail;
pub mod telemetry;
#[cfg(feature = "testkit")]
pub mod testkit;
pub mod text;
pub mod tls;
pub mod wire;
