//! What changed in a cluster that may matter to an incident, and the queue in which it waits.
//!
//! Owns the changes and the queue. The queue keeps one change for each object and aspect: a newer one takes the place of the
//! older, so a pod that flaps costs one entry. When it is full, further objects are dropped and counted, and the next batch
//! says that the index must be read anew. Must not know connections or the engine.

use std::{
    collections::{HashMap, VecDeque},
    sync::Arc,
};

use super::{
    events::Warning,
    id::Uid,
    node::{Condition, Node},
    pod::Terminated,
    pods::PodView,
    rollout::Workload,
};

/// Changes that wait at most. A change is a few pointers into records that exist anyway, some 300 bytes.
pub(super) const CAPACITY: usize = 16_384;

/// How a change came to light.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Found {
    /// The first list: it was so before the aggregator looked, perhaps for long.
    Baseline,
    /// A later list: it happened while the watch was down.
    Relist,
    /// The watch told it when it happened.
    Live,
}

/// A change with the way it came to light.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClusterChange {
    /// The way.
    pub found: Found,
    /// What changed.
    pub what: Change,
}

/// What changed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Change {
    /// Somebody asked for the deletion of the pod.
    DeletionRequested(PodView),
    /// The pod is deleted, or all its containers ended well.
    PodGone(PodView),
    /// The pod failed as a whole, or the reason in its status changed.
    PodFailed(PodView),
    /// The pod is about to be disrupted: condition `DisruptionTarget`.
    PodDisrupted(PodView),
    /// The reason why a container waits changed; `None` when it waits no longer.
    ContainerWaiting {
        /// The pod.
        pod: PodView,
        /// Name of the container.
        container: Box<str>,
        /// The reason, for example `ImagePullBackOff`.
        reason: Option<Arc<str>>,
    },
    /// The end of an instance appeared in the status.
    ContainerTerminated {
        /// The pod.
        pod: PodView,
        /// Name of the container.
        container: Box<str>,
        /// The end.
        end: Terminated,
    },
    /// A condition of a node changed, or it appeared with one that is not as it should be.
    NodeCondition {
        /// The node.
        node: Arc<Node>,
        /// The condition as it is now.
        condition: Condition,
    },
    /// A condition of a workload changed.
    Rollout {
        /// The workload.
        workload: Arc<Workload>,
        /// The condition as it is now.
        condition: Condition,
    },
    /// A warning came, or came again.
    Warning(Arc<Warning>),
}

/// The object and the aspect of it: changes that are equal in both replace each other.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct Subject {
    object: Uid,
    aspect: u8,
    part: Arc<str>,
}

impl Change {
    fn subject(&self) -> Subject {
        let (object, aspect, part): (&Uid, u8, &str) = match self {
            Self::DeletionRequested(pod) => (&pod.uid, 0, ""),
            Self::PodGone(pod) => (&pod.uid, 1, ""),
            Self::PodFailed(pod) => (&pod.uid, 2, ""),
            Self::PodDisrupted(pod) => (&pod.uid, 3, ""),
            Self::ContainerWaiting { pod, container, .. } => (&pod.uid, 4, container),
            Self::ContainerTerminated { pod, container, .. } => (&pod.uid, 5, container),
            Self::NodeCondition { node, condition } => (&node.uid, 6, &condition.name),
            Self::Rollout { workload, condition } => (&workload.uid, 7, &condition.name),
            Self::Warning(warning) => (&warning.event, 8, ""),
        };
        Subject {
            object: object.clone(),
            aspect,
            part: part.into(),
        }
    }
}

/// Changes taken from the queue.
#[derive(Debug, Default)]
pub struct Batch {
    /// In the order in which their objects first changed.
    pub changes: Vec<ClusterChange>,
    /// Changes were dropped, or nobody listened: what the index says now holds, whatever was told before.
    pub resync: bool,
}

/// What happened to changes that were pushed.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Pushed {
    pub(super) replaced: u64,
    pub(super) dropped: u64,
}

/// The queue. Nothing is kept until somebody listens.
#[derive(Default)]
pub(super) struct Queue {
    listening: bool,
    resync: bool,
    order: VecDeque<Subject>,
    waiting: HashMap<Subject, ClusterChange>,
}

impl Queue {
    /// Starts to keep changes; those from before are lost, so the first batch says so.
    pub(super) fn listen(&mut self) {
        self.listening = true;
        self.resync = true;
    }

    pub(super) fn push(&mut self, changes: Vec<ClusterChange>) -> Pushed {
        let mut pushed = Pushed::default();
        if !self.listening {
            return pushed;
        }
        for change in changes {
            let subject = change.what.subject();
            if let Some(waiting) = self.waiting.get_mut(&subject) {
                *waiting = change;
                pushed.replaced += 1;
            } else if self.waiting.len() >= CAPACITY {
                self.resync = true;
                pushed.dropped += 1;
            } else {
                self.order.push_back(subject.clone());
                self.waiting.insert(subject, change);
            }
        }
        pushed
    }

    /// At most `max` changes; `None` if there is nothing to tell.
    pub(super) fn take(&mut self, max: usize) -> Option<Batch> {
        if self.order.is_empty() && !self.resync {
            return None;
        }
        let count = self.order.len().min(max);
        let subjects = self.order.drain(..count);
        let changes = subjects.filter_map(|subject| self.waiting.remove(&subject)).collect();
        let resync = std::mem::take(&mut self.resync);
        Some(Batch { changes, resync })
    }
}
