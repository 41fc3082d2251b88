//! Pods without a node, pods without their volumes, and pods that were taken off their node.

use std::time::Duration;

use inquest_shared::{cause::EVICTIONS, model::ReportKind};

use super::{
    Detector, View,
    sight::{Sight, of_pod, place_of, report},
};
use crate::cluster::{Kind, Phase, Pod, PodView, Rare, Warning};

pub(super) const UNSCHEDULED: Detector = Detector {
    needs: &[Kind::Pods],
    look: |view| seen(view, unscheduled),
};
pub(super) const UNMOUNTED: Detector = Detector {
    needs: &[Kind::Pods, Kind::Events],
    look: |view| seen(view, unmounted),
};
pub(super) const EVICTED: Detector = Detector {
    needs: &[Kind::Pods],
    look: |view| seen(view, evicted),
};

/// Reasons of warnings about volumes. Source: kubernetes `pkg/kubelet/events/event.go` and the attach/detach controller.
const VOLUMES: &[&str] = &["FailedMount", "FailedAttachVolume", "FailedMapVolume"];
/// The kubelet tries a volume again after at most some two minutes, and says so each time.
const VOLUME_TRIES: Duration = Duration::from_secs(300);

/// A state of a pod as a whole.
struct State {
    kind: ReportKind,
    reason: String,
    message: String,
}

fn seen(view: &View<'_>, state: fn(&View<'_>, &PodView) -> Option<State>) -> Option<Vec<Sight>> {
    let wanted = view.troubled.iter().filter(|pod| pod.deletion_requested().is_none());
    let seen = wanted.filter_map(|pod| {
        let State { kind, reason, message } = state(view, pod)?;
        Some(Sight {
            episode: format!("{}/{kind}", pod.uid),
            subject: of_pod(view.index, pod)?,
            node: place_of(view.index, pod),
            report: report(kind, &reason, &message, None),
        })
    });
    Some(seen.collect())
}

fn rare(pod: &Pod) -> Option<&Rare> {
    pod.rare.as_deref()
}

fn unscheduled(_: &View<'_>, pod: &PodView) -> Option<State> {
    let message = rare(pod)?.unscheduled.as_deref().filter(|_| pod.node.is_none())?;
    Some(State {
        kind: ReportKind::Unscheduled,
        reason: "FailedScheduling".to_owned(),
        message: message.to_owned(),
    })
}

fn unmounted(view: &View<'_>, pod: &PodView) -> Option<State> {
    if pod.phase != Phase::Pending {
        return None;
    }
    let warnings = view.index.events_of(&pod.uid);
    let recent = |event: &Warning| event.last.is_some_and(|last| view.now.since(last) < VOLUME_TRIES);
    let mut newest = warnings
        .iter()
        .rev()
        .filter(|event| VOLUMES.contains(&&*event.reason) && recent(event));
    let warning = newest.next()?;
    Some(State {
        kind: ReportKind::Mount,
        reason: warning.reason.to_string(),
        message: warning.message.to_string(),
    })
}

fn evicted(_: &View<'_>, pod: &PodView) -> Option<State> {
    let rare = rare(pod)?;
    let reason = rare
        .status_reason
        .as_deref()
        .filter(|reason| EVICTIONS.contains(reason))?;
    Some(State {
        kind: ReportKind::Eviction,
        reason: reason.to_owned(),
        message: rare.status_message.as_deref().unwrap_or_default().to_owned(),
    })
}
