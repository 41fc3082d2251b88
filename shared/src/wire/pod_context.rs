//! What the apiserver says about a pod.

use inquest_proto::ingest::v1 as pb;

use super::WireError;
use crate::{
    clock::UnixNanos,
    model::{MAX_EVENTS, PodContext, PodEvent, ProbeFailure, ProbeKind, Provision, Reruns, Untrusted},
};

/// Longest reason kept; the API's own have at most 40 bytes.
const MAX_REASON: usize = 64;
/// Longest message kept; the kubelet's are a sentence.
const MAX_MESSAGE: usize = 1024;

impl From<&PodContext> for pb::PodContext {
    fn from(pod: &PodContext) -> Self {
        Self {
            current: pod.current,
            deletion_requested_at_ns: pod.deletion_requested_at.map(|at| at.0),
            grace_seconds: pod.grace_seconds,
            disruption: pod.disruption.raw().to_owned(),
            reason: pod.reason.raw().to_owned(),
            message: pod.message.raw().to_owned(),
            probe: pod.probe.as_ref().map(|probe| pb::ProbeFailure {
                kind: probe.kind.number(),
                count: probe.count,
                last_at_ns: probe.last_at.0,
                message: probe.message.raw().to_owned(),
            }),
            reruns: pod.reruns.map(|reruns| pb::Reruns {
                always: reruns.always,
                restarts: reruns.restarts,
                previous_end_ns: reruns.previous_end.map(|at| at.0),
            }),
            provided: pod.provided.map_or(0, Provision::number),
            events: pod.events.iter().map(Into::into).collect(),
        }
    }
}

impl TryFrom<pb::PodContext> for PodContext {
    type Error = WireError;

    fn try_from(pod: pb::PodContext) -> Result<Self, WireError> {
        Ok(Self {
            current: pod.current,
            deletion_requested_at: pod.deletion_requested_at_ns.map(UnixNanos),
            grace_seconds: pod.grace_seconds,
            disruption: Untrusted::bounded(&pod.disruption, MAX_REASON),
            reason: Untrusted::bounded(&pod.reason, MAX_REASON),
            message: Untrusted::bounded(&pod.message, MAX_MESSAGE),
            probe: pod.probe.map(ProbeFailure::try_from).transpose()?,
            reruns: pod.reruns.map(|reruns| Reruns {
                always: reruns.always,
                restarts: reruns.restarts,
                previous_end: reruns.previous_end_ns.map(UnixNanos),
            }),
            provided: Provision::from_number(pod.provided),
            events: pod.events.iter().take(MAX_EVENTS).map(Into::into).collect(),
        })
    }
}

impl From<&PodEvent> for pb::PodEvent {
    fn from(event: &PodEvent) -> Self {
        Self {
            reason: event.reason.raw().to_owned(),
            message: event.message.raw().to_owned(),
            count: event.count,
            last_at_ns: event.last_at.0,
        }
    }
}

impl From<&pb::PodEvent> for PodEvent {
    fn from(event: &pb::PodEvent) -> Self {
        Self {
            reason: Untrusted::bounded(&event.reason, MAX_REASON),
            message: Untrusted::bounded(&event.message, MAX_MESSAGE),
            count: event.count,
            last_at: UnixNanos(event.last_at_ns),
        }
    }
}

impl TryFrom<pb::ProbeFailure> for ProbeFailure {
    type Error = WireError;

    fn try_from(probe: pb::ProbeFailure) -> Result<Self, WireError> {
        let kind = ProbeKind::from_number(probe.kind).ok_or(WireError::Number {
            field: "pod_context.probe.kind",
            number: probe.kind,
        })?;
        Ok(Self {
            kind,
            count: probe.count,
            last_at: UnixNanos(probe.last_at_ns),
            message: Untrusted::bounded(&probe.message, MAX_MESSAGE),
        })
    }
}
