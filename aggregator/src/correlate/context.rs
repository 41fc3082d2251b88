//! The apiserver's word on a pod, read from the index.

use inquest_shared::{
    clock::UnixNanos,
    model::{PodContext, ProbeFailure, ProbeKind, Untrusted},
};

use crate::cluster::{ClusterIndex, Pod, Rare, Uid, Warning};

/// Longest text taken over; the index keeps at most this much.
const MAX_TEXT: usize = 512;
/// An event of a probe may be stamped this much later than the end that it led to.
const CLOCKS_S: u64 = 2;
/// Grace period of a pod that names none. Source: kubernetes.io, "Pod Lifecycle", Termination of Pods.
const DEFAULT_GRACE_S: u32 = 30;
/// How the kubelet's event `Unhealthy` begins. Source: kubernetes `pkg/kubelet/prober`.
const PROBES: &[(&str, ProbeKind)] = &[
    ("Liveness probe ", ProbeKind::Liveness),
    ("Startup probe ", ProbeKind::Startup),
];

/// What may explain the end of a container of this pod, with the time of the newest fact.
pub(super) fn context_of(
    index: &ClusterIndex,
    pod: &Pod,
    container: &str,
    end: Option<UnixNanos>,
) -> (UnixNanos, PodContext) {
    let mut context = PodContext {
        probe: end.and_then(|end| last_probe(index, pod, container, end)),
        ..PodContext::default()
    };
    if context.probe.is_some() {
        context.grace_seconds = DEFAULT_GRACE_S;
    }
    if let Some(rare) = pod.rare.as_deref().filter(|rare| !is_quiet(rare)) {
        let text = |text: Option<&str>| Untrusted::bounded(text.unwrap_or_default(), MAX_TEXT);
        context.grace_seconds = u32::try_from(rare.grace_seconds).unwrap_or_default();
        let grace = i64::from(context.grace_seconds).saturating_mul(1_000_000_000);
        context.deletion_requested_at = rare.deletion.map(|at| UnixNanos(at.0.saturating_sub(grace)));
        context.disruption = text(rare.disruption.as_deref());
        context.reason = text(rare.status_reason.as_deref());
        context.message = text(rare.status_message.as_deref());
    }
    let probed = context.probe.as_ref().map(|probe| probe.last_at);
    let at = context.deletion_requested_at.max(probed).or(end).unwrap_or(pod.created);
    (at, context)
}

/// Whether it says nothing about the pod's end: a static pod has a hash, and that is all.
fn is_quiet(rare: &Rare) -> bool {
    rare.deletion.is_none() && rare.disruption.is_none() && rare.status_reason.is_none()
}

/// The failure of a probe that came last before the end. The kubelet names a static pod by its hash.
fn last_probe(index: &ClusterIndex, pod: &Pod, container: &str, end: UnixNanos) -> Option<ProbeFailure> {
    let hash = pod.rare.as_deref().and_then(|rare| rare.static_hash.as_deref());
    let object = hash.map_or_else(|| pod.uid.clone(), Uid::parse);
    let part = format!("{{{container}}}");
    let latest = end.saturating_add(std::time::Duration::from_secs(CLOCKS_S));
    let events = index.events_of(&object);
    let of_container = events
        .iter()
        .filter(|event| event.reason.as_ref() == "Unhealthy" && event.part.ends_with(&part));
    of_container
        .filter_map(|event| failure(event))
        .filter(|failure| failure.last_at <= latest)
        .max_by_key(|failure| failure.last_at)
}

fn failure(event: &Warning) -> Option<ProbeFailure> {
    let (_, kind) = PROBES.iter().find(|(begin, _)| event.message.starts_with(begin))?;
    Some(ProbeFailure {
        kind: *kind,
        count: event.count,
        last_at: event.last.or(event.first)?,
        message: Untrusted::bounded(&event.message, MAX_TEXT),
    })
}
