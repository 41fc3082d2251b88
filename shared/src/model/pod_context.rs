//! What Kubernetes says about the pod of a container that ended.

use super::{Untrusted, coded::coded_enum};
use crate::clock::UnixNanos;

coded_enum! {
    /// Which probe of a container.
    ProbeKind, "probe" {
        /// Its failure ends the container.
        Liveness = 1, "liveness";
        /// Its failure ends the container before the others begin.
        Startup = 2, "startup";
        /// Its failure takes the pod out of services.
        Readiness = 3, "readiness";
    }
}

coded_enum! {
    /// What provides for an exit code.
    Provision, "provision" {
        /// The job does not count the end as a failure (`podFailurePolicy`).
        FailurePolicy = 1, "failure_policy";
        /// The container is started again after it (`restartPolicyRules`).
        RestartRule = 2, "restart_rule";
    }
}

/// Failures of a probe that came before the end.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ProbeFailure {
    /// Which probe.
    pub kind: ProbeKind,
    /// How often it failed, as the kubelet's event counts.
    pub count: u32,
    /// The last failure, by the kubelet's clock.
    pub last_at: UnixNanos,
    /// What the kubelet said about it.
    pub message: Untrusted,
}

/// A warning about the pod, as often as it was said.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PodEvent {
    /// For example `BackOff`.
    pub reason: Untrusted,
    /// What was said.
    pub message: Untrusted,
    /// How often.
    pub count: u32,
    /// The last time, by the reporter's clock.
    pub last_at: UnixNanos,
}

/// How a container that ended with status 0 is to be run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Reruns {
    /// Whether it is started again although it ended well.
    pub always: bool,
    /// How often it was started again so far.
    pub restarts: u32,
    /// When the instance before it ended, by the node's clock.
    pub previous_end: Option<UnixNanos>,
}

/// Most warnings kept of one pod.
pub const MAX_EVENTS: usize = 20;

/// The apiserver's word on a pod. Times are those of the apiserver or of a kubelet, mostly in whole seconds.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct PodContext {
    /// Whether the apiserver could be asked. If not, the rest is what it said last.
    pub current: bool,
    /// When somebody asked for the deletion: `metadata.deletionTimestamp` less the grace period.
    pub deletion_requested_at: Option<UnixNanos>,
    /// Seconds that its containers have to end by themselves.
    pub grace_seconds: u32,
    /// Reason of the condition `DisruptionTarget`, such as `EvictionByEvictionAPI`; empty when there is none.
    pub disruption: Untrusted,
    /// `status.reason` of a pod that failed as a whole, such as `Evicted`; empty when there is none.
    pub reason: Untrusted,
    /// `status.message` beside it.
    pub message: Untrusted,
    /// The probe whose failures came last before the end.
    pub probe: Option<ProbeFailure>,
    /// How it is to be run, of a container that ended with status 0.
    pub reruns: Option<Reruns>,
    /// What the author of the workload provided for this very end.
    pub provided: Option<Provision>,
    /// The last warnings about the pod, the newest first, at most [`MAX_EVENTS`]; equal ones are one.
    pub events: Vec<PodEvent>,
}
