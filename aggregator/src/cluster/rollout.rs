//! The state of a rollout.
//!
//! Owns what is kept of deployments, stateful sets and daemon sets. Must not know tables or pods.

use std::sync::Arc;

use super::{id::Uid, kind::Kind, node::Condition, pool::Pool, wire::WorkloadWire};

/// A deployment, stateful set or daemon set.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Workload {
    /// Which of the three.
    pub kind: Kind,
    /// Namespace.
    pub namespace: Arc<str>,
    /// Name.
    pub name: Box<str>,
    /// Uid.
    pub uid: Uid,
    /// What is wanted counts up with each change of the specification.
    pub generation: i64,
    /// The generation that the controller has seen.
    pub observed_generation: i64,
    /// The revision that is being rolled out: a number for deployments, the name of a revision for stateful sets; daemon
    /// sets do not say.
    pub revision: Option<Arc<str>>,
    /// Pods wanted.
    pub desired: u32,
    /// Pods of the newest revision.
    pub updated: u32,
    /// Pods that are ready.
    pub ready: u32,
    /// Pods that have been ready for long enough.
    pub available: u32,
    /// Whether the rollout was paused.
    pub paused: bool,
    /// Conditions, for example `Progressing`.
    pub conditions: Box<[Condition]>,
}

impl Workload {
    pub(super) fn read(kind: Kind, wire: &WorkloadWire, pool: &mut Pool) -> Self {
        let (meta, status) = (&wire.metadata, &wire.status);
        let daemons = kind == Kind::DaemonSets;
        let pick = |replicas: u32, scheduled: u32| if daemons { scheduled } else { replicas };
        let revision = match kind {
            Kind::StatefulSets => &status.update_revision,
            _ => &meta.annotations.revision,
        };
        // A deployment that leaves the number out wants one pod. Source: API reference, `DeploymentSpec.replicas`.
        let wanted = wire.spec.replicas.unwrap_or(1);
        Self {
            kind,
            namespace: pool.text(&meta.namespace),
            name: meta.name.as_str().into(),
            uid: Uid::parse(&meta.uid),
            generation: meta.generation,
            observed_generation: status.observed_generation,
            revision: pool.given(revision),
            desired: pick(wanted, status.desired_number_scheduled),
            updated: pick(status.updated_replicas, status.updated_number_scheduled),
            ready: pick(status.ready_replicas, status.number_ready),
            available: pick(status.available_replicas, status.number_available),
            paused: wire.spec.paused,
            conditions: status.conditions.iter().map(|c| Condition::read(c, pool)).collect(),
        }
    }

    /// The condition of that type.
    #[must_use]
    pub fn condition(&self, name: &str) -> Option<&Condition> {
        self.conditions.iter().find(|condition| &*condition.name == name)
    }
}
