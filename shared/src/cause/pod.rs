//! What the apiserver's word on a pod says about the end of its container. Pure; must not know any cause.

use std::time::Duration;

use super::{exit_code::Signal, facts::Facts};
use crate::model::{PodContext, PodEvent, ProbeFailure, ProbeKind, Reruns};

/// Times of the apiserver are whole seconds, and its clock is not the node's.
const CLOCKS: Duration = Duration::from_secs(2);
/// From the last failure of a probe to the order to stop the container; the kubelet's workers take that long at most when
/// it is busy.
const PROBE_LAG: Duration = Duration::from_secs(10);
/// A program that ends well once or twice may have had a reason; the third time it is a loop.
const LOOP_RESTARTS: u32 = 2;
/// What ends once a day is a schedule of its own. The kubelet's back-off is at most five minutes by default.
const LOOP_GAP: Duration = Duration::from_secs(10 * 60);
/// Disruptions that somebody or a rule wanted. Source: kubernetes.io, "Pod disruption conditions".
const WANTED: &[&str] = &[
    "PreemptionByScheduler",
    "DeletionByTaintManager",
    "EvictionByEvictionAPI",
];
/// What the kubelet writes into `status.reason` when it needs the room. Source: kubernetes `pkg/kubelet/eviction` and
/// `pkg/kubelet/preemption`.
pub const EVICTIONS: &[&str] = &["Evicted", "Preempting"];
/// What it writes when the node shuts down. Source: kubernetes `pkg/kubelet/nodeshutdown`; older releases say the latter.
const SHUTDOWNS: &[&str] = &["Terminated", "NodeShutdown", "Shutdown"];

impl<'a> Facts<'a> {
    /// The pod of a container that has ended.
    fn pod_at_end(&self) -> Option<&'a PodContext> {
        self.exit.and(self.pod)
    }

    /// Whether the end came after somebody had asked for the deletion of the pod, or announced its disruption.
    pub fn pod_was_deleted(&self) -> bool {
        let (Some(pod), Some(exit)) = (self.pod_at_end(), self.exit) else {
            return false;
        };
        let before_end = |at| at <= exit.record.finished_at.saturating_add(CLOCKS);
        pod.deletion_requested_at.is_some_and(before_end)
            || (pod.deletion_requested_at.is_none() && WANTED.contains(&pod.disruption.raw()))
    }

    /// Whether the kubelet took the pod off the node. Some evictions have no condition, and the status follows only when the
    /// containers have ended; the event comes before.
    pub fn pod_was_evicted(&self) -> bool {
        self.pod_at_end().is_some_and(|pod| {
            let by_kubelet = pod.disruption.raw() == "TerminationByKubelet" && !is_shutdown(pod);
            EVICTIONS.contains(&pod.reason.raw()) || by_kubelet || self.announced_eviction().is_some()
        })
    }

    /// What the kubelet announced before it took the pod off the node.
    pub fn announced_eviction(&self) -> Option<&'a PodEvent> {
        let mut events = self.pod_at_end()?.events.iter();
        events.find(|event| EVICTIONS.contains(&event.reason.raw()))
    }

    /// Whether the node shut down in good order.
    pub fn node_was_shut_down(&self) -> bool {
        self.pod_at_end().is_some_and(is_shutdown)
    }

    /// Whether the author of the workload provided for the code with which it ended.
    pub fn end_was_provided_for(&self) -> bool {
        self.pod_at_end().is_some_and(|pod| pod.provided.is_some())
    }

    /// How the container is run, if it ended with status 0 although it should go on, for the third time within a while.
    pub fn clean_loop(&self) -> Option<Reruns> {
        let (pod, exit) = (self.pod_at_end()?, self.exit?);
        let reruns = pod
            .reruns
            .filter(|reruns| reruns.always && reruns.restarts >= LOOP_RESTARTS)?;
        let since = exit.record.finished_at.since(reruns.previous_end?);
        (self.code() == Some(0) && since <= LOOP_GAP).then_some(reruns)
    }

    /// The probe that ended the container: the kubelet stops it with SIGTERM, then with SIGKILL after the grace period.
    pub fn deadly_probe(&self) -> Option<&'a ProbeFailure> {
        let (pod, exit) = (self.pod_at_end()?, self.exit?);
        let probe = pod.probe.as_ref().filter(|probe| probe.kind != ProbeKind::Readiness)?;
        let end = exit.record.finished_at;
        let grace = Duration::from_secs(u64::from(pod.grace_seconds)).saturating_add(PROBE_LAG);
        let in_time = probe.last_at <= end.saturating_add(CLOCKS) && end.since(probe.last_at) <= grace;
        let stopped = self.signal().is_some_and(|s| s == Signal::KILL || s == Signal::TERM) || self.code() == Some(0);
        (in_time && stopped).then_some(probe)
    }
}

fn is_shutdown(pod: &PodContext) -> bool {
    SHUTDOWNS.contains(&pod.reason.raw())
}
