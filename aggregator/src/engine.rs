//! The incident engine: a deterministic fold from events to changes of incidents.
//!
//! Owns the rules by which findings become occurrences, occurrences become incidents, and incidents become notices; and
//! the live incidents, which are its whole state. Must not know tokio, SQL, HTTP or the clock: the time and the source
//! of ids are arguments. A [`Batch`] works on an overlay; only [`Engine::apply`], called after the commit, changes the
//! engine, so a batch that is dropped has never happened.

mod arrival;
mod batch;
mod causes;
mod counting;
mod episode;
mod identity;
mod latest;
mod live;
mod standing;
mod timers;
mod uncertain;

use std::time::Duration;

use inquest_shared::{
    cause,
    clock::UnixNanos,
    model::{Discovery, Finding, Incident, IncidentState},
};
use ulid::Ulid;

pub use self::{
    batch::Batch,
    standing::{Standing, standing_key},
};
use self::{identity::Identity, live::Live};
use crate::record::{NodeIdentity, Notice, StoredOccurrence};

/// What an operator may set. A change takes effect through [`Event::Rules`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rules {
    /// An incident resolves after this long without a new occurrence, or later when its occurrences come further apart.
    pub quiet_period: Duration,
    /// A workload that fails again this soon after its incident resolved reopens it.
    pub reopen_window: Duration,
    /// Most open incidents of one namespace; further workloads share one overflow incident.
    pub max_open_per_namespace: usize,
    /// Most open incidents of all namespaces together; beyond it one overflow incident per cluster. Bounds memory when
    /// somebody invents namespaces.
    pub max_open: usize,
}

impl Default for Rules {
    fn default() -> Self {
        Self {
            quiet_period: Duration::from_secs(10 * 60),
            reopen_window: Duration::from_secs(2 * 60 * 60),
            max_open_per_namespace: 500,
            max_open: 20_000,
        }
    }
}

/// What happens to the engine.
#[expect(
    clippy::large_enum_variant,
    reason = "an event is made, folded and gone; nothing keeps many of them"
)]
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event {
    /// An agent sent a version of a finding.
    Finding {
        /// Who, from the certificate.
        node: NodeIdentity,
        /// What.
        finding: Finding,
        /// The version in the store, if there is one and [`Batch::recall`] did not show it already.
        known: Option<StoredOccurrence>,
    },
    /// These states of a cluster hold at present, and no others. Without news what held goes on to hold: an apiserver that
    /// is away mends nothing.
    Standing {
        /// Name of the cluster.
        cluster: String,
        /// What holds.
        now: Standing,
    },
    /// Time passed. Due at [`Engine::next_deadline`]; more often does no harm.
    Tick,
    /// The configuration changed.
    Rules(Rules),
}

/// What a batch changes. Everything but `now`, `rules` and `forgotten` belongs into one transaction.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Delta {
    /// New or richer findings.
    pub occurrences: Vec<StoredOccurrence>,
    /// New or changed incidents, in their final version.
    pub incidents: Vec<Incident>,
    /// What people are to be told, in order; at most one per incident and event.
    pub notices: Vec<Notice>,
    /// Rules that replace the present ones.
    pub rules: Option<Rules>,
    /// Resolved incidents that can no longer reopen: they leave memory and stay in the store.
    pub forgotten: Vec<Ulid>,
    /// Time of the last event; later events are compared with it to notice a jump of the clock.
    pub now: Option<UnixNanos>,
}

/// The live incidents and the rules.
#[derive(Debug)]
pub struct Engine {
    rules: Rules,
    live: Live,
    now: Option<UnixNanos>,
}

impl Engine {
    /// Starts from what the store holds: open incidents, and those resolved within the reopen window.
    #[must_use]
    pub fn new(rules: Rules, live: Vec<Incident>) -> Self {
        Self {
            rules,
            live: live.into_iter().collect(),
            now: None,
        }
    }

    /// Begins a batch. It changes nothing until its [`Delta`] is applied.
    #[must_use]
    pub fn batch(&self) -> Batch<'_> {
        Batch::new(self)
    }

    /// Takes over what has been committed.
    pub fn apply(&mut self, delta: &Delta) {
        if let Some(rules) = &delta.rules {
            self.rules = rules.clone();
        }
        for incident in &delta.incidents {
            self.live.insert(incident.clone());
        }
        for id in &delta.forgotten {
            self.live.remove(*id);
        }
        self.live.shed(self.rules.max_open.saturating_mul(2));
        self.now = delta.now.or(self.now);
    }

    /// Aggregator clock: when a [`Event::Tick`] has something to do.
    #[must_use]
    pub fn next_deadline(&self) -> Option<UnixNanos> {
        let expiry = self
            .live
            .oldest_resolved()
            .map(|at| at.saturating_add(self.rules.reopen_window));
        self.live.next_timer().into_iter().chain(expiry).min()
    }

    /// Whether this finding is likely to open or to announce an incident, so that it deserves the fast lane.
    #[must_use]
    pub fn would_open(&self, node: &NodeIdentity, finding: &Finding) -> bool {
        if finding.discovery == Discovery::Lookback {
            return false;
        }
        match self.live.of(&Identity::of(node, finding)) {
            Some(incident) if incident.state == IncidentState::Open => incident.announce_at.is_some(),
            _ => cause::alerts(cause::judge(&finding.evidence).cause),
        }
    }

    /// How many incidents are open.
    #[must_use]
    pub fn open_incidents(&self) -> usize {
        self.live.open()
    }
}

#[cfg(test)]
mod tests;
