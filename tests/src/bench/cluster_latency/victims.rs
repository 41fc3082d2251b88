//! Pods of a real cluster that wait to die. Owns how they are made and told to die.

use std::fs;

use anyhow::{Context as _, Result, ensure};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};

use crate::{
    Cluster,
    bench::victims::catches_usr1,
    cluster::{Namespace, PATIENCE, pod},
    wait_for,
};

/// The container exits with status 1 when it is told to.
const SCRIPT: &str = "trap 'exit 1' USR1; while true; do sleep 86400 & wait $!; done";

/// A Deployment of one pod whose one container waits for its end. Deployment and container have the same name.
pub(super) struct Victim {
    pub(super) name: String,
    /// Id of the container.
    pub(super) container: String,
    pid: Pid,
}

/// The victims of one round, in a namespace of their own, since the open incidents of one are capped.
pub(super) struct Victims<'a> {
    pub(super) all: Vec<Victim>,
    _namespace: Namespace<'a>,
}

impl<'a> Victims<'a> {
    /// Makes them and waits until all of them wait.
    ///
    /// # Errors
    /// When one does not come up.
    pub(super) async fn make(cluster: &'a Cluster, round: usize, size: usize) -> Result<Self> {
        let namespace = cluster.namespace(&format!("bench-{round}"))?;
        let names = (0..size).map(|index| format!("r{round:03}-{index:02}"));
        let names: Vec<String> = names.collect();
        let image = cluster.image_with_shell();
        let items: Vec<Value> = names.iter().map(|name| deployment(name, &image)).collect();
        let list = json!({"apiVersion": "v1", "kind": "List", "items": items}).to_string();
        cluster.apply(&list.replace("@NAMESPACE", namespace.name()))?;
        let mut all = Vec::new();
        for name in names {
            let selector = format!("app={name}");
            let found = wait_for("a pod that runs", PATIENCE, async || running(&namespace, &selector)).await?;
            let pid = waits(cluster, &found).await?;
            all.push(Victim {
                name,
                container: found,
                pid,
            });
        }
        Ok(Self {
            all,
            _namespace: namespace,
        })
    }
}

impl Victim {
    /// Lets the container exit.
    ///
    /// # Errors
    /// When it has ended before.
    pub(super) fn fire(&self) -> Result<()> {
        kill_process(self.pid, Signal::USR1).with_context(|| format!("container {} is gone", self.name))
    }
}

fn deployment(name: &str, image: &str) -> Value {
    let mut template = pod(name, image, SCRIPT);
    template["spec"]["containers"][0]["name"] = json!(name);
    json!({
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": name, "namespace": "@NAMESPACE"},
        "spec": {
            "replicas": 1,
            "selector": {"matchLabels": {"app": name}},
            "template": {"metadata": {"labels": {"app": name}}, "spec": template["spec"]},
        },
    })
}

/// Id of the running container of the one pod.
fn running(namespace: &Namespace<'_>, selector: &str) -> Result<String> {
    let pods = namespace.kubectl(&["get", "pods", "--selector", selector, "--output", "json"])?;
    let pods: Value = serde_json::from_str(&pods)?;
    let status = &pods["items"][0]["status"]["containerStatuses"][0];
    ensure!(status["state"]["running"].is_object(), "{status}");
    let id = status["containerID"].as_str().context("no id")?;
    Ok(id.trim_start_matches("containerd://").to_owned())
}

/// The first process of a container, once it would take the signal. Nodes share the process ids of this machine.
async fn waits(cluster: &Cluster, container: &str) -> Result<Pid> {
    wait_for("a container that waits for its end", PATIENCE, async || {
        let table = cluster.node(1)?.run(&["ctr", "--namespace", "k8s.io", "tasks", "ls"])?;
        let row = table
            .lines()
            .find(|row| row.starts_with(container))
            .context("no task")?;
        let pid: i32 = row.split_whitespace().nth(1).context("no process")?.parse()?;
        let status = fs::read_to_string(format!("/proc/{pid}/status"))?;
        ensure!(catches_usr1(&status), "the first process does not take the signal yet");
        Pid::from_raw(pid).context("no process")
    })
    .await
}
