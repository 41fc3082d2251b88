//! Containers that wait for more than their start.

use inquest_shared::model::{ReportKind, Subject, clean_name};

use super::{
    Detector, View,
    sight::{Sight, of_pod, place_of, report},
};
use crate::cluster::{Container, ContainerState, Kind, Pod};

pub(super) const WAITING: Detector = Detector {
    needs: &[Kind::Pods],
    look,
};

/// Reasons of a waiting container. `CrashLoopBackOff` is none: it follows from ends that the node tells.
/// Source: kubernetes `pkg/kubelet/images/types.go` and `pkg/kubelet/kuberuntime/kuberuntime_container.go`.
const REASONS: &[(&str, ReportKind)] = &[
    ("ErrImagePull", ReportKind::Image),
    ("ImagePullBackOff", ReportKind::Image),
    ("InvalidImageName", ReportKind::Image),
    ("ErrImageNeverPull", ReportKind::Image),
    ("ImageInspectError", ReportKind::Image),
    ("RegistryUnavailable", ReportKind::Image),
    ("SignatureValidationFailed", ReportKind::Image),
    ("CreateContainerConfigError", ReportKind::Config),
    ("CreateContainerError", ReportKind::Start),
    ("RunContainerError", ReportKind::Start),
    ("PreCreateHookError", ReportKind::Hook),
    ("PreStartHookError", ReportKind::Hook),
    ("PostStartHookError", ReportKind::Hook),
];

fn look(view: &View<'_>) -> Option<Vec<Sight>> {
    let wanted = view.troubled.iter().filter(|pod| pod.deletion_requested().is_none());
    Some(wanted.flat_map(|pod| of_containers(view, pod)).collect())
}

fn of_containers(view: &View<'_>, pod: &Pod) -> Vec<Sight> {
    let waiting: Vec<_> = pod.containers.iter().filter_map(|c| Some((c, kind_of(c)?))).collect();
    if waiting.is_empty() {
        return Vec::new();
    }
    let Some(subject) = of_pod(view.index, pod) else {
        return Vec::new();
    };
    let seen = waiting.into_iter().filter_map(|(container, kind)| {
        let waiting = container.trouble.as_deref()?.waiting.as_ref()?;
        let name = &container.spec.name;
        Some(Sight {
            episode: format!("{}/{name}/{}", pod.uid, container.restarts),
            subject: Subject {
                container: clean_name(name),
                image: clean_name(&container.spec.image),
                attempt: container.restarts,
                ..subject.clone()
            },
            node: place_of(view.index, pod),
            report: report(kind, &waiting.reason, &waiting.message, None),
        })
    });
    seen.collect()
}

fn kind_of(container: &Container) -> Option<ReportKind> {
    let waiting = container.trouble.as_deref()?.waiting.as_ref()?;
    let known = REASONS.iter().find(|(reason, _)| *reason == &*waiting.reason);
    known
        .filter(|_| container.state == ContainerState::Waiting)
        .map(|(_, kind)| *kind)
}
