//! Deaths as their witnesses tell them, in every order.

use std::collections::BTreeSet;

use inquest_shared::{
    cause::judge,
    model::{Cause, EvidenceSet, EvidenceSource, Key, LogExcerpt, RuntimeExit, Subject, Untrusted},
};
use proptest::prelude::*;

use super::*;
use crate::{
    host::kmsg::{Record, Stamped},
    observation::{Container, Exit, KillCounter},
};

mod trace;

const POD: &str = "4b0b5df8-f863-4bcb-a48d-887a4749fecd";
const ID: &str = "9135c97b4d0966f40d39feba36904f6c2506a977a2c3fc151ff1c5ebd295a5b0";
const KILL_WALL: i64 = 1_000_000_000_000;

fn fusion() -> Fusion {
    Fusion::new("boot-1".to_owned(), UnixNanos(5), "/", 4096)
}

fn at(ms: u64) -> Moment {
    Moment {
        wall: UnixNanos(KILL_WALL),
        mono_us: ms * 1000,
    }
}

fn line(seq: u64, text: &str) -> Observation {
    let raw = format!("3,{seq},6604203665,-;{text}\n");
    let record = Record::parse(raw.as_bytes()).unwrap();
    let record = Stamped {
        record,
        wall: UnixNanos(KILL_WALL),
        backlog: false,
    };
    Observation::Kernel {
        record,
        victim_cgroup: None,
    }
}

/// The lines of a real report of a 6.18 kernel, cgroup v1: the pod's limit was hit by the container's first process.
fn report() -> Vec<Observation> {
    let pod = format!("/kubepods/burstable/pod{POD}");
    vec![
        line(
            2240,
            "tail invoked oom-killer: gfp_mask=0xcc0(GFP_KERNEL), order=0, oom_score_adj=999",
        ),
        line(2250, "memory: usage 20480kB, limit 20480kB, failcnt 1408"),
        line(
            2272,
            &format!(
                "oom-kill:constraint=CONSTRAINT_MEMCG,nodemask=(null),cpuset={ID},mems_allowed=0,oom_memcg={pod},task_memcg={pod}/{ID},task=tail,pid=11219,uid=0"
            ),
        ),
        line(
            2273,
            "Memory cgroup out of memory: Killed process 11219 (tail) total-vm:22168kB, anon-rss:19968kB, file-rss:1264kB, shmem-rss:0kB, UID:0 pgtables:80kB oom_score_adj:999",
        ),
    ]
}

fn container(pid: u32) -> Observation {
    let subject = Subject {
        namespace: "shop".into(),
        pod: "web-1".into(),
        pod_uid: POD.into(),
        container: "app".into(),
        instance: ID.into(),
        ..Subject::default()
    };
    Observation::Container(Container {
        subject,
        pid: Some(pid),
        log_path: None,
        memory_limit: Some(20_971_520),
        started: None,
    })
}

fn exit(code: i32, reason: &str) -> Observation {
    let finished_at = UnixNanos(KILL_WALL + 4_000_000);
    let reason = Untrusted::bounded(reason, 64);
    let record = RuntimeExit {
        exit_code: code,
        finished_at,
        reason,
        ..RuntimeExit::default()
    };
    Observation::Exit(Exit {
        instance: ID.into(),
        record,
        source: EvidenceSource::Containerd,
        live: true,
    })
}

fn counter(instance: &str, before: u64, after: u64) -> Observation {
    let cgroup = if instance.is_empty() {
        String::new()
    } else {
        format!("/k/{instance}")
    };
    Observation::KillCounter(KillCounter {
        instance: instance.into(),
        cgroup,
        before,
        after,
        at: UnixNanos(KILL_WALL),
    })
}

fn feed(fusion: &mut Fusion, observations: Vec<Observation>, now: Moment) -> Vec<Finding> {
    observations.into_iter().flat_map(|o| fusion.observe(o, now)).collect()
}

#[test]
fn a_kill_is_told_on_the_kernels_line_and_its_exit_cites_it() {
    let mut fusion = fusion();
    feed(&mut fusion, vec![container(11219)], at(0));
    let told = feed(&mut fusion, report(), at(1));
    assert_eq!(told.len(), 1, "one finding, at once");
    assert_eq!(
        (told[0].kind, told[0].subject.container.as_str()),
        (FindingKind::Kill, "app")
    );
    assert_eq!(judge(&told[0].evidence).cause, Cause::OomLimit);
    let kill = told[0].evidence.kills().next().unwrap();
    assert_eq!(
        kill.level,
        Some(inquest_shared::model::LimitLevel::Container),
        "one container: the pod's limit is its own"
    );
    assert_eq!((kill.main_process, kill.limit_bytes), (Some(true), Some(20_971_520)));
    let exits = feed(&mut fusion, vec![exit(137, "")], at(5));
    assert_eq!(exits.len(), 1);
    assert!(exits[0].cites.contains(&told[0].key));
    assert_eq!(judge(&exits[0].evidence).cause, Cause::OomLimit);
}

/// The kernel prints at most ten heads in five seconds; the kill line always comes.
#[test]
fn a_bare_kill_line_is_attributed_by_the_victims_own_cgroup() {
    let mut fusion = fusion();
    feed(&mut fusion, vec![container(11219)], at(0));
    let Some(Observation::Kernel { record, .. }) = report().pop() else {
        panic!("no kill line")
    };
    let victim_cgroup = Some(format!("/kubepods/burstable/pod{POD}/{ID}"));
    let told = feed(&mut fusion, vec![Observation::Kernel { record, victim_cgroup }], at(1));
    assert_eq!(
        told.iter().map(|f| f.subject.pod.as_str()).collect::<Vec<_>>(),
        ["web-1"]
    );
    assert!(
        fusion.tick(at(300)).is_empty(),
        "the revision after the grace changes nothing"
    );
}

/// In a burst the line of one victim also closes the reports of earlier ones; they died elsewhere.
#[test]
fn a_kill_without_a_cgroup_is_not_given_that_of_the_next_victim() {
    let mut fusion = fusion();
    let kill = |pid: u64, cgroup: Option<&str>| {
        let text = format!(
            "Memory cgroup out of memory: Killed process {pid} (tail) total-vm:8kB, anon-rss:4kB, file-rss:0kB"
        );
        let Observation::Kernel { record, .. } = line(pid, &text) else {
            panic!("no kernel line")
        };
        let victim_cgroup = cgroup.map(str::to_owned);
        vec![Observation::Kernel { record, victim_cgroup }]
    };
    let first = feed(&mut fusion, kill(71, None), at(0));
    let later = feed(&mut fusion, kill(72, Some("/other")), at(5_000));
    let cgroups: Vec<_> = later
        .iter()
        .map(|f| (f.key == first[0].key, f.subject.cgroup.as_str()))
        .collect();
    assert_eq!(cgroups, [(false, "/other")]);
}

#[test]
fn a_child_that_dies_while_the_container_lives_is_a_child() {
    let mut fusion = fusion();
    feed(&mut fusion, vec![container(77)], at(0));
    let told = feed(&mut fusion, report(), at(1));
    assert_eq!(judge(&told[0].evidence).cause, Cause::OomChild);
}

#[test]
fn a_sigkill_waits_a_moment_for_the_kernels_word() {
    let mut fusion = fusion();
    feed(&mut fusion, vec![container(11219)], at(0));
    assert!(
        feed(&mut fusion, vec![exit(137, "")], at(1)).is_empty(),
        "nobody is told that the killer is unknown"
    );
    let told = feed(&mut fusion, report(), at(6));
    assert_eq!(
        told.iter().map(|f| f.kind).collect::<Vec<_>>(),
        [FindingKind::Kill, FindingKind::Exit]
    );
    assert!(told[1].cites.contains(&told[0].key));
}

#[test]
fn a_kill_that_is_read_long_after_the_exit_is_cited_afterwards() {
    let mut fusion = fusion();
    feed(&mut fusion, vec![container(11219), exit(137, "")], at(1));
    let first = fusion.tick(at(51));
    assert_eq!(judge(&first[0].evidence).cause, Cause::KilledUnknown);
    let later = feed(&mut fusion, report(), at(60));
    let revised = later.iter().find(|f| f.kind == FindingKind::Exit).unwrap();
    assert_eq!((revised.key, revised.revision), (first[0].key, 1));
    assert_eq!(judge(&revised.evidence).cause, Cause::OomLimit);
}

#[test]
fn an_unnamed_container_gets_a_moment_to_be_named() {
    let mut fusion = fusion();
    assert!(feed(&mut fusion, report(), at(0)).is_empty());
    let named = feed(&mut fusion, vec![container(11219)], at(20));
    assert_eq!(named.len(), 1);
    assert_eq!(named[0].subject.pod, "web-1");
    let mut silent = self::fusion();
    feed(&mut silent, report(), at(0));
    let told = silent.tick(at(260));
    assert_eq!(
        told.first().map(|f| f.subject.instance.as_str()),
        Some(ID),
        "nobody named it: told all the same"
    );
}

#[test]
fn a_removed_container_is_still_attributed() {
    let mut fusion = fusion();
    feed(
        &mut fusion,
        vec![container(11219), Observation::Removed(ID.into())],
        at(0),
    );
    fusion.tick(at(60_000));
    let told = feed(&mut fusion, report(), at(60_001));
    assert_eq!(told[0].subject.pod, "web-1");
}

/// Stored findings are found by these for ever: an aggregator that has them must know them again after any upgrade.
#[test]
fn the_same_death_has_the_same_ids_in_every_release() {
    let mut fusion = fusion();
    feed(&mut fusion, vec![container(11219)], at(0));
    let told = feed(&mut fusion, [report(), vec![exit(137, "")]].concat(), at(1));
    let ids: Vec<_> = told
        .iter()
        .map(|finding| (finding.kind, finding.key.to_string()))
        .collect();
    assert_eq!(
        ids,
        [
            (FindingKind::Kill, "d320af73a1be94080cf8b178a6e98600".to_owned()),
            (FindingKind::Exit, "6d38b141a36f99cbce9f4e13a73184fe".to_owned()),
        ]
    );
}

#[test]
fn a_repeated_record_after_a_restart_gives_the_same_key() {
    let keys: Vec<_> = (0..2)
        .map(|_| {
            let mut fusion = fusion();
            feed(&mut fusion, vec![container(11219)], at(0));
            feed(&mut fusion, report(), at(1))[0].key
        })
        .collect();
    assert_eq!(keys[0], keys[1]);
}

#[test]
fn what_is_older_than_the_agent_is_look_back() {
    let mut fusion = Fusion::new("boot-1".to_owned(), UnixNanos(KILL_WALL + 1), "/", 4096);
    feed(&mut fusion, vec![container(11219)], at(0));
    let told = feed(&mut fusion, report(), at(1));
    assert_eq!(told[0].discovery, Discovery::Lookback);
}

/// kind: several nodes read one kernel log.
#[test]
fn a_record_of_another_node_on_the_same_kernel_is_left_to_it() {
    for (scope, ours) in [
        ("/kubepods", true),
        ("/kubepods/", true),
        ("/kube", false),
        ("/docker/other", false),
    ] {
        let mut fusion = Fusion::new("boot-1".to_owned(), UnixNanos(5), scope, 4096);
        feed(&mut fusion, vec![container(11219)], at(0));
        assert_eq!(!feed(&mut fusion, report(), at(1)).is_empty(), ours, "{scope}");
        feed(&mut fusion, vec![counter("", 0, 1)], at(2));
        assert!(
            fusion.tick(at(2500)).iter().all(|f| f.kind == FindingKind::Kill),
            "its kill is explained all the same"
        );
    }
}

#[test]
fn log_lines_reach_the_exit_whether_they_come_before_or_after() {
    let excerpt = |text: &str| LogExcerpt {
        lines: vec![Untrusted::bounded(text, 99)],
        ..LogExcerpt::default()
    };
    let log = |text: &str| Observation::Log {
        instance: ID.into(),
        finished_at: UnixNanos(KILL_WALL + 4_000_000),
        excerpt: excerpt(text),
    };
    let mut fusion = fusion();
    let told = feed(
        &mut fusion,
        vec![container(1), log("first"), exit(1, ""), log("first and second")],
        at(0),
    );
    let lines: Vec<_> = told
        .iter()
        .map(|f| f.evidence.log().unwrap().lines[0].raw().to_owned())
        .collect();
    assert_eq!(lines, ["first", "first and second"]);
    assert!(
        feed(&mut fusion, vec![log("first and second")], at(1)).is_empty(),
        "the same lines are no news"
    );
}

#[test]
fn a_later_reason_revises_the_exit_and_never_repeats_it() {
    let mut fusion = fusion();
    let told = feed(
        &mut fusion,
        vec![
            container(1),
            exit(1, ""),
            exit(1, "Error"),
            exit(1, ""),
            exit(1, "Error"),
        ],
        at(0),
    );
    assert_eq!(told.iter().map(|f| f.revision).collect::<Vec<_>>(), [0, 1]);
}

#[test]
fn counters_stay_silent_while_the_kernel_log_explains_them() {
    let mut fusion = fusion();
    feed(&mut fusion, vec![container(11219)], at(0));
    feed(&mut fusion, report(), at(1));
    feed(&mut fusion, vec![counter("", 10, 11), counter(ID, 0, 1)], at(2));
    let told = fusion.tick(at(2100));
    assert!(told.iter().all(|f| f.revision > 0), "{told:?}");
}

#[test]
fn kills_that_only_the_nodes_counter_saw_are_said_with_a_number() {
    let mut fusion = fusion();
    feed(
        &mut fusion,
        vec![Observation::KernelLog { live: true }, counter("", 10, 17)],
        at(0),
    );
    assert!(fusion.tick(at(1999)).is_empty());
    let told = fusion.tick(at(2000));
    assert_eq!(
        told.iter().map(|f| f.kind).collect::<Vec<_>>(),
        [FindingKind::UnexplainedKills]
    );
    let step = told[0].evidence.steps("oom_kill").next().unwrap();
    assert_eq!(step.after - step.before, 7);
}

#[test]
fn without_a_kernel_log_the_counter_of_the_container_speaks_at_once() {
    let mut fusion = fusion();
    feed(
        &mut fusion,
        vec![Observation::KernelLog { live: false }, container(11219)],
        at(0),
    );
    let told = feed(&mut fusion, vec![counter(ID, 0, 1)], at(1));
    assert_eq!(told.iter().map(|f| f.kind).collect::<Vec<_>>(), [FindingKind::Kill]);
    assert_eq!(judge(&told[0].evidence).cause, Cause::OomLimit);
    let exits = feed(&mut fusion, vec![exit(137, "OOMKilled")], at(5));
    assert!(exits[0].cites.contains(&told[0].key));
}

#[test]
fn a_kernel_log_that_comes_back_adds_to_the_counters_kill_instead_of_doubling_it() {
    let mut fusion = fusion();
    feed(
        &mut fusion,
        vec![
            Observation::KernelLog { live: false },
            container(11219),
            counter(ID, 0, 1),
        ],
        at(0),
    );
    let told = feed(&mut fusion, report(), at(900));
    assert_eq!(told.iter().map(|f| f.revision).collect::<Vec<_>>(), [1]);
    assert_eq!(told[0].evidence.len(), 2);
}

proptest! {
    /// The witnesses of one death come over four channels: their order must not change what is known in the end.
    #[test]
    fn any_order_of_witnesses_leads_to_the_same_exit(order in Just(vec![0usize, 1, 2, 3]).prop_shuffle()) {
        let mut fusion = fusion();
        feed(&mut fusion, vec![container(11219)], at(0));
        let witnesses = [report(), vec![exit(137, "")], vec![exit(137, "OOMKilled")], vec![counter(ID, 0, 1)]];
        let mut last = None;
        for index in order {
            let told = feed(&mut fusion, witnesses[index].clone(), at(1));
            last = told.into_iter().rfind(|f| f.kind == FindingKind::Exit).or(last);
        }
        let told = fusion.tick(at(2500));
        last = told.into_iter().rfind(|f| f.kind == FindingKind::Exit).or(last);
        let exit = last.unwrap();
        prop_assert_eq!(exit.cites.len(), 1);
        prop_assert_eq!(judge(&exit.evidence).cause, Cause::OomLimit);
        prop_assert_eq!(exit.evidence.exit().map(|e| e.reason.raw().to_owned()), Some("OOMKilled".to_owned()));
    }
}

/// A burst that is larger than the table must not cost a death that waits for its container's name.
#[test]
fn findings_that_a_burst_pushes_out_are_sent_and_counted() {
    let mut fusion = fusion();
    let finding = |n: u64| Finding {
        key: Key::kill("boot-1", "kmsg", &n.to_string()),
        kind: FindingKind::Kill,
        discovery: Discovery::Live,
        observed_at: UnixNanos(KILL_WALL),
        subject: Subject::default(),
        evidence: EvidenceSet::default(),
        cites: BTreeSet::new(),
        revision: 0,
    };
    let held = u64::try_from(MAX_RECENT).unwrap();
    for n in 0..held + 9 {
        assert_eq!(fusion.admit(finding(n), 1, Some(u64::MAX), at(1)), None);
    }
    let sent: Vec<Key> = fusion.tick(at(1)).into_iter().map(|finding| finding.key).collect();
    let expected: Vec<Key> = (0..9).map(|n| finding(n).key).collect();
    assert_eq!((sent, fusion.take_forgotten()), (expected, 9));
}
