use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use inquest_shared::model::TransitionKind;
use proptest::prelude::*;

use super::*;
use crate::alert::sample::row;

use TransitionKind::{Milestone, Opened, Reopened, Resolved};

/// A backlog that has read the (empty) store.
fn live() -> Backlog {
    let mut backlog = Backlog::default();
    backlog.begin_reading();
    backlog.end_reading();
    backlog
}

fn hook(id: u32, incident: u128, kind: TransitionKind) -> OutboxRow {
    row(id, "hook", incident, kind)
}

fn taken(backlog: &mut Backlog, now: Instant) -> Option<u128> {
    backlog.take(now).map(|job| job.row.id.0)
}

#[test]
fn the_end_waits_for_the_verdict_on_the_opening() {
    let (mut backlog, now) = (live(), Instant::now());
    let opening = hook(1, 7, Opened);
    backlog.hand_over(opening.clone(), now);
    backlog.hand_over(hook(2, 7, Resolved), now);
    assert_eq!(taken(&mut backlog, now), Some(1));
    assert_eq!(taken(&mut backlog, now), None);
    let later = now + Duration::from_secs(4);
    backlog.postponed(opening.clone(), later);
    assert_eq!((taken(&mut backlog, now), backlog.next_due(now)), (None, Some(later)));
    assert_eq!(taken(&mut backlog, later), Some(1));
    backlog.settled(&opening);
    assert_eq!(taken(&mut backlog, later), Some(2));
}

#[test]
fn an_incident_that_comes_back_is_told_after_its_end() {
    let (mut backlog, now) = (live(), Instant::now());
    for (id, kind) in [(1, Resolved), (2, Reopened), (3, Milestone)] {
        backlog.hand_over(hook(id, 7, kind), now);
    }
    for id in [1, 2, 3] {
        let job = backlog.take(now).unwrap();
        assert_eq!(job.row.id.0, id);
        backlog.settled(&job.row);
    }
}

#[test]
fn incidents_do_not_wait_for_each_other() {
    let (mut backlog, now) = (live(), Instant::now());
    backlog.hand_over(hook(1, 7, Opened), now);
    backlog.hand_over(hook(2, 8, Opened), now);
    assert_eq!((taken(&mut backlog, now), taken(&mut backlog, now)), (Some(1), Some(2)));
}

#[test]
fn the_latest_update_wins_and_openings_and_ends_are_never_dropped() {
    let (mut backlog, now) = (live(), Instant::now());
    for (id, kind) in [(1, Opened), (2, Milestone), (3, Milestone), (4, Resolved)] {
        backlog.hand_over(hook(id, 7, kind), now);
    }
    let changes = backlog.take_changes();
    assert_eq!(
        (changes.superseded, changes.to_write.len()),
        (1, 0),
        "the commit has marked it"
    );
    for id in [1, 3, 4] {
        let job = backlog.take(now).unwrap();
        assert_eq!(job.row.id.0, id);
        backlog.settled(&job.row);
    }
    assert_eq!(backlog.outstanding(), 0);
}

#[test]
fn an_update_that_failed_gives_way_to_a_newer_one_and_the_store_is_told() {
    let (mut backlog, now) = (live(), Instant::now());
    backlog.hand_over(hook(1, 7, Milestone), now);
    let mut job = backlog.take(now).unwrap();
    job.row.attempts = 1;
    backlog.hand_over(hook(2, 7, Milestone), now);
    backlog.postponed(job.row, now + Duration::from_secs(1));
    let changes = backlog.take_changes();
    let written: Vec<_> = changes.to_write.iter().map(|row| (row.id.0, row.state)).collect();
    assert_eq!(written, [(1, DeliveryState::Superseded)]);
    assert_eq!(taken(&mut backlog, now), Some(2));
}

#[test]
fn memory_is_bounded_and_what_does_not_fit_is_read_later_in_order() {
    let (mut backlog, now) = (live(), Instant::now());
    let total = u32::try_from(CAPACITY).unwrap() + 10;
    let offered: Vec<_> = (1..=total)
        .map(|id| backlog.hand_over(hook(id, u128::from(id), Opened), now))
        .collect();
    assert_eq!(
        offered.iter().filter(|offered| **offered == Offered::Spilled).count(),
        10
    );
    assert!(!backlog.wants_reading(), "there is enough to do");
    let mut seen = Vec::new();
    while let Some(job) = backlog.take(now) {
        seen.push(job.row.id);
        backlog.settled(&job.row);
    }
    assert!(backlog.wants_reading());
    backlog.begin_reading();
    for id in 1_000..=total {
        assert!(backlog.found(hook(id, u128::from(id), Opened), now));
    }
    backlog.end_reading();
    assert!(!backlog.wants_reading());
    while let Some(job) = backlog.take(now) {
        assert!(job.again, "it may have been tried before");
        seen.push(job.row.id);
        backlog.settled(&job.row);
    }
    assert_eq!(seen.len(), usize::try_from(total).unwrap(), "none twice, none lost");
    assert_eq!((backlog.outstanding(), backlog.take_changes().found), (0, 0));
}

#[test]
fn a_row_that_comes_while_the_store_is_read_causes_another_reading() {
    let (mut backlog, now) = (Backlog::default(), Instant::now());
    backlog.begin_reading();
    assert_eq!(backlog.hand_over(hook(1, 7, Opened), now), Offered::Spilled);
    backlog.end_reading();
    assert!(backlog.wants_reading());
    backlog.begin_reading();
    assert!(backlog.found(hook(1, 7, Opened), now));
    backlog.end_reading();
    assert_eq!((backlog.wants_reading(), backlog.outstanding()), (false, 1));
    assert_eq!(backlog.hand_over(hook(1, 7, Opened), now), Offered::Duplicate);
}

#[test]
fn rows_of_an_earlier_life_are_counted_once() {
    let (mut backlog, now) = (Backlog::default(), Instant::now());
    backlog.begin_reading();
    backlog.found(hook(1, 7, Opened), now);
    backlog.found(hook(2, 8, Opened), now);
    let job = backlog.take(now).unwrap();
    backlog.settled(&job.row);
    backlog.end_reading();
    assert_eq!((backlog.take_changes().found, backlog.outstanding()), (2, 1));
}

#[test]
fn a_receiver_that_is_back_gets_everything_at_once() {
    let (mut backlog, now) = (live(), Instant::now());
    backlog.hand_over(hook(1, 7, Opened), now);
    let job = backlog.take(now).unwrap();
    backlog.postponed(job.row, now + Duration::from_secs(300));
    backlog.hurry(now);
    assert_eq!(taken(&mut backlog, now), Some(1));
}

#[derive(Debug, Clone)]
enum Step {
    HandOver(u128, usize),
    Take,
    Settle(usize),
    Postpone(usize),
    Read,
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        4 => (0_u128..3, 0_usize..4).prop_map(|(incident, kind)| Step::HandOver(incident, kind)),
        4 => Just(Step::Take),
        3 => (0_usize..9).prop_map(Step::Settle),
        1 => (0_usize..9).prop_map(Step::Postpone),
        1 => Just(Step::Read),
    ]
}

/// The store and the receiver of the model.
#[derive(Default)]
struct World {
    backlog: Backlog,
    /// Rows that the table still holds as pending.
    table: BTreeMap<Ulid, OutboxRow>,
    flights: Vec<OutboxRow>,
    told: Vec<OutboxRow>,
    planned: u64,
    superseded: u64,
    found: u64,
}

impl World {
    fn commit(&mut self, row: OutboxRow) {
        if row.slot() == Slot::Update {
            let incident = row.notice.incident.id;
            self.table
                .retain(|_, old| old.slot() != Slot::Update || old.notice.incident.id != incident);
        }
        self.table.insert(row.id, row.clone());
        self.planned += 1;
        self.backlog.hand_over(row, Instant::now());
    }

    fn read(&mut self) {
        self.backlog.begin_reading();
        let rows: Vec<_> = self.table.values().cloned().collect();
        assert!(rows.into_iter().all(|row| self.backlog.found(row, Instant::now())));
        self.backlog.end_reading();
    }

    fn land(&mut self, index: usize, done: bool) {
        if self.flights.is_empty() {
            return;
        }
        let mut row = self.flights.swap_remove(index % self.flights.len());
        row.attempts += 1;
        if done {
            self.table.remove(&row.id);
            self.backlog.settled(&row);
            self.told.push(row);
        } else {
            self.table.insert(row.id, row.clone());
            self.backlog.postponed(row, Instant::now());
        }
        self.note();
    }

    fn note(&mut self) {
        let changes = self.backlog.take_changes();
        self.superseded += changes.superseded;
        self.found += changes.found;
        for row in changes.to_write {
            self.table.remove(&row.id);
        }
    }

    fn check(&self) {
        let incidents: BTreeSet<_> = self.flights.iter().map(|row| row.notice.incident.id).collect();
        assert_eq!(incidents.len(), self.flights.len(), "one in flight per incident");
    }

    fn finish(&mut self) {
        self.read();
        loop {
            while let Some(job) = self.backlog.take(Instant::now()) {
                self.flights.push(job.row);
            }
            if self.flights.is_empty() {
                break;
            }
            self.land(0, true);
        }
        self.note();
    }
}

proptest! {
    #[test]
    fn whatever_happens_nothing_is_lost_reordered_or_miscounted(steps in prop::collection::vec(step(), 0..120)) {
        let mut world = World::default();
        for (id, step) in (1_u32..).zip(steps) {
            match step {
                Step::HandOver(incident, kind) => {
                    world.commit(hook(id, incident, [Opened, Milestone, Milestone, Resolved][kind]));
                }
                Step::Take => world.flights.extend(world.backlog.take(Instant::now()).map(|job| job.row)),
                Step::Settle(index) => world.land(index, true),
                Step::Postpone(index) => world.land(index, false),
                Step::Read => world.read(),
            }
            world.note();
            world.check();
        }
        world.finish();
        prop_assert!(world.table.is_empty(), "rows left: {:?}", world.table.keys());
        let told: Vec<_> = world.told.iter().map(|row| (row.notice.incident.id, row.id)).collect();
        for incident in 0..3 {
            let ids: Vec<_> = told.iter().filter(|(of, _)| *of == Ulid(incident)).collect();
            prop_assert!(ids.is_sorted(), "told out of order: {:?}", ids);
        }
        let law = u64::try_from(told.len()).unwrap() + world.superseded;
        prop_assert_eq!(world.planned + world.found, law);
        prop_assert_eq!(world.backlog.outstanding(), 0);
    }
}
