//! What an agent concludes.

use std::collections::BTreeSet;

use super::{EvidenceSet, Key, Subject, coded::coded_enum};
use crate::clock::UnixNanos;

coded_enum! {
    /// What kind of thing happened; a key never spans kinds.
    FindingKind, "finding kind" {
        /// A container ended.
        Exit = 1, "exit";
        /// The kernel killed a process for memory.
        Kill = 2, "kill";
        /// A kill counter rose further than the kills that were seen.
        UnexplainedKills = 3, "unexplained_kills";
        /// The apiserver knows a state that no node sees.
        Report = 4, "report";
    }
}

coded_enum! {
    /// How the agent learned of it. Order: the more alive wins a merge.
    Discovery, "discovery" {
        /// Seen as it happened.
        Live = 1, "live";
        /// Found after the agent or a source was away.
        Recovered = 2, "recovered";
        /// Older than the agent's first start on the node: stored, never opens an incident.
        Lookback = 3, "lookback";
    }
}

/// A conclusion of an agent about one event. Versions of one finding merge by [`Finding::merge`]; its cause is a pure
/// function of subject and evidence (`crate::cause`), so it is not part of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    /// Stable name within the node.
    pub key: Key,
    /// What kind of thing.
    pub kind: FindingKind,
    /// How it was learned of.
    pub discovery: Discovery,
    /// When it happened, on the node's wall clock.
    pub observed_at: UnixNanos,
    /// Which container.
    pub subject: Subject,
    /// What proves it.
    pub evidence: EvidenceSet,
    /// Kills that explain this exit, at most 32.
    pub cites: BTreeSet<Key>,
    /// Display hint: how many versions were sent before. Not part of what merges.
    pub revision: u32,
}

/// Most kills that one exit cites.
pub const MAX_CITES: usize = 32;

impl Finding {
    /// Unites with another version of the same finding; returns whether anything but the revision changed.
    /// Versions with another key or kind are not of this finding and change nothing.
    pub fn merge(&mut self, other: &Self) -> bool {
        if (other.key, other.kind) != (self.key, self.kind) {
            return false;
        }
        let before = self.clone();
        self.discovery = self.discovery.min(other.discovery);
        self.observed_at = self.observed_at.min(other.observed_at);
        self.subject.merge(&other.subject);
        self.evidence.merge(&other.evidence);
        self.cites.extend(other.cites.iter().copied());
        while self.cites.len() > MAX_CITES {
            self.cites.pop_last();
        }
        let changed = *self != before;
        self.revision = self.revision.max(other.revision);
        changed
    }
}
