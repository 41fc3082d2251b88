//! What an incident is about: one container of one workload in one cluster, a workload as a whole, or a node.
//!
//! Owns identities and fingerprints. Must not know when incidents open or close.

use inquest_shared::{
    cause,
    model::{Cause, EvidenceSet, Finding, FindingKind, Incident, IncidentState, Key, Owner, Subject, Workload},
};

use super::arrival::Arrival;
use crate::record::NodeIdentity;

/// Owner kind of an incident about a node.
const NODE: &str = "Node";
/// Owner kind of the overflow incident of a namespace.
const NAMESPACE: &str = "Namespace";
/// Owner kind of the overflow incident of a cluster.
const CLUSTER: &str = "Cluster";

/// At most one open incident has it.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct Identity {
    /// Cluster name.
    pub(super) cluster: String,
    /// Workload and container.
    pub(super) workload: Workload,
}

impl Identity {
    /// The identity of a finding's subject. An end whose container is unknown belongs to its node; what the apiserver
    /// reports without a container is about the workload as a whole.
    pub(super) fn of(node: &NodeIdentity, finding: &Finding) -> Self {
        let subject = &finding.subject;
        let workload = if subject.container.is_empty() && finding.kind != FindingKind::Report {
            return Self::of_node(node);
        } else {
            Workload {
                namespace: subject.namespace.clone(),
                owner: owner_of(subject),
                container: subject.container.clone(),
            }
        };
        Self {
            cluster: node.cluster.clone(),
            workload,
        }
    }

    /// The identity of a node.
    pub(super) fn of_node(node: &NodeIdentity) -> Self {
        Self {
            cluster: node.cluster.clone(),
            workload: Workload {
                owner: owner(NODE, &node.name),
                ..Workload::default()
            },
        }
    }

    /// The workload as a whole.
    pub(super) fn whole(&self) -> Self {
        let mut whole = self.clone();
        whole.workload.container.clear();
        whole
    }

    /// Names the workload as a whole, in 16 bytes.
    pub(super) fn owner_key(&self) -> Key {
        let Workload { namespace, owner, .. } = &self.workload;
        let parts = [&self.cluster, namespace, &owner.kind, &owner.name];
        Key::of(b"owner", &parts.map(|part| part.as_bytes()))
    }

    /// Shared by the workloads of a namespace that has too many open incidents.
    pub(super) fn namespace_overflow(&self) -> Self {
        let namespace = self.workload.namespace.clone();
        let owner = owner(NAMESPACE, &namespace);
        Self {
            cluster: self.cluster.clone(),
            workload: Workload {
                namespace,
                owner,
                container: String::new(),
            },
        }
    }

    /// Shared by the workloads of a cluster when all namespaces together have too many.
    pub(super) fn cluster_overflow(&self) -> Self {
        let owner = owner(CLUSTER, &self.cluster);
        Self {
            cluster: self.cluster.clone(),
            workload: Workload {
                owner,
                ..Workload::default()
            },
        }
    }

    /// Cause and workload as one number, the alias under which receivers know an incident.
    pub(super) fn fingerprint(&self, cause: Cause, evidence: &EvidenceSet) -> Key {
        let discriminator = cause::discriminator(evidence, cause);
        let Workload {
            namespace,
            owner,
            container,
        } = &self.workload;
        let parts = [
            &self.cluster,
            namespace,
            &owner.kind,
            &owner.name,
            container,
            cause.code(),
            discriminator.as_str(),
        ];
        Key::of(b"incident", &parts.map(str::as_bytes))
    }
}

/// Whether a workload is a node, for want of a better subject.
pub(super) fn is_node(workload: &Workload) -> bool {
    workload.owner.kind == NODE && workload.container.is_empty()
}

/// Whether this is the incident of a lost node, and an end that nothing else explains is one of those that went with it.
pub(super) fn is_member(incident: &Incident, arrival: &Arrival<'_>) -> bool {
    let unexplained = cause::more_specific(Cause::NodeLost, arrival.verdict.cause);
    let known = !arrival.subject.container.is_empty();
    is_node(&incident.workload) && incident.cause == Cause::NodeLost && known && unexplained
}

/// Whether an incident consists of one event that was put down to its node and may turn out to be a workload's.
pub(super) fn may_move(incident: &Incident) -> bool {
    is_node(&incident.workload) && incident.occurrences <= 1 && incident.state == IncidentState::Open
}

/// Whether an event of `target` may be in this incident: it is the target's, an overflow, or may move to the target.
pub(super) fn may_hold(incident: &Incident, target: &Identity) -> bool {
    let workload = &incident.workload;
    let overflow = workload.container.is_empty() && [NAMESPACE, CLUSTER].contains(&workload.owner.kind.as_str());
    incident.cluster == target.cluster && (*workload == target.workload || overflow || may_move(incident))
}

fn owner(kind: &str, name: &str) -> Owner {
    Owner {
        kind: kind.to_owned(),
        name: name.to_owned(),
    }
}

/// The owner as guessed by the agent; without a guess the pod, outside Kubernetes the container itself.
fn owner_of(subject: &Subject) -> Owner {
    if !subject.owner.name.is_empty() {
        subject.owner.clone()
    } else if !subject.pod.is_empty() {
        owner("Pod", &subject.pod)
    } else {
        owner("Container", &subject.container)
    }
}
