use proptest::prelude::*;

use super::*;
use crate::{
    clock::UnixNanos,
    model::{
        CounterStep, Evidence, EvidenceSource, Fact, KernelKill, LimitLevel, LogExcerpt, MAX_EVIDENCE, RuntimeExit,
        SignalResult, Untrusted,
    },
};

mod pods;
mod requests;
mod senders;

type Item = (EvidenceSource, &'static str, Fact);

fn set(items: Vec<Item>) -> EvidenceSet {
    let mut set = EvidenceSet::default();
    for (source, position, fact) in items {
        set.insert(source, position, Evidence { at: UnixNanos(5), fact });
    }
    set
}

fn kill(level: Option<LimitLevel>, main_process: Option<bool>) -> Item {
    (
        EvidenceSource::Kmsg,
        "100",
        Fact::KernelKill(KernelKill {
            pid: 7,
            level,
            main_process,
            ..KernelKill::default()
        }),
    )
}

fn exit(exit_code: i32, reason: &str, message: &str) -> Item {
    let (reason, message) = (Untrusted::bounded(reason, 64), Untrusted::bounded(message, 4096));
    (
        EvidenceSource::Containerd,
        "i@4",
        Fact::RuntimeExit(RuntimeExit {
            exit_code,
            reason,
            message,
            ..RuntimeExit::default()
        }),
    )
}

fn code(exit_code: i32) -> Item {
    exit(exit_code, "", "")
}

fn step(source: EvidenceSource, cgroup: &str) -> Item {
    let step = CounterStep {
        counter: "oom_kill".into(),
        cgroup: cgroup.into(),
        before: 0,
        after: 1,
        survived: false,
    };
    (source, "oom_kill=1", Fact::CounterStep(step))
}

fn outlived() -> Item {
    let step = CounterStep {
        counter: "oom_kill".into(),
        cgroup: "/k/pod/c".into(),
        before: 0,
        after: 1,
        survived: true,
    };
    (EvidenceSource::Cgroup, "oom_kill=1", Fact::CounterStep(step))
}

fn log(line: &str) -> Item {
    let lines = vec![Untrusted::bounded(line, 4096)];
    (
        EvidenceSource::Log,
        "tail",
        Fact::LogExcerpt(LogExcerpt {
            lines,
            redactions: 0,
            truncated: false,
            origin: None,
        }),
    )
}

const TASK_OOM: Item = (EvidenceSource::Containerd, "oom@3", Fact::RuntimeOom);
const CONTAINER: Option<LimitLevel> = Some(LimitLevel::Container);

/// (what happened, evidence, cause, confidence)
fn kernel_cases() -> Vec<(&'static str, Vec<Item>, Cause, u8)> {
    let cgroup = || step(EvidenceSource::Cgroup, "/kubepods/x");
    vec![
        (
            "main process killed, exit not yet seen",
            vec![kill(CONTAINER, Some(true))],
            Cause::OomLimit,
            97,
        ),
        (
            "main process killed, exit confirms",
            vec![kill(CONTAINER, Some(true)), code(137)],
            Cause::OomLimit,
            99,
        ),
        (
            "a shell passes the killed child's status on",
            vec![kill(CONTAINER, Some(false)), code(137)],
            Cause::OomLimit,
            99,
        ),
        (
            "nobody knows yet who was killed",
            vec![kill(CONTAINER, None)],
            Cause::OomLimit,
            90,
        ),
        (
            "limit of the pod",
            vec![kill(Some(LimitLevel::Pod), None), code(137)],
            Cause::OomLimit,
            97,
        ),
        (
            "limit of the class",
            vec![kill(Some(LimitLevel::QosClass), Some(true))],
            Cause::OomLimit,
            97,
        ),
        (
            "the runtime lost the status of a killed main process",
            vec![kill(CONTAINER, Some(true)), exit(255, "Unknown", "")],
            Cause::OomLimit,
            97,
        ),
        (
            "the trace names no limit",
            vec![kill(None, None), code(137)],
            Cause::OomLimit,
            75,
        ),
        (
            "the trace names no limit, the counter does",
            vec![kill(None, None), cgroup()],
            Cause::OomLimit,
            95,
        ),
        (
            "worker killed, container lives",
            vec![kill(CONTAINER, Some(false))],
            Cause::OomChild,
            97,
        ),
        (
            "worker killed, parent gives up",
            vec![kill(CONTAINER, None), code(1)],
            Cause::OomChild,
            97,
        ),
        (
            "worker of a container killed for the node, parent gives up",
            vec![kill(Some(LimitLevel::Node), Some(false)), code(1)],
            Cause::OomChild,
            97,
        ),
        (
            "node out of memory",
            vec![kill(Some(LimitLevel::Node), Some(true)), code(137)],
            Cause::OomNode,
            97,
        ),
        (
            "node out of memory, no container known",
            vec![kill(Some(LimitLevel::Node), None)],
            Cause::OomNode,
            97,
        ),
        (
            "NUMA node out of memory",
            vec![kill(Some(LimitLevel::Numa), None)],
            Cause::OomNode,
            97,
        ),
        (
            "all pods together are too large",
            vec![kill(Some(LimitLevel::NodeAllocatable), None), code(137)],
            Cause::OomNode,
            97,
        ),
        (
            "counter without the kernel's words",
            vec![cgroup(), code(137)],
            Cause::OomLimit,
            95,
        ),
        (
            "counter rose, container ended with 1",
            vec![cgroup(), code(1)],
            Cause::OomChild,
            90,
        ),
        ("counter alone", vec![cgroup()], Cause::OomLimit, 70),
        ("counter rose, container runs on", vec![outlived()], Cause::OomChild, 85),
        (
            "counter rose, container ran on and was killed later",
            vec![outlived(), code(137)],
            Cause::OomLimit,
            95,
        ),
        (
            "only the node's counter rose",
            vec![step(EvidenceSource::Procfs, "")],
            Cause::OomLimit,
            50,
        ),
    ]
}

fn runtime_cases() -> Vec<(&'static str, Vec<Item>, Cause, u8)> {
    vec![
        (
            "the runtime's word",
            vec![exit(137, "OOMKilled", "")],
            Cause::OomReported,
            80,
        ),
        (
            "the runtime's notice",
            vec![TASK_OOM, code(137)],
            Cause::OomReported,
            70,
        ),
        (
            "the runtime's notice before the end",
            vec![TASK_OOM],
            Cause::OomReported,
            70,
        ),
        (
            "a notice that may be a sibling's",
            vec![TASK_OOM, code(1)],
            Cause::OomReported,
            40,
        ),
        (
            "a sibling's notice does not explain a clean end",
            vec![TASK_OOM, code(0)],
            Cause::ExpectedExit,
            90,
        ),
        (
            "a sibling's notice does not explain a fault",
            vec![TASK_OOM, code(139)],
            Cause::FaultSignal,
            95,
        ),
        (
            "the init process died while starting",
            vec![exit(
                128,
                "StartError",
                "container init was OOM-killed (memory limit too low?)",
            )],
            Cause::OomReported,
            90,
        ),
        ("137 with nothing", vec![code(137)], Cause::KilledUnknown, 60),
        (
            "137 while the node's counter rose elsewhere",
            vec![code(137), step(EvidenceSource::Procfs, "")],
            Cause::KilledUnknown,
            60,
        ),
        ("143", vec![code(143)], Cause::StoppedBy, 60),
        ("130", vec![code(130)], Cause::StoppedBy, 60),
        ("0", vec![code(0)], Cause::ExpectedExit, 90),
        (
            "start error",
            vec![exit(
                128,
                "StartError",
                "exec: \"x\": executable file not found in $PATH",
            )],
            Cause::CannotStart,
            98,
        ),
        (
            "Docker's start error",
            vec![exit(127, "ContainerCannotRun", "")],
            Cause::CannotStart,
            98,
        ),
        ("126", vec![code(126)], Cause::CannotStart, 90),
        ("127", vec![code(127)], Cause::CannotStart, 90),
        ("128 alone", vec![code(128)], Cause::CannotStart, 60),
        (
            "wrong architecture, told in the log",
            vec![code(1), log("exec /app: exec format error")],
            Cause::CannotStart,
            95,
        ),
        (
            "a panic in the log stays an application error",
            vec![code(2), log("panic: boom")],
            Cause::AppError,
            90,
        ),
        ("segfault", vec![code(139)], Cause::FaultSignal, 95),
        ("seccomp", vec![code(159)], Cause::FaultSignal, 95),
        ("hangup is not a fault", vec![code(129)], Cause::AppError, 90),
        ("lost status", vec![exit(255, "Unknown", "")], Cause::Unknown, 90),
        ("lost status of CRI-O", vec![code(-1)], Cause::Unknown, 90),
        (
            "lost by the kubelet",
            vec![exit(137, "ContainerStatusUnknown", "")],
            Cause::Unknown,
            90,
        ),
        ("exit(-1), told by an event", vec![code(255)], Cause::AppError, 50),
        ("exit(-1), confirmed", vec![exit(255, "Error", "")], Cause::AppError, 90),
        ("1", vec![code(1)], Cause::AppError, 90),
        ("nothing but a log", vec![log("bye")], Cause::Unknown, 0),
        ("nothing", vec![], Cause::Unknown, 0),
    ]
}

#[test]
fn each_set_of_evidence_gives_its_cause() {
    for (name, items, cause, confidence) in kernel_cases().into_iter().chain(runtime_cases()) {
        let verdict = judge(&set(items));
        assert_eq!(
            (verdict.cause, verdict.confidence_percent),
            (cause, confidence),
            "{name}"
        );
    }
}

#[test]
fn a_second_witness_that_knows_more_completes_the_first() {
    let trace = KernelKill {
        pid: 7,
        main_process: Some(true),
        ..KernelKill::default()
    };
    let both = set(vec![
        kill(CONTAINER, None),
        (EvidenceSource::Trace, "9", Fact::KernelKill(trace)),
    ]);
    assert_eq!(judge(&both).confidence_percent, 97);
}

#[test]
fn the_main_process_matters_more_than_its_children() {
    let child = KernelKill {
        pid: 8,
        main_process: Some(false),
        level: CONTAINER,
        ..KernelKill::default()
    };
    let both = set(vec![
        (EvidenceSource::Kmsg, "101", Fact::KernelKill(child)),
        kill(CONTAINER, Some(true)),
    ]);
    assert_eq!(judge(&both).cause, Cause::OomLimit);
}

#[test]
fn a_runtime_that_knows_the_code_wins_over_one_that_lost_it() {
    let docker = RuntimeExit {
        exit_code: 3,
        ..RuntimeExit::default()
    };
    let both = set(vec![
        exit(255, "Unknown", ""),
        (EvidenceSource::Docker, "d", Fact::RuntimeExit(docker)),
    ]);
    assert_eq!(judge(&both).cause, Cause::AppError);
    assert_eq!(discriminator(&both, Cause::AppError), "3");
}

#[test]
fn two_ways_to_fail_are_two_incidents() {
    assert_eq!(discriminator(&set(vec![code(3)]), Cause::AppError), "3");
    assert_eq!(discriminator(&set(vec![code(139)]), Cause::FaultSignal), "SIGSEGV");
    assert_eq!(discriminator(&set(vec![code(137)]), Cause::OomLimit), "");
    assert_eq!(discriminator(&EvidenceSet::default(), Cause::AppError), "");
}

#[test]
fn proof_is_told_at_once_and_doubt_waits_for_context() {
    for cause in [
        Cause::OomLimit,
        Cause::OomChild,
        Cause::OomNode,
        Cause::FaultSignal,
        Cause::AppError,
        Cause::CannotStart,
    ] {
        assert_eq!(settle(cause), Duration::ZERO, "{cause}");
    }
    assert_eq!(settle(Cause::KilledUnknown), Duration::from_secs(3));
    assert_eq!(settle(Cause::StoppedBy), Duration::from_secs(3));
    assert_eq!(settle(Cause::KilledBy), Duration::from_secs(3));
}

#[test]
fn what_somebody_wanted_stays_silent() {
    let silent: Vec<Cause> = Cause::ALL.iter().copied().filter(|c| !alerts(*c)).collect();
    assert_eq!(silent, [Cause::PlannedStop, Cause::ExpectedExit]);
}

fn arbitrary_item() -> impl Strategy<Value = (EvidenceSource, String, Evidence)> {
    let text = prop::sample::select(vec![
        "",
        "OOMKilled",
        "Unknown",
        "Error",
        "StartError",
        "exec format error",
        "panic: x",
    ]);
    let level = prop::option::of(prop::sample::select(LimitLevel::ALL.to_vec()));
    let fact = prop_oneof![
        (-2..300i32, text.clone(), text.clone()).prop_map(|(c, reason, message)| exit(c, reason, message).2),
        (0..4u32, level, any::<Option<bool>>(), any::<bool>()).prop_map(|(pid, level, main_process, group)| {
            Fact::KernelKill(KernelKill {
                pid,
                level,
                main_process,
                group,
                ..KernelKill::default()
            })
        }),
        (any::<u64>(), any::<u64>(), "[a-z/]{0,3}").prop_map(|(before, after, cgroup)| {
            Fact::CounterStep(CounterStep {
                counter: "oom_kill".into(),
                cgroup,
                before,
                after,
                survived: false,
            })
        }),
        Just(Fact::RuntimeOom),
        text.prop_map(|line| log(line).2),
        any::<u64>().prop_map(Fact::KernelLoss),
        (
            prop::sample::select(vec![6u8, 9, 15]),
            1..4u32,
            any::<bool>(),
            any::<Option<bool>>()
        )
            .prop_map(|(signal, sender, runtime, main_process)| senders::sent(
                signal,
                sender,
                if runtime { "runc" } else { "sh" },
                main_process
            )),
    ];
    let at = any::<i64>().prop_map(UnixNanos);
    (prop::sample::select(EvidenceSource::ALL.to_vec()), "[0-9]", at, fact)
        .prop_map(|(s, p, at, fact)| (s, p, Evidence { at, fact }))
}

proptest! {
    /// Reports that arrive in another order, or twice, must not change what people are told.
    #[test]
    fn judging_ignores_order_and_repetition(items in prop::collection::vec(arbitrary_item(), 0..MAX_EVIDENCE)) {
        let mut forward = EvidenceSet::default();
        let mut backward = EvidenceSet::default();
        for (source, position, evidence) in &items {
            forward.insert(*source, position.clone(), evidence.clone());
        }
        for (source, position, evidence) in items.iter().rev().chain(&items) {
            backward.insert(*source, position.clone(), evidence.clone());
        }
        let verdict = judge(&forward);
        prop_assert_eq!(verdict, judge(&backward));
        prop_assert_eq!(hints(&forward), hints(&backward));
        prop_assert_eq!(discriminator(&forward, verdict.cause), discriminator(&backward, verdict.cause));
        prop_assert!(verdict.confidence_percent <= 100);
        prop_assert!(hints(&forward).len() <= hint::MAX_HINTS);
    }
}
