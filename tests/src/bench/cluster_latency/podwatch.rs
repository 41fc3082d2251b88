//! What a plain watch of pods shows, and when. Owns the watch and its stamps.

use std::{
    collections::BTreeMap,
    io::{BufRead as _, BufReader},
    process::{Child, Stdio},
    sync::{Arc, Mutex, PoisonError},
    thread,
};

use anyhow::{Context as _, Result};

use crate::{Cluster, monotonic_nanos};

/// Ids of the containers that have ended, one line for each change of a pod.
const ENDED: &str = r#"jsonpath={.status.containerStatuses[*].state.terminated.containerID} {.status.containerStatuses[*].lastState.terminated.containerID}{"\n"}"#;

/// A watch that runs beside the bench; it ends when this is dropped.
pub(super) struct PodWatch {
    child: Child,
    shown: Arc<Mutex<BTreeMap<String, u64>>>,
}

impl PodWatch {
    /// Starts it for the pods of all namespaces.
    ///
    /// # Errors
    /// When kubectl does not start.
    pub(super) fn start(cluster: &Cluster) -> Result<Self> {
        let mut command = cluster.kubectl_command();
        command.args(["get", "pods", "--all-namespaces", "--watch", "--output", ENDED]);
        let mut child = command
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()
            .context("cannot run kubectl")?;
        let lines = BufReader::new(child.stdout.take().context("no output")?).lines();
        let shown = Arc::new(Mutex::new(BTreeMap::new()));
        let ours = Arc::clone(&shown);
        thread::spawn(move || {
            for line in lines.map_while(Result::ok) {
                let at = monotonic_nanos();
                let mut shown = ours.lock().unwrap_or_else(PoisonError::into_inner);
                for id in line.split_whitespace() {
                    shown.entry(id.to_owned()).or_insert(at);
                }
            }
        });
        Ok(Self { child, shown })
    }

    /// When it first showed that a container has ended, nanoseconds of `CLOCK_MONOTONIC`.
    pub(super) fn shown(&self, container: &str) -> Option<u64> {
        let shown = self.shown.lock().unwrap_or_else(PoisonError::into_inner);
        shown.get(&format!("containerd://{container}")).copied()
    }
}

impl Drop for PodWatch {
    fn drop(&mut self) {
        // Both fail only for a child that has ended.
        self.child.kill().unwrap_or_default();
        self.child.wait().map(drop).unwrap_or_default();
    }
}
