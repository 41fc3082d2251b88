//! An episode of one cause for one workload container, from open to resolved.

use std::collections::{BTreeMap, BTreeSet};

use ulid::Ulid;

use super::{Cause, EvidenceSet, Fact, FindingKind, Key, Owner, Severity, Subject, Verdict, coded::coded_enum};
use crate::clock::UnixNanos;

/// Most events that wait for a better cause.
pub const MAX_UNCERTAIN: usize = 8;
/// Most states kept that still hold; one workload has at most one of each kind for each container.
pub const MAX_STANDING: usize = 16;

coded_enum! {
    /// Life of an incident.
    IncidentState, "incident state" {
        /// Going on.
        Open = 1, "open";
        /// Quiet for its quiet period.
        Resolved = 2, "resolved";
    }
}

coded_enum! {
    /// A change that people are told of.
    TransitionKind, "transition" {
        /// First occurrence.
        Opened = 1, "opened";
        /// Came back within the reopen window.
        Reopened = 2, "reopened";
        /// Occurrence 3, 10, 50, 250 or 1000.
        Milestone = 3, "milestone";
        /// It matters more than was said.
        SeverityRaised = 4, "severity_raised";
        /// A more specific cause was found.
        Reclassified = 5, "reclassified";
        /// Over.
        Resolved = 6, "resolved";
    }
}

coded_enum! {
    /// Fate of one notification.
    DeliveryState, "delivery state" {
        /// Planned or being retried.
        Pending = 1, "pending";
        /// The receiver accepted it.
        Delivered = 2, "delivered";
        /// Given up; kept for inspection.
        Dead = 3, "dead";
        /// A newer one took its place before it was sent.
        Superseded = 4, "superseded";
    }
}

/// What an incident is about: one container of one workload, or a node.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Workload {
    /// Kubernetes namespace; empty outside.
    pub namespace: String,
    /// Owner of the pod.
    pub owner: Owner,
    /// Container name.
    pub container: String,
}

/// A bounded list of names with the true total.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Names {
    /// At most [`MAX_NAMES`], the first seen.
    pub names: Vec<String>,
    /// How many were seen.
    pub total: u32,
}

impl Names {
    /// Notes a name. Beyond [`MAX_NAMES`] repeats cannot be told from new names; `total` is then an upper bound.
    pub fn note(&mut self, name: &str) {
        if name.is_empty() || self.names.iter().any(|n| n == name) {
            return;
        }
        self.total = self.total.saturating_add(1);
        if self.names.len() < MAX_NAMES {
            self.names.push(name.to_owned());
        }
    }
}

/// A key that an incident has counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CountedKey {
    /// The finding's key.
    pub key: Key,
    /// Its kind.
    pub kind: FindingKind,
    /// For a kill: an exit cited it, so it no longer counts by itself.
    pub cited: bool,
}

/// The latest event of an incident with all evidence about it: a kill and the exit that cites it are one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Occurrence {
    /// Key of the finding; the exit's once it is known.
    pub key: Key,
    /// Its kind.
    pub kind: FindingKind,
    /// When, on the node's wall clock.
    pub at: UnixNanos,
    /// Which container.
    pub subject: Subject,
    /// Union of the evidence.
    pub evidence: EvidenceSet,
    /// Binding verdict.
    pub verdict: Verdict,
    /// Kills that the exit cites.
    pub cites: BTreeSet<Key>,
    /// Node, from the agent's certificate.
    pub node_name: String,
}

impl Occurrence {
    /// When it began: the first kernel kill, whose exit the runtime records milliseconds later; else `at`.
    #[must_use]
    pub fn began(&self) -> UnixNanos {
        let kills = self
            .evidence
            .iter()
            .filter(|(_, _, e)| matches!(e.fact, Fact::KernelKill(_)));
        kills
            .map(|(_, _, e)| e.at)
            .min()
            .map_or(self.at, |kill| kill.min(self.at))
    }
}

/// An event whose cause may still change.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Uncertain {
    /// Its finding.
    pub key: Key,
    /// What is known of it.
    pub verdict: Verdict,
}

/// Most names kept in a [`Names`]; more are counted only.
pub const MAX_NAMES: usize = 20;
/// Most gaps kept for the quiet period.
pub const MAX_GAPS: usize = 10;
/// Most counted keys kept, so that a late citation counts once.
pub const MAX_COUNTED: usize = 64;

/// An episode, with the complete state that the engine needs to go on with it after a restart.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Incident {
    /// Fixed at opening.
    pub id: Ulid,
    /// Hash of cluster, workload, cause and discriminator at opening.
    pub fingerprint: Key,
    /// Open or resolved.
    pub state: IncidentState,
    /// Why, by all evidence so far.
    pub cause: Cause,
    /// The worst so far.
    pub severity: Severity,
    /// 0 to 100.
    pub confidence_percent: u8,
    /// Cluster, from the identity.
    pub cluster: String,
    /// What it is about.
    pub workload: Workload,
    /// Aggregator clock.
    pub opened_at: UnixNanos,
    /// Node clock of the first occurrence.
    pub first_seen: UnixNanos,
    /// Node clock of the last occurrence.
    pub last_seen: UnixNanos,
    /// Aggregator clock of the last arrival; timers count from it.
    pub last_arrival: UnixNanos,
    /// Aggregator clock; `None` while open.
    pub resolved_at: Option<UnixNanos>,
    /// Aggregator clock: resolves then if nothing more happens.
    pub quiet_until: UnixNanos,
    /// Events: an exit and the kills it cites count once.
    pub occurrences: u64,
    /// 1 at opening; rises with every change that people are told of.
    pub transition: u32,
    /// What the current transition is.
    pub transition_kind: TransitionKind,
    /// How often it came back.
    pub reopened: u32,
    /// Older incident of the same workload that took this one over.
    pub merged_into: Option<Ulid>,
    /// Pods affected.
    pub pods: Names,
    /// Nodes affected.
    pub nodes: Names,
    /// Exits by code, at most 16 codes.
    pub exit_codes: BTreeMap<i32, u64>,
    /// Other causes seen.
    pub secondary_causes: BTreeSet<Cause>,
    /// Latest event.
    pub latest: Occurrence,
    /// Gaps between arrivals in nanoseconds, oldest first, at most [`MAX_GAPS`].
    pub gaps: Vec<i64>,
    /// Recent counted keys, oldest first, at most [`MAX_COUNTED`].
    pub counted: Vec<CountedKey>,
    /// At least three occurrences followed each other.
    pub looping: bool,
    /// When the opening, the return or an uncertain event is told unless a better cause comes first; `None` once told.
    pub announce_at: Option<UnixNanos>,
    /// Events that may change what people know and whose cause may still change, the first one first, at most
    /// [`MAX_UNCERTAIN`].
    pub uncertain: Vec<Uncertain>,
    /// Names of states that still hold, at most [`MAX_STANDING`]. While there is one, the incident does not resolve.
    pub standing: BTreeSet<Key>,
}

/// One notification of one transition to one receiver, as queries show it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Delivery {
    /// Name of the receiver.
    pub receiver: String,
    /// Which transition.
    pub transition: u32,
    /// What it was.
    pub kind: TransitionKind,
    /// Its fate.
    pub state: DeliveryState,
    /// Tries so far.
    pub attempts: u32,
    /// Aggregator clock.
    pub planned_at: UnixNanos,
    /// When the receiver accepted it.
    pub delivered_at: Option<UnixNanos>,
    /// Class of the last failure, at most 256 bytes.
    pub last_error: String,
}
