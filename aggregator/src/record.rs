//! What passes between engine, store, alerting and API: plain records without behaviour.

use std::sync::Arc;

use inquest_shared::{
    clock::UnixNanos,
    model::{Cause, DeliveryState, Finding, Incident, Severity, TransitionKind},
};
use ulid::Ulid;

/// Who sent a finding, taken from the agent's certificate and never from a message.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct NodeIdentity {
    /// Cluster name.
    pub cluster: String,
    /// Node uid: part of every primary key.
    pub uid: String,
    /// Node name, for people.
    pub name: String,
}

/// A finding as stored. Its primary key is (cluster, node uid, finding key).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoredOccurrence {
    /// Who sent it.
    pub node: NodeIdentity,
    /// All versions merged.
    pub finding: Finding,
    /// Incident that counts it; `None` for look-back and for exits that are no trouble.
    pub incident: Option<Ulid>,
    /// Aggregator clock of the first storing.
    pub stored_at: UnixNanos,
}

/// A transition that people are to be told of, with the incident as it was then.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Notice {
    /// Snapshot that messages are rendered from.
    pub incident: Incident,
    /// What happened.
    pub kind: TransitionKind,
}

/// Place of a notification in the outbox: at most one row per (receiver, incident, slot) waits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Slot {
    /// Opened or reopened.
    Open,
    /// Milestone, severity, reclassified: the latest replaces an unsent earlier one.
    Update,
    /// Resolved; waits for the verdict on the opening.
    Resolve,
}

impl Slot {
    /// The slot of a transition.
    #[must_use]
    pub const fn of(kind: TransitionKind) -> Self {
        match kind {
            TransitionKind::Opened | TransitionKind::Reopened => Self::Open,
            TransitionKind::Milestone | TransitionKind::SeverityRaised | TransitionKind::Reclassified => Self::Update,
            TransitionKind::Resolved => Self::Resolve,
        }
    }

    /// Number in the store.
    #[must_use]
    pub const fn number(self) -> i64 {
        match self {
            Self::Open => 1,
            Self::Update => 2,
            Self::Resolve => 3,
        }
    }
}

/// A planned notification to one receiver. Rows are born in flight: the dispatcher gets them from memory after the
/// commit, and reads the table only at start or after an overflow.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OutboxRow {
    /// Unique, ordered by planning time.
    pub id: Ulid,
    /// Name of the receiver.
    pub receiver: String,
    /// What to tell.
    pub notice: Arc<Notice>,
    /// Aggregator clock.
    pub planned_at: UnixNanos,
    /// Fate so far.
    pub state: DeliveryState,
    /// Tries so far.
    pub attempts: u32,
    /// Aggregator clock: not before.
    pub next_at: UnixNanos,
    /// When accepted.
    pub delivered_at: Option<UnixNanos>,
    /// Class of the last failure, at most 256 bytes.
    pub last_error: String,
}

impl OutboxRow {
    /// Slot of the row.
    #[must_use]
    pub fn slot(&self) -> Slot {
        Slot::of(self.notice.kind)
    }
}

/// What one batch changes, in one transaction.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Commit {
    /// Inserted or replaced by primary key.
    pub occurrences: Vec<StoredOccurrence>,
    /// Inserted or replaced by id.
    pub incidents: Vec<Incident>,
    /// Inserted; a row of the same receiver, incident and `Slot::Update` that still waits becomes superseded.
    pub outbox: Vec<OutboxRow>,
    /// High-water marks of agents' spools: (node, epoch, sequence number).
    pub marks: Vec<(NodeIdentity, u64, u64)>,
}

/// What a caller may see. Every query takes one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Scope {
    /// Everything: the loopback listener before authentication exists, and the program itself.
    All,
    /// Only these namespaces.
    Namespaces(Vec<String>),
}

/// Which records to return; `None` and empty do not filter.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Filter {
    /// Cluster name.
    pub cluster: String,
    /// Kubernetes namespace.
    pub namespace: String,
    /// Workload name.
    pub workload: String,
    /// Container name.
    pub container: String,
    /// Pod name (findings only).
    pub pod: String,
    /// Node name.
    pub node: String,
    /// Cause.
    pub cause: Option<Cause>,
    /// Least severity (incidents only).
    pub min_severity: Option<Severity>,
    /// Last seen (incidents) or observed (findings) at or after.
    pub since: Option<UnixNanos>,
    /// Only incidents that are not resolved.
    pub open_only: bool,
}

/// A position in a listing: newest first by (time, id). Opaque to callers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cursor {
    /// Time of the last record of the page before.
    pub at: UnixNanos,
    /// Its id (ULID of an incident; hex of a finding's node uid and key).
    pub id: String,
}

/// A stored log tail.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoredLog {
    /// Redacted on the node; at most 64 KiB.
    pub data: Vec<u8>,
    /// Node clock.
    pub captured_at: UnixNanos,
    /// Secrets taken out.
    pub redactions: u32,
    /// Older lines exist.
    pub truncated: bool,
}

/// A node whose agent has enrolled.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoredNode {
    /// Identity.
    pub node: NodeIdentity,
    /// First enrolment.
    pub enrolled_at: UnixNanos,
    /// Last message.
    pub last_seen: UnixNanos,
    /// Encoded `inquest.ingest.v1.AgentStatus`; empty before the first.
    pub status: Vec<u8>,
}

/// Totals of the outbox for the law planned = delivered + pending + dead + superseded.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct OutboxTotals {
    /// Rows ever planned.
    pub planned: u64,
    /// Accepted by their receiver.
    pub delivered: u64,
    /// Waiting or being retried.
    pub pending: u64,
    /// Given up.
    pub dead: u64,
    /// Replaced before they were sent.
    pub superseded: u64,
}
