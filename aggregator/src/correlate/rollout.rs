//! How the pods of a workload fare by revision, and what the index knows of its newest change.
//!
//! Owns the counts, their cache, and which crash may come from a new revision. Must not ask the apiserver.

mod step;

use std::{
    collections::{BTreeMap, HashMap, VecDeque},
    sync::Arc,
    time::Duration,
};

use inquest_shared::{
    clock::UnixNanos,
    model::{MAX_CHANGES, MAX_REVISIONS, RevisionShare, RolloutContext, TemplateChange, clean_name},
};

use super::template::Pair;
use crate::cluster::{ClusterIndex, Owner, PodView, ReplicaSet, Revision, Siblings, Uid};
use step::Step;

/// Pods that crashed longer ago belong to another story.
const WINDOW: Duration = Duration::from_secs(600);
/// A crash that comes this soon after a new revision may come from it.
const SUSPECT: Duration = Duration::from_secs(3_600);
/// How long a count of the pods of a workload is used again. Counting looks at all of them, and a storm brings a thousand
/// findings a second.
const FRESH: Duration = Duration::from_secs(1);
/// How long a death is remembered that the apiserver has not heard of: kubelets report within seconds.
const HEARSAY: Duration = Duration::from_secs(60);
/// Workloads whose counts are remembered; the oldest go first and are counted again.
const MOST: usize = 1_024;
/// Deaths remembered of one workload; further ones are counted when the apiserver knows of them.
const MOST_DEAD: usize = 256;

/// What is known of the rollouts of workloads that crashed lately.
#[derive(Default)]
pub(super) struct Rollouts {
    seen: HashMap<(Arc<str>, Uid), Seen>,
    order: VecDeque<(Arc<str>, Uid)>,
}

/// A workload, counted at a time.
#[derive(Default)]
struct Seen {
    counted: Option<UnixNanos>,
    siblings: Siblings,
    /// Of a deployment.
    sets: Vec<Arc<ReplicaSet>>,
    dead: BTreeMap<Uid, UnixNanos>,
}

/// A crash with its workload.
pub(super) struct Crash<'a> {
    pub(super) index: &'a ClusterIndex,
    pub(super) pod: &'a PodView,
    pub(super) owner: &'a Owner,
    /// When it happened, by the node's clock.
    pub(super) at: UnixNanos,
    /// Now, by the aggregator's.
    pub(super) now: UnixNanos,
}

/// What the index says about a crash.
pub(super) struct Snapshot {
    pub(super) context: RolloutContext,
    /// The revisions to compare, where there are two.
    pub(super) pair: Option<Pair>,
}

impl Rollouts {
    /// What is known of the workload of a crash; `None` for workloads without revisions, and
    /// for old news. `known` gives the differences of two
    /// revisions that were compared before: a crash that goes on for hours began when they were.
    pub(super) fn snapshot(
        &mut self,
        crash: &Crash<'_>,
        known: impl Fn(&Pair) -> Option<Arc<[TemplateChange]>>,
    ) -> Option<Snapshot> {
        let revised = matches!(&*crash.owner.kind, "Deployment" | "StatefulSet" | "DaemonSet");
        // How pods fare now says nothing about a crash that an agent tells of after hours without a connection.
        if !revised || crash.now.since(crash.at) > WINDOW {
            return None;
        }
        let seen = self.look(crash);
        let revisions = seen.siblings.revisions.iter().take(MAX_REVISIONS);
        let mut context = RolloutContext {
            revisions: revisions.map(share).collect(),
            ..RolloutContext::default()
        };
        let Some(step) = step::of(crash, &seen.siblings, &seen.sets) else {
            return Some(Snapshot { context, pair: None });
        };
        context.revision = clean_name(&step.revision);
        let compared = step.pair.as_ref().and_then(known);
        let recent = step.started.is_some_and(|at| crash.at.since(at) <= SUSPECT);
        if !recent && compared.is_none() {
            return Some(Snapshot { context, pair: None });
        }
        let Step {
            started,
            previous,
            images,
            pair,
            ..
        } = step;
        (context.started_at, context.previous, context.changes) = (started, clean_name(&previous), images);
        unite(&mut context.changes, compared.as_deref().unwrap_or_default());
        Some(Snapshot { context, pair })
    }

    fn look(&mut self, crash: &Crash<'_>) -> &Seen {
        let key = (Arc::clone(crash.index.name()), crash.owner.uid.clone());
        if !self.seen.contains_key(&key) {
            self.order.push_back(key.clone());
            if self.order.len() > MOST {
                self.order.pop_front().map(|oldest| self.seen.remove(&oldest));
            }
        }
        let seen = self.seen.entry(key).or_default();
        seen.look(crash);
        seen
    }
}

impl Seen {
    /// Counts the pods, or corrects the count of a moment ago by the one that crashed.
    fn look(&mut self, crash: &Crash<'_>) {
        let (now, pod) = (crash.now, crash.pod);
        let since = crash.at.saturating_sub(WINDOW);
        self.dead.retain(|_, at| now.abs_diff(*at) < HEARSAY);
        let news = self.dead.len() < MOST_DEAD && self.dead.insert(pod.uid.clone(), now).is_none();
        if self.counted.is_some_and(|at| now.abs_diff(at) < FRESH) {
            if news && pod.gone.is_none() {
                self.siblings.correct(pod, since);
            }
            return;
        }
        let dead = &self.dead;
        self.siblings = crash
            .index
            .siblings_knowing(&crash.owner.uid, since, |uid| dead.contains_key(uid));
        self.sets = match &*crash.owner.kind {
            "Deployment" => crash.index.replica_sets_of(&crash.owner.uid),
            _ => Vec::new(),
        };
        self.counted = Some(now);
    }
}

/// Number of the revision, else its hash.
fn name_of(revision: &Revision) -> String {
    let hash = || revision.hash.as_deref().unwrap_or_default().to_owned();
    revision.number.map_or_else(hash, |number| number.to_string())
}

fn share(revision: &Revision) -> RevisionShare {
    RevisionShare {
        revision: clean_name(&name_of(revision)),
        crashed: revision.crashed,
        healthy: revision.healthy,
        other: revision.other,
    }
}

/// Adds what is not named yet. What the pods themselves say stays, so that an answer of the apiserver only ever adds to it.
pub(super) fn unite(changes: &mut Vec<TemplateChange>, more: &[TemplateChange]) {
    for change in more {
        let same = |known: &&TemplateChange| {
            (known.what, &known.container, &known.name) == (change.what, &change.container, &change.name)
        };
        if !changes.iter().any(|known| same(&known)) {
            changes.push(change.clone());
        }
    }
    changes.sort();
    changes.truncate(MAX_CHANGES);
}
