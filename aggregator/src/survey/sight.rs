//! One state as one look sees it, and the finding that it becomes.

use inquest_shared::{
    clock::UnixNanos,
    model::{
        Discovery, Evidence, EvidenceSet, EvidenceSource, Fact, Finding, FindingKind, Key, Owner, Report, ReportKind,
        Subject, Untrusted, clean_name,
    },
};

use crate::{
    cluster::{self, ClusterIndex, Node, Pod},
    record::NodeIdentity,
};

/// Longest message taken over; the index keeps at most this much.
const MAX_MESSAGE: usize = 512;
/// Longest reason taken over.
const MAX_REASON: usize = 64;

/// A state that somebody should know of.
#[derive(Debug, Clone)]
pub(super) struct Sight {
    /// Uid of the object, with what tells this episode from others of the same object: the container and its attempt, the
    /// generation, the time of a transition.
    pub(super) episode: String,
    /// What it is about.
    pub(super) subject: Subject,
    /// Name and uid of the node that it happens on.
    pub(super) node: Option<(String, String)>,
    /// What is told.
    pub(super) report: Report,
}

/// A finding of the apiserver's view, with where it happened.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Told {
    pub(super) node: NodeIdentity,
    pub(super) finding: Finding,
}

impl Sight {
    /// Names the episode.
    pub(super) fn key(&self) -> Key {
        Key::of(
            b"report",
            &[self.report.kind.code().as_bytes(), self.episode.as_bytes()],
        )
    }

    /// The finding. No agent can have the node's identity in it, so none can say it first.
    pub(super) fn told(self, cluster: &str, discovery: Discovery, seen: UnixNanos) -> Told {
        let (key, at) = (self.key(), self.report.since.unwrap_or(seen));
        let (name, uid) = self.node.unwrap_or_default();
        let mut evidence = EvidenceSet::default();
        let fact = Fact::Report(self.report);
        evidence.insert(EvidenceSource::Kubernetes, self.episode, Evidence { at, fact });
        let finding = Finding {
            key,
            kind: FindingKind::Report,
            discovery,
            observed_at: at,
            subject: self.subject,
            evidence,
            cites: [].into(),
            revision: 0,
        };
        let node = NodeIdentity {
            cluster: cluster.to_owned(),
            uid: format!("kubernetes:{uid}"),
            name,
        };
        Told { node, finding }
    }
}

/// What was said about a state.
pub(super) fn report(kind: ReportKind, reason: &str, message: &str, since: Option<UnixNanos>) -> Report {
    Report {
        kind,
        reason: Untrusted::bounded(reason, MAX_REASON),
        message: Untrusted::bounded(message, MAX_MESSAGE),
        since,
        affected: 0,
    }
}

/// A pod as the subject of a state; `None` while its owner is not known for sure.
pub(super) fn of_pod(index: &ClusterIndex, pod: &Pod) -> Option<Subject> {
    let owner = index.root_owner(pod);
    owner.resolved.then(|| Subject {
        pod: clean_name(&pod.name),
        pod_uid: pod.uid.to_string(),
        ..of_owner(&pod.namespace, &owner)
    })
}

/// A workload as the subject of a state.
pub(super) fn of_owner(namespace: &str, owner: &cluster::Owner) -> Subject {
    Subject {
        namespace: clean_name(namespace),
        owner: Owner {
            kind: clean_name(&owner.kind),
            name: clean_name(&owner.name),
        },
        owner_confirmed: true,
        ..Subject::default()
    }
}

/// Name and uid of the node of a pod.
pub(super) fn place_of(index: &ClusterIndex, pod: &Pod) -> Option<(String, String)> {
    let name = pod.node.as_deref()?;
    let node = index.node(name)?;
    Some(place(&node))
}

/// Name and uid of a node.
pub(super) fn place(node: &Node) -> (String, String) {
    (clean_name(&node.name), node.uid.to_string())
}
