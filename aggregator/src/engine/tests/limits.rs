use super::*;
use TransitionKind::{Opened, Resolved};

fn small() -> Rules {
    Rules {
        max_open_per_namespace: 2,
        ..Rules::default()
    }
}

#[test]
fn a_namespace_with_too_many_incidents_gets_one_overflow_incident() {
    let mut world = World::with(small());
    let told: Vec<_> = ["a", "b", "d", "e", "f"]
        .into_iter()
        .zip(1..)
        .flat_map(|(name, n)| world.send(&of(name, exit(n, 10, 1, &[])), after(0)))
        .collect();
    assert_eq!(told, [Opened, Opened, Opened, TransitionKind::Milestone]);
    let overflow = world
        .open()
        .into_iter()
        .find(|incident| incident.workload.owner.kind == "Namespace")
        .unwrap();
    assert_eq!(
        (overflow.workload.owner.name.as_str(), overflow.occurrences),
        ("shop", 3)
    );
    assert_eq!(
        world.send(&of("a", exit(9, 20, 1, &[])), after(1)),
        [],
        "known workloads keep their own"
    );
    assert_eq!(world.open().len(), 3);
}

#[test]
fn a_kill_and_its_exit_count_once_in_the_overflow_too() {
    let mut world = World::with(Rules {
        max_open_per_namespace: 0,
        ..Rules::default()
    });
    world.send(&kill(1, 10), after(0));
    world.send(&exit(2, 11, 137, &[1]), after(1));
    assert_eq!(world.only().occurrences, 1);
}

#[test]
fn invented_namespaces_do_not_grow_the_memory() {
    let mut world = World::with(Rules {
        max_open: 3,
        ..Rules::default()
    });
    for n in 0..50 {
        let mut one = exit(n, 10, 1, &[]);
        one.subject.namespace = format!("ns-{n}");
        world.send(&one, after(0));
    }
    assert_eq!(world.engine.open_incidents(), 4);
    let overflow = world
        .open()
        .into_iter()
        .find(|incident| incident.workload.owner.kind == "Cluster")
        .unwrap();
    assert_eq!(overflow.occurrences, 47);
}

#[test]
fn one_incident_stays_small_whatever_happens_to_it() {
    let mut world = World::new();
    for n in 0..400u32 {
        let mut one = exit(
            n * 50,
            i64::from(n),
            i32::try_from(n % 200).unwrap() + 1,
            &[n * 50 + 1, n * 50 + 2],
        );
        one.subject.pod = format!("web-{n}");
        world.send_from(&node(&format!("n{n}")), &one, after(u64::from(n)));
    }
    let incident = world.only();
    assert_eq!(
        (incident.occurrences, incident.pods.total, incident.nodes.total),
        (400, 400, 400)
    );
    assert!(incident.counted.len() <= 64 && incident.gaps.len() <= 10 && incident.exit_codes.len() <= 16);
    assert!(incident.pods.names.len() <= 20 && incident.nodes.names.len() <= 20);
}

#[test]
fn a_clock_that_leaps_forward_does_not_resolve_what_nobody_watched() {
    let mut world = World::new();
    world.send(&exit(1, 10, 1, &[]), after(0));
    world.tick(after(100));
    let day = 24 * 3600;
    assert_eq!(world.tick(after(day)), []);
    assert_eq!(world.only().quiet_until, after(day + 500));
    assert_eq!(world.wait(after(day + 500)), [Resolved]);
}

#[test]
fn a_clock_that_is_set_back_does_not_keep_an_incident_open_for_long() {
    let mut world = World::new();
    world.send(&exit(1, 10, 137, &[]), after(100_000));
    assert_eq!(world.tick(after(100_001)), []);
    assert_eq!(world.tick(after(0)), []);
    assert_eq!(
        world.engine.next_deadline(),
        Some(after(2)),
        "two of three seconds are left"
    );
    assert_eq!(world.wait(after(2)), [Opened]);
    assert_eq!(world.wait(after(599)), [Resolved]);
}

#[test]
fn a_clock_that_is_slewed_by_milliseconds_changes_no_incident() {
    let mut world = World::new();
    world.send(&exit(1, 10, 1, &[]), after(10));
    let slewed = UnixNanos(after(10).0 - 5_000_000);
    assert_eq!(
        world.fold(vec![Event::Tick], slewed),
        Delta {
            now: Some(after(10)),
            ..Delta::default()
        }
    );
}

#[test]
fn after_a_restart_agents_get_a_minute_before_anything_resolves() {
    let mut world = World::new();
    world.send(&exit(1, 10, 1, &[]), after(0));
    world.restart(Rules::default());
    assert_eq!(world.tick(after(5000)), []);
    assert_eq!(world.send(&exit(2, 600, 1, &[]), after(5010)), []);
    assert_eq!(world.only().occurrences, 2);
    world.restart(Rules::default());
    assert_eq!(world.tick(after(90_000)), []);
    assert_eq!(world.wait(after(90_060)), [Resolved]);
}

#[test]
fn a_restart_goes_on_where_the_engine_was() {
    let mut world = World::new();
    world.send(&exit(2, 11, 137, &[1]), after(0));
    world.restart(Rules::default());
    assert_eq!(
        world.send(&kill(1, 10), after(1)),
        [Opened],
        "the citation was not lost"
    );
    assert_eq!(world.only().occurrences, 1);
    world.wait(after(700));
    world.restart(Rules::default());
    assert_eq!(
        world.send(&exit(3, 900, 1, &[]), after(800)),
        [TransitionKind::Reopened]
    );
}

#[test]
fn a_changed_quiet_period_holds_for_open_incidents() {
    let mut world = World::new();
    world.send(&exit(1, 10, 1, &[]), after(0));
    let rules = Rules {
        quiet_period: Duration::from_secs(30),
        ..Rules::default()
    };
    let delta = world.fold(vec![Event::Rules(rules)], after(1));
    assert_eq!(world.commit(&delta), []);
    assert_eq!(world.wait(after(30)), [Resolved]);
}

#[test]
fn two_containers_and_two_clusters_are_told_apart() {
    let mut world = World::new();
    world.send(&of("a", exit(1, 10, 1, &[])), after(0));
    world.send(&of("b", exit(2, 10, 1, &[])), after(0));
    let mut sidecar = of("a", exit(3, 10, 1, &[]));
    sidecar.subject.container = "proxy".into();
    world.send(&sidecar, after(0));
    let elsewhere = NodeIdentity {
        cluster: "other".into(),
        ..node("n1")
    };
    world.send_from(&elsewhere, &of("a", exit(1, 10, 1, &[])), after(0));
    assert_eq!(world.open().len(), 4);
    let mut prints: Vec<_> = world.open().iter().map(|incident| incident.fingerprint).collect();
    prints.sort();
    prints.dedup();
    assert_eq!(prints.len(), 4);
}
