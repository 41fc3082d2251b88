//! What is watched, and how it is asked for.
//!
//! Owns the list of kinds with their addresses and selectors. Must not know records or connections.

use std::fmt;

/// One kind of object that the index follows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Kind {
    /// Pods that have not finished with success.
    Pods,
    /// Nodes.
    Nodes,
    /// Namespaces, metadata only.
    Namespaces,
    /// Replica sets, metadata only: the way from a pod to its deployment.
    ReplicaSets,
    /// Jobs: the way from a pod to its cron job, and how the job ended.
    Jobs,
    /// Deployments.
    Deployments,
    /// Stateful sets.
    StatefulSets,
    /// Daemon sets.
    DaemonSets,
    /// Events of type Warning.
    Events,
}

impl Kind {
    /// Every kind, in the order in which they are listed at the start: first what answers most questions.
    pub const ALL: [Self; 9] = [
        Self::Pods,
        Self::Nodes,
        Self::ReplicaSets,
        Self::Namespaces,
        Self::Jobs,
        Self::Deployments,
        Self::StatefulSets,
        Self::DaemonSets,
        Self::Events,
    ];

    /// The plural name in the API, also used in statuses and metrics.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Pods => "pods",
            Self::Nodes => "nodes",
            Self::Namespaces => "namespaces",
            Self::ReplicaSets => "replicasets",
            Self::Jobs => "jobs",
            Self::Deployments => "deployments",
            Self::StatefulSets => "statefulsets",
            Self::DaemonSets => "daemonsets",
            Self::Events => "events",
        }
    }

    /// Whether its objects lie in namespaces.
    #[must_use]
    pub const fn namespaced(self) -> bool {
        !matches!(self, Self::Nodes | Self::Namespaces)
    }

    /// The path of the collection, of one namespace or of all.
    pub(super) fn path(self, namespace: Option<&str>) -> String {
        let root = match self {
            Self::Pods | Self::Nodes | Self::Namespaces | Self::Events => "/api/v1",
            Self::Jobs => "/apis/batch/v1",
            Self::ReplicaSets | Self::Deployments | Self::StatefulSets | Self::DaemonSets => "/apis/apps/v1",
        };
        match namespace.filter(|_| self.namespaced()) {
            Some(namespace) => format!("{root}/namespaces/{namespace}/{}", self.name()),
            None => format!("{root}/{}", self.name()),
        }
    }

    /// The field selector. Finished pods of jobs stay for hours and say nothing about deaths. Source of the selectable
    /// fields: `kubernetes/pkg/registry/core`, strategies of pods and events.
    pub(super) const fn selector(self) -> Option<&'static str> {
        match self {
            Self::Pods => Some("status.phase!=Succeeded"),
            Self::Events => Some("type=Warning"),
            _ => None,
        }
    }

    /// Whether the metadata is enough; the server then sends nothing else.
    pub(super) const fn metadata_only(self) -> bool {
        matches!(self, Self::Namespaces | Self::ReplicaSets)
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}
