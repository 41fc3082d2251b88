//! Ends by a signal whose sender the kernel traced.

use super::*;
use crate::model::SignalSent;

pub(super) fn sent(signal: u8, sender_pid: u32, comm: &str, main_process: Option<bool>) -> Fact {
    Fact::SignalSent(signal_of(signal, sender_pid, comm, main_process))
}

fn signal_of(signal: u8, sender_pid: u32, comm: &str, main_process: Option<bool>) -> SignalSent {
    SignalSent {
        signal,
        code: 0,
        sender_pid,
        sender_comm: Untrusted::bounded(comm, 64),
        sender_uid: Some(0),
        sender_cgroup: String::new(),
        sender_container: String::new(),
        target_pid: 7,
        target_comm: Untrusted::default(),
        group: true,
        result: SignalResult::Delivered,
        main_process,
    }
}

fn seconds(at: i64) -> UnixNanos {
    UnixNanos::from_secs(at)
}

/// An end after 100 s, and signals by their time in seconds.
fn ended(code: i32, signals: Vec<(i64, SignalSent)>) -> EvidenceSet {
    let mut set = EvidenceSet::default();
    let (source, position, fact) = exit(code, "", "");
    set.insert(source, position, Evidence { at: seconds(100), fact });
    for (at, sent) in signals {
        let fact = Fact::SignalSent(sent);
        set.insert(
            EvidenceSource::Trace,
            at.to_string(),
            Evidence { at: seconds(at), fact },
        );
    }
    set
}

fn kill_by(comm: &str) -> SignalSent {
    signal_of(9, 4711, comm, Some(true))
}

#[test]
fn a_sigkill_from_a_process_names_it() {
    let verdict = judge(&ended(137, vec![(100, kill_by("bash"))]));
    assert_eq!((verdict.cause, verdict.confidence_percent), (Cause::KilledBy, 95));
    let itself = SignalSent {
        sender_pid: 7,
        ..kill_by("sh")
    };
    assert_eq!(judge(&ended(137, vec![(100, itself)])).cause, Cause::KilledBy);
}

/// A planned stop looks like this on the node: only the cluster knows whether somebody wanted it.
#[test]
fn a_sigkill_through_the_runtime_stays_open_for_who_ordered_it() {
    for runtime in ["runc", "crun", "conmon", "containerd-shim", "dockerd"] {
        let verdict = judge(&ended(137, vec![(100, kill_by(runtime))]));
        assert_eq!(
            (verdict.cause, verdict.confidence_percent),
            (Cause::KilledUnknown, 80),
            "{runtime}"
        );
    }
    let disguised = SignalSent {
        sender_container: "ops/debug/app".into(),
        ..kill_by("runc")
    };
    assert_eq!(judge(&ended(137, vec![(100, disguised)])).cause, Cause::KilledBy);
}

#[test]
fn a_signal_long_before_the_end_or_that_nobody_got_killed_nobody() {
    let ignored = SignalSent {
        result: SignalResult::Ignored,
        ..kill_by("bash")
    };
    for signals in [
        vec![(90, kill_by("bash"))],
        vec![(100, ignored)],
        vec![(102, kill_by("bash"))],
    ] {
        assert_eq!(judge(&ended(137, signals)).cause, Cause::KilledUnknown);
    }
    let of_kernel = SignalSent {
        code: 128,
        ..kill_by("tail")
    };
    assert_eq!(judge(&ended(137, vec![(100, of_kernel)])).cause, Cause::KilledUnknown);
}

#[test]
fn the_first_signal_that_arrived_is_the_one_that_killed() {
    let second = SignalSent {
        result: SignalResult::Pending,
        ..kill_by("runc")
    };
    let set = ended(137, vec![(99, kill_by("bash")), (100, second)]);
    assert_eq!(judge(&set).cause, Cause::KilledBy);
    let child = signal_of(9, 8, "sh", Some(false));
    let set = ended(137, vec![(99, child), (100, kill_by("runc"))]);
    assert_eq!(
        judge(&set).cause,
        Cause::KilledUnknown,
        "what a child got did not end the container"
    );
}

#[test]
fn the_runtime_waited_and_the_process_did_not_listen() {
    let term = SignalSent {
        result: SignalResult::Ignored,
        ..signal_of(15, 4000, "runc", Some(true))
    };
    let set = ended(137, vec![(70, term.clone()), (100, kill_by("runc"))]);
    let asked = Facts::of(&set).killer().unwrap().asked.unwrap();
    assert_eq!((asked.grace, asked.ignored), (Duration::from_secs(30), true));
    let at_once = ended(137, vec![(99, term), (100, kill_by("runc"))]);
    assert_eq!(Facts::of(&at_once).killer().unwrap().asked, None);
}

#[test]
fn memory_and_requests_stay_the_better_proof() {
    let mut oom = ended(137, vec![(100, kill_by("bash"))]);
    let (source, position, fact) = kill(CONTAINER, Some(true));
    oom.insert(source, position, Evidence { at: seconds(100), fact });
    assert_eq!(judge(&oom).cause, Cause::OomLimit);
    let by_hand = ended(143, vec![(100, signal_of(15, 4711, "bash", Some(true)))]);
    assert_eq!(
        (judge(&by_hand).cause, judge(&by_hand).confidence_percent),
        (Cause::StoppedBy, 90)
    );
}
