//! Words of others: the program's last line, and what the apiserver says.

use super::*;
use crate::model::{PodContext, PodEvent, Report, ReportKind};

#[test]
fn a_program_that_failed_is_quoted_with_its_last_line_in_one_line() {
    let logged = |lines: &[&str]| {
        set(vec![
            (EvidenceSource::Containerd, AT, Fact::RuntimeExit(exit(1))),
            (EvidenceSource::Log, AT, log(lines)),
        ])
    };
    let told = |evidence| why(&occurrence(evidence), Lang::En);
    assert_eq!(
        told(logged(&["starting", "config key \"DB_URL\"\u{1b}[31m missing", " "])),
        "the program reported a failure; its last line: \"config key \"DB_URL\"\\u{1b}[31m missing\""
    );
    assert_eq!(told(logged(&[])), "the program reported a failure");
}

fn reported(kind: ReportKind, reason: &str, message: &str, affected: u32) -> Incident {
    let report = Report {
        kind,
        reason: text(reason),
        message: text(message),
        since: None,
        affected,
    };
    let mut incident = incident(set(vec![(EvidenceSource::Kubernetes, AT, Fact::Report(report))]));
    incident.latest.kind = FindingKind::Report;
    incident
}

#[test]
fn what_the_apiserver_reports_is_told_without_an_exit_that_never_was() {
    let image = reported(ReportKind::Image, "ErrImagePull", "not found\n[x]", 0);
    insta::assert_snapshot!(plain(&image, &[], Lang::En), @r#"
    Image cannot be pulled   container "app", image img.local/app:1, pod shop/web-7d4b9c-abcde, node n1
      why      the kubelet cannot get the image: "not found\u{a}[x]" (ErrImagePull)
      when     2026-03-01 12:01:07.183 +00:00
      id       00000000010000000000000002 (cluster default-cluster, severity high, 98 % sure)
    "#);
    let lost = reported(
        ReportKind::NodeSilent,
        "NodeStatusUnknown",
        "Kubelet stopped posting node status.",
        40,
    );
    assert_eq!(
        why(&lost.latest, Lang::En),
        "the node does not report any more: \"Kubelet stopped posting node status.\" (NodeStatusUnknown); 40 pods run on it"
    );
    assert_eq!(
        why(&lost.latest, Lang::Zh),
        "节点不再上报：\"Kubelet stopped posting node status.\"（NodeStatusUnknown）；其上有 40 个 Pod"
    );
}

/// The kubelet's event comes before the status of the pod; both have the same words.
#[test]
fn an_eviction_is_told_with_the_kubelets_words_wherever_they_stand() {
    let said = "The node was low on resource: memory. ";
    let announced = PodContext {
        events: vec![PodEvent {
            reason: text("Evicted"),
            message: text(said),
            count: 1,
            last_at: AT,
        }],
        ..PodContext::default()
    };
    let stated = PodContext {
        reason: text("Evicted"),
        message: text(said),
        ..PodContext::default()
    };
    for context in [announced, stated] {
        let evidence = set(vec![
            (EvidenceSource::Containerd, AT, Fact::RuntimeExit(exit(137))),
            (EvidenceSource::Kubernetes, AT, Fact::PodContext(context)),
        ]);
        assert_eq!(
            why(&occurrence(evidence), Lang::En),
            "the kubelet took the pod off the node: The node was low on resource: memory."
        );
    }
}
