//! Which evidence is live, which is blind, why, and what would open it.

use std::{collections::BTreeMap, sync::Arc};

use inquest_proto::ingest::v1 as pb;
use inquest_shared::clock::{Clock, UnixNanos};
use tokio::sync::watch;

/// Whether a source gives evidence.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SourceState {
    /// Seen working.
    Live,
    /// Works with less than it could give.
    Degraded,
    /// Should give evidence and cannot.
    Blind,
    /// Not present on this host, or switched off.
    Absent,
}

impl SourceState {
    const fn to_wire(self) -> pb::SourceState {
        match self {
            Self::Live => pb::SourceState::Live,
            Self::Degraded => pb::SourceState::Degraded,
            Self::Blind => pb::SourceState::Blind,
            Self::Absent => pb::SourceState::Absent,
        }
    }
}

/// State of one source.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SourceHealth {
    /// Live, degraded, blind or absent.
    pub state: SourceState,
    /// The mode while live, else why not.
    pub detail: String,
    /// What would open it; empty while live.
    pub remedy: String,
    /// Records lost before they could be read.
    pub lost: u64,
}

impl SourceHealth {
    /// Working, in the mode `detail`.
    #[must_use]
    pub fn live(detail: impl Into<String>) -> Self {
        Self {
            state: SourceState::Live,
            detail: detail.into(),
            remedy: String::new(),
            lost: 0,
        }
    }

    /// Not working as it should.
    #[must_use]
    pub fn not(state: SourceState, detail: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self {
            state,
            detail: detail.into(),
            remedy: remedy.into(),
            lost: 0,
        }
    }
}

/// All sources of the agent by name. Clones share one map.
#[derive(Clone)]
pub struct Statuses {
    map: Arc<watch::Sender<BTreeMap<&'static str, (SourceHealth, UnixNanos)>>>,
    clock: Arc<dyn Clock>,
}

impl Statuses {
    /// An empty map.
    #[must_use]
    pub fn new(clock: Arc<dyn Clock>) -> Self {
        Self {
            map: Arc::new(watch::Sender::new(BTreeMap::new())),
            clock,
        }
    }

    /// Publishes the state of a source; the time of the last change of state is kept.
    pub fn set(&self, name: &'static str, health: SourceHealth) {
        let now = self.clock.now();
        self.map.send_if_modified(|map| {
            let since = match map.get(name) {
                Some((held, _)) if *held == health => return false,
                Some((held, since)) if held.state == health.state => *since,
                _ => now,
            };
            if map.insert(name, (health.clone(), since)).is_none_or(|(held, _)| held.state != health.state) {
                tracing::info!(source = name, state = ?health.state, detail = health.detail, remedy = health.remedy, "source");
            }
            true
        });
    }

    /// State of one source; `None` while it has said nothing.
    #[must_use]
    pub fn state(&self, name: &str) -> Option<SourceState> {
        self.map.borrow().get(name).map(|(health, _)| health.state)
    }

    /// Told whenever a state changes.
    #[must_use]
    pub fn changes(&self) -> watch::Receiver<BTreeMap<&'static str, (SourceHealth, UnixNanos)>> {
        self.map.subscribe()
    }

    /// All states, as sent to the aggregator.
    #[must_use]
    pub fn to_wire(&self) -> Vec<pb::SourceStatus> {
        let map = self.map.borrow();
        map.iter()
            .map(|(name, (health, since))| pb::SourceStatus {
                name: (*name).to_owned(),
                state: health.state.to_wire().into(),
                detail: health.detail.clone(),
                remedy: health.remedy.clone(),
                since_ns: since.0,
                lost_total: health.lost,
            })
            .collect()
    }
}
