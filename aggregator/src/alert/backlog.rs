//! The rows of one receiver that wait in memory, in the order in which they may go.
//!
//! Owns order per incident (one in flight, the rest in the order of planning), latest-wins of updates, the bound, and
//! the bookkeeping of rows that did not fit and have to be read from the store. Pure: no store, no clock, no tasks.

use std::collections::{BTreeSet, HashMap, VecDeque};

use inquest_shared::model::DeliveryState;
use tokio::time::Instant;
use ulid::Ulid;

use super::gate::{Admission, Gate};
use crate::record::{OutboxRow, Slot};

/// Most rows in memory. A row holds a snapshot of its incident, a few kilobytes to some tens of them.
pub(super) const CAPACITY: usize = 1024;
/// Rows are read from the store again when no more than this are left in memory.
const LOW_WATER: usize = CAPACITY / 2;

/// What became of a row that was handed over.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Offered {
    /// It waits in memory.
    Queued,
    /// It is known already.
    Duplicate,
    /// No room: it stays in the store only.
    Spilled,
}

/// A row to send now.
#[derive(Debug)]
pub(super) struct Job {
    /// The row.
    pub(super) row: OutboxRow,
    /// It was or may have been tried before: note the try first.
    pub(super) again: bool,
}

/// Numbers that changed: rows that were found waiting, and rows that a newer one has replaced.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Changes {
    /// Rows of an earlier life of the program.
    pub(super) found: u64,
    /// Rows replaced before they were sent.
    pub(super) superseded: u64,
    /// Replaced rows whose tries the store knows; the store has to be told.
    pub(super) to_write: Vec<OutboxRow>,
}

#[derive(Debug)]
struct Waiting {
    row: OutboxRow,
    due: Instant,
    again: bool,
}

#[derive(Debug, Default)]
struct Lane {
    waiting: VecDeque<Waiting>,
    in_flight: Option<Ulid>,
}

/// All that waits for one receiver.
#[derive(Debug)]
pub(super) struct Backlog {
    /// Health and wishes of the receiver.
    pub(super) gate: Gate,
    lanes: HashMap<Ulid, Lane>,
    /// (due, row, incident) of the first row of every lane without a row in flight.
    ready: BTreeSet<(Instant, Ulid, Ulid)>,
    in_memory: usize,
    /// Rows that were counted as planned and not yet as settled; below zero while rows of an earlier life settle.
    outstanding: i64,
    /// Rows wait in the store only. While this is set no new row enters, so that order is kept.
    spilled: bool,
    /// A row came while the store was being read.
    missed: bool,
    /// Ids settled last: a reading of the store may still hold them.
    settled: VecDeque<Ulid>,
    changes: Changes,
}

impl Default for Backlog {
    /// Starts with the store to be read: there may be rows of an earlier life.
    fn default() -> Self {
        Self {
            gate: Gate::default(),
            lanes: HashMap::new(),
            ready: BTreeSet::new(),
            in_memory: 0,
            outstanding: 0,
            spilled: true,
            missed: false,
            settled: VecDeque::new(),
            changes: Changes::default(),
        }
    }
}

impl Backlog {
    /// Rows may be in the store that nobody handed over: reads it before any new row enters.
    pub(super) const fn suspect(&mut self) {
        (self.spilled, self.missed) = (true, true);
    }

    /// Takes a row that was just committed.
    pub(super) fn hand_over(&mut self, row: OutboxRow, now: Instant) -> Offered {
        if self.knows(&row) {
            return Offered::Duplicate;
        }
        self.outstanding += 1;
        if self.spilled || self.in_memory >= CAPACITY {
            (self.spilled, self.missed) = (true, true);
            return Offered::Spilled;
        }
        self.insert(Waiting {
            row,
            due: now,
            again: false,
        });
        Offered::Queued
    }

    /// True when the store should be read from the beginning.
    pub(super) const fn wants_reading(&self) -> bool {
        self.spilled && self.in_memory <= LOW_WATER
    }

    /// Notes that a reading begins.
    pub(super) const fn begin_reading(&mut self) {
        self.missed = false;
    }

    /// Takes a row that was read from the store. False when there is no room.
    pub(super) fn found(&mut self, row: OutboxRow, due: Instant) -> bool {
        if self.knows(&row) {
            return true;
        }
        if self.in_memory >= CAPACITY {
            return false;
        }
        self.insert(Waiting { row, due, again: true });
        true
    }

    /// Notes that the store was read to its end. Everything that waits is in memory then, unless a row was missed
    /// meanwhile, so the numbers can be set right.
    pub(super) fn end_reading(&mut self) {
        if self.missed {
            return;
        }
        self.spilled = false;
        let waiting = i64::try_from(self.in_memory).unwrap_or(i64::MAX);
        let found = u64::try_from(waiting.saturating_sub(self.outstanding)).unwrap_or(0);
        let gone = u64::try_from(self.outstanding.saturating_sub(waiting)).unwrap_or(0);
        self.changes.found += found;
        self.changes.superseded += gone;
        self.outstanding = waiting;
    }

    /// The next row that may go now.
    pub(super) fn take(&mut self, now: Instant) -> Option<Job> {
        let admission = self.gate.admission(now);
        let (due, row, incident) = *self.ready.first()?;
        match admission {
            Admission::Probe => self.gate.begin_probe(row),
            Admission::All if due <= now => {}
            _ => return None,
        }
        self.ready.pop_first();
        let lane = self.lanes.get_mut(&incident)?;
        let first = lane.waiting.pop_front()?;
        lane.in_flight = Some(first.row.id);
        Some(Job {
            row: first.row,
            again: first.again,
        })
    }

    /// When [`Backlog::take`] may have something; `None` until something else happens.
    pub(super) fn next_due(&self, now: Instant) -> Option<Instant> {
        let (due, _, _) = *self.ready.first()?;
        match self.gate.admission(now) {
            Admission::All => Some(due),
            Admission::Probe => Some(now),
            Admission::NotBefore(at) => Some(at),
            Admission::Probing => None,
        }
    }

    /// The row in flight is done with.
    pub(super) fn settled(&mut self, row: &OutboxRow) {
        self.outstanding -= 1;
        self.in_memory = self.in_memory.saturating_sub(1);
        self.remember(row.id);
        self.land(row);
    }

    /// The row in flight is to be sent again, unless a newer update took its place.
    pub(super) fn postponed(&mut self, row: OutboxRow, due: Instant) {
        let newer = |lane: &Lane| lane.waiting.iter().any(|waiting| waiting.row.slot() == Slot::Update);
        if row.slot() == Slot::Update && self.lanes.get(&row.notice.incident.id).is_some_and(newer) {
            self.land(&row);
            return self.supersede(row);
        }
        let incident = row.notice.incident.id;
        if let Some(lane) = self.lanes.get_mut(&incident) {
            lane.in_flight = None;
            lane.waiting.push_front(Waiting { row, due, again: true });
        }
        self.index(incident);
    }

    /// The receiver is back: what waits because of failures goes now.
    pub(super) fn hurry(&mut self, now: Instant) {
        for waiting in self.lanes.values_mut().flat_map(|lane| &mut lane.waiting) {
            waiting.due = waiting.due.min(now);
        }
        let hurried = self
            .ready
            .iter()
            .map(|(due, row, incident)| ((*due).min(now), *row, *incident));
        self.ready = hurried.collect();
    }

    /// The receiver has new settings: nothing is known of its health, and what waits may go.
    pub(super) fn renew(&mut self, now: Instant) {
        self.gate = Gate::default();
        self.hurry(now);
    }

    /// Forgets what is in memory, to be read again from the store: nobody knows what became of rows in flight.
    pub(super) fn restart(&mut self) {
        self.lanes.clear();
        self.ready.clear();
        (self.in_memory, self.spilled, self.missed) = (0, true, true);
        self.gate = Gate::default();
    }

    /// What changed since the last call.
    pub(super) fn take_changes(&mut self) -> Changes {
        std::mem::take(&mut self.changes)
    }

    /// Rows not settled, as far as known.
    pub(super) const fn outstanding(&self) -> i64 {
        self.outstanding
    }

    fn knows(&self, row: &OutboxRow) -> bool {
        let waits =
            |lane: &Lane| lane.in_flight == Some(row.id) || lane.waiting.iter().any(|waiting| waiting.row.id == row.id);
        self.settled.contains(&row.id) || self.lanes.get(&row.notice.incident.id).is_some_and(waits)
    }

    fn insert(&mut self, new: Waiting) {
        let incident = new.row.notice.incident.id;
        self.unindex(incident);
        let lane = self.lanes.entry(incident).or_default();
        let mut replaced = VecDeque::new();
        if new.row.slot() == Slot::Update {
            let waiting = std::mem::take(&mut lane.waiting).into_iter();
            (replaced, lane.waiting) = waiting.partition(|waiting| waiting.row.slot() == Slot::Update);
        }
        lane.waiting.push_back(new);
        self.in_memory += 1;
        self.index(incident);
        replaced.into_iter().for_each(|waiting| self.supersede(waiting.row));
    }

    /// The commit of the newer row has marked the older one in the store. A try noted later has undone that mark, so
    /// then it has to be set again.
    fn supersede(&mut self, mut row: OutboxRow) {
        self.outstanding -= 1;
        self.in_memory = self.in_memory.saturating_sub(1);
        self.remember(row.id);
        self.changes.superseded += 1;
        if row.attempts > 0 {
            row.state = DeliveryState::Superseded;
            self.changes.to_write.push(row);
        }
    }

    fn land(&mut self, row: &OutboxRow) {
        let incident = row.notice.incident.id;
        if let Some(lane) = self.lanes.get_mut(&incident) {
            lane.in_flight = None;
            if lane.waiting.is_empty() {
                self.lanes.remove(&incident);
            }
        }
        self.index(incident);
    }

    fn index(&mut self, incident: Ulid) {
        self.ready.extend(self.entry(incident));
    }

    fn unindex(&mut self, incident: Ulid) {
        if let Some(entry) = self.entry(incident) {
            self.ready.remove(&entry);
        }
    }

    fn entry(&self, incident: Ulid) -> Option<(Instant, Ulid, Ulid)> {
        let lane = self.lanes.get(&incident).filter(|lane| lane.in_flight.is_none())?;
        let first = lane.waiting.front()?;
        Some((first.due, first.row.id, incident))
    }

    fn remember(&mut self, id: Ulid) {
        if self.settled.len() >= CAPACITY {
            self.settled.pop_front();
        }
        self.settled.push_back(id);
    }
}

#[cfg(test)]
mod tests;
