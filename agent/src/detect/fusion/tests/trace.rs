//! Trace events as witnesses: beside the kernel log, in its place, and of signals.

use inquest_shared::model::{KernelKill, LimitLevel, SignalResult, SignalSent};

use super::*;
use crate::{
    host::cgroup::counters::Memory,
    observation::{MemoryAt, SignalSeen, TraceKill},
};

const LIMIT: u64 = 20_971_520;

fn path() -> String {
    format!("/kubepods/burstable/pod{POD}/{ID}")
}

fn victim(pid: u32, at_ms: i64) -> Observation {
    let memory = Memory {
        limit: Some(LIMIT),
        peak: Some(LIMIT),
        ..Memory::default()
    };
    let cgroup = path();
    Observation::TraceKill(TraceKill {
        position: format!("{at_ms}-{pid}"),
        at: UnixNanos(KILL_WALL + at_ms * 1_000_000),
        backlog: false,
        kill: KernelKill {
            pid,
            comm: Untrusted::bounded("tail", 64),
            ..KernelKill::default()
        },
        trigger_cgroup: Some(cgroup.clone()),
        limits: vec![MemoryAt {
            cgroup: cgroup.clone(),
            memory,
        }],
        cgroup: Some(cgroup),
    })
}

fn signal(number: u8, target: u32, sender: &str, at_ms: i64) -> SignalSeen {
    SignalSeen {
        position: format!("{at_ms}-{target}-{number}"),
        at: UnixNanos(KILL_WALL + at_ms * 1_000_000),
        backlog: false,
        target_cgroup: Some(path()),
        sent: SignalSent {
            signal: number,
            code: 0,
            sender_pid: 4711,
            sender_comm: Untrusted::bounded(sender, 64),
            sender_uid: Some(0),
            sender_cgroup: String::new(),
            sender_container: String::new(),
            target_pid: target,
            target_comm: Untrusted::default(),
            group: true,
            result: SignalResult::Delivered,
            main_process: None,
        },
    }
}

/// The standard profile: no kernel log.
fn traced() -> Fusion {
    let mut fusion = fusion();
    let state = vec![
        Observation::KernelLog { live: false },
        Observation::TraceEvents { live: true },
    ];
    feed(&mut fusion, state, at(0));
    fusion
}

#[test]
fn without_a_kernel_log_the_trace_tells_the_kill_at_once_and_names_the_limit() {
    let mut fusion = traced();
    feed(&mut fusion, vec![container(11219)], at(0));
    let told = feed(&mut fusion, vec![victim(11219, 0)], at(1));
    assert_eq!(told.iter().map(|f| f.kind).collect::<Vec<_>>(), [FindingKind::Kill]);
    let kill = told[0].evidence.kills().next().unwrap();
    assert_eq!(
        (kill.level, kill.limit_bytes),
        (Some(LimitLevel::Container), Some(LIMIT))
    );
    assert_eq!(kill.main_process, Some(true));
    let exits = feed(&mut fusion, vec![exit(137, "")], at(5));
    assert!(exits[0].cites.contains(&told[0].key));
    assert_eq!(judge(&exits[0].evidence).cause, Cause::OomLimit);
    feed(&mut fusion, vec![counter(ID, 0, 1), counter("", 4, 5)], at(6));
    assert!(fusion.tick(at(2500)).is_empty(), "the counters are explained");
}

#[test]
fn two_witnesses_of_one_kill_are_one_finding_with_the_key_of_the_kernel_log() {
    let alone = {
        let mut fusion = fusion();
        feed(&mut fusion, vec![container(11219)], at(0));
        feed(&mut fusion, report(), at(1))[0].key
    };
    for trace_first in [true, false] {
        let mut fusion = fusion();
        let live = Observation::TraceEvents { live: true };
        feed(&mut fusion, vec![live, container(11219)], at(0));
        let witnesses = if trace_first {
            [vec![victim(11219, 0)], report()].concat()
        } else {
            [report(), vec![victim(11219, 0)]].concat()
        };
        let told = feed(&mut fusion, witnesses, at(1));
        let late = fusion.tick(at(3000));
        let keys: BTreeSet<Key> = told.iter().chain(&late).map(|finding| finding.key).collect();
        assert_eq!(keys, [alone].into(), "trace first: {trace_first}");
        assert_eq!(told.last().unwrap().evidence.len(), 2);
    }
}

#[test]
fn a_victim_whose_record_never_comes_is_told_by_the_trace() {
    let mut fusion = fusion();
    feed(
        &mut fusion,
        vec![Observation::TraceEvents { live: true }, container(11219)],
        at(0),
    );
    assert!(feed(&mut fusion, vec![victim(11219, 0), counter(ID, 0, 1)], at(0)).is_empty());
    let told = fusion.tick(at(2000));
    assert_eq!(told.iter().map(|f| f.kind).collect::<Vec<_>>(), [FindingKind::Kill]);
    assert_eq!(told[0].evidence.kills().count(), 1);
}

/// A process that was gone before its cgroup could be read.
fn lost_victim(pid: u32) -> Observation {
    let Observation::TraceKill(seen) = victim(pid, 0) else {
        panic!("no victim")
    };
    Observation::TraceKill(TraceKill {
        cgroup: None,
        limits: Vec::new(),
        trigger_cgroup: None,
        ..seen
    })
}

fn counted(instance: &str, cgroup: String) -> Observation {
    let Observation::KillCounter(step) = counter(instance, 0, 1) else {
        panic!("no step")
    };
    Observation::KillCounter(KillCounter { cgroup, ..step })
}

/// On a busy node a child is gone before the agent can ask whose it was. Its container is told all the same, and that the
/// container lives.
#[test]
fn a_child_that_left_no_cgroup_is_put_where_the_counter_rose_whichever_comes_first() {
    for victim_first in [true, false] {
        let mut fusion = traced();
        fusion.scope = "/kubepods".to_owned();
        feed(&mut fusion, vec![container(11219)], at(0));
        let mut witnesses = vec![lost_victim(12000), counted(ID, path())];
        if !victim_first {
            witnesses.reverse();
        }
        let told = feed(&mut fusion, witnesses, at(900));
        assert_eq!(told.len(), 1, "victim first: {victim_first}: {told:#?}");
        assert_eq!(told[0].subject.pod, "web-1");
        assert_eq!(judge(&told[0].evidence).cause, Cause::OomChild);
        assert!(fusion.tick(at(4000)).is_empty(), "the counter is explained");
    }
}

#[test]
fn victims_that_could_be_of_two_containers_are_put_on_neither_and_the_counters_speak() {
    let mut fusion = traced();
    fusion.scope = "/kubepods".to_owned();
    let other = "c".repeat(64);
    let second = || {
        let Observation::Container(container) = container(11300) else {
            panic!("no container")
        };
        let subject = Subject {
            instance: other.clone(),
            pod: "db-0".into(),
            ..container.subject.clone()
        };
        Observation::Container(Container { subject, ..container })
    };
    feed(&mut fusion, vec![container(11219), second()], at(0));
    let steps = [counted(ID, path()), counted(&other, format!("/kubepods/pod2/{other}"))];
    let seen = [vec![lost_victim(12000), lost_victim(12001)], steps.to_vec()].concat();
    assert!(feed(&mut fusion, seen, at(900)).is_empty());
    let told = fusion.tick(at(3000));
    let pods: BTreeSet<_> = told.iter().map(|f| f.subject.pod.as_str()).collect();
    assert_eq!(pods, ["db-0", "web-1"].into());
    assert!(
        told.iter().all(|f| judge(&f.evidence).cause == Cause::OomChild),
        "{told:#?}"
    );
}

#[test]
fn a_sigkill_is_put_on_its_sender_whichever_comes_first() {
    for signal_first in [true, false] {
        let mut fusion = traced();
        feed(&mut fusion, vec![container(77)], at(0));
        let kill = || vec![Observation::Signal(signal(9, 77, "bash", 3))];
        let witnesses = if signal_first {
            [kill(), vec![exit(137, "")]].concat()
        } else {
            [vec![exit(137, "")], kill()].concat()
        };
        let told = [feed(&mut fusion, witnesses, at(1)), fusion.tick(at(100))].concat();
        let verdict = judge(&told.last().unwrap().evidence);
        assert_eq!(verdict.cause, Cause::KilledBy, "signal first: {signal_first}");
    }
}

#[test]
fn a_target_that_is_gone_is_known_by_its_pid_and_the_sender_by_its_container() {
    let mut fusion = traced();
    feed(&mut fusion, vec![container(77)], at(0));
    let other = "a".repeat(64);
    let debug = Observation::Container(Container {
        subject: Subject {
            namespace: "ops".into(),
            pod: "debug".into(),
            container: "shell".into(),
            instance: other.clone(),
            ..Subject::default()
        },
        pid: Some(4700),
        log_path: None,
        memory_limit: None,
        started: None,
    });
    let mut kill = signal(9, 77, "bash", 3);
    kill.target_cgroup = None;
    kill.sent.sender_cgroup = format!("/kubepods/pod1b0b5df8-f863-4bcb-a48d-887a4749fecd/{other}");
    feed(
        &mut fusion,
        vec![debug, Observation::Signal(kill), exit(137, "")],
        at(1),
    );
    let told = fusion.tick(at(100));
    let (_, sent) = told[0].evidence.signals().next().unwrap();
    assert_eq!(sent.sender_container, "ops/debug/shell");
    assert_eq!(sent.main_process, Some(true));
}

#[test]
fn a_container_that_is_named_late_still_gets_its_signals() {
    let mut fusion = traced();
    let told = feed(
        &mut fusion,
        vec![
            Observation::Signal(signal(9, 77, "bash", 3)),
            container(77),
            exit(137, ""),
        ],
        at(1),
    );
    let told = [told, fusion.tick(at(100))].concat();
    assert_eq!(judge(&told.last().unwrap().evidence).cause, Cause::KilledBy);
}

#[test]
fn signals_of_long_ago_and_of_other_processes_are_not_quoted() {
    let mut fusion = traced();
    feed(&mut fusion, vec![container(77)], at(0));
    let mut of_kernel = signal(9, 78, "app", 2);
    of_kernel.sent.code = 128;
    let old_child = signal(9, 79, "app", -5_000);
    let term = signal(15, 77, "runc", -30_000);
    let elsewhere = SignalSeen {
        target_cgroup: Some("/system.slice/cron.service".into()),
        ..signal(9, 80, "bash", 1)
    };
    let seen = [of_kernel, old_child, term, elsewhere].map(Observation::Signal);
    feed(&mut fusion, seen.to_vec(), at(1));
    feed(&mut fusion, vec![exit(137, "")], at(2));
    let told = fusion.tick(at(100));
    let quoted: Vec<_> = told[0]
        .evidence
        .signals()
        .map(|(_, sent)| (sent.signal, sent.target_pid))
        .collect();
    assert_eq!(quoted, [(15, 77)]);
}

/// A supervisor that ends its workers all day must not push out the request that began the grace period.
#[test]
fn what_children_got_gives_way_to_what_the_first_process_got() {
    let mut fusion = traced();
    feed(&mut fusion, vec![container(77)], at(0));
    feed(
        &mut fusion,
        vec![Observation::Signal(signal(15, 77, "runc", -20_000))],
        at(0),
    );
    for worker in 0..40 {
        let child = signal(9, 1000 + worker, "master", i64::from(worker) - 40);
        feed(&mut fusion, vec![Observation::Signal(child)], at(0));
    }
    feed(
        &mut fusion,
        vec![Observation::Signal(signal(9, 77, "runc", 3)), exit(137, "")],
        at(1),
    );
    let told = fusion.tick(at(100));
    let main = told[0]
        .evidence
        .signals()
        .filter(|(_, sent)| sent.target_pid == 77)
        .count();
    assert_eq!((main, told[0].evidence.signals().count()), (2, 8));
}

proptest! {
    /// The witnesses of one death come over five channels: their order must not change what is known in the end.
    #[test]
    fn any_order_of_witnesses_with_a_trace_leads_to_the_same_exit(order in Just(vec![0usize, 1, 2, 3, 4]).prop_shuffle(), log in any::<bool>()) {
        let mut fusion = if log { fusion() } else { traced() };
        let live = Observation::TraceEvents { live: true };
        feed(&mut fusion, vec![live, container(11219)], at(0));
        let mut of_kernel = signal(9, 11219, "tail", -1);
        of_kernel.sent.code = 128;
        let witnesses = [
            if log { report() } else { Vec::new() },
            vec![exit(137, "")],
            vec![victim(11219, 0)],
            vec![counter(ID, 0, 1)],
            vec![Observation::Signal(of_kernel)],
        ];
        let mut told = Vec::new();
        for index in order {
            told.extend(feed(&mut fusion, witnesses[index].clone(), at(1)));
        }
        told.extend(fusion.tick(at(2500)));
        let kills: BTreeSet<Key> = told.iter().filter(|f| f.kind == FindingKind::Kill).map(|f| f.key).collect();
        prop_assert_eq!(kills.len(), 1);
        let exit = told.into_iter().rfind(|f| f.kind == FindingKind::Exit).unwrap();
        prop_assert_eq!(exit.cites.clone(), kills);
        prop_assert_eq!(judge(&exit.evidence).cause, Cause::OomLimit);
        prop_assert_eq!(exit.evidence.signals().count(), 1);
    }
}
