//! The one writer: from received findings to committed incidents, acknowledgements and planned notifications.
//!
//! Owns the order of things: fold, commit, then apply, hand over and acknowledge. Must not know the engine's rules, how
//! the store works, or transports: connections hand in a [`Submission`] and learn by its [`AckSink`] what is on disk.

mod ack;
mod fold;
mod ids;
mod intake;
mod lanes;
mod metrics;
mod settled;
mod writer;

use inquest_shared::clock::UnixNanos;
use ulid::Ulid;

pub use ack::{AckNews, AckSink, AckTracker, Overdraw, WINDOW_BYTES};
pub use fold::Standings;
pub use ids::{Ids, monotonic_ids};
pub use intake::{BUDGET_BYTES, Intake, Received, Stopped, Submission};
pub use metrics::PipelineMetrics;
pub use settled::digest;
pub use writer::{Parts, Pipeline};

use crate::record::{Notice, OutboxRow};

/// Decides whom to tell: the rows that go into the same transaction as the incidents.
pub trait Planner: Send {
    /// Rows for these notices.
    fn plan(&mut self, notices: &[Notice], now: UnixNanos, ids: &mut dyn FnMut(UnixNanos) -> Ulid) -> Vec<OutboxRow>;
}

/// Takes committed rows for sending. Must not block: a full queue is the receiver's affair, the rows are in the store.
pub trait Handover: Send + Sync {
    /// These rows are on disk and nobody else was given them.
    fn hand_over(&self, rows: Vec<OutboxRow>);
    /// The outcome of a commit was unknown: waiting rows may be in the store that were not handed over.
    fn look_in_store(&self);
}

#[cfg(test)]
pub(crate) mod tests;
