//! From CRI messages to the model's words. Pure.

use std::{collections::HashMap, path::PathBuf};

use inquest_proto::runtime::v1 as cri;
use inquest_shared::{
    clock::UnixNanos,
    model::{RuntimeExit, Subject, Untrusted, clean_name, guess_owner},
};
use serde::Deserialize;

use crate::{
    observation::{Container, Exit},
    source::cri::Runtime,
};

/// Longest message of a status (`MaxContainerTerminationMessageLength` of the kubelet).
const MAX_MESSAGE: usize = 4096;
/// Longest reason kept.
const MAX_REASON: usize = 64;

/// The part of a verbose status that we read: containerd (`ContainerInfo` of its CRI plugin) and CRI-O (`containerInfo` of
/// `server/container_status.go`) write the same keys, cri-dockerd (`core/convert.go`) only the pid.
#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct Info {
    pid: u32,
    runtime_spec: RuntimeSpec,
    config: Config,
}

/// What the kubelet asked for; only containerd repeats it.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Config {
    linux: ConfigLinux,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct ConfigLinux {
    security_context: SecurityContext,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct SecurityContext {
    namespace_options: NamespaceOptions,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct NamespaceOptions {
    pid: i32,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct RuntimeSpec {
    linux: Linux,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct Linux {
    cgroups_path: String,
    resources: Resources,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Resources {
    memory: Option<Memory>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Memory {
    limit: Option<i64>,
}

/// Names of a container from its own labels and those of its sandbox.
fn subject(runtime: Runtime, container: &cri::ContainerStatus, sandbox: Option<&cri::PodSandbox>) -> Subject {
    let label = |key: &str| container.labels.get(key).map(String::as_str).unwrap_or_default();
    let pod = label("io.kubernetes.pod.name");
    let metadata = container.metadata.as_ref();
    let name = match label("io.kubernetes.container.name") {
        "" => metadata.map_or("", |m| m.name.as_str()),
        name => name,
    };
    let pod_label = |key: &str| sandbox.and_then(|s| s.labels.get(key)).cloned();
    Subject {
        namespace: clean_name(label("io.kubernetes.pod.namespace")),
        pod: clean_name(pod),
        pod_uid: clean_name(label("io.kubernetes.pod.uid")),
        container: clean_name(name),
        instance: clean_name(&container.id),
        image: clean_name(container.image.as_ref().map_or("", |i| i.image.as_str())),
        runtime: runtime.name().to_owned(),
        attempt: attempt(&container.annotations)
            .or(metadata.map(|m| m.attempt))
            .unwrap_or_default(),
        owner: if pod.is_empty() {
            inquest_shared::model::Owner::default()
        } else {
            guess_owner(&clean_name(pod), pod_label)
        },
        owner_confirmed: false,
        cgroup: String::new(),
    }
}

/// The kubelet's own restart count, which outlives a changed runtime attempt.
fn attempt(annotations: &HashMap<String, String>) -> Option<u32> {
    annotations.get("io.kubernetes.container.restartCount")?.parse().ok()
}

/// The verbose part. Anything unreadable in it costs what it held, not the container.
fn info(response: &cri::ContainerStatusResponse) -> Info {
    let json = response.info.get("info");
    json.and_then(|json| serde_json::from_str(json).ok())
        .unwrap_or_default()
}

/// Whether somebody put the container into a running pod to look at another one (`kubectl debug --target`): the kubelet asks
/// for the pid namespace of a target only for ephemeral containers. Its end says nothing about the workload.
pub(in crate::source) fn is_ephemeral(response: &cri::ContainerStatusResponse) -> bool {
    info(response).config.linux.security_context.namespace_options.pid == i32::from(cri::NamespaceMode::Target)
}

/// Facts of a container from a verbose status.
pub(in crate::source) fn container(
    runtime: Runtime,
    response: &cri::ContainerStatusResponse,
    sandbox: Option<&cri::PodSandbox>,
) -> Option<Container> {
    let status = response.status.as_ref()?;
    let info = info(response);
    let linux = info.runtime_spec.linux;
    let mut subject = subject(runtime, status, sandbox);
    subject.cgroup = cgroup(&linux.cgroups_path);
    let declared = status
        .resources
        .as_ref()
        .and_then(|r| r.linux.as_ref())
        .map(|l| l.memory_limit_in_bytes);
    let limit = linux.resources.memory.and_then(|m| m.limit).or(declared);
    Some(Container {
        subject,
        pid: (info.pid != 0).then_some(info.pid),
        log_path: (!status.log_path.is_empty()).then(|| PathBuf::from(&status.log_path)),
        memory_limit: limit.and_then(|l| u64::try_from(l).ok()).filter(|l| *l > 0),
        started: started(status),
    })
}

/// Cgroup path as the kernel names it: runc's `slice:prefix:id` form of the systemd driver becomes a path.
fn cgroup(configured: &str) -> String {
    let mut parts = configured.splitn(3, ':');
    match (parts.next(), parts.next(), parts.next()) {
        (Some(slice), Some(prefix), Some(id)) => format!("{}/{prefix}-{id}.scope", systemd_path(slice)),
        _ => configured.to_owned(),
    }
}

/// `a-b.slice` lies in `a.slice` (systemd.slice(5)).
fn systemd_path(slice: &str) -> String {
    let Some(stem) = slice.strip_suffix(".slice") else {
        return format!("/{slice}");
    };
    let mut path = String::new();
    let mut name = String::new();
    for part in stem.split('-') {
        if !name.is_empty() {
            name.push('-');
        }
        name.push_str(part);
        path = format!("{path}/{name}.slice");
    }
    path
}

fn started(status: &cri::ContainerStatus) -> Option<UnixNanos> {
    (status.started_at > 0).then_some(UnixNanos(status.started_at))
}

/// The recorded end, when the container has one.
pub(in crate::source) fn exit(
    runtime: Runtime,
    status: &cri::ContainerStatus,
    limit: Option<u64>,
    live: bool,
) -> Option<Exit> {
    (status.state() == cri::ContainerState::ContainerExited).then(|| Exit {
        instance: clean_name(&status.id),
        record: RuntimeExit {
            exit_code: status.exit_code,
            started_at: started(status),
            finished_at: UnixNanos(status.finished_at),
            reason: Untrusted::bounded(&status.reason, MAX_REASON),
            message: Untrusted::bounded(&status.message, MAX_MESSAGE),
            memory_limit_bytes: limit,
        },
        source: runtime.evidence(),
        live,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_systemd_slice_becomes_the_path_that_the_kernel_prints() {
        assert_eq!(
            cgroup("kubepods-burstable-pod1_2.slice:cri-containerd:abc"),
            "/kubepods.slice/kubepods-burstable.slice/kubepods-burstable-pod1_2.slice/cri-containerd-abc.scope"
        );
        assert_eq!(cgroup("/kubepods/burstable/pod1/abc"), "/kubepods/burstable/pod1/abc");
    }

    #[test]
    fn a_verbose_status_gives_pid_limit_names_and_log() {
        let pairs = |list: &[(&str, &str)]| list.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect();
        let status = cri::ContainerStatus {
            id: "abc".into(),
            labels: pairs(&[
                ("io.kubernetes.pod.name", "web-7d4b9c-abcde"),
                ("io.kubernetes.pod.namespace", "shop"),
                ("io.kubernetes.container.name", "app"),
            ]),
            annotations: pairs(&[("io.kubernetes.container.restartCount", "4")]),
            log_path: "/var/log/pods/x/0.log".into(),
            ..cri::ContainerStatus::default()
        };
        let json = r#"{"pid": 77, "other": [1], "runtimeSpec": {"linux": {"cgroupsPath": "/k/abc", "resources": {"memory": {"limit": 20000000}}}}}"#;
        let response = cri::ContainerStatusResponse {
            status: Some(status),
            info: pairs(&[("info", json)]),
        };
        let sandbox = cri::PodSandbox {
            labels: pairs(&[("pod-template-hash", "7d4b9c")]),
            ..cri::PodSandbox::default()
        };
        let container = container(Runtime::Containerd, &response, Some(&sandbox)).unwrap();
        assert_eq!((container.pid, container.memory_limit), (Some(77), Some(20_000_000)));
        assert_eq!(
            (
                container.subject.owner.kind.as_str(),
                container.subject.owner.name.as_str()
            ),
            ("Deployment", "web")
        );
        assert_eq!(
            (container.subject.attempt, container.subject.cgroup.as_str()),
            (4, "/k/abc")
        );
    }

    #[test]
    fn an_unreadable_verbose_part_costs_only_what_it_held() {
        let status = cri::ContainerStatus {
            id: "abc".into(),
            ..cri::ContainerStatus::default()
        };
        let info = [("info".to_owned(), "{broken".to_owned())].into();
        let response = cri::ContainerStatusResponse {
            status: Some(status),
            info,
        };
        assert_eq!(
            container(Runtime::Containerd, &response, None).map(|c| (c.pid, c.subject.instance)),
            Some((None, "abc".to_owned()))
        );
    }
}
