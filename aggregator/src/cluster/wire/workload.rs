//! The shapes of nodes, jobs, workloads and events.
//!
//! Owns the fields that are decoded. Must not know what they mean.

use serde::Deserialize;

use super::{Condition, Meta};

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(in crate::cluster) struct NodeWire {
    pub(in crate::cluster) metadata: Meta,
    pub(in crate::cluster) spec: NodeSpec,
    pub(in crate::cluster) status: NodeStatus,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(in crate::cluster) struct NodeSpec {
    pub(in crate::cluster) unschedulable: bool,
    pub(in crate::cluster) taints: Vec<Taint>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(in crate::cluster) struct Taint {
    pub(in crate::cluster) key: String,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub(in crate::cluster) struct NodeStatus {
    pub(in crate::cluster) conditions: Vec<Condition>,
    pub(in crate::cluster) node_info: NodeInfo,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(in crate::cluster) struct NodeInfo {
    #[serde(rename = "bootID")]
    pub(in crate::cluster) boot_id: String,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(in crate::cluster) struct JobWire {
    pub(in crate::cluster) metadata: Meta,
    pub(in crate::cluster) spec: JobSpec,
    pub(in crate::cluster) status: JobStatus,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub(in crate::cluster) struct JobSpec {
    pub(in crate::cluster) pod_failure_policy: Option<FailurePolicyWire>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(in crate::cluster) struct FailurePolicyWire {
    pub(in crate::cluster) rules: Vec<FailureRuleWire>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub(in crate::cluster) struct FailureRuleWire {
    pub(in crate::cluster) action: String,
    pub(in crate::cluster) on_exit_codes: Option<FailureCodes>,
    pub(in crate::cluster) on_pod_conditions: Vec<FailureCondition>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub(in crate::cluster) struct FailureCodes {
    pub(in crate::cluster) container_name: String,
    pub(in crate::cluster) operator: String,
    pub(in crate::cluster) values: Vec<i32>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(in crate::cluster) struct FailureCondition {
    pub(in crate::cluster) r#type: String,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(in crate::cluster) struct JobStatus {
    pub(in crate::cluster) conditions: Vec<Condition>,
}

/// A deployment, stateful set or daemon set.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(in crate::cluster) struct WorkloadWire {
    pub(in crate::cluster) metadata: Meta,
    pub(in crate::cluster) spec: WorkloadSpec,
    pub(in crate::cluster) status: WorkloadStatus,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(in crate::cluster) struct WorkloadSpec {
    pub(in crate::cluster) replicas: Option<u32>,
    pub(in crate::cluster) paused: bool,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub(in crate::cluster) struct WorkloadStatus {
    pub(in crate::cluster) observed_generation: i64,
    pub(in crate::cluster) updated_replicas: u32,
    pub(in crate::cluster) ready_replicas: u32,
    pub(in crate::cluster) available_replicas: u32,
    pub(in crate::cluster) desired_number_scheduled: u32,
    pub(in crate::cluster) updated_number_scheduled: u32,
    pub(in crate::cluster) number_ready: u32,
    pub(in crate::cluster) number_available: u32,
    pub(in crate::cluster) current_revision: String,
    pub(in crate::cluster) update_revision: String,
    pub(in crate::cluster) conditions: Vec<Condition>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub(in crate::cluster) struct EventWire {
    pub(in crate::cluster) metadata: Meta,
    pub(in crate::cluster) involved_object: Involved,
    pub(in crate::cluster) r#type: String,
    pub(in crate::cluster) reason: String,
    pub(in crate::cluster) message: String,
    pub(in crate::cluster) count: Option<u32>,
    pub(in crate::cluster) series: Option<Series>,
    pub(in crate::cluster) first_timestamp: Option<String>,
    pub(in crate::cluster) last_timestamp: Option<String>,
    pub(in crate::cluster) event_time: Option<String>,
    pub(in crate::cluster) reporting_component: String,
    pub(in crate::cluster) source: EventSource,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub(in crate::cluster) struct Involved {
    pub(in crate::cluster) kind: String,
    pub(in crate::cluster) namespace: String,
    pub(in crate::cluster) name: String,
    pub(in crate::cluster) uid: String,
    pub(in crate::cluster) field_path: String,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub(in crate::cluster) struct Series {
    pub(in crate::cluster) count: u32,
    pub(in crate::cluster) last_observed_time: Option<String>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(in crate::cluster) struct EventSource {
    pub(in crate::cluster) component: String,
}
