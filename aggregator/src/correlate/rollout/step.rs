//! From the revision of a pod to the one before it. Pure.

use std::sync::Arc;

use inquest_shared::{
    clock::UnixNanos,
    model::{MAX_CHANGE_TEXT, TemplateChange, TemplateField, Untrusted, clean_name},
};

use super::{Crash, name_of};
use crate::{
    cluster::{ContainerKind, Pod, ReplicaSet, Revision, Siblings},
    correlate::template::{Keeper, Pair},
};

/// The way from one revision to the next.
pub(super) struct Step {
    /// Revision of the pod that crashed.
    pub(super) revision: String,
    /// The one before it; empty when there was none.
    pub(super) previous: String,
    /// When it came; `None` when that is not known.
    pub(super) started: Option<UnixNanos>,
    /// Images that differ between pods of both.
    pub(super) images: Vec<TemplateChange>,
    /// The objects that keep both.
    pub(super) pair: Option<Pair>,
}

/// The last step of the workload of a crash, as seen from its pod.
pub(super) fn of(crash: &Crash<'_>, siblings: &Siblings, sets: &[Arc<ReplicaSet>]) -> Option<Step> {
    match &*crash.owner.kind {
        "Deployment" => of_sets(crash, siblings, sets),
        _ => of_hashes(crash, siblings),
    }
}

/// Replica sets are kept for long after their last pod, and say when they were made.
fn of_sets(crash: &Crash<'_>, siblings: &Siblings, sets: &[Arc<ReplicaSet>]) -> Option<Step> {
    let name = &crash.pod.pod.owner.as_ref()?.name;
    let set = sets.iter().find(|set| set.name == *name)?;
    let revision = set.revision?;
    let older = || sets.iter().filter(|other| other.revision < Some(revision));
    let previous = older().max_by_key(|other| other.revision);
    // A replica set that is older than one before it came back: when, nobody wrote down.
    let came_back = older().any(|other| other.created > set.created);
    let old = previous.and_then(|previous| {
        siblings
            .revisions
            .iter()
            .find(|revision| revision.hash == previous.hash)
    });
    Some(Step {
        revision: revision.to_string(),
        previous: previous
            .and_then(|set| set.revision)
            .map_or_else(String::new, |number| number.to_string()),
        started: (!came_back).then_some(set.created),
        images: old.map_or_else(Vec::new, |old| images(&old.sample, &crash.pod.pod)),
        pair: previous.map(|previous| pair(crash, Keeper::ReplicaSets, &previous.name, &set.name)),
    })
}

/// Pods of stateful sets and daemon sets name their revision by a hash. A revision is new while there are pods of an older
/// one; its first pod then tells when it came.
fn of_hashes(crash: &Crash<'_>, siblings: &Siblings) -> Option<Step> {
    let all = &siblings.revisions;
    let own = all.iter().find(|revision| revision.hash == crash.pod.pod.revision)?;
    let older = all.iter().filter(|other| other.oldest < own.oldest);
    let previous = older.max_by_key(|other| other.youngest);
    let object = |revision: &Revision| {
        let hash = revision.hash.as_deref()?;
        // Stateful sets label pods with the name of the revision, daemon sets with the end of it.
        let daemons = &*crash.owner.kind == "DaemonSet";
        Some(if daemons {
            format!("{}-{hash}", crash.owner.name)
        } else {
            hash.to_owned()
        })
    };
    let objects = previous.and_then(|previous| Some((object(previous)?, object(own)?)));
    Some(Step {
        revision: name_of(own),
        previous: previous.map_or_else(String::new, name_of),
        started: previous.map(|_| own.oldest),
        images: previous.map_or_else(Vec::new, |old| images(&old.sample, &crash.pod.pod)),
        pair: objects.map(|(old, new)| pair(crash, Keeper::ControllerRevisions, &old, &new)),
    })
}

fn pair(crash: &Crash<'_>, keeper: Keeper, old: &str, new: &str) -> Pair {
    Pair {
        cluster: Arc::clone(crash.index.name()),
        namespace: Arc::clone(&crash.pod.pod.namespace),
        keeper,
        old: old.to_owned(),
        new: new.to_owned(),
    }
}

/// Containers of the same name with another image.
fn images(old: &Pod, new: &Pod) -> Vec<TemplateChange> {
    let of_template = new
        .containers
        .iter()
        .filter(|new| new.spec.kind != ContainerKind::Ephemeral);
    let changed = of_template.filter_map(|new| {
        let before = &old.container(&new.spec.name)?.spec.image;
        let text = |image: &str| Untrusted::bounded(image, MAX_CHANGE_TEXT);
        (*before != new.spec.image).then(|| TemplateChange {
            what: TemplateField::Image,
            container: clean_name(&new.spec.name),
            name: String::new(),
            before: text(before),
            after: text(&new.spec.image),
        })
    });
    changed.collect()
}
