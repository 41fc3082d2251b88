//! Who sent a signal, as people read it.

use super::*;
use crate::model::{SignalResult, SignalSent};

/// A signal to the container's first process, seconds before its end.
fn sent(signal: u8, comm: &str, seconds_before: i64, result: SignalResult) -> (EvidenceSource, UnixNanos, Fact) {
    let sent = SignalSent {
        signal,
        code: 0,
        sender_pid: 4711,
        sender_comm: text(comm),
        sender_uid: Some(1000),
        sender_cgroup: "/user.slice".into(),
        sender_container: String::new(),
        target_pid: 7,
        target_comm: text("app"),
        group: true,
        result,
        main_process: Some(true),
    };
    (
        EvidenceSource::Trace,
        after(2 - seconds_before * 1000),
        Fact::SignalSent(sent),
    )
}

fn ended_by(code: i32, signals: Vec<(EvidenceSource, UnixNanos, Fact)>) -> EvidenceSet {
    let mut all = set(vec![(
        EvidenceSource::Containerd,
        after(2),
        Fact::RuntimeExit(exit(code)),
    )]);
    for (source, at, fact) in signals {
        all.insert(source, at.0.to_string(), Evidence { at, fact });
    }
    all
}

#[test]
fn a_sender_that_was_traced_is_named_with_its_place() {
    let killed = incident(ended_by(137, vec![sent(9, "bash", 0, SignalResult::Delivered)]));
    insta::assert_snapshot!(plain(&killed, &[], Lang::En), @r#"
    Killed by bash (SIGKILL)   container "app", image img.local/app:1, pod shop/web-7d4b9c-abcde, node n1    SIGKILL
      why      SIGKILL by bash, pid 4711, uid 1000, cgroup /user.slice
      when     2026-03-01 12:01:07.183 +00:00
      exit     137 (SIGKILL), confirmed by containerd; ran 3.2 s
      id       00000000010000000000000002 (cluster default-cluster, severity high, 95 % sure)
    "#);
    let (_, at, fact) = sent(9, "a, pid 1", 0, SignalResult::Delivered);
    let Fact::SignalSent(fact) = fact else {
        panic!("no signal")
    };
    let in_container = SignalSent {
        sender_container: "ops/debug".into(),
        sender_uid: Some(0),
        ..fact
    };
    let killed = incident(ended_by(
        137,
        vec![(EvidenceSource::Trace, at, Fact::SignalSent(in_container))],
    ));
    assert_eq!(
        why(&killed.latest, Lang::En),
        "SIGKILL by \"a, pid 1\", pid 4711, container ops/debug"
    );
    assert_eq!(
        why(&killed.latest, Lang::Zh),
        "SIGKILL，发送者：\"a, pid 1\"，pid 4711，容器 ops/debug"
    );
}

#[test]
fn a_stop_by_the_runtime_tells_how_long_it_waited_and_who_did_not_listen() {
    let stopped = incident(ended_by(
        137,
        vec![
            sent(15, "runc", 30, SignalResult::Ignored),
            sent(9, "runc", 0, SignalResult::Delivered),
        ],
    ));
    assert_eq!(
        headline(&stopped, Lang::En),
        "Killed by the runtime, on an unknown order (SIGKILL)"
    );
    assert_eq!(
        why(&stopped.latest, Lang::En),
        "SIGKILL by the runtime (runc) on somebody's order after 30 s of grace; the process ignores SIGTERM"
    );
    assert_eq!(
        why(&stopped.latest, Lang::Zh),
        "运行时（runc）奉命发送 SIGKILL，宽限期 30 秒 之后；进程忽略 SIGTERM"
    );
}

#[test]
fn a_fault_tells_the_kernels_reason() {
    let (source, at, fact) = sent(11, "app", 0, SignalResult::Delivered);
    let Fact::SignalSent(fact) = fact else {
        panic!("no signal")
    };
    let fault = SignalSent {
        code: 1,
        sender_pid: 7,
        ..fact
    };
    let crashed = incident(ended_by(139, vec![(source, at, Fact::SignalSent(fault))]));
    assert_eq!(
        why(&crashed.latest, Lang::En),
        "SIGSEGV by the kernel: address not mapped (SEGV_MAPERR)"
    );
    let by_hand = incident(ended_by(143, vec![sent(15, "bash", 0, SignalResult::Delivered)]));
    assert_eq!(headline(&by_hand, Lang::En), "Stopped by SIGTERM from bash");
}
