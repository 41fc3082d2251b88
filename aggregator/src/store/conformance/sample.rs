//! Small records for the suite.

use std::sync::Arc;

use inquest_shared::{
    clock::UnixNanos,
    model::{
        Cause, DeliveryState, Discovery, Evidence, EvidenceSet, EvidenceSource, Fact, Finding, FindingKind, Incident,
        IncidentState, KernelKill, Key, Names, Occurrence, Owner, RuntimeExit, Severity, Subject, TransitionKind,
        Uncertain, Untrusted, Verdict, Workload,
    },
};
use ulid::Ulid;

use crate::record::{NodeIdentity, Notice, OutboxRow, StoredLog, StoredOccurrence};

/// A node of cluster `c1`.
pub(in crate::store) fn node(uid: &str) -> NodeIdentity {
    NodeIdentity {
        cluster: "c1".into(),
        uid: uid.into(),
        name: format!("node-{uid}"),
    }
}

/// Ids in the order of `n`.
pub(in crate::store) fn ulid(n: u32) -> Ulid {
    Ulid::from_parts(1_700_000_000_000, u128::from(n) << 8)
}

fn subject(namespace: &str) -> Subject {
    Subject {
        namespace: namespace.into(),
        pod: "web-1".into(),
        container: "app".into(),
        owner: Owner {
            kind: "Deployment".into(),
            name: "web".into(),
        },
        ..Subject::default()
    }
}

fn exit_evidence(at: i64) -> EvidenceSet {
    let mut evidence = EvidenceSet::default();
    let exit = RuntimeExit {
        exit_code: 137,
        finished_at: UnixNanos(at),
        ..RuntimeExit::default()
    };
    evidence.insert(
        EvidenceSource::Containerd,
        "i",
        Evidence {
            at: UnixNanos(at),
            fact: Fact::RuntimeExit(exit),
        },
    );
    evidence
}

/// The end of container run `n`.
pub(in crate::store) fn finding(n: u32, at: i64) -> Finding {
    Finding {
        key: Key::exit("i", UnixNanos(i64::from(n))),
        kind: FindingKind::Exit,
        discovery: Discovery::Live,
        observed_at: UnixNanos(at),
        subject: subject("shop"),
        evidence: exit_evidence(at),
        cites: [Key::kill("b", "kmsg", "9")].into(),
        revision: 0,
    }
}

/// Another version of it, with the kernel's report.
pub(in crate::store) fn kill_finding(n: u32, at: i64) -> Finding {
    let kill = KernelKill {
        pid: 7,
        comm: Untrusted::bounded("a\nb", 15),
        ..KernelKill::default()
    };
    let mut finding = finding(n, at);
    finding.evidence.insert(
        EvidenceSource::Kmsg,
        "9",
        Evidence {
            at: UnixNanos(at),
            fact: Fact::KernelKill(kill),
        },
    );
    finding
}

/// Stored at the time of its observation.
pub(in crate::store) fn occurrence(uid: &str, n: u32, at: i64) -> StoredOccurrence {
    StoredOccurrence {
        node: node(uid),
        finding: finding(n, at),
        incident: None,
        stored_at: UnixNanos(at),
    }
}

/// An open incident, last seen at `at`.
pub(in crate::store) fn incident(n: u32, namespace: &str, at: i64) -> Incident {
    let verdict = Verdict {
        cause: Cause::OomLimit,
        confidence_percent: 99,
        severity: Severity::High,
    };
    let owner = subject(namespace).owner;
    Incident {
        id: ulid(n),
        fingerprint: Key::of(b"incident", &[b"x"]),
        state: IncidentState::Open,
        cause: verdict.cause,
        severity: verdict.severity,
        confidence_percent: verdict.confidence_percent,
        cluster: "c1".into(),
        workload: Workload {
            namespace: namespace.into(),
            owner,
            container: "app".into(),
        },
        opened_at: UnixNanos(at),
        first_seen: UnixNanos(at),
        last_seen: UnixNanos(at),
        last_arrival: UnixNanos(at),
        resolved_at: None,
        quiet_until: UnixNanos(at + 600),
        occurrences: 1,
        transition: 1,
        transition_kind: TransitionKind::Opened,
        reopened: 0,
        merged_into: None,
        pods: Names {
            names: vec!["web-1".into()],
            total: 1,
        },
        nodes: Names {
            names: vec!["node-a".into()],
            total: 1,
        },
        exit_codes: [(137, 1)].into(),
        secondary_causes: [Cause::AppError].into(),
        latest: latest(namespace, at, verdict),
        gaps: vec![1, 2],
        counted: Vec::new(),
        looping: false,
        announce_at: None,
        uncertain: vec![Uncertain {
            key: Key::exit("uncertain", UnixNanos(1)),
            verdict,
        }],
        standing: [Key::exit("standing", UnixNanos(1))].into(),
    }
}

fn latest(namespace: &str, at: i64, verdict: Verdict) -> Occurrence {
    Occurrence {
        key: Key::exit("i", UnixNanos(at)),
        kind: FindingKind::Exit,
        at: UnixNanos(at),
        subject: subject(namespace),
        evidence: exit_evidence(at),
        verdict,
        cites: [].into(),
        node_name: "node-a".into(),
    }
}

/// A resolved one.
pub(super) fn resolved(n: u32, at: i64) -> Incident {
    Incident {
        state: IncidentState::Resolved,
        resolved_at: Some(UnixNanos(at)),
        ..incident(n, "shop", at)
    }
}

/// A waiting notification.
pub(in crate::store) fn outbox(n: u32, incident: &Incident, receiver: &str, kind: TransitionKind) -> OutboxRow {
    OutboxRow {
        id: ulid(n),
        receiver: receiver.into(),
        notice: Arc::new(Notice {
            incident: incident.clone(),
            kind,
        }),
        planned_at: UnixNanos(10),
        state: DeliveryState::Pending,
        attempts: 0,
        next_at: UnixNanos(10),
        delivered_at: None,
        last_error: String::new(),
    }
}

/// A tail or a chunk of one.
pub(in crate::store) fn tail(text: &str) -> StoredLog {
    StoredLog {
        data: text.as_bytes().to_vec(),
        captured_at: UnixNanos(3),
        redactions: 1,
        truncated: false,
    }
}
