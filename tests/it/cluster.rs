//! A real Kubernetes: what the product will meet in a cluster, seen through kubectl and, where it is ours, on the nodes.

mod delivery;
mod disruption;
mod leftovers;
mod messages;
mod outage;
mod outside;
mod pods;
mod product;
mod readiness;
mod rights;
mod rollout;
mod skew;
mod states;

use anyhow::{Context as _, Result};
use inquest_tests::{
    Cluster,
    cluster::{is_ready, pod},
};
use serde_json::{Value, json};

/// Bytes of memory that a small container may have, and that it then asks for in vain.
const LIMIT: &str = "20Mi";

/// The status of the container `main` of a pod.
fn main_status(pod: &Value) -> &Value {
    &pod["status"]["containerStatuses"][0]
}

#[tokio::test(flavor = "multi_thread")]
async fn every_node_is_ready() -> Result<()> {
    let cluster = Cluster::shared().await?;
    let nodes: Value = serde_json::from_str(&cluster.kubectl(&["get", "nodes", "--output", "json"])?)?;
    let nodes = nodes["items"].as_array().cloned().unwrap_or_default();
    assert!(!nodes.is_empty(), "the cluster has no node");
    assert!(nodes.iter().all(is_ready), "{nodes:#?}");
    Ok(())
}

/// A Service in front of the pod `server`.
fn service(name: &str, with: &Value) -> Value {
    let mut spec = with.clone();
    spec["selector"] = json!({"app": "server"});
    json!({"apiVersion": "v1", "kind": "Service", "metadata": {"name": name}, "spec": spec})
}

/// Two pods that may not share a node, where the cluster has more than one.
#[tokio::test(flavor = "multi_thread")]
async fn services_are_reached_by_their_names_from_another_node() -> Result<()> {
    let cluster = Cluster::shared().await?;
    let namespace = cluster.namespace("service")?;
    let image = cluster.image_with_shell();

    let serve = "mkdir /tmp/www; echo here I am >/tmp/www/index.html; exec httpd -f -p 8080 -h /tmp/www";
    namespace.apply(&pod("server", &image, serve))?;
    namespace.apply(&service("web", &json!({"ports": [{"port": 80, "targetPort": 8080}]})))?;
    namespace.apply(&service("headless", &json!({"clusterIP": "None"})))?;
    // through the address of the Service, and to the pod behind it
    let ask = |address: &str| format!("until wget -qO- http://{address}; do sleep 1; done");
    let zone = format!("{}.svc.cluster.local", namespace.name());
    let (through, behind) = (ask(&format!("web.{zone}")), ask(&format!("headless.{zone}:8080")));
    let ask = format!("{through}; {behind}; echo both answered; sleep 1000");
    let mut client = pod("client", &image, &ask);
    client["spec"]["affinity"] = json!({"podAntiAffinity": {"preferredDuringSchedulingIgnoredDuringExecution": [{
        "weight": 100,
        "podAffinityTerm": {"topologyKey": "kubernetes.io/hostname", "labelSelector": {"matchLabels": {"app": "server"}}},
    }]}});
    let server = namespace.wait_ready("server").await?;
    namespace.apply(&client)?;
    let client = namespace.wait_ready("client").await?;
    if cluster.home().is_ok() {
        assert_ne!(server["spec"]["nodeName"], client["spec"]["nodeName"]);
    }
    inquest_tests::wait_for("the answer", inquest_tests::cluster::PATIENCE, async || {
        let said = namespace.kubectl(&["logs", "client"])?;
        anyhow::ensure!(said.ends_with("here I am\nhere I am\nboth answered\n"), "{said}");
        Ok::<_, anyhow::Error>(())
    })
    .await
}

/// As agents do. Folders of the host must be those of the pod's own node, also where nodes share a machine.
#[tokio::test(flavor = "multi_thread")]
async fn a_pod_that_mounts_log_folders_sees_those_of_its_own_node() -> Result<()> {
    let cluster = Cluster::shared().await?;
    let namespace = cluster.namespace("host")?;
    let names = cluster.kubectl(&["get", "nodes", "--output", "name"])?;
    let nodes: Vec<_> = names.lines().filter_map(|name| name.strip_prefix("node/")).collect();
    for node in &nodes {
        let mut look = pod(node, &cluster.image_with_shell(), "exec sleep 1000");
        look["spec"]["nodeName"] = json!(node);
        look["spec"]["volumes"] = json!([{"name": "logs", "hostPath": {"path": "/var/log/pods"}}]);
        look["spec"]["containers"][0]["volumeMounts"] =
            json!([{"name": "logs", "mountPath": "/logs", "readOnly": true}]);
        namespace.apply(&look)?;
    }
    for node in &nodes {
        namespace.wait_ready(node).await?;
    }
    for node in &nodes {
        let seen = namespace.kubectl(&["exec", node, "--", "ls", "/logs"])?;
        for other in &nodes {
            let folder = format!("{}_{other}_", namespace.name());
            assert_eq!(seen.contains(&folder), other == node, "{node} sees {seen}");
        }
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_container_over_its_memory_limit_is_oom_killed_in_the_eyes_of_kubernetes() -> Result<()> {
    let cluster = Cluster::shared().await?;
    let namespace = cluster.namespace("oom")?;
    let mut hungry = pod("hungry", &cluster.image_with_shell(), "exec tail /dev/zero");
    hungry["spec"]["restartPolicy"] = json!("Never");
    hungry["spec"]["containers"][0]["resources"] = json!({"limits": {"memory": LIMIT}});
    namespace.apply(&hungry)?;
    let ended = namespace.wait_for("the end of the pod", "pod/hungry", |seen| {
        let ended = &main_status(seen)["state"]["terminated"];
        ended.is_object().then(|| ended.clone())
    });
    let ended = ended.await?;
    assert_eq!(ended["reason"], "OOMKilled", "{ended}");
    assert_eq!(ended["exitCode"], 137, "{ended}");
    Ok(())
}

/// The process of this machine with that command line.
fn process_of(command_line: &str) -> Result<u32> {
    let named = std::fs::read_dir("/proc")?
        .flatten()
        .filter_map(|entry| entry.file_name().to_str()?.parse().ok());
    let runs =
        |pid: &u32| std::fs::read_to_string(format!("/proc/{pid}/cmdline")).is_ok_and(|line| line == command_line);
    named.into_iter().find(runs).context("the victim does not run")
}
