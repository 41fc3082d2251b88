use inquest_shared::model::{Cause, Severity, Untrusted};
use proptest::prelude::*;

use super::*;
use TransitionKind::{Milestone, Opened, Reclassified, Reopened, Resolved, SeverityRaised};

const HOUR: u64 = 3600;

#[test]
fn a_proved_memory_kill_is_told_at_once_and_its_exit_is_no_second_message() {
    let mut world = World::new();
    assert_eq!(world.send(&kill(1, 10), after(0)), [Opened]);
    assert_eq!(world.send(&exit(2, 11, 137, &[1]), after(1)), []);
    let incident = world.only();
    assert_eq!(
        (incident.cause, incident.occurrences, incident.transition),
        (Cause::OomLimit, 1, 1)
    );
    assert_eq!((incident.latest.key, incident.latest.evidence.len()), (key(2), 2));
    assert_eq!(incident.exit_codes, [(137, 1)].into());
}

#[test]
fn a_sigkill_without_evidence_is_told_after_its_settle_time() {
    let mut world = World::new();
    assert_eq!(world.send(&exit(2, 11, 137, &[]), after(0)), []);
    assert_eq!(world.tick(after(2)), []);
    assert_eq!(world.engine.next_deadline(), Some(after(3)));
    assert_eq!(world.tick(after(3)), [Opened]);
    assert_eq!(world.only().cause, Cause::KilledUnknown);
    assert_eq!(world.tick(after(4)), []);
}

#[test]
fn a_kill_that_comes_after_its_exit_announces_the_true_cause_at_once() {
    let mut world = World::new();
    assert_eq!(world.send(&exit(2, 11, 137, &[1]), after(0)), []);
    assert_eq!(world.send(&kill(1, 10), after(1)), [Opened]);
    let incident = world.only();
    assert_eq!((incident.cause, incident.occurrences), (Cause::OomLimit, 1));
    assert!(incident.secondary_causes.is_empty());
}

#[test]
fn a_cause_that_is_found_after_the_message_is_told_as_a_correction() {
    let mut world = World::new();
    world.send(&exit(2, 11, 137, &[]), after(0));
    assert_eq!(world.tick(after(3)), [Opened]);
    world.send(&exit(2, 11, 137, &[1]), after(4));
    assert_eq!(world.send(&kill(1, 10), after(5)), [Reclassified]);
    assert_eq!((world.only().cause, world.only().occurrences), (Cause::OomLimit, 1));
}

#[test]
fn another_cause_of_the_same_container_joins_the_open_incident() {
    let mut world = World::new();
    world.send(&kill(1, 10), after(0));
    assert_eq!(world.send(&exit(2, 20, 1, &[]), after(10)), []);
    let incident = world.only();
    assert_eq!((incident.cause, incident.occurrences), (Cause::OomLimit, 2));
    assert_eq!(incident.secondary_causes, [Cause::AppError].into());
}

#[test]
fn a_crash_loop_is_one_incident_with_milestones() {
    let mut world = World::new();
    let told: Vec<_> = (1..=60u32)
        .flat_map(|n| world.send(&exit(n, i64::from(n), 1, &[]), after(u64::from(n) * 10)))
        .collect();
    assert_eq!(told, [Opened, Milestone, Milestone, Milestone]);
    let incident = world.only();
    assert!(incident.looping);
    assert_eq!((incident.occurrences, incident.exit_codes.get(&1)), (60, Some(&60)));
    assert_eq!((incident.gaps.len(), incident.transition), (10, 4));
}

#[test]
fn a_replayed_finding_changes_nothing() {
    let mut world = World::new();
    world.send(&exit(1, 10, 1, &[]), after(0));
    let event = world.event(&node("n1"), &exit(1, 10, 1, &[]));
    let delta = world.fold(vec![event], after(60));
    assert_eq!(
        delta,
        Delta {
            now: Some(after(60)),
            ..Delta::default()
        }
    );
}

#[test]
fn a_late_detail_edits_the_incident_without_a_message() {
    let mut world = World::new();
    world.send(&exit(1, 10, 1, &[]), after(0));
    let before = world.only().clone();
    let mut richer = exit(1, 10, 1, &[]);
    let exit = RuntimeExit {
        exit_code: 1,
        finished_at: UnixNanos::from_secs(10),
        reason: Untrusted::bounded("Error", 64),
        ..RuntimeExit::default()
    };
    let fact = Evidence {
        at: UnixNanos::from_secs(10),
        fact: Fact::RuntimeExit(exit),
    };
    richer.evidence.insert(EvidenceSource::Containerd, "1", fact);
    assert_eq!(world.send(&richer, after(60)), []);
    let incident = world.only();
    assert_ne!(incident.latest.evidence, before.latest.evidence);
    assert_eq!(
        (incident.occurrences, incident.quiet_until),
        (before.occurrences, before.quiet_until)
    );
    assert_eq!(incident.exit_codes, before.exit_codes);
}

#[test]
fn silence_for_the_quiet_period_resolves_and_a_return_reopens_the_same_incident() {
    let mut world = World::new();
    world.send(&exit(1, 10, 1, &[]), after(0));
    assert_eq!(world.wait(after(599)), []);
    assert_eq!(world.wait(after(600)), [Resolved]);
    assert_eq!(world.engine.open_incidents(), 0);
    assert_eq!(world.wait(after(HOUR)), []);
    assert_eq!(world.send(&exit(2, 2000, 1, &[]), after(HOUR)), [Reopened]);
    let incident = world.only();
    assert_eq!(
        (incident.state, incident.reopened, incident.occurrences),
        (IncidentState::Open, 1, 2)
    );
    assert_eq!((incident.transition, incident.resolved_at), (3, None));
    assert!(incident.gaps.is_empty(), "the time between two episodes is no gap");
}

#[test]
fn a_return_with_another_cause_reopens_under_the_new_cause() {
    let mut world = World::new();
    world.send(&exit(1, 10, 1, &[]), after(0));
    world.wait(after(600));
    assert_eq!(world.send(&exit(2, 900, 137, &[]), after(700)), []);
    assert_eq!(world.only().cause, Cause::AppError, "not told yet");
    assert_eq!(world.wait(after(703)), [Reopened]);
    let incident = world.only();
    assert_eq!(
        (incident.cause, incident.severity),
        (Cause::KilledUnknown, Severity::High)
    );
    assert_eq!(incident.secondary_causes, [Cause::AppError].into());
}

/// Who was woken by an application error must still see that something was killed within the same seconds.
#[test]
fn a_return_that_began_uncertain_and_became_certain_by_another_event_keeps_both_causes() {
    let mut world = World::new();
    world.send(&exit(1, 10, 0, &[]), after(0));
    world.send(&exit(2, 11, 2, &[]), after(1));
    world.wait(after(700));
    assert_eq!(world.send(&exit(3, 900, 137, &[]), after(701)), []);
    assert_eq!(world.send(&exit(4, 901, 1, &[]), after(702)), [Reopened]);
    let incident = world.only();
    let mut causes = incident.secondary_causes.clone();
    causes.insert(incident.cause);
    assert!(
        causes.is_superset(&[Cause::KilledUnknown, Cause::AppError].into()),
        "{causes:?}"
    );
    assert_eq!(incident.severity, Severity::High);
}

/// A node that was cut off tells late: what it saw is older than what people know, and no less a kill.
#[test]
fn a_return_that_is_older_than_the_latest_event_is_told_with_its_own_cause() {
    let mut world = World::new();
    world.send(&exit(1, 20, 2, &[]), after(0));
    world.wait(after(700));
    assert_eq!(world.send(&exit(2, 10, 137, &[]), after(701)), []);
    assert_eq!(world.wait(after(704)), [Reopened]);
    let incident = world.only();
    assert_eq!(
        (incident.cause, incident.severity),
        (Cause::KilledUnknown, Severity::High)
    );
    assert_eq!(incident.secondary_causes, [Cause::AppError].into());
    assert!(incident.uncertain.is_empty());
}

/// People know of an application error when the kubelet evicts the pod: for a second its SIGKILL has no reason.
#[test]
fn an_uncertain_end_in_a_known_incident_waits_for_its_explanation() {
    let mut world = World::new();
    assert_eq!(world.send(&exit(1, 10, 1, &[]), after(0)), [Opened]);
    assert_eq!(world.send(&exit(2, 20, 137, &[]), after(10)), []);
    assert_eq!(world.send(&corrected(2, 20), after(11)), []);
    assert_eq!(world.wait(after(20)), []);
    let incident = world.only();
    assert_eq!((incident.severity, incident.occurrences), (Severity::Medium, 1));
    assert_eq!(incident.secondary_causes, [].into());
    assert_eq!((incident.state, incident.announce_at), (IncidentState::Open, None));
}

#[test]
fn an_end_that_stays_unexplained_is_told_when_its_time_has_come() {
    let mut world = World::new();
    world.send(&exit(1, 10, 1, &[]), after(0));
    assert_eq!(world.send(&exit(2, 20, 137, &[]), after(10)), []);
    assert_eq!(world.wait(after(13)), [SeverityRaised]);
    let incident = world.only();
    assert_eq!(incident.severity, Severity::High);
    assert_eq!(incident.secondary_causes, [Cause::KilledUnknown].into());
    assert_eq!(world.wait(after(12 + 600)), [Resolved], "the quiet period goes on");
}

/// The log of an old end arrives when its incident is long over.
#[test]
fn another_version_of_an_uncertain_end_does_not_bring_back_what_is_over() {
    let mut world = World::new();
    world.send(&exit(1, 10, 1, &[]), after(0));
    world.send(&exit(2, 20, 137, &[]), after(10));
    world.wait(after(700));
    let later = |n, code| {
        let mut exit = exit(n, 20, code, &[]);
        let fact = Fact::RuntimeOom;
        let at = UnixNanos::from_secs(20);
        exit.evidence
            .insert(EvidenceSource::Docker, "oom", Evidence { at, fact });
        exit
    };
    assert_eq!(world.send(&later(2, 137), after(800)), []);
    assert_eq!(world.send(&later(1, 1), after(801)), []);
    assert_eq!(world.wait(after(900)), []);
    let incident = world.only();
    assert_eq!((incident.state, incident.announce_at), (IncidentState::Resolved, None));
    assert!(incident.uncertain.is_empty());
}

/// A node that restarts kills more containers at once than an incident remembers; the one certain word must not be lost.
#[test]
fn a_certain_cause_after_many_uncertain_ones_is_kept() {
    let mut world = World::new();
    world.send(&exit(1, 10, 2, &[]), after(0));
    world.wait(after(700));
    for n in 0..8 {
        assert_eq!(world.send(&exit(10 + n, 900, 137, &[]), after(701)), []);
    }
    assert_eq!(world.send(&kill(30, 901), after(702)), [Reopened]);
    let incident = world.only();
    let mut causes = incident.secondary_causes.clone();
    causes.insert(incident.cause);
    assert!(causes.contains(&Cause::OomLimit), "{causes:?}");
}

#[test]
fn a_return_after_the_reopen_window_is_a_new_incident_and_memory_is_freed() {
    let mut world = World::new();
    world.send(&exit(1, 10, 1, &[]), after(0));
    world.wait(after(600));
    assert_eq!(world.engine.next_deadline(), Some(after(600 + 2 * HOUR)));
    world.wait(after(600 + 2 * HOUR));
    assert_eq!(world.engine.next_deadline(), None);
    assert_eq!(world.send(&exit(2, 9000, 1, &[]), after(601 + 2 * HOUR)), [Opened]);
    assert_eq!(world.incidents.len(), 2);
}

#[test]
fn a_loop_slower_than_the_quiet_period_is_not_resolved_between_two_crashes() {
    let mut world = World::new();
    let mut told = Vec::new();
    for n in 0..12u32 {
        told.extend(world.wait(after(u64::from(n) * 540)));
        told.extend(world.send(&exit(n, i64::from(n), 1, &[]), after(u64::from(n) * 540)));
    }
    assert_eq!(told, [Opened, Milestone, Milestone]);
    assert_eq!(world.only().quiet_until, after(11 * 540 + 3 * 540));
    let slow = Incident {
        gaps: vec![i64::MAX],
        ..world.only().clone()
    };
    let quiet = crate::engine::timers::quiet_period(&Rules::default(), &slow);
    assert_eq!(quiet, Duration::from_secs(6 * HOUR));
}

#[test]
fn what_happened_before_the_agent_was_installed_never_opens_an_incident() {
    let mut world = World::new();
    let old = Finding {
        discovery: Discovery::Lookback,
        ..kill(1, 10)
    };
    assert!(!world.engine.would_open(&node("n1"), &old));
    assert_eq!(world.send(&old, after(0)), []);
    assert!(world.incidents.is_empty());
    assert_eq!(world.occurrences.len(), 1);
    assert_eq!(world.send(&kill(1, 10), after(1)), [Opened], "seen alive after all");
}

#[test]
fn an_expected_exit_is_stored_and_nobody_is_told() {
    let mut world = World::new();
    assert!(!world.engine.would_open(&node("n1"), &exit(1, 10, 0, &[])));
    assert_eq!(world.send(&exit(1, 10, 0, &[]), after(0)), []);
    assert_eq!((world.incidents.len(), world.occurrences.len()), (0, 1));
}

/// The runtime corrects itself: it was no failure.
fn corrected(n: u32, second: i64) -> Finding {
    let mut exit = exit(n, second, 0, &[]);
    let fact = Fact::RuntimeExit(RuntimeExit {
        finished_at: UnixNanos::from_secs(second),
        reason: Untrusted::bounded("Completed", 64),
        ..RuntimeExit::default()
    });
    let at = UnixNanos::from_secs(second);
    exit.evidence
        .insert(EvidenceSource::Containerd, n.to_string(), Evidence { at, fact });
    exit
}

#[test]
fn a_stop_that_turns_out_to_be_expected_before_the_message_stays_silent() {
    let mut world = World::new();
    assert_eq!(world.send(&exit(1, 10, 143, &[]), after(0)), []);
    assert_eq!(world.send(&corrected(1, 10), after(1)), []);
    assert_eq!(world.wait(after(9 * HOUR)), []);
    assert_eq!(world.only().state, IncidentState::Resolved);
    assert_eq!(world.occurrences[&(node("n1"), key(1))].incident, None);
    assert_eq!(
        world.send(&exit(2, 20, 1, &[]), after(9 * HOUR)),
        [Opened],
        "what nobody heard of cannot reopen"
    );
}

#[test]
fn an_expected_stop_of_a_workload_that_failed_before_does_not_reopen_its_incident() {
    let mut world = World::new();
    world.send(&exit(1, 10, 1, &[]), after(0));
    assert_eq!(world.wait(after(700)), [Resolved]);
    assert_eq!(world.send(&exit(2, 20, 143, &[]), after(800)), []);
    assert_eq!(world.send(&corrected(2, 20), after(801)), []);
    assert_eq!(world.wait(after(1000)), []);
    let incident = world.only();
    assert_eq!(
        (incident.state, incident.reopened, incident.occurrences),
        (IncidentState::Resolved, 0, 1)
    );
    assert_eq!(incident.exit_codes, [(1, 1)].into());
    assert_eq!(incident.cause, Cause::AppError, "the cause that was told");
    assert_eq!(world.send(&exit(3, 30, 1, &[]), after(1001)), [Reopened]);
}

#[test]
fn a_dropped_batch_has_never_happened() {
    let mut world = World::new();
    let event = world.event(&node("n1"), &exit(1, 10, 1, &[]));
    let dropped = world.fold(vec![event.clone()], after(0));
    assert_eq!(dropped.incidents.len(), 1);
    assert_eq!(world.engine.open_incidents(), 0);
    let again = world.fold(vec![event], after(0));
    assert_eq!(again.notices.len(), 1);
    assert_eq!(again.occurrences.len(), 1);
}

#[test]
fn the_fast_lane_takes_what_opens_or_announces() {
    let mut world = World::new();
    assert!(world.engine.would_open(&node("n1"), &kill(1, 10)));
    world.send(&exit(2, 11, 137, &[1]), after(0));
    assert!(
        world.engine.would_open(&node("n1"), &kill(1, 10)),
        "the opening is not told yet"
    );
    world.send(&kill(1, 10), after(1));
    assert!(!world.engine.would_open(&node("n1"), &exit(3, 20, 1, &[])));
}

#[test]
fn a_kill_of_an_unknown_container_moves_to_its_workload_when_that_is_known() {
    let mut world = World::new();
    assert_eq!(world.send(&lost(kill(1, 10)), after(0)), [Opened]);
    assert_eq!(world.only().workload.owner.kind, "Node");
    assert_eq!(world.send(&kill(1, 10), after(1)), []);
    let incident = world.only();
    assert_eq!(
        (incident.workload.owner.name.as_str(), incident.occurrences),
        ("web", 1)
    );
    assert_eq!(world.send(&exit(2, 11, 137, &[1]), after(2)), []);
    assert_eq!(world.only().occurrences, 1);
}

#[test]
fn a_kill_of_an_unknown_container_joins_the_open_incident_of_its_workload() {
    let mut world = World::new();
    world.send(&exit(9, 5, 1, &[]), after(0));
    assert_eq!(world.send(&lost(kill(1, 10)), after(1)), [Opened]);
    assert_eq!(
        world.send(&exit(2, 11, 137, &[1]), after(2)),
        [Resolved, SeverityRaised]
    );
    let open = world.open();
    assert_eq!(open.len(), 1);
    assert_eq!((open[0].workload.owner.name.as_str(), open[0].occurrences), ("web", 2));
    let merged = world
        .incidents
        .values()
        .find(|incident| incident.merged_into.is_some())
        .unwrap();
    assert_eq!(merged.merged_into, Some(open[0].id));
    assert_eq!(world.occurrences[&(node("n1"), key(1))].incident, Some(open[0].id));
}

#[test]
fn a_kill_of_an_unknown_container_finds_the_exit_that_cites_it() {
    let mut world = World::new();
    world.send(&exit(2, 11, 137, &[1]), after(0));
    assert_eq!(world.send(&lost(kill(1, 10)), after(1)), [Opened]);
    assert_eq!((world.only().cause, world.only().occurrences), (Cause::OomLimit, 1));
}

#[test]
fn a_worse_event_raises_the_severity_and_says_so() {
    let mut world = World::new();
    world.send(&exit(1, 10, 143, &[]), after(0));
    assert_eq!(world.wait(after(3)), [Opened]);
    assert_eq!(world.only().severity, Severity::Low);
    let told = world.send(&kill(2, 20), after(10));
    assert!(matches!(told[..], [SeverityRaised]), "{told:?}");
    assert!(world.only().severity > Severity::Low);
}

proptest! {
    /// Whoever was told of an opening is told of the end, exactly once, and never the other way round.
    #[test]
    fn every_opening_gets_exactly_one_end(steps in prop::collection::vec((0..6u32, 1..2000u64), 1..60)) {
        let mut world = World::new();
        let (mut now, mut n, mut told) = (0, 0, Vec::new());
        for (what, pause) in steps {
            now += pause;
            told.extend(world.wait(after(now)));
            n += 1;
            let code = [0, 1, 137, 143, 139, 2][what as usize];
            told.extend(world.send(&exit(n, i64::from(n), code, &[]), after(now)));
        }
        told.extend(world.wait(after(now + 40 * HOUR)));
        let turns: Vec<_> = told.into_iter().filter(|kind| matches!(kind, Opened | Reopened | Resolved)).collect();
        for pair in turns.chunks(2) {
            prop_assert!(matches!(pair, [Opened | Reopened, Resolved]), "{:?}", pair);
        }
        prop_assert_eq!(world.engine.open_incidents(), 0);
        prop_assert_eq!(world.engine.next_deadline(), None);
    }
}

/// Twelve hours of a workload that fails each time its incident has just resolved.
#[test]
fn what_comes_and_goes_all_day_is_told_less_and_less_often() {
    let mut world = World::new();
    let (mut now, mut told) = (0, Vec::new());
    for n in 1..=60 {
        told.extend(world.send(&exit(n, i64::from(n) * 660, 1, &[]), after(now)));
        now += 660;
        told.extend(world.wait(after(now)));
    }
    let times = |kind| told.iter().filter(|told| **told == kind).count();
    assert_eq!(times(Opened), 1);
    assert!((1..=6).contains(&times(Reopened)), "{told:?}");
    assert!(times(Resolved) <= times(Reopened) + 1);
    assert_eq!(world.only().state, IncidentState::Open);
    assert_eq!(world.wait(after(now + 6 * HOUR)), [Resolved]);
}
