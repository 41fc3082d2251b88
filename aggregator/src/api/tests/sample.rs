//! Small records for tests of the API.

use std::sync::Arc;

use inquest_shared::{
    clock::UnixNanos,
    model::{
        Cause, DeliveryState, Discovery, Evidence, EvidenceSet, EvidenceSource, Fact, Finding, FindingKind, Incident,
        IncidentState, Key, Names, Occurrence, Owner, RuntimeExit, Severity, Subject, TransitionKind, Verdict,
        Workload,
    },
};
use ulid::Ulid;

use crate::record::{NodeIdentity, Notice, OutboxRow, StoredLog, StoredOccurrence};

pub(in crate::api) fn node() -> NodeIdentity {
    NodeIdentity {
        cluster: "c1".into(),
        uid: "a".into(),
        name: "node-a".into(),
    }
}

/// Ids that differ within the last ten characters.
pub(in crate::api) fn ulid(n: u8) -> Ulid {
    Ulid::from_parts(1_700_000_000_000, u128::from(n) << 8)
}

fn subject() -> Subject {
    Subject {
        namespace: "shop".into(),
        pod: "web-1".into(),
        container: "app".into(),
        owner: Owner {
            kind: "Deployment".into(),
            name: "web".into(),
        },
        ..Subject::default()
    }
}

fn evidence(at: i64) -> EvidenceSet {
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

/// An open incident of shop/web, last seen at `at`.
pub(in crate::api) fn incident(n: u8, at: i64) -> Incident {
    let verdict = Verdict {
        cause: Cause::OomLimit,
        confidence_percent: 99,
        severity: Severity::High,
    };
    let key = Key::exit("i", UnixNanos(at));
    let latest = Occurrence {
        key,
        kind: FindingKind::Exit,
        at: UnixNanos(at),
        subject: subject(),
        evidence: evidence(at),
        verdict,
        cites: [].into(),
        node_name: "node-a".into(),
    };
    Incident {
        id: ulid(n),
        fingerprint: key,
        state: IncidentState::Open,
        cause: verdict.cause,
        severity: verdict.severity,
        confidence_percent: verdict.confidence_percent,
        cluster: "c1".into(),
        workload: Workload {
            namespace: "shop".into(),
            owner: subject().owner,
            container: "app".into(),
        },
        opened_at: UnixNanos(at),
        first_seen: UnixNanos(at),
        last_seen: UnixNanos(at),
        last_arrival: UnixNanos(at),
        resolved_at: None,
        quiet_until: UnixNanos(at.saturating_add(600)),
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
        secondary_causes: [].into(),
        latest,
        gaps: Vec::new(),
        counted: Vec::new(),
        looping: false,
        announce_at: None,
        standing: [].into(),
        uncertain: Vec::new(),
    }
}

/// A container that ended at `at`, counted by incident 1.
pub(in crate::api) fn occurrence(at: i64) -> StoredOccurrence {
    let finding = Finding {
        key: Key::exit("i", UnixNanos(at)),
        kind: FindingKind::Exit,
        discovery: Discovery::Live,
        observed_at: UnixNanos(at),
        subject: subject(),
        evidence: evidence(at),
        cites: [].into(),
        revision: 0,
    };
    StoredOccurrence {
        node: node(),
        finding,
        incident: Some(ulid(1)),
        stored_at: UnixNanos(at),
    }
}

/// A notification of the opening to `team`.
pub(in crate::api) fn planned(incident: &Incident) -> OutboxRow {
    OutboxRow {
        id: incident.id,
        receiver: "team".into(),
        notice: Arc::new(Notice {
            incident: incident.clone(),
            kind: TransitionKind::Opened,
        }),
        planned_at: UnixNanos(10),
        state: DeliveryState::Pending,
        attempts: 0,
        next_at: UnixNanos(10),
        delivered_at: None,
        last_error: String::new(),
    }
}

pub(in crate::api) fn tail(text: &str) -> StoredLog {
    StoredLog {
        data: text.as_bytes().to_vec(),
        captured_at: UnixNanos(3),
        redactions: 1,
        truncated: false,
    }
}
