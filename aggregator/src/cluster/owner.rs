//! Who owns what.
//!
//! Owns the direct reference, the answer to "whose is this pod", and what is kept of replica sets and jobs for the way
//! between them. Must not know the tables.

use std::sync::Arc;

use inquest_shared::clock::UnixNanos;

use super::{
    expected::FailurePolicy,
    id::{Uid, bounded},
    pool::Pool,
    wire::{JobWire, Meta, either, time},
};

/// Longest message of a condition that is kept, in bytes.
pub(super) const MAX_MESSAGE: usize = 512;

/// The reference of an object to its controller.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct OwnerRef {
    /// `apiVersion` of the controller.
    pub api_version: Arc<str>,
    /// Kind, for example `ReplicaSet`.
    pub kind: Arc<str>,
    /// Name.
    pub name: Box<str>,
    /// Uid.
    pub uid: Uid,
}

/// The workload that a pod belongs to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Owner {
    /// Kind: `Deployment`, `CronJob`, `StatefulSet`, …; `Pod` for one that stands alone.
    pub kind: Arc<str>,
    /// Name.
    pub name: Arc<str>,
    /// Uid.
    pub uid: Uid,
    /// Whether this is the end of the way. `false`: it is a replica set or job whose own owner is not known (yet).
    pub resolved: bool,
}

impl Owner {
    pub(super) fn of(owner: &OwnerRef, resolved: bool) -> Self {
        Self {
            kind: Arc::clone(&owner.kind),
            name: owner.name.as_ref().into(),
            uid: owner.uid.clone(),
            resolved,
        }
    }
}

/// What is kept of a replica set.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ReplicaSet {
    /// Namespace.
    pub namespace: Arc<str>,
    /// Name.
    pub name: Box<str>,
    /// Its controller, a deployment as a rule.
    pub owner: Option<Arc<OwnerRef>>,
    /// Label `pod-template-hash`.
    pub hash: Option<Arc<str>>,
    /// Annotation `deployment.kubernetes.io/revision`.
    pub revision: Option<u64>,
    /// When it was made.
    pub created: UnixNanos,
}

/// What is kept of a job.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Job {
    /// Namespace.
    pub namespace: Arc<str>,
    /// Name.
    pub name: Box<str>,
    /// Its controller, a cron job as a rule.
    pub owner: Option<Arc<OwnerRef>>,
    /// Why it failed: reason and message of the condition `Failed` or `FailureTarget`.
    pub failed: Option<(Arc<str>, Box<str>)>,
    /// When that condition became true.
    pub failed_at: Option<UnixNanos>,
    /// Whether it is complete.
    pub complete: bool,
    /// Which ends of its pods it does not count.
    pub failure_policy: Option<Box<FailurePolicy>>,
}

impl ReplicaSet {
    pub(super) fn read(meta: &Meta, pool: &mut Pool) -> Self {
        Self {
            namespace: pool.text(&meta.namespace),
            name: meta.name.as_str().into(),
            owner: controller(meta, pool),
            hash: pool.given(&meta.labels.pod_template_hash),
            revision: meta.annotations.revision.parse().ok(),
            created: time(meta.creation_timestamp.as_ref()).unwrap_or_default(),
        }
    }
}

impl Job {
    pub(super) fn read(wire: &JobWire, pool: &mut Pool) -> Self {
        let holds = |name: &str| {
            let mut conditions = wire.status.conditions.iter();
            conditions.find(|condition| condition.r#type == name && condition.status == "True")
        };
        let policy = wire.spec.pod_failure_policy.as_ref();
        let failed = holds("Failed").or_else(|| holds("FailureTarget"));
        Self {
            namespace: pool.text(&wire.metadata.namespace),
            name: wire.metadata.name.as_str().into(),
            owner: controller(&wire.metadata, pool),
            failed_at: failed.and_then(|condition| time(condition.last_transition_time.as_ref())),
            failed: failed.map(|condition| {
                let reason = pool.text(either(&condition.reason, "Failed"));
                (reason, bounded(&condition.message, MAX_MESSAGE))
            }),
            complete: holds("Complete").is_some(),
            failure_policy: policy.map(|policy| Box::new(FailurePolicy::read(policy))),
        }
    }
}

/// The one owner that controls the object.
pub(super) fn controller(meta: &Meta, pool: &mut Pool) -> Option<Arc<OwnerRef>> {
    let owner = meta.owner_references.iter().find(|owner| owner.controller)?;
    let owner = OwnerRef {
        api_version: pool.text(&owner.api_version),
        kind: pool.text(&owner.kind),
        name: owner.name.as_str().into(),
        uid: Uid::parse(&owner.uid),
    };
    Some(pool.owner(owner))
}
