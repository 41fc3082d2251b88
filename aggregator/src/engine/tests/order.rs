use proptest::prelude::*;

use super::*;

/// What may differ between two orders of arrival, taken out: ids, the alias (fixed by the
/// first event), gaps between arrivals, the count of messages, the order
/// of lists, which of two causes that do not explain each other came first; and the certainty when there are several events,
/// as a kill that comes after its exit and after a newer event is judged alone.
fn comparable(world: &World) -> Vec<Incident> {
    let mut all: Vec<_> = world.incidents.values().cloned().map(normal).collect();
    all.sort_by(|a, b| a.workload.cmp(&b.workload));
    all
}

fn normal(mut incident: Incident) -> Incident {
    incident.id = Ulid::from(0);
    incident.gaps.clear();
    incident.quiet_until = UnixNanos(0);
    incident.counted.sort_by_key(|counted| counted.key);
    incident
        .counted
        .iter_mut()
        .filter(|counted| counted.cited)
        .for_each(|counted| counted.kind = FindingKind::Kill);
    incident.pods.names.sort();
    incident.nodes.names.sort();
    let several = !incident.secondary_causes.is_empty();
    incident.secondary_causes.insert(incident.cause);
    if several || incident.occurrences > 1 {
        incident.transition = 0;
        incident.transition_kind = TransitionKind::Opened;
        incident.announce_at = None;
        incident.confidence_percent = 0;
        incident.fingerprint = key(0);
    }
    if several {
        incident.cause = *incident.secondary_causes.iter().next().unwrap();
    }
    incident
}

/// One death of a container: its exit code, and how many kills explain it; the kills come before the exit.
fn deaths() -> impl Strategy<Value = Vec<(NodeIdentity, Finding)>> {
    let death = (
        1..60i64,
        prop::sample::select(vec![1, 2, 137, 139]),
        0..3u32,
        0..3u32,
        any::<bool>(),
    );
    prop::collection::vec(death, 1..8).prop_map(|deaths| {
        let mut findings = Vec::new();
        for ((second, code, kills, pod, web), n) in deaths.into_iter().zip((0..).step_by(10)) {
            let subject = subject(if web { "web" } else { "db" }, &pod.to_string());
            let cites: Vec<u32> = (1..=kills).map(|k| n + k).collect();
            let code = if kills > 0 { 137 } else { code };
            let of_node = node(&format!("n{pod}"));
            let own = |finding| {
                (
                    of_node.clone(),
                    Finding {
                        subject: subject.clone(),
                        ..finding
                    },
                )
            };
            findings.extend(cites.iter().map(|k| own(kill(*k, second * 10 - 1))));
            findings.push(own(exit(n, second * 10, code, &cites)));
        }
        findings
    })
}

fn play(findings: &[(NodeIdentity, Finding)], batch: usize) -> World {
    let mut world = World::new();
    for chunk in findings.chunks(batch.max(1)) {
        let events = chunk.iter().map(|(node, finding)| world.event(node, finding)).collect();
        let delta = world.fold(events, START);
        world.commit(&delta);
    }
    // What is uncertain has settled then.
    world.wait(after(10));
    world
}

proptest! {
    /// Retries, reconnects and lanes re-order and repeat reports; people must be shown the same incident.
    #[test]
    fn any_order_and_any_repetition_give_the_same_incidents(
        (findings, shuffled) in deaths().prop_flat_map(|findings| {
            let twice: Vec<_> = findings.iter().chain(&findings).cloned().collect();
            (Just(findings), Just(twice).prop_shuffle())
        }),
        batches in (1..5usize, 1..5usize),
    ) {
        let straight = play(&findings, batches.0);
        let crooked = play(&shuffled, batches.1);
        prop_assert_eq!(comparable(&straight), comparable(&crooked));
        let events = |world: &World| world.incidents.values().map(|incident| incident.occurrences).sum::<u64>();
        let exits = findings.iter().filter(|(_, finding)| finding.kind == FindingKind::Exit).count();
        prop_assert_eq!(events(&crooked), exits as u64, "an exit and its kills are one event");
    }

    /// The first message must not depend on who was faster, the kernel log or the runtime.
    #[test]
    fn one_death_gives_one_message_in_any_order(
        order in Just(vec![kill(1, 10), kill(2, 10), exit(3, 11, 137, &[1, 2])]).prop_shuffle()
    ) {
        let mut world = World::new();
        let told: Vec<_> = order.iter().flat_map(|finding| world.send(finding, START)).collect();
        prop_assert_eq!(told, [TransitionKind::Opened]);
        let incident = world.only();
        prop_assert_eq!((incident.occurrences, incident.latest.key, incident.latest.evidence.len()), (1, key(3), 3));
    }

    /// Splitting a report into batches is a matter of load and must not show.
    #[test]
    fn batches_do_not_show(findings in deaths(), batch in 1..20usize) {
        let (one, many) = (play(&findings, 1), play(&findings, batch));
        prop_assert_eq!(one.incidents, many.incidents);
        prop_assert_eq!(one.occurrences, many.occurrences);
    }
}
