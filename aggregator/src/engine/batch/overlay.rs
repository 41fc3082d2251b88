//! Uncommitted incidents and findings over the committed ones.
//!
//! Owns what is visible within a batch. Must not know why something changes.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use inquest_shared::{
    clock::UnixNanos,
    model::{Incident, IncidentState, Key},
};
use ulid::Ulid;

use super::super::{
    Rules,
    arrival::Arrival,
    episode,
    identity::Identity,
    live::{self, Live, Place},
    timers,
};
use crate::record::{NodeIdentity, StoredOccurrence};

/// A finding that the batch knows.
#[derive(Debug)]
struct Held {
    stored: StoredOccurrence,
    changed: bool,
}

/// See the module.
#[derive(Debug)]
pub(super) struct Overlay<'a> {
    base: &'a Live,
    incidents: BTreeMap<Ulid, Incident>,
    by_identity: HashMap<Identity, Ulid>,
    open_in: HashMap<Place, isize>,
    open: isize,
    occurrences: BTreeMap<(NodeIdentity, Key), Held>,
    forgotten: BTreeSet<Ulid>,
}

impl<'a> Overlay<'a> {
    pub(super) fn new(base: &'a Live) -> Self {
        Self {
            base,
            incidents: BTreeMap::new(),
            by_identity: HashMap::new(),
            open_in: HashMap::new(),
            open: 0,
            occurrences: BTreeMap::new(),
            forgotten: BTreeSet::new(),
        }
    }

    /// The committed incidents.
    pub(super) const fn base(&self) -> &'a Live {
        self.base
    }

    /// Changed findings, changed incidents, forgotten incidents.
    pub(super) fn into_parts(self) -> (Vec<StoredOccurrence>, Vec<Incident>, Vec<Ulid>) {
        let forgotten = self
            .forgotten
            .into_iter()
            .filter(|id| !self.incidents.contains_key(id))
            .collect();
        let changed = self
            .occurrences
            .into_values()
            .filter(|held| held.changed)
            .map(|held| held.stored)
            .collect();
        (changed, self.incidents.into_values().collect(), forgotten)
    }

    /// Shows a stored finding; a version of this batch wins.
    pub(super) fn recall(&mut self, stored: StoredOccurrence) {
        let key = (stored.node.clone(), stored.finding.key);
        self.occurrences.entry(key).or_insert(Held { stored, changed: false });
    }

    /// Keeps a new version of a finding.
    pub(super) fn store(&mut self, stored: StoredOccurrence) {
        let key = (stored.node.clone(), stored.finding.key);
        self.occurrences.insert(key, Held { stored, changed: true });
    }

    /// A finding that the batch knows.
    pub(super) fn occurrence(&self, node: &NodeIdentity, key: Key) -> Option<&StoredOccurrence> {
        self.occurrences.get(&(node.clone(), key)).map(|held| &held.stored)
    }

    /// Points the kills that an exit cites to another incident.
    pub(super) fn move_kills(&mut self, exit: &Arrival<'_>, to: Ulid) {
        for key in &exit.finding.cites {
            if let Some(held) = self.occurrences.get_mut(&(exit.node.clone(), *key)) {
                held.changed |= held.stored.incident.is_some_and(|id| id != to);
                held.stored.incident = held.stored.incident.map(|_| to);
            }
        }
    }

    /// By id.
    pub(super) fn get(&self, id: Ulid) -> Option<&Incident> {
        self.incidents.get(&id).or_else(|| self.base.get(id))
    }

    /// Takes an incident out to change it; [`Overlay::put`] brings it back.
    pub(super) fn take(&mut self, id: Ulid) -> Option<Incident> {
        let incident = self.incidents.remove(&id).or_else(|| self.base.get(id).cloned())?;
        self.count(&incident, -1);
        Some(incident)
    }

    /// Brings an incident (back).
    pub(super) fn put(&mut self, incident: Incident) {
        self.count(&incident, 1);
        let identity = live::identity(&incident);
        if incident.state == IncidentState::Open || !self.by_identity.contains_key(&identity) {
            self.by_identity.insert(identity, incident.id);
        }
        self.incidents.insert(incident.id, incident);
    }

    /// Changes an incident in place; one that stays as it was is not part of the delta.
    pub(super) fn edit(&mut self, id: Ulid, change: impl FnOnce(&mut Incident)) {
        let Some(old) = self.get(id) else { return };
        let mut new = old.clone();
        change(&mut new);
        if new != *old && self.take(id).is_some() {
            self.put(new);
        }
    }

    /// The incident that answers for an identity: open, or resolved and able to reopen.
    pub(super) fn find(&self, identity: &Identity, rules: &Rules, now: UnixNanos) -> Option<&Incident> {
        let of_batch = self.by_identity.get(identity).and_then(|id| self.get(*id));
        let fits = |incident: &&Incident| {
            let alive = incident.state == IncidentState::Open || episode::may_reopen(incident, rules, now);
            alive && live::is_of(incident, identity)
        };
        let committed = || self.base.of(identity).and_then(|incident| self.get(incident.id));
        of_batch.filter(fits).or_else(|| committed().filter(fits))
    }

    /// The open incidents of a workload and of its containers, the oldest first.
    pub(super) fn open_of_owner<'b>(&'b self, whole: &'b Identity) -> impl Iterator<Item = &'b Incident> {
        let committed = self.base.of_owner(whole);
        let ids: BTreeSet<Ulid> = committed.chain(self.incidents.keys().copied()).collect();
        ids.into_iter()
            .filter_map(|id| self.get(id))
            .filter(|incident| incident.state == IncidentState::Open && live::identity(incident).whole() == *whole)
    }

    /// [`Overlay::find`] and [`Overlay::take`].
    pub(super) fn holder(&mut self, identity: &Identity, rules: &Rules, now: UnixNanos) -> Option<Incident> {
        let id = self.find(identity, rules, now)?.id;
        self.take(id)
    }

    /// The open incident whose exit on this node cites a kill of unknown container. A scan, for findings that are rare.
    pub(super) fn citing(&self, node: &NodeIdentity, kill: Key) -> Option<Ulid> {
        let cites = |incident: &Incident| {
            let here = incident.cluster == node.cluster && incident.nodes.names.contains(&node.name);
            here && incident
                .counted
                .iter()
                .any(|counted| counted.cited && counted.key == kill)
        };
        self.open_ids().into_iter().find(|id| self.get(*id).is_some_and(cites))
    }

    /// Ids of all open incidents, in order.
    pub(super) fn open_ids(&self) -> BTreeSet<Ulid> {
        let all = self
            .base
            .iter()
            .map(|incident| incident.id)
            .chain(self.incidents.keys().copied());
        all.filter(|id| {
            self.get(*id)
                .is_some_and(|incident| incident.state == IncidentState::Open)
        })
        .collect()
    }

    /// Ids of the open incidents whose timer is due, in order.
    pub(super) fn due(&self, now: UnixNanos) -> BTreeSet<Ulid> {
        let candidates = self.base.due(now).chain(self.incidents.keys().copied());
        let is_due = |id: &Ulid| self.get(*id).and_then(timers::due).is_some_and(|at| at <= now);
        candidates.filter(is_due).collect()
    }

    /// Lets go of resolved incidents by the time of their resolution, which must select a range at one end.
    pub(super) fn forget_resolved(&mut self, select: impl Fn(UnixNanos) -> bool) {
        let selected = self.base.resolved().filter(|(at, _)| select(*at)).map(|(_, id)| id);
        self.forgotten.extend(selected);
    }

    /// How many incidents are open.
    pub(super) fn open(&self) -> usize {
        self.base.open().saturating_add_signed(self.open)
    }

    /// How many incidents of a namespace are open.
    pub(super) fn open_in(&self, place: &Place) -> usize {
        let change = self.open_in.get(place).copied().unwrap_or(0);
        self.base.open_in(place).saturating_add_signed(change)
    }

    fn count(&mut self, incident: &Incident, by: isize) {
        if let Some(place) = live::place(incident) {
            *self.open_in.entry(place).or_default() += by;
            self.open += by;
        }
    }
}
