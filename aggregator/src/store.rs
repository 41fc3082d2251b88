//! Where findings, incidents and the outbox live. One trait, one conformance suite, one file per backend.
//!
//! Must not know the engine's rules, transports or receivers.

#[cfg(test)]
mod conformance;
mod cursor;
mod figures;
mod sqlite;
mod watched;

pub use cursor::{cursor_of_delivery, cursor_of_finding, cursor_of_incident};
pub use figures::{Pruned, StoreFigures};
pub use sqlite::SqliteStore;
pub use watched::{Watched, keep_watch};

use futures::future::BoxFuture;
use inquest_shared::{
    clock::UnixNanos,
    model::{Delivery, DeliveryState, Incident, Key},
};
use thiserror::Error;
use ulid::Ulid;

use crate::record::{
    Commit, Cursor, Filter, NodeIdentity, OutboxRow, OutboxTotals, Scope, StoredLog, StoredNode, StoredOccurrence,
};

/// Why the store did not do what was asked.
#[derive(Debug, Error)]
pub enum StoreError {
    /// Nothing was changed; the same call may work later (busy, disk full, connection refused).
    #[error("{what}: the store refused, nothing was changed")]
    Refused {
        /// Which operation.
        what: &'static str,
        /// Why.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// It is not known whether the change is on disk: reload the state from the store before going on.
    #[error("{what}: outcome unknown")]
    Doubtful {
        /// Which operation.
        what: &'static str,
        /// Why.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// A stored record does not decode; retrying does not help.
    #[error("{what}: a stored record is damaged")]
    Damaged {
        /// Which operation.
        what: &'static str,
        /// Why.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// The database was written by a newer release.
    #[error("the database has schema {found}, this release knows {known}: upgrade the aggregator or restore a backup")]
    Newer {
        /// Version found.
        found: i64,
        /// Version known.
        known: i64,
    },
    /// Another process holds the database.
    #[error("{path} is in use by another aggregator; SQLite allows one replica")]
    Locked {
        /// Lock file.
        path: std::path::PathBuf,
    },
    /// SQLite's locking cannot be relied on there.
    #[error("{path} is on a network file system ({kind}); use a local disk")]
    NetworkFileSystem {
        /// Database file.
        path: std::path::PathBuf,
        /// Name of the file system.
        kind: &'static str,
    },
}

/// Shorthand of the trait's return type.
pub type StoreFuture<'a, T> = BoxFuture<'a, Result<T, StoreError>>;

/// Append-if-absent batches, incident updates, the outbox, and queries that take a [`Scope`].
pub trait Store: Send + Sync + 'static {
    /// Stored versions of these findings, to merge new versions into. Absent ones are left out.
    fn findings<'a>(&'a self, keys: &'a [(NodeIdentity, Key)]) -> StoreFuture<'a, Vec<StoredOccurrence>>;
    /// One transaction: all of it is on disk when this returns `Ok`, none of it after `Refused`.
    fn commit<'a>(&'a self, commit: &'a Commit) -> StoreFuture<'a, ()>;
    /// What the engine starts from: open incidents, and those resolved at or after `resolved_since`. One that does not
    /// decode is left out and counted: the start must not depend on it.
    fn live_incidents(&self, resolved_since: UnixNanos) -> StoreFuture<'_, Vec<Incident>>;
    /// How many incidents are open.
    fn open_incidents(&self) -> StoreFuture<'_, u64>;
    /// High-water mark of one epoch of one node; 0 when unknown.
    fn mark<'a>(&'a self, node: &'a NodeIdentity, epoch: u64) -> StoreFuture<'a, u64>;

    /// Appends a chunk of a log tail at `offset`; a repeat changes nothing. `log.data` is the chunk, `at` the aggregator's
    /// clock.
    fn put_log<'a>(
        &'a self,
        node: &'a NodeIdentity,
        key: Key,
        offset: u32,
        log: &'a StoredLog,
        at: UnixNanos,
    ) -> StoreFuture<'a, ()>;
    /// Registers an enrolment.
    fn put_node<'a>(&'a self, node: &'a NodeIdentity, at: UnixNanos) -> StoreFuture<'a, ()>;
    /// Keeps the latest status of a node.
    fn put_status<'a>(&'a self, node: &'a NodeIdentity, at: UnixNanos, status: &'a [u8]) -> StoreFuture<'a, ()>;

    /// Waiting rows of one receiver with id after `after`, oldest first, at most `limit`. A row that does not decode can
    /// never be sent: it is given up and left out.
    fn outbox_page<'a>(&'a self, receiver: &'a str, after: Option<Ulid>, limit: u32)
    -> StoreFuture<'a, Vec<OutboxRow>>;
    /// Receivers that have waiting rows, configured or not.
    fn outbox_receivers(&self) -> StoreFuture<'_, Vec<String>>;
    /// Notes that a try begins (so that a crash leaves a trace) or how it ended. Writes state, attempts, next_at,
    /// delivered_at and last_error of the row.
    fn put_outcome<'a>(&'a self, row: &'a OutboxRow) -> StoreFuture<'a, ()>;
    /// Totals over all rows.
    fn outbox_totals(&self) -> StoreFuture<'_, OutboxTotals>;
    /// Deliveries of one incident, oldest first; the newest 500 of them.
    fn deliveries(&self, incident: Ulid) -> StoreFuture<'_, Vec<Delivery>>;
    /// Rows of the outbox in this state (`None` = all) for this receiver ("" = all), newest planned first.
    fn list_deliveries<'a>(
        &'a self,
        scope: &'a Scope,
        state: Option<DeliveryState>,
        receiver: &'a str,
        after: Option<&'a Cursor>,
        limit: u32,
    ) -> StoreFuture<'a, Vec<OutboxRow>>;

    /// Incidents, newest `last_seen` first. Listings leave out what does not decode, and count it.
    fn list_incidents<'a>(
        &'a self,
        scope: &'a Scope,
        filter: &'a Filter,
        after: Option<&'a Cursor>,
        limit: u32,
    ) -> StoreFuture<'a, Vec<Incident>>;
    /// Incidents whose ULID begins with `prefix`, at most two (to tell "ambiguous").
    fn find_incidents<'a>(&'a self, scope: &'a Scope, prefix: &'a str) -> StoreFuture<'a, Vec<Incident>>;
    /// Findings, newest `observed_at` first, each with whether a log is stored.
    fn list_findings<'a>(
        &'a self,
        scope: &'a Scope,
        filter: &'a Filter,
        after: Option<&'a Cursor>,
        limit: u32,
    ) -> StoreFuture<'a, Vec<(StoredOccurrence, bool)>>;
    /// Log tail of a finding.
    fn log<'a>(&'a self, scope: &'a Scope, key: Key) -> StoreFuture<'a, Option<StoredLog>>;
    /// Nodes of a cluster ("" = all) by cluster, name and uid, at most `limit` after `after`.
    fn nodes<'a>(
        &'a self,
        cluster: &'a str,
        after: Option<&'a NodeIdentity>,
        limit: u32,
    ) -> StoreFuture<'a, Vec<StoredNode>>;

    /// Deletes occurrences, logs, resolved incidents and settled outbox rows older than `before` and nodes not seen since,
    /// at most `limit` rows of each kind, and gives some free space back to the file system.
    fn prune(&self, before: UnixNanos, limit: u32) -> StoreFuture<'_, Pruned>;
    /// A time before which the `limit` oldest records lie that [`Store::prune`] would delete; `None` without any.
    fn oldest(&self, limit: u32) -> StoreFuture<'_, Option<UnixNanos>>;
    /// Size and soundness.
    fn figures(&self) -> StoreFuture<'_, StoreFigures>;
    /// Writes something small, durably: whether the store takes writes at all.
    fn probe(&self) -> StoreFuture<'_, ()>;
    /// Kind, location and schema version, without secrets.
    fn describe(&self) -> (String, u32);
}
