//! A node of a cluster of our own: where it keeps its things, and what runs on it.

use std::{
    fs,
    path::{Path, PathBuf},
};

use anyhow::{Context as _, Result};

use super::Cluster;

/// A node. Its paths are those of this machine; inside the node they are where they are on any node, as
/// `/run/containerd/containerd.sock`.
#[derive(Debug)]
pub struct Node<'a> {
    cluster: &'a Cluster,
    name: String,
    home: PathBuf,
}

impl<'a> Node<'a> {
    pub(super) fn new(cluster: &'a Cluster, number: usize, cluster_home: &Path) -> Self {
        let name = format!("node{number}");
        let home = cluster_home.join(&name);
        Self { cluster, name, home }
    }

    /// Its name in Kubernetes and in `ctl`.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The socket of its containerd.
    #[must_use]
    pub fn containerd(&self) -> PathBuf {
        self.home.join("run/containerd/containerd.sock")
    }

    /// The root folder of its kubelet. Volumes that are mounts are to be seen from inside only.
    #[must_use]
    pub fn kubelet(&self) -> PathBuf {
        self.home.join("lib/kubelet")
    }

    /// Where its kubelet has logs of pods.
    #[must_use]
    pub fn pod_logs(&self) -> PathBuf {
        self.home.join("log/pods")
    }

    /// Where its kubelet looks for static pods.
    #[must_use]
    pub fn manifests(&self) -> PathBuf {
        self.home.join("manifests")
    }

    /// The cgroup below which its pods live.
    ///
    /// # Errors
    /// When its kubelet was never configured.
    pub fn cgroup(&self) -> Result<String> {
        let config = fs::read_to_string(self.home.join("kubelet.yaml"))?;
        let root = config.lines().find_map(|line| line.strip_prefix("cgroupRoot: "));
        Ok(root.context("the kubelet names no cgroup")?.to_owned())
    }

    /// Runs a command in its namespaces; gives what it printed.
    ///
    /// # Errors
    /// When it fails, with its words.
    pub fn run(&self, command: &[&str]) -> Result<String> {
        self.cluster.ctl(&[&["on", &self.name], command].concat())
    }

    /// The ids of its running containers, the one that holds each pod together included, whatever the apiserver believes.
    ///
    /// # Errors
    /// When its containerd does not answer.
    pub fn containers(&self) -> Result<Vec<String>> {
        let table = self.run(&["ctr", "--namespace", "k8s.io", "tasks", "ls"])?;
        let rows = table.lines().filter(|row| row.ends_with("RUNNING"));
        Ok(rows
            .filter_map(|row| row.split_whitespace().next())
            .map(str::to_owned)
            .collect())
    }
}
