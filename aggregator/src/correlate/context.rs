//! The apiserver's word on a pod, read from the index.

use std::{sync::Arc, time::Duration};

use inquest_shared::{
    clock::UnixNanos,
    model::{Finding, PodContext, ProbeFailure, ProbeKind, Provision, Reruns, RuntimeExit, Untrusted},
};

use super::events;
use crate::cluster::{ClusterIndex, Pod, Rare, RestartPolicy, Uid, Warning};

/// Longest text taken over; the index keeps at most this much.
const MAX_TEXT: usize = 512;
/// An event of a probe may be stamped this much later than the end that it led to.
const CLOCKS_S: u64 = 2;
/// The apiserver's times are whole seconds, so an end is the same one within that.
const SECOND: Duration = Duration::from_secs(1);
/// How the kubelet's event `Unhealthy` begins. Source: kubernetes `pkg/kubelet/prober`.
const PROBES: &[(&str, ProbeKind)] = &[
    ("Liveness probe ", ProbeKind::Liveness),
    ("Startup probe ", ProbeKind::Startup),
];

/// What may explain the end of a container of this pod, with the time of the newest fact.
pub(super) fn context_of(index: &ClusterIndex, pod: &Pod, finding: &Finding, events: usize) -> (UnixNanos, PodContext) {
    let (container, exit) = (&finding.subject.container, finding.evidence.exit());
    let end = exit.map(|exit| exit.finished_at);
    let warnings = index.events_of(&object_of(pod));
    let mut context = PodContext {
        probe: end.and_then(|end| last_probe(&warnings, container, end)),
        reruns: exit
            .filter(|exit| exit.exit_code == 0)
            .and_then(|exit| reruns(pod, finding, exit)),
        provided: exit.and_then(|exit| provided(index, pod, container, exit.exit_code)),
        events: events::newest(&warnings, finding.observed_at, events),
        ..PodContext::default()
    };
    if context.probe.is_some() {
        context.grace_seconds = u32::from(pod.grace_seconds);
    }
    if let Some(rare) = pod.rare.as_deref().filter(|rare| !is_quiet(rare)) {
        let text = |text: Option<&str>| Untrusted::bounded(text.unwrap_or_default(), MAX_TEXT);
        context.grace_seconds = u32::try_from(rare.grace_seconds).unwrap_or_default();
        context.deletion_requested_at = pod.deletion_requested();
        context.disruption = text(rare.disruption.as_deref());
        context.reason = text(rare.status_reason.as_deref());
        context.message = text(rare.status_message.as_deref());
    }
    let probed = context.probe.as_ref().map(|probe| probe.last_at);
    let at = context.deletion_requested_at.max(probed).or(end).unwrap_or(pod.created);
    (at, context)
}

/// What provides for this end: the job that the pod is of, or a rule of the container.
fn provided(index: &ClusterIndex, pod: &Pod, container: &str, code: i32) -> Option<Provision> {
    let known = pod.container(container)?;
    let disrupted = pod.rare.as_deref().is_some_and(|rare| rare.disruption.is_some());
    let job = pod.owner.as_deref().and_then(|owner| index.job(&owner.uid));
    let policy = job.as_deref().and_then(|job| job.failure_policy.as_deref());
    if policy.is_some_and(|policy| policy.ignores(container, code, disrupted)) {
        return Some(Provision::FailurePolicy);
    }
    let mut rules = known.spec.restart_rules.iter();
    rules.any(|codes| codes.cover(code)).then_some(Provision::RestartRule)
}

/// Whether it says nothing about the pod's end: a static pod has a hash, and that is all.
fn is_quiet(rare: &Rare) -> bool {
    rare.deletion.is_none() && rare.disruption.is_none() && rare.status_reason.is_none()
}

/// The kubelet names a static pod by its hash.
fn object_of(pod: &Pod) -> Uid {
    let hash = pod.rare.as_deref().and_then(|rare| rare.static_hash.as_deref());
    hash.map_or_else(|| pod.uid.clone(), Uid::parse)
}

/// How a container that ended is run. The node knows of a restart before the apiserver does.
fn reruns(pod: &Pod, finding: &Finding, exit: &RuntimeExit) -> Option<Reruns> {
    let container = pod.container(&finding.subject.container)?;
    let trouble = container.trouble.as_deref();
    let ends = trouble
        .into_iter()
        .flat_map(|trouble| [&trouble.last, &trouble.terminated]);
    let before = ends.flatten().filter_map(|end| end.finished);
    Some(Reruns {
        always: container.spec.restart == RestartPolicy::Always,
        restarts: container.restarts.max(finding.subject.attempt),
        previous_end: before.filter(|at| at.saturating_add(SECOND) < exit.finished_at).max(),
    })
}

/// The failure of a probe that came last before the end.
fn last_probe(warnings: &[Arc<Warning>], container: &str, end: UnixNanos) -> Option<ProbeFailure> {
    let part = format!("{{{container}}}");
    let latest = end.saturating_add(Duration::from_secs(CLOCKS_S));
    let of_container = warnings
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
