//! States that hold, and workloads that do not get on because of a container.

use inquest_shared::model::{Cause, Report, ReportKind, Severity, Untrusted};

use super::*;
use crate::engine::{Standing, standing_key};
use TransitionKind::{Opened, Reclassified, Reopened, Resolved};

/// A state of the workload `web`, seen at pod `n`.
fn report(n: u32, kind: ReportKind, container: &str) -> Finding {
    let report = Report {
        kind,
        reason: Untrusted::default(),
        message: Untrusted::default(),
        since: None,
        affected: 0,
    };
    let finding = finding(
        n,
        FindingKind::Report,
        10,
        EvidenceSource::Kubernetes,
        Fact::Report(report),
    );
    let subject = Subject {
        container: container.into(),
        pod: format!("web-{n}"),
        ..subject("web", "1")
    };
    Finding { subject, ..finding }
}

impl World {
    /// What the apiserver knows of cluster `c` now.
    fn standing(&mut self, holding: &[&Finding], now: UnixNanos) -> Vec<TransitionKind> {
        let keys = holding
            .iter()
            .filter_map(|finding| Some(standing_key(&finding.subject, finding.evidence.report()?.kind)));
        let event = Event::Standing {
            cluster: "c".into(),
            now: Standing {
                keys: keys.collect(),
                ..Standing::default()
            },
        };
        let delta = self.fold(vec![event, Event::Tick], now);
        self.commit(&delta)
    }
}

const DAY: u64 = 86_400;

#[test]
fn an_image_that_cannot_be_pulled_is_one_incident_until_it_can() {
    let mut world = World::new();
    let (first, second) = (report(1, ReportKind::Image, "app"), report(2, ReportKind::Image, "app"));
    assert_eq!(world.send(&first, after(0)), [Opened]);
    // Three pods of one rollout are one piece of news.
    assert_eq!(world.send(&second, after(5)), []);
    assert_eq!(world.send(&report(3, ReportKind::Image, "app"), after(6)), []);
    assert_eq!((world.only().cause, world.only().occurrences), (Cause::ImageError, 3));
    assert_eq!(world.wait(after(DAY)), [], "it still holds");
    // A new pod takes the place of the first.
    assert_eq!(world.standing(&[&second], after(DAY)), []);
    assert_eq!(world.wait(after(2 * DAY)), []);
    assert_eq!(world.standing(&[], after(2 * DAY)), []);
    assert_eq!(world.wait(after(2 * DAY + 599)), []);
    assert_eq!(world.wait(after(2 * DAY + 601)), [Resolved]);
}

#[test]
fn what_holds_again_within_the_quiet_period_goes_on_and_after_it_comes_back() {
    let mut world = World::new();
    let missing = report(1, ReportKind::Config, "app");
    world.send(&missing, after(0));
    world.standing(&[], after(60));
    assert_eq!(world.send(&missing, after(120)), [], "the same words once more");
    assert_eq!(world.wait(after(DAY)), []);
    world.standing(&[], after(DAY));
    assert_eq!(world.wait(after(DAY + 700)), [Resolved]);
    assert_eq!(
        world.send(&report(2, ReportKind::Config, "app"), after(DAY + 800)),
        [Reopened]
    );
}

#[test]
fn what_held_holds_after_a_restart_and_without_news() {
    let mut world = World::new();
    world.send(&report(1, ReportKind::Mount, ""), after(0));
    world.restart(Rules::default());
    assert_eq!(world.wait(after(DAY)), []);
    let other = Event::Standing {
        cluster: "another".into(),
        now: Standing::default(),
    };
    let delta = world.fold(vec![other], after(DAY));
    assert!(delta.incidents.is_empty());
}

#[test]
fn what_is_over_once_it_is_told_resolves_by_itself() {
    let mut world = World::new();
    assert_eq!(world.send(&report(1, ReportKind::Job, ""), after(0)), [Opened]);
    assert_eq!(world.wait(after(601)), [Resolved]);
}

#[test]
fn a_stuck_rollout_and_what_it_is_stuck_on_are_one_incident_whichever_was_first() {
    let mut world = World::new();
    assert_eq!(world.send(&exit(1, 11, 1, &[]), after(0)), [Opened]);
    assert_eq!(world.send(&report(2, ReportKind::Rollout, ""), after(600)), []);
    assert_eq!((world.only().cause, world.only().latest.key), (Cause::AppError, key(1)));
    assert!(world.only().secondary_causes.is_empty());

    let mut world = World::new();
    assert_eq!(world.send(&report(2, ReportKind::Rollout, ""), after(0)), [Opened]);
    assert_eq!(world.send(&exit(1, 11, 1, &[]), after(1)), [Reclassified]);
    assert_eq!(world.only().cause, Cause::AppError);
}

#[test]
fn a_workload_that_no_node_takes_does_not_hide_a_crash_of_its_other_pods() {
    let mut world = World::new();
    assert_eq!(world.send(&report(1, ReportKind::Unscheduled, ""), after(0)), [Opened]);
    assert_eq!(world.send(&exit(2, 11, 1, &[]), after(1)), [Opened]);
    assert_eq!(world.open().len(), 2);
}

#[test]
fn an_evicted_pod_and_the_end_of_its_container_are_one_incident() {
    let mut world = World::new();
    let mut end = exit(1, 11, 137, &[]);
    let pod = inquest_shared::model::PodContext {
        current: true,
        reason: Untrusted::bounded("Evicted", 64),
        ..Default::default()
    };
    let at = UnixNanos::from_secs(11);
    let fact = Fact::PodContext(pod);
    end.evidence
        .insert(EvidenceSource::Kubernetes, "p", Evidence { at, fact });
    assert_eq!(world.send(&end, after(0)), [Opened]);
    assert_eq!(world.send(&report(2, ReportKind::Eviction, ""), after(5)), []);
    assert_eq!(
        (world.only().cause, world.only().severity),
        (Cause::Evicted, Severity::Medium)
    );
}

/// Nothing is heard of the node `n1`.
fn silent(n: u32) -> Finding {
    let mut silent = report(n, ReportKind::NodeSilent, "");
    silent.subject = Subject {
        owner: Owner {
            kind: "Node".into(),
            name: "n1".into(),
        },
        ..Subject::default()
    };
    silent
}

#[test]
fn a_node_that_is_silent_is_one_incident_of_the_node() {
    let mut world = World::new();
    assert_eq!(world.send(&silent(1), after(0)), [Opened]);
    assert_eq!(world.send(&lost(kill(2, 10)), after(1)), []);
    assert_eq!(world.only().cause, Cause::NodeLost);
}

#[test]
fn forty_pods_that_went_with_their_node_are_one_message_and_a_crash_afterwards_is_another() {
    let mut world = World::new();
    assert_eq!(world.send(&silent(1), after(0)), [Opened]);
    for n in 2..42 {
        let mut end = of(&format!("app{n}"), exit(n, 20, 255, &[]));
        end.subject.pod = format!("app{n}-1");
        // The runtime lost the status.
        end.evidence = exit(n, 20, -1, &[]).evidence;
        assert_eq!(world.send(&end, after(60)), []);
        end.revision = 1;
        end.observed_at = UnixNanos::from_secs(19);
        assert_eq!(world.send(&end, after(61)), [], "the same with more words");
    }
    let incident = world.only();
    assert_eq!((incident.pods.total, incident.looping), (40, false));
    assert_eq!(incident.latest.verdict.cause, Cause::NodeLost);
    assert_eq!(world.send(&exit(50, 70, 1, &[]), after(70)), [Opened]);
}

/// An agent that is gone tells of no crash, and that is no recovery.
#[test]
fn an_incident_does_not_resolve_while_nothing_is_heard_of_its_node() {
    let mut world = World::new();
    assert_eq!(world.send(&exit(1, 11, 1, &[]), after(0)), [Opened]);
    let blind = |blind: &[&str]| Event::Standing {
        cluster: "c".into(),
        now: Standing {
            blind: blind.iter().map(|name| (*name).to_owned()).collect(),
            ..Standing::default()
        },
    };
    let mut written = 0;
    for second in 1..3_000 {
        let delta = world.fold(vec![blind(&["n1"]), Event::Tick], after(second));
        written += delta.incidents.len();
        assert_eq!(world.commit(&delta), []);
    }
    assert!(written < 20, "{written} writes");
    let delta = world.fold(vec![blind(&["n2"])], after(3_000));
    world.commit(&delta);
    assert_eq!(world.wait(after(3_601)), [Resolved]);
}
