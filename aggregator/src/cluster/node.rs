//! A node and a namespace as the index keeps them.
//!
//! Owns the records and how they are read. Must not know tables.

use std::{collections::BTreeMap, sync::Arc};

use inquest_shared::clock::UnixNanos;

use super::{
    id::{Uid, bounded},
    owner::MAX_MESSAGE,
    pool::Pool,
    wire::{Condition as ConditionWire, NamespaceWire, NodeWire, time},
};

/// Longest value of an annotation that is kept, in bytes. The last applied configuration of a tool can be as large as the
/// object, and no route looks at it.
const MAX_ANNOTATION: usize = 256;

/// A node.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Node {
    /// Name.
    pub name: Arc<str>,
    /// Uid.
    pub uid: Uid,
    /// `status.nodeInfo.bootID`; another one means that the node was started anew.
    pub boot_id: Box<str>,
    /// Conditions: `Ready`, `MemoryPressure`, `DiskPressure`, `PIDPressure`, `NetworkUnavailable` and those of others.
    pub conditions: Box<[Condition]>,
    /// Whether it was cordoned.
    pub unschedulable: bool,
    /// Keys of its taints.
    pub taints: Box<[Arc<str>]>,
    /// When it was made.
    pub created: UnixNanos,
}

/// A condition of a node or a workload.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Condition {
    /// Type.
    pub name: Arc<str>,
    /// `True`, `False` or `Unknown`.
    pub status: Arc<str>,
    /// Reason.
    pub reason: Arc<str>,
    /// Message, at most 512 bytes.
    pub message: Box<str>,
    /// When the status changed last.
    pub since: Option<UnixNanos>,
}

/// A namespace.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Namespace {
    /// Name.
    pub name: Arc<str>,
    /// Uid.
    pub uid: Uid,
    /// Labels.
    pub labels: BTreeMap<Box<str>, Box<str>>,
    /// Annotations; values beyond 256 bytes are left out.
    pub annotations: BTreeMap<Box<str>, Box<str>>,
    /// Whether it is being deleted.
    pub terminating: bool,
}

impl Condition {
    pub(super) fn read(wire: &ConditionWire, pool: &mut Pool) -> Self {
        Self {
            name: pool.text(&wire.r#type),
            status: pool.text(&wire.status),
            reason: pool.text(&wire.reason),
            message: bounded(&wire.message, MAX_MESSAGE),
            since: time(wire.last_transition_time.as_ref()),
        }
    }

    /// Whether it holds.
    #[must_use]
    pub fn holds(&self) -> bool {
        &*self.status == "True"
    }
}

impl Node {
    pub(super) fn read(wire: &NodeWire, pool: &mut Pool) -> Self {
        let conditions = wire.status.conditions.iter();
        Self {
            name: pool.text(&wire.metadata.name),
            uid: Uid::parse(&wire.metadata.uid),
            boot_id: wire.status.node_info.boot_id.as_str().into(),
            conditions: conditions.map(|condition| Condition::read(condition, pool)).collect(),
            unschedulable: wire.spec.unschedulable,
            taints: wire.spec.taints.iter().map(|taint| pool.text(&taint.key)).collect(),
            created: time(wire.metadata.creation_timestamp.as_ref()).unwrap_or_default(),
        }
    }

    /// The condition of that type.
    #[must_use]
    pub fn condition(&self, name: &str) -> Option<&Condition> {
        self.conditions.iter().find(|condition| &*condition.name == name)
    }

    /// Whether it is `Ready`.
    #[must_use]
    pub fn ready(&self) -> bool {
        self.condition("Ready").is_some_and(Condition::holds)
    }
}

impl Namespace {
    pub(super) fn read(wire: &NamespaceWire, pool: &mut Pool) -> Self {
        let meta = &wire.metadata;
        let kept = |map: &BTreeMap<String, String>| {
            let short = map.iter().filter(|(_, value)| value.len() <= MAX_ANNOTATION);
            short
                .map(|(key, value)| (key.as_str().into(), value.as_str().into()))
                .collect()
        };
        Self {
            name: pool.text(&meta.name),
            uid: Uid::parse(&meta.uid),
            labels: kept(&meta.labels),
            annotations: kept(&meta.annotations),
            terminating: meta.deletion_timestamp.is_some(),
        }
    }
}
