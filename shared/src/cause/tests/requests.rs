//! Ends that a runtime was asked for.

use super::*;
use crate::model::{RequestKind, RuntimeRequest};

fn asked(kind: RequestKind, signal: u8) -> Item {
    let position = match kind {
        RequestKind::Stop => "i@stop",
        RequestKind::Kill => "i@kill",
        RequestKind::Remove => "i@remove",
    };
    let fact = Fact::RuntimeRequest(RuntimeRequest { kind, signal });
    (EvidenceSource::Docker, position, fact)
}

#[test]
fn a_stop_through_the_runtime_is_planned_whatever_its_code() {
    for exit_code in [0, 1, 137, 143] {
        let set = set(vec![code(exit_code), asked(RequestKind::Stop, 15)]);
        assert_eq!(judge(&set).cause, Cause::PlannedStop, "{exit_code}");
    }
}

#[test]
fn a_kill_through_the_runtime_is_named_and_a_removal_makes_it_planned() {
    let kill = || vec![code(137), asked(RequestKind::Kill, 9)];
    assert_eq!(judge(&set(kill())).cause, Cause::KilledBy);
    let removed = kill().into_iter().chain([asked(RequestKind::Remove, 0)]);
    assert_eq!(judge(&set(removed.collect())).cause, Cause::PlannedStop);
}

#[test]
fn a_request_never_hides_what_the_kernel_proves_or_what_the_program_did() {
    let oom = vec![
        kill(Some(LimitLevel::Container), Some(true)),
        code(137),
        asked(RequestKind::Stop, 15),
    ];
    assert_eq!(judge(&set(oom)).cause, Cause::OomLimit);
    let failed = vec![code(1), asked(RequestKind::Kill, 10), asked(RequestKind::Remove, 0)];
    assert_eq!(judge(&set(failed)).cause, Cause::AppError);
    assert_eq!(judge(&set(vec![asked(RequestKind::Stop, 15)])).cause, Cause::Unknown);
}
