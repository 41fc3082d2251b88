//! A state of an object of Kubernetes that somebody should know of and that no node sees.

use super::{Untrusted, coded::coded_enum};
use crate::clock::UnixNanos;

coded_enum! {
    /// What kind of state.
    ReportKind, "report" {
        /// The image of a container cannot be had.
        Image = 1, "image";
        /// Something that a container refers to is missing.
        Config = 2, "config";
        /// The runtime does not make or start a container.
        Start = 3, "start";
        /// A lifecycle hook failed.
        Hook = 4, "hook";
        /// No node fits a pod.
        Unscheduled = 5, "unscheduled";
        /// A volume of a pod cannot be attached or mounted.
        Mount = 6, "mount";
        /// A controller may not make pods.
        Creation = 7, "creation";
        /// A rollout does not progress.
        Rollout = 8, "rollout";
        /// A job gave up.
        Job = 9, "job";
        /// The kubelet took a pod off its node.
        Eviction = 10, "eviction";
        /// A condition of a node is not as it should be.
        NodeCondition = 11, "node_condition";
        /// Nothing is heard of a node.
        NodeSilent = 12, "node_silent";
        /// A node was started anew.
        NodeReboot = 13, "node_reboot";
        /// Nothing is heard of the agent, though its node is well.
        AgentSilent = 14, "agent_silent";
    }
}

impl ReportKind {
    /// Whether the state lasts until it is mended. Others are events: once told they are over.
    #[must_use]
    pub const fn lasts(self) -> bool {
        !matches!(self, Self::Job | Self::Eviction | Self::NodeReboot)
    }
}

/// A state of an object, in the words of who reported it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Report {
    /// What kind of state.
    pub kind: ReportKind,
    /// The reporter's reason, such as `ImagePullBackOff` or the name of a node's condition.
    pub reason: Untrusted,
    /// What the reporter said.
    pub message: Untrusted,
    /// Since when, where the object says; by the reporter's clock.
    pub since: Option<UnixNanos>,
    /// How many other objects it concerns: the pods of a node, the pods that a workload lacks.
    pub affected: u32,
}
