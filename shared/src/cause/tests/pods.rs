//! Ends that the apiserver explains.

use super::*;
use crate::model::{PodContext, PodEvent, ProbeFailure, ProbeKind, Provision, Report, ReportKind, Reruns};

/// When every container here ended.
const END: i64 = 100;

fn pod(context: PodContext) -> Item {
    (EvidenceSource::Kubernetes, "uid", Fact::PodContext(context))
}

fn ended(exit_code: i32) -> Item {
    let exit = RuntimeExit {
        exit_code,
        finished_at: UnixNanos::from_secs(END),
        ..RuntimeExit::default()
    };
    (EvidenceSource::Containerd, "1", Fact::RuntimeExit(exit))
}

fn deleted(second: i64) -> PodContext {
    PodContext {
        deletion_requested_at: Some(UnixNanos::from_secs(second)),
        grace_seconds: 30,
        ..PodContext::default()
    }
}

fn failed_probe(kind: ProbeKind, second: i64) -> PodContext {
    PodContext {
        grace_seconds: 30,
        probe: Some(ProbeFailure {
            kind,
            count: 3,
            last_at: UnixNanos::from_secs(second),
            message: Untrusted::bounded("HTTP probe failed with statuscode: 500", 64),
        }),
        ..PodContext::default()
    }
}

fn because(reason: &str, disruption: &str) -> PodContext {
    PodContext {
        reason: Untrusted::bounded(reason, 64),
        disruption: Untrusted::bounded(disruption, 64),
        ..PodContext::default()
    }
}

fn cause_of(exit_code: i32, context: PodContext) -> Cause {
    judge(&set(vec![ended(exit_code), pod(context)])).cause
}

#[test]
fn an_end_after_the_deletion_was_asked_for_is_planned_whatever_its_code() {
    for exit_code in [0, 1, 137, 143, 139] {
        assert_eq!(
            cause_of(exit_code, deleted(END - 30)),
            Cause::PlannedStop,
            "{exit_code}"
        );
    }
    assert_eq!(cause_of(137, because("", "EvictionByEvictionAPI")), Cause::PlannedStop);
}

/// Somebody cleans up after a crash: that does not make the crash a wish.
#[test]
fn a_deletion_after_the_end_explains_nothing() {
    assert_eq!(cause_of(1, deleted(END + 10)), Cause::AppError);
    assert_eq!(cause_of(137, deleted(END + 10)), Cause::KilledUnknown);
    assert_eq!(
        cause_of(137, deleted(END + 2)),
        Cause::PlannedStop,
        "whole seconds and two clocks"
    );
}

#[test]
fn memory_proved_by_the_kernel_is_told_even_of_a_deleted_pod() {
    let facts = vec![
        kill(Some(LimitLevel::Container), Some(true)),
        ended(137),
        pod(deleted(END - 5)),
    ];
    assert_eq!(judge(&set(facts)).cause, Cause::OomLimit);
}

#[test]
fn eviction_shutdown_and_preemption_are_told_apart() {
    assert_eq!(cause_of(137, because("Evicted", "")), Cause::Evicted);
    assert_eq!(cause_of(137, because("", "TerminationByKubelet")), Cause::Evicted);
    assert_eq!(
        cause_of(137, because("Terminated", "TerminationByKubelet")),
        Cause::PlannedStop
    );
    assert_eq!(cause_of(137, because("", "PreemptionByScheduler")), Cause::PlannedStop);
    assert_eq!(cause_of(137, because("SomethingElse", "")), Cause::KilledUnknown);
}

/// The kubelet writes the status when the containers have ended; until then the end would look like a kill by nobody.
#[test]
fn an_eviction_is_known_by_its_event_before_the_status_says_so() {
    let warned = |reason: &str| PodContext {
        events: vec![PodEvent {
            reason: Untrusted::bounded(reason, 64),
            message: Untrusted::bounded("Usage of EmptyDir volume \"data\" exceeds the limit \"1Mi\". ", 128),
            count: 1,
            last_at: UnixNanos::from_secs(END - 2),
        }],
        ..PodContext::default()
    };
    for (reason, cause) in [
        ("Evicted", Cause::Evicted),
        ("Preempting", Cause::Evicted),
        ("BackOff", Cause::KilledUnknown),
    ] {
        assert_eq!(cause_of(137, warned(reason)), cause, "{reason}");
    }
}

#[test]
fn a_probe_ends_a_container_only_by_the_kubelets_own_way_and_in_time() {
    for (exit_code, kind, second, cause) in [
        (137, ProbeKind::Liveness, END - 31, Cause::ProbeKilled),
        (143, ProbeKind::Startup, END - 1, Cause::ProbeKilled),
        (0, ProbeKind::Liveness, END - 1, Cause::ProbeKilled),
        (1, ProbeKind::Liveness, END - 1, Cause::AppError),
        (137, ProbeKind::Liveness, END - 60, Cause::KilledUnknown),
        (137, ProbeKind::Readiness, END - 1, Cause::KilledUnknown),
    ] {
        assert_eq!(
            cause_of(exit_code, failed_probe(kind, second)),
            cause,
            "{exit_code} {kind} {second}"
        );
    }
}

#[test]
fn a_program_that_ends_well_for_the_third_time_in_a_row_should_have_gone_on() {
    let rerun = |always, restarts, gap: i64| PodContext {
        reruns: Some(Reruns {
            always,
            restarts,
            previous_end: Some(UnixNanos::from_secs(END - gap)),
        }),
        ..PodContext::default()
    };
    let table = [
        (0, rerun(true, 2, 12), Cause::CleanExitLoop),
        (0, rerun(true, 1, 12), Cause::ExpectedExit),
        (0, rerun(false, 2, 12), Cause::ExpectedExit),
        // Once a day is a schedule.
        (0, rerun(true, 30, 86_400), Cause::ExpectedExit),
        (1, rerun(true, 2, 12), Cause::AppError),
    ];
    for (exit_code, context, cause) in table {
        assert_eq!(cause_of(exit_code, context.clone()), cause, "{exit_code} {context:?}");
    }
    let deleted = PodContext {
        reruns: rerun(true, 2, 12).reruns,
        ..deleted(END - 1)
    };
    assert_eq!(cause_of(0, deleted), Cause::PlannedStop);
}

#[test]
fn each_state_that_the_apiserver_reports_has_its_cause() {
    for kind in ReportKind::ALL {
        let report = Report {
            kind: *kind,
            reason: Untrusted::default(),
            message: Untrusted::default(),
            since: None,
            affected: 0,
        };
        let verdict = judge(&set(vec![(EvidenceSource::Kubernetes, "uid", Fact::Report(report))]));
        assert_ne!(verdict.cause, Cause::Unknown, "{kind}");
        assert!(verdict.confidence_percent >= 90, "{kind}");
    }
}

/// A batch program that says "nothing to do" with 42 wakes nobody; one that the kernel killed for memory does.
#[test]
fn an_end_that_the_author_provided_for_is_expected_unless_memory_killed_it() {
    for by in [Provision::FailurePolicy, Provision::RestartRule] {
        let context = PodContext {
            provided: Some(by),
            ..PodContext::default()
        };
        assert_eq!(cause_of(42, context.clone()), Cause::ExpectedExit);
        let killed = judge(&set(vec![
            ended(137),
            pod(context),
            kill(Some(LimitLevel::Container), Some(true)),
        ]));
        assert_eq!(killed.cause, Cause::OomLimit);
    }
}
