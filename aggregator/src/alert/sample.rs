//! Incidents and rows for tests.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use inquest_shared::clock::UnixNanos;
use inquest_shared::model::{
    Cause, DeliveryState, Evidence, EvidenceSet, EvidenceSource, Fact, FindingKind, Incident, IncidentState, Key,
    LogExcerpt, Names, Occurrence, Owner, Severity, Subject, TransitionKind, Untrusted, Verdict, Workload,
};
use ulid::Ulid;

use crate::record::{Notice, OutboxRow};

/// When everything in the samples happens.
pub(crate) const AT: UnixNanos = UnixNanos::from_secs(1_700_000_000);

const VERDICT: Verdict = Verdict {
    cause: Cause::OomLimit,
    confidence_percent: 95,
    severity: Severity::High,
};

/// An open incident of a container that the kernel killed, with five log lines.
pub(crate) fn incident(id: u128) -> Incident {
    let owner = Owner {
        kind: "Deployment".to_owned(),
        name: "web".to_owned(),
    };
    let key = Key::of(b"sample", &[&id.to_be_bytes()]);
    Incident {
        id: Ulid(id),
        fingerprint: key,
        state: IncidentState::Open,
        cause: VERDICT.cause,
        severity: VERDICT.severity,
        confidence_percent: VERDICT.confidence_percent,
        cluster: "prod".to_owned(),
        workload: Workload {
            namespace: "shop".to_owned(),
            owner: owner.clone(),
            container: "app".to_owned(),
        },
        opened_at: AT,
        first_seen: AT,
        last_seen: AT,
        last_arrival: AT,
        resolved_at: None,
        quiet_until: AT,
        occurrences: 1,
        transition: 1,
        transition_kind: TransitionKind::Opened,
        reopened: 0,
        merged_into: None,
        pods: Names {
            names: vec!["web-1".to_owned()],
            total: 1,
        },
        nodes: Names {
            names: vec!["node-1".to_owned()],
            total: 1,
        },
        exit_codes: BTreeMap::new(),
        secondary_causes: BTreeSet::new(),
        latest: latest(key, owner),
        gaps: Vec::new(),
        counted: Vec::new(),
        looping: false,
        announce_at: None,
        standing: [].into(),
        uncertain: Vec::new(),
    }
}

fn latest(key: Key, owner: Owner) -> Occurrence {
    let lines = (1..=5).map(|n| Untrusted::bounded(&format!("line {n}"), 100)).collect();
    let log = Fact::LogExcerpt(LogExcerpt {
        lines,
        redactions: 0,
        truncated: false,
        origin: None,
    });
    let mut evidence = EvidenceSet::default();
    evidence.insert(EvidenceSource::Log, "log", Evidence { at: AT, fact: log });
    Occurrence {
        key,
        kind: FindingKind::Kill,
        at: AT,
        subject: Subject {
            namespace: "shop".to_owned(),
            container: "app".to_owned(),
            owner,
            ..Subject::default()
        },
        evidence,
        verdict: VERDICT,
        cites: BTreeSet::new(),
        node_name: "node-1".to_owned(),
    }
}

/// A row as planned: transition number and row id are equal, so rows of one incident are in the order of their ids.
pub(crate) fn row(id: u32, receiver: &str, incident_id: u128, kind: TransitionKind) -> OutboxRow {
    let mut incident = incident(incident_id);
    (incident.transition, incident.transition_kind) = (id, kind);
    OutboxRow {
        id: Ulid(u128::from(id)),
        receiver: receiver.to_owned(),
        notice: Arc::new(Notice { incident, kind }),
        planned_at: AT,
        state: DeliveryState::Pending,
        attempts: 0,
        next_at: AT,
        delivered_at: None,
        last_error: String::new(),
    }
}
