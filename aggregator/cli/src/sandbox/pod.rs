//! Pods and containers to make, and their translation to CRI as a kubelet would do it.
//!
//! Owns labels, annotations, log paths and cgroup parents. Must not talk to the runtime.
//!
//! The keys are those of `pkg/kubelet/types/labels.go` and `pkg/kubelet/kuberuntime/labels.go` in Kubernetes; the log
//! layout is that of `pkg/kubelet/kuberuntime/logs`.

use std::collections::{BTreeMap, HashMap};
use std::path::{Path, PathBuf};

use inquest_proto::runtime::v1 as wire;

use super::settings::APP_IMAGE;

/// A pod to run. It lives in the network of the host, so no CNI plugin is needed.
#[derive(Debug, Clone)]
pub struct PodSpec {
    /// Name in the namespace.
    pub name: String,
    /// Kubernetes namespace.
    pub namespace: String,
    /// Uid as the Kubernetes API would give it; part of log paths and cgroups.
    pub uid: String,
    /// Labels besides those that a kubelet adds, for instance `app` or `pod-template-hash`.
    pub labels: BTreeMap<String, String>,
    /// Containers that are started with the pod.
    pub containers: Vec<ContainerSpec>,
}

impl PodSpec {
    /// A pod without labels and containers; the uid is made from `serial`, which must differ between the pods of one
    /// sandbox.
    #[must_use]
    pub fn new(namespace: &str, name: &str, serial: u32) -> Self {
        Self {
            name: name.to_owned(),
            namespace: namespace.to_owned(),
            uid: format!("{serial:08x}-0000-4000-8000-000000000000"),
            labels: BTreeMap::new(),
            containers: Vec::new(),
        }
    }

    /// Adds a label.
    #[must_use]
    pub fn label(mut self, key: &str, value: &str) -> Self {
        self.labels.insert(key.to_owned(), value.to_owned());
        self
    }

    /// Adds a container.
    #[must_use]
    pub fn container(mut self, container: ContainerSpec) -> Self {
        self.containers.push(container);
        self
    }
}

/// A container to run.
#[derive(Debug, Clone)]
pub struct ContainerSpec {
    /// Name in the pod.
    pub name: String,
    /// Image that was imported before.
    pub image: String,
    /// Program and arguments; empty takes those of the image.
    pub command: Vec<String>,
    /// Bytes; none is no limit. With a limit the container gets no swap on top where the host accounts for swap.
    pub memory_limit_bytes: Option<u64>,
    /// How many containers of this name the pod had before; the kubelet's restart count.
    pub restart_count: u32,
    /// Environment.
    pub env: BTreeMap<String, String>,
}

impl ContainerSpec {
    /// A container of [`APP_IMAGE`] that runs a shell script.
    #[must_use]
    pub fn shell(name: &str, script: &str) -> Self {
        Self::command(name, &["/bin/sh", "-c", script])
    }

    /// A container of [`APP_IMAGE`] that runs a program.
    #[must_use]
    pub fn command(name: &str, command: &[&str]) -> Self {
        Self {
            name: name.to_owned(),
            image: APP_IMAGE.to_owned(),
            command: command.iter().map(ToString::to_string).collect(),
            memory_limit_bytes: None,
            restart_count: 0,
            env: BTreeMap::new(),
        }
    }

    /// A container of [`APP_IMAGE`] that takes memory until the kernel ends it at `limit_bytes`.
    #[must_use]
    pub fn memory_hog(name: &str, limit_bytes: u64) -> Self {
        Self::command(name, &["/bin/tail", "/dev/zero"]).memory_limit(limit_bytes)
    }

    /// Sets the image.
    #[must_use]
    pub fn image(mut self, image: &str) -> Self {
        image.clone_into(&mut self.image);
        self
    }

    /// Sets the memory limit.
    #[must_use]
    pub fn memory_limit(mut self, bytes: u64) -> Self {
        self.memory_limit_bytes = Some(bytes);
        self
    }

    /// Sets the restart count.
    #[must_use]
    pub fn restarted(mut self, count: u32) -> Self {
        self.restart_count = count;
        self
    }
}

/// A pod that was made.
#[derive(Debug, Clone)]
pub struct Pod {
    /// Id of the sandbox.
    pub id: String,
    /// What was asked for.
    pub spec: PodSpec,
    /// Its containers, in the order of the specification.
    pub containers: Vec<Container>,
    pub(super) config: wire::PodSandboxConfig,
}

/// A container that was made.
#[derive(Debug, Clone)]
pub struct Container {
    /// Id of the container.
    pub id: String,
    /// Name in the pod.
    pub name: String,
    /// Log file on the host, in the format of CRI.
    pub log_path: PathBuf,
    /// Cgroup relative to the mount of each hierarchy.
    pub cgroup: String,
}

/// What a sandbox adds to every pod.
#[derive(Debug, Clone)]
pub(super) struct Node {
    /// Counterpart of `/var/log/pods`.
    pub(super) log_root: PathBuf,
    /// Cgroup above `/kubepods`.
    pub(super) cgroup_root: String,
    /// Whether a limit on memory and swap together may be set.
    pub(super) limits_swap: bool,
}

impl Node {
    pub(super) fn log_directory(&self, pod: &PodSpec) -> PathBuf {
        self.log_root
            .join(format!("{}_{}_{}", pod.namespace, pod.name, pod.uid))
    }

    fn cgroup_parent(&self, pod: &PodSpec) -> String {
        format!("{}/kubepods/burstable/pod{}", self.cgroup_root, pod.uid)
    }

    pub(super) fn pod_config(&self, pod: &PodSpec) -> wire::PodSandboxConfig {
        let mut labels = pod_labels(pod);
        labels.extend(pod.labels.clone());
        let own = |network| wire::NamespaceOption {
            network,
            ..Default::default()
        };
        let namespaces = own(i32::from(wire::NamespaceMode::Node));
        wire::PodSandboxConfig {
            metadata: Some(wire::PodSandboxMetadata {
                name: pod.name.clone(),
                uid: pod.uid.clone(),
                namespace: pod.namespace.clone(),
                attempt: 0,
            }),
            hostname: String::new(),
            log_directory: self.log_directory(pod).display().to_string(),
            labels,
            annotations: texts([("kubernetes.io/config.source", "api")]),
            linux: Some(wire::LinuxPodSandboxConfig {
                cgroup_parent: self.cgroup_parent(pod),
                security_context: Some(wire::LinuxSandboxSecurityContext {
                    namespace_options: Some(namespaces),
                }),
            }),
        }
    }

    pub(super) fn container_config(&self, pod: &PodSpec, container: &ContainerSpec) -> wire::ContainerConfig {
        let mut labels = pod_labels(pod);
        labels.insert("io.kubernetes.container.name".to_owned(), container.name.clone());
        let count = container.restart_count.to_string();
        let annotations = texts([
            ("io.kubernetes.container.restartCount", count.as_str()),
            ("io.kubernetes.container.terminationMessagePath", "/dev/termination-log"),
            ("io.kubernetes.container.terminationMessagePolicy", "File"),
            ("io.kubernetes.pod.terminationGracePeriod", "30"),
        ]);
        wire::ContainerConfig {
            metadata: Some(wire::ContainerMetadata {
                name: container.name.clone(),
                attempt: container.restart_count,
            }),
            image: Some(wire::ImageSpec {
                image: container.image.clone(),
                ..Default::default()
            }),
            command: container.command.clone(),
            envs: container.env.iter().map(|(key, value)| key_value(key, value)).collect(),
            labels,
            annotations,
            log_path: log_path(container),
            linux: Some(self.linux_config(container)),
            ..Default::default()
        }
    }

    fn linux_config(&self, container: &ContainerSpec) -> wire::LinuxContainerConfig {
        let limit = container
            .memory_limit_bytes
            .map_or(0, |bytes| i64::try_from(bytes).unwrap_or(i64::MAX));
        let namespaces = wire::NamespaceOption {
            network: i32::from(wire::NamespaceMode::Node),
            pid: i32::from(wire::NamespaceMode::Container),
            ..Default::default()
        };
        wire::LinuxContainerConfig {
            resources: Some(wire::LinuxContainerResources {
                memory_limit_in_bytes: limit,
                memory_swap_limit_in_bytes: if self.limits_swap { limit } else { 0 },
                // what a kubelet gives to a burstable pod without a request
                oom_score_adj: 999,
                ..Default::default()
            }),
            security_context: Some(wire::LinuxContainerSecurityContext {
                namespace_options: Some(namespaces),
            }),
        }
    }

    pub(super) fn container(&self, pod: &PodSpec, container: &ContainerSpec, id: String) -> Container {
        Container {
            name: container.name.clone(),
            log_path: self.log_directory(pod).join(Path::new(&log_path(container))),
            cgroup: format!("{}/{id}", self.cgroup_parent(pod)),
            id,
        }
    }
}

fn log_path(container: &ContainerSpec) -> String {
    format!("{}/{}.log", container.name, container.restart_count)
}

fn pod_labels(pod: &PodSpec) -> HashMap<String, String> {
    texts([
        ("io.kubernetes.pod.name", pod.name.as_str()),
        ("io.kubernetes.pod.namespace", pod.namespace.as_str()),
        ("io.kubernetes.pod.uid", pod.uid.as_str()),
    ])
}

fn texts<const N: usize>(pairs: [(&str, &str); N]) -> HashMap<String, String> {
    pairs
        .into_iter()
        .map(|(key, value)| (key.to_owned(), value.to_owned()))
        .collect()
}

fn key_value(key: &str, value: &str) -> wire::KeyValue {
    wire::KeyValue {
        key: key.to_owned(),
        value: value.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn node() -> Node {
        Node {
            log_root: PathBuf::from("/d/pods"),
            cgroup_root: "/inquest-1".to_owned(),
            limits_swap: true,
        }
    }

    #[test]
    fn a_pod_looks_as_a_kubelet_would_make_it() {
        let pod = PodSpec::new("shop", "checkout-7d9f-x2k", 7).label("pod-template-hash", "7d9f");
        let config = node().pod_config(&pod);
        let uid = "00000007-0000-4000-8000-000000000000";
        assert_eq!(config.log_directory, format!("/d/pods/shop_checkout-7d9f-x2k_{uid}"));
        assert_eq!(config.labels["io.kubernetes.pod.uid"], uid);
        assert_eq!(config.labels["pod-template-hash"], "7d9f");
        assert_eq!(
            config.linux.unwrap().cgroup_parent,
            format!("/inquest-1/kubepods/burstable/pod{uid}")
        );
    }

    #[test]
    fn a_restarted_container_logs_to_a_file_of_its_own() {
        let pod = PodSpec::new("shop", "checkout", 1);
        let spec = ContainerSpec::memory_hog("app", 20 << 20).restarted(3);
        let config = node().container_config(&pod, &spec);
        assert_eq!(config.log_path, "app/3.log");
        assert_eq!(config.annotations["io.kubernetes.container.restartCount"], "3");
        assert_eq!(config.metadata.unwrap().attempt, 3);
        let made = node().container(&pod, &spec, "abc".to_owned());
        assert!(made.log_path.ends_with("app/3.log"));
        assert!(made.cgroup.ends_with("/abc"));
    }

    #[test]
    fn swap_does_not_save_a_hog_from_its_limit() {
        let spec = ContainerSpec::memory_hog("app", 20 << 20);
        let swap = |node: Node| node.linux_config(&spec).resources.unwrap().memory_swap_limit_in_bytes;
        assert_eq!(swap(node()), 20 << 20);
        assert_eq!(
            swap(Node {
                limits_swap: false,
                ..node()
            }),
            0,
            "a host without swap accounting refuses the limit"
        );
    }
}
