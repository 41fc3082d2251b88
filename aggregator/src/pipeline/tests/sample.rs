//! Findings as agents make them.

use std::{collections::BTreeSet, sync::Arc};

use inquest_shared::{
    clock::UnixNanos,
    model::{
        DeliveryState, Discovery, Evidence, EvidenceSet, EvidenceSource, Fact, Finding, FindingKind, Key, Owner,
        RuntimeExit, Subject,
    },
};
use ulid::Ulid;

use crate::record::{NodeIdentity, Notice, OutboxRow};

pub(crate) fn node(name: &str) -> NodeIdentity {
    NodeIdentity {
        cluster: "c".to_owned(),
        uid: format!("uid-{name}"),
        name: name.to_owned(),
    }
}

/// The n-th crash of a workload: exit code 1.
pub(crate) fn crash(workload: &str, n: u32) -> Finding {
    let at = UnixNanos::from_secs(900_000 + i64::from(n));
    let mut evidence = EvidenceSet::default();
    let exit = RuntimeExit {
        exit_code: 1,
        finished_at: at,
        ..RuntimeExit::default()
    };
    let instance = format!("{workload}-{n}");
    evidence.insert(
        EvidenceSource::Containerd,
        &instance,
        Evidence {
            at,
            fact: Fact::RuntimeExit(exit),
        },
    );
    Finding {
        key: Key::exit(&instance, at),
        kind: FindingKind::Exit,
        discovery: Discovery::Live,
        observed_at: at,
        subject: Subject {
            namespace: "shop".to_owned(),
            pod: format!("{workload}-pod"),
            container: "app".to_owned(),
            instance,
            owner: Owner {
                kind: "Deployment".to_owned(),
                name: workload.to_owned(),
            },
            ..Subject::default()
        },
        evidence,
        cites: BTreeSet::new(),
        revision: 0,
    }
}

pub(crate) fn row(notice: &Notice, id: Ulid, now: UnixNanos) -> OutboxRow {
    OutboxRow {
        id,
        receiver: "people".to_owned(),
        notice: Arc::new(notice.clone()),
        planned_at: now,
        state: DeliveryState::Pending,
        attempts: 0,
        next_at: now,
        delivered_at: None,
        last_error: String::new(),
    }
}
