//! From two states of an object to changes.
//!
//! Owns what counts as a change. Pure: the same two states give the same changes. Must not know the queue.

use std::sync::Arc;

use super::{
    change::{Change, ClusterChange, Found},
    node::{Condition, Node},
    pod::{Container, Phase, Pod, Rare, Terminated},
    pods::PodView,
    rollout::Workload,
};

/// The conditions of a workload that tell of trouble. Source: API reference, `DeploymentCondition`; stateful sets and daemon
/// sets have none at present.
const ROLLOUT: [&str; 3] = ["Progressing", "Available", "ReplicaFailure"];

/// What a new state of a pod says that the old one did not. Without an old state everything is new.
pub(super) fn pod(old: Option<&Pod>, new: &Arc<Pod>, found: Found) -> Vec<ClusterChange> {
    let view = || PodView {
        pod: Arc::clone(new),
        gone: None,
    };
    let (was, is) = (rare(old), rare(Some(new)));
    let mut changes = Vec::new();
    if is.deletion.is_some() && was.deletion.is_none() {
        changes.push(Change::DeletionRequested(view()));
    }
    if is.disruption.is_some() && is.disruption != was.disruption {
        changes.push(Change::PodDisrupted(view()));
    }
    let failed = new.phase == Phase::Failed && old.is_none_or(|old| old.phase != Phase::Failed);
    if failed || (is.status_reason.is_some() && is.status_reason != was.status_reason) {
        changes.push(Change::PodFailed(view()));
    }
    for container in &new.containers {
        let before = old.and_then(|old| old.container(&container.spec.name));
        for end in ends(container) {
            if !before.is_some_and(|before| ends(before).any(|known| known == end)) {
                changes.push(Change::ContainerTerminated {
                    pod: view(),
                    container: container.spec.name.clone(),
                    end: end.clone(),
                });
            }
        }
        let reason = waits_for(Some(container));
        if reason != waits_for(before) {
            changes.push(Change::ContainerWaiting {
                pod: view(),
                container: container.spec.name.clone(),
                reason,
            });
        }
    }
    tell(changes, found)
}

/// A pod that is there no more.
pub(super) fn gone(pod: &Arc<Pod>, at: inquest_shared::clock::UnixNanos, found: Found) -> ClusterChange {
    let view = PodView {
        pod: Arc::clone(pod),
        gone: Some(at),
    };
    ClusterChange {
        found,
        what: Change::PodGone(view),
    }
}

fn rare(pod: Option<&Pod>) -> Rare {
    let rare = pod.and_then(|pod| pod.rare.as_deref());
    rare.cloned().unwrap_or_default()
}

/// The ends that a status names, the older first.
fn ends(container: &Container) -> impl Iterator<Item = &Terminated> {
    let trouble = container.trouble.as_deref();
    let ends = trouble.into_iter().flat_map(|t| [&t.last, &t.terminated]);
    ends.flatten()
}

/// The reason of a failure that keeps a container from running; the ordinary way to a start is none.
fn waits_for(container: Option<&Container>) -> Option<Arc<str>> {
    let waiting = container?.trouble.as_deref()?.waiting.as_ref()?;
    waiting.is_failure().then(|| Arc::clone(&waiting.reason))
}

/// What a new state of a node says that the old one did not.
pub(super) fn node(old: Option<&Node>, new: &Arc<Node>, found: Found) -> Vec<ClusterChange> {
    let news = changed(old.map(|old| &*old.conditions), &new.conditions, healthy_node);
    let changes = news.map(|condition| Change::NodeCondition {
        node: Arc::clone(new),
        condition,
    });
    tell(changes.collect(), found)
}

/// `Ready` has to hold, every other condition of a node must not.
fn healthy_node(condition: &Condition) -> bool {
    condition.holds() == (&*condition.name == "Ready") && &*condition.status != "Unknown"
}

/// What a new state of a workload says that the old one did not.
pub(super) fn workload(old: Option<&Workload>, new: &Arc<Workload>, found: Found) -> Vec<ClusterChange> {
    let news = changed(old.map(|old| &*old.conditions), &new.conditions, healthy_rollout);
    let known = news.filter(|condition| ROLLOUT.contains(&&*condition.name));
    let changes = known.map(|condition| Change::Rollout {
        workload: Arc::clone(new),
        condition,
    });
    tell(changes.collect(), found)
}

fn healthy_rollout(condition: &Condition) -> bool {
    condition.holds() == (&*condition.name != "ReplicaFailure")
}

/// Conditions with another status or reason than before; of an object seen for the first time only those in trouble.
fn changed<'a>(
    old: Option<&'a [Condition]>,
    new: &'a [Condition],
    healthy: fn(&Condition) -> bool,
) -> impl Iterator<Item = Condition> + 'a {
    let is_news = move |condition: &&Condition| {
        let before = old.and_then(|old| old.iter().find(|before| before.name == condition.name));
        before.map_or_else(
            || !healthy(condition),
            |before| (&before.status, &before.reason) != (&condition.status, &condition.reason),
        )
    };
    new.iter().filter(is_news).cloned()
}

fn tell(changes: Vec<Change>, found: Found) -> Vec<ClusterChange> {
    let changes = changes.into_iter();
    changes.map(|what| ClusterChange { found, what }).collect()
}
