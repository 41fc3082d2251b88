//! Telling people: which receiver gets which notice, and delivery that survives restarts.
//!
//! Owns routes and the outbox's way to the notifiers. Must not know protocols (`notify`) or what a notice means.

mod backlog;
pub mod dispatch;
mod gate;
mod metrics;
mod retry;
pub mod route;
mod worker;

#[cfg(test)]
pub(crate) mod sample;

pub use dispatch::Dispatcher;
pub use route::{RouteError, Routes, plan};
