//! Pods of one workload, told apart by revision: "3 of 3 new pods crash, 5 of 5 old ones are healthy".
//!
//! Owns what counts as crashed and healthy. Must not know tables.

use std::sync::Arc;

use inquest_shared::clock::UnixNanos;

use super::pod::{Container, ContainerKind, Phase, Pod, State};

/// The pods of one workload.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Siblings {
    /// One entry for each revision that has pods, the newest first.
    pub revisions: Vec<Revision>,
}

/// The pods of one revision.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Revision {
    /// Label `pod-template-hash` or `controller-revision-hash`; none for pods of other controllers.
    pub hash: Option<Arc<str>>,
    /// Number of the revision, where the replica set has one.
    pub number: Option<u64>,
    /// When its youngest pod was made.
    pub youngest: UnixNanos,
    /// When its oldest pod was made.
    pub oldest: UnixNanos,
    /// One of its pods: they share a template.
    pub sample: Arc<Pod>,
    /// Pods that failed, cannot start, or had a container that ended badly since the time asked for.
    pub crashed: u32,
    /// Pods that are ready and did not crash.
    pub healthy: u32,
    /// Pods that are neither, for example since they start.
    pub other: u32,
}

impl Siblings {
    /// Counts a pod.
    pub(super) fn count(&mut self, pod: &Arc<Pod>, number: Option<u64>, crashed: bool) {
        let at = self.revisions.iter().position(|revision| revision.hash == pod.revision);
        let mut revision = at.map_or_else(
            || Revision {
                hash: pod.revision.clone(),
                number,
                youngest: pod.created,
                oldest: pod.created,
                sample: Arc::clone(pod),
                crashed: 0,
                healthy: 0,
                other: 0,
            },
            |at| self.revisions.remove(at),
        );
        let count = match (crashed, pod.ready) {
            (true, _) => &mut revision.crashed,
            (false, true) => &mut revision.healthy,
            (false, false) => &mut revision.other,
        };
        *count = count.saturating_add(1);
        revision.youngest = revision.youngest.max(pod.created);
        revision.oldest = revision.oldest.min(pod.created);
        let age = |revision: &Revision| std::cmp::Reverse((revision.number, revision.youngest));
        let place = self.revisions.partition_point(|other| age(other) <= age(&revision));
        self.revisions.insert(place, revision);
    }

    /// Counts a pod as crashed whose crash the apiserver had not heard of.
    pub fn correct(&mut self, pod: &Pod, since: UnixNanos) {
        if crashed(pod, since) {
            return;
        }
        let of_pod = |revision: &&mut Revision| revision.hash == pod.revision;
        let Some(revision) = self.revisions.iter_mut().find(of_pod) else {
            return;
        };
        let count = match (pod.ready, revision.healthy, revision.other) {
            (true, 1.., _) | (false, 1.., 0) => &mut revision.healthy,
            (_, _, 1..) => &mut revision.other,
            (_, _, 0) => return,
        };
        *count = count.saturating_sub(1);
        revision.crashed = revision.crashed.saturating_add(1);
    }
}

/// Whether the apiserver knows of a crash of the pod. Ends before `since` belong to another story.
pub(super) fn crashed(pod: &Pod, since: UnixNanos) -> bool {
    let lasting = pod.containers.iter();
    let mut lasting = lasting.filter(|container| container.spec.kind != ContainerKind::Ephemeral);
    pod.phase == Phase::Failed || lasting.any(|container| in_trouble(container, since))
}

fn in_trouble(container: &Container, since: UnixNanos) -> bool {
    let Some(trouble) = container.trouble.as_deref() else {
        return false;
    };
    let stuck = trouble.waiting.as_ref().is_some_and(super::pod::Waiting::is_failure);
    let ends = [&trouble.terminated, &trouble.last].into_iter().flatten();
    let mut bad = ends.filter(|end| end.is_failure() && end.finished.is_none_or(|at| at >= since));
    (stuck && container.state != State::Running) || bad.next().is_some()
}
