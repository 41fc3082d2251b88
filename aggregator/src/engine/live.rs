//! The live incidents with their indexes: open ones, and resolved ones that may reopen.
//!
//! Must not know rules. Every index is derived from the incidents and changes only in `insert` and `remove`.

use std::collections::{BTreeSet, HashMap};

use inquest_shared::{
    clock::UnixNanos,
    model::{Incident, IncidentState, Key},
};
use ulid::Ulid;

use super::{identity::Identity, timers};

/// Where open incidents are counted: cluster and namespace.
pub(super) type Place = (String, String);

/// Where an incident counts as open; `None` when it does not.
pub(super) fn place(incident: &Incident) -> Option<Place> {
    let open = incident.state == IncidentState::Open;
    open.then(|| (incident.cluster.clone(), incident.workload.namespace.clone()))
}

/// The identity of an incident.
pub(super) fn identity(incident: &Incident) -> Identity {
    Identity {
        cluster: incident.cluster.clone(),
        workload: incident.workload.clone(),
    }
}

/// Whether an incident has this identity.
pub(super) fn is_of(incident: &Incident, identity: &Identity) -> bool {
    incident.cluster == identity.cluster && incident.workload == identity.workload
}

/// Whether the engine needs an incident: it is open, or people were told of it and it may reopen.
fn is_live(incident: &Incident) -> bool {
    let open = incident.state == IncidentState::Open;
    open || (incident.resolved_at.is_some() && incident.merged_into.is_none() && incident.transition > 0)
}

/// Incidents by id, identity and timer.
#[derive(Debug, Default)]
pub(super) struct Live {
    incidents: HashMap<Ulid, Incident>,
    by_identity: HashMap<Identity, Ulid>,
    /// By the workload as a whole.
    by_owner: BTreeSet<(Key, Ulid)>,
    open_in: HashMap<Place, usize>,
    open: usize,
    timers: BTreeSet<(UnixNanos, Ulid)>,
    resolved: BTreeSet<(UnixNanos, Ulid)>,
}

impl FromIterator<Incident> for Live {
    fn from_iter<I: IntoIterator<Item = Incident>>(incidents: I) -> Self {
        let mut live = Self::default();
        incidents.into_iter().for_each(|incident| live.insert(incident));
        live
    }
}

impl Live {
    /// Adds an incident or replaces its earlier version.
    pub(super) fn insert(&mut self, incident: Incident) {
        self.remove(incident.id);
        if !is_live(&incident) {
            return;
        }
        if let Some(place) = place(&incident) {
            *self.open_in.entry(place).or_default() += 1;
            self.open += 1;
        }
        if let Some(at) = timers::due(&incident) {
            self.timers.insert((at, incident.id));
        }
        if let Some(at) = incident.resolved_at {
            self.resolved.insert((at, incident.id));
        }
        let identity = identity(&incident);
        self.by_owner.insert((identity.owner_key(), incident.id));
        if self.of(&identity).is_none_or(|held| rank(held) <= rank(&incident)) {
            self.by_identity.insert(identity, incident.id);
        }
        self.incidents.insert(incident.id, incident);
    }

    /// Takes an incident out of memory.
    pub(super) fn remove(&mut self, id: Ulid) {
        let Some(incident) = self.incidents.remove(&id) else {
            return;
        };
        if let Some(place) = place(&incident) {
            self.leave(&place);
        }
        if let Some(at) = timers::due(&incident) {
            self.timers.remove(&(at, id));
        }
        if let Some(at) = incident.resolved_at {
            self.resolved.remove(&(at, id));
        }
        let identity = identity(&incident);
        self.by_owner.remove(&(identity.owner_key(), id));
        if self.by_identity.get(&identity) == Some(&id) {
            self.by_identity.remove(&identity);
        }
    }

    fn leave(&mut self, place: &Place) {
        self.open = self.open.saturating_sub(1);
        let Some(count) = self.open_in.get_mut(place) else {
            return;
        };
        *count = count.saturating_sub(1);
        if *count == 0 {
            self.open_in.remove(place);
        }
    }

    /// Drops the longest resolved incidents until at most `most` incidents are held or only open ones are left.
    pub(super) fn shed(&mut self, most: usize) {
        while self.incidents.len() > most {
            let Some((_, id)) = self.resolved.first().copied() else {
                return;
            };
            self.remove(id);
        }
    }

    /// By id.
    pub(super) fn get(&self, id: Ulid) -> Option<&Incident> {
        self.incidents.get(&id)
    }

    /// By identity: the open one, else the newest that resolved.
    pub(super) fn of(&self, identity: &Identity) -> Option<&Incident> {
        self.by_identity.get(identity).and_then(|id| self.incidents.get(id))
    }

    /// Those of a workload and of its containers, the oldest first.
    pub(super) fn of_owner(&self, of: &Identity) -> impl Iterator<Item = Ulid> {
        let key = of.owner_key();
        let range = (key, Ulid::nil())..=(key, Ulid(u128::MAX));
        self.by_owner.range(range).map(|(_, id)| *id)
    }

    /// All.
    pub(super) fn iter(&self) -> impl Iterator<Item = &Incident> {
        self.incidents.values()
    }

    /// How many are open.
    pub(super) const fn open(&self) -> usize {
        self.open
    }

    /// How many are open in a namespace.
    pub(super) fn open_in(&self, place: &Place) -> usize {
        self.open_in.get(place).copied().unwrap_or(0)
    }

    /// The first timer.
    pub(super) fn next_timer(&self) -> Option<UnixNanos> {
        self.timers.first().map(|(at, _)| *at)
    }

    /// Open incidents whose timer is due.
    pub(super) fn due(&self, now: UnixNanos) -> impl Iterator<Item = Ulid> {
        self.timers
            .iter()
            .take_while(move |(at, _)| *at <= now)
            .map(|(_, id)| *id)
    }

    /// When the longest resolved one resolved.
    pub(super) fn oldest_resolved(&self) -> Option<UnixNanos> {
        self.resolved.first().map(|(at, _)| *at)
    }

    /// Resolved incidents with the time, the longest resolved first.
    pub(super) fn resolved(&self) -> impl Iterator<Item = (UnixNanos, Ulid)> {
        self.resolved.iter().copied()
    }
}

/// Which of two incidents of one identity answers for it: an open one, else the younger.
fn rank(incident: &Incident) -> (bool, Ulid) {
    (incident.state == IncidentState::Open, incident.id)
}
