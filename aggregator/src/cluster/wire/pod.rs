//! The shape of a pod.
//!
//! Owns the fields of `core/v1 Pod` that are decoded. Must not know what they mean.

use serde::Deserialize;

use super::{Condition, Meta};

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(in crate::cluster) struct PodWire {
    pub(in crate::cluster) metadata: Meta,
    pub(in crate::cluster) spec: Spec,
    pub(in crate::cluster) status: PodStatus,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub(in crate::cluster) struct Spec {
    pub(in crate::cluster) node_name: String,
    pub(in crate::cluster) restart_policy: String,
    pub(in crate::cluster) termination_grace_period_seconds: Option<i64>,
    pub(in crate::cluster) containers: Vec<SpecContainer>,
    pub(in crate::cluster) init_containers: Vec<SpecContainer>,
    pub(in crate::cluster) ephemeral_containers: Vec<SpecContainer>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub(in crate::cluster) struct SpecContainer {
    pub(in crate::cluster) name: String,
    pub(in crate::cluster) image: String,
    pub(in crate::cluster) resources: Resources,
    pub(in crate::cluster) restart_policy: String,
    pub(in crate::cluster) restart_policy_rules: Vec<RestartRuleWire>,
    pub(in crate::cluster) liveness_probe: Option<Present>,
    pub(in crate::cluster) readiness_probe: Option<Present>,
    pub(in crate::cluster) startup_probe: Option<Present>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub(in crate::cluster) struct RestartRuleWire {
    pub(in crate::cluster) action: String,
    pub(in crate::cluster) exit_codes: RestartCodes,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(in crate::cluster) struct RestartCodes {
    pub(in crate::cluster) operator: String,
    pub(in crate::cluster) values: Vec<i32>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(in crate::cluster) struct Resources {
    pub(in crate::cluster) limits: Limits,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(in crate::cluster) struct Limits {
    pub(in crate::cluster) memory: String,
}

/// Something of which only the presence matters.
#[derive(Debug, Default, Deserialize)]
pub(in crate::cluster) struct Present {}

#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub(in crate::cluster) struct PodStatus {
    pub(in crate::cluster) phase: String,
    pub(in crate::cluster) reason: String,
    pub(in crate::cluster) message: String,
    pub(in crate::cluster) conditions: Vec<Condition>,
    pub(in crate::cluster) container_statuses: Vec<ContainerStatus>,
    pub(in crate::cluster) init_container_statuses: Vec<ContainerStatus>,
    pub(in crate::cluster) ephemeral_container_statuses: Vec<ContainerStatus>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub(in crate::cluster) struct ContainerStatus {
    pub(in crate::cluster) name: String,
    #[serde(rename = "containerID")]
    pub(in crate::cluster) container_id: String,
    #[serde(rename = "imageID")]
    pub(in crate::cluster) image_id: String,
    pub(in crate::cluster) restart_count: u32,
    pub(in crate::cluster) ready: bool,
    pub(in crate::cluster) state: ContainerState,
    pub(in crate::cluster) last_state: ContainerState,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(in crate::cluster) struct ContainerState {
    pub(in crate::cluster) waiting: Option<WaitingState>,
    pub(in crate::cluster) running: Option<Present>,
    pub(in crate::cluster) terminated: Option<TerminatedState>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(in crate::cluster) struct WaitingState {
    pub(in crate::cluster) reason: String,
    pub(in crate::cluster) message: String,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub(in crate::cluster) struct TerminatedState {
    pub(in crate::cluster) exit_code: i32,
    pub(in crate::cluster) signal: i32,
    pub(in crate::cluster) reason: String,
    pub(in crate::cluster) message: String,
    pub(in crate::cluster) started_at: Option<String>,
    pub(in crate::cluster) finished_at: Option<String>,
    #[serde(rename = "containerID")]
    pub(in crate::cluster) container_id: String,
}
