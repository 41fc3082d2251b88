//! Objects of the API, reduced to the fields that the index keeps.
//!
//! Owns the shapes that are decoded; every other field is skipped while parsing and never allocated. Must not know records.
//! Names are those of the Kubernetes API reference. All fields may be missing.

mod pod;
mod workload;

use serde::Deserialize;

pub(super) use pod::{ContainerState, ContainerStatus, PodWire, RestartRuleWire, SpecContainer, TerminatedState};
pub(super) use workload::{
    EventWire, FailureCondition, FailurePolicyWire, FailureRuleWire, JobWire, NodeWire, WorkloadWire,
};

use inquest_shared::clock::UnixNanos;

/// Metadata of any object.
#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub(super) struct Meta {
    pub(super) name: String,
    pub(super) namespace: String,
    pub(super) uid: String,
    pub(super) resource_version: String,
    pub(super) generation: i64,
    pub(super) creation_timestamp: Option<String>,
    pub(super) deletion_timestamp: Option<String>,
    pub(super) deletion_grace_period_seconds: Option<i64>,
    pub(super) labels: Labels,
    pub(super) annotations: Annotations,
    pub(super) owner_references: Vec<OwnerReference>,
}

/// The labels that name a revision.
#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "kebab-case")]
pub(super) struct Labels {
    pub(super) pod_template_hash: String,
    pub(super) controller_revision_hash: String,
}

/// The annotations that are looked at.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Annotations {
    #[serde(rename = "kubernetes.io/config.hash")]
    pub(super) config_hash: String,
    #[serde(rename = "kubernetes.io/config.mirror")]
    pub(super) config_mirror: String,
    #[serde(rename = "deployment.kubernetes.io/revision")]
    pub(super) revision: String,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub(super) struct OwnerReference {
    pub(super) api_version: String,
    pub(super) kind: String,
    pub(super) name: String,
    pub(super) uid: String,
    pub(super) controller: bool,
}

/// A condition of a pod, node, job or workload.
#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub(super) struct Condition {
    pub(super) r#type: String,
    pub(super) status: String,
    pub(super) reason: String,
    pub(super) message: String,
    pub(super) last_transition_time: Option<String>,
}

/// An object of which only the metadata is asked for.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct MetaWire {
    pub(super) metadata: Meta,
}

/// A namespace: all its labels and annotations are kept, because routes may look at any of them.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct NamespaceWire {
    pub(super) metadata: NamespaceMeta,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub(super) struct NamespaceMeta {
    pub(super) name: String,
    pub(super) uid: String,
    pub(super) resource_version: String,
    pub(super) labels: std::collections::BTreeMap<String, String>,
    pub(super) annotations: std::collections::BTreeMap<String, String>,
    pub(super) deletion_timestamp: Option<String>,
}

/// One page of a list.
#[derive(Debug, Deserialize)]
pub(super) struct List<T> {
    #[serde(default)]
    pub(super) metadata: ListMeta,
    #[serde(default = "Vec::new")]
    pub(super) items: Vec<T>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub(super) struct ListMeta {
    pub(super) resource_version: String,
    pub(super) r#continue: String,
}

/// One line of a watch. The server writes the type before the object, so the object is decoded straight from the text.
#[derive(Debug, Deserialize)]
#[serde(tag = "type", content = "object", rename_all = "UPPERCASE")]
pub(super) enum Frame<T> {
    Added(T),
    Modified(T),
    Deleted(T),
    Bookmark(Bookmark),
    Error(Status),
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Bookmark {
    pub(super) metadata: BookmarkMeta,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub(super) struct BookmarkMeta {
    pub(super) resource_version: String,
    pub(super) annotations: BookmarkAnnotations,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct BookmarkAnnotations {
    /// Source: KEP-3157, "watch-list".
    #[serde(rename = "k8s.io/initial-events-end")]
    pub(super) initial_events_end: String,
}

/// A refusal.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Status {
    pub(super) code: u16,
    pub(super) reason: String,
    pub(super) message: String,
}

/// A time of the API; `None` when it is missing or cannot be read.
pub(super) fn time(text: Option<&String>) -> Option<UnixNanos> {
    text.and_then(|text| UnixNanos::parse(text))
}

/// The first text that is not empty.
pub(super) fn either<'a>(first: &'a str, second: &'a str) -> &'a str {
    if first.is_empty() { second } else { first }
}
