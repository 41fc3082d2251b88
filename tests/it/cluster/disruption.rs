//! Pods that have to go: for what they took, for a more important one, or because their node is emptied.

use anyhow::{Result, ensure};
use inquest_tests::{
    Cluster,
    cluster::{Installation, Namespace, pod},
};
use serde_json::{Value, json};

use super::{
    messages::{nothing_but_a_last_crash, one_message_each},
    outage::node_of,
    product::{deployment, told},
};

/// What a pod asks for of a node with two processors, so that no two of its kind find room there.
const MOST: &str = "1200m";

/// All that was said about the newest end of an incident, by one source.
fn said(incident: &Value, fact: &str) -> Vec<Value> {
    let evidence = incident["latest"]["evidence"].as_array().cloned().unwrap_or_default();
    evidence.iter().filter_map(|one| one.get(fact)).cloned().collect()
}

/// The event of the kubelet comes before the end, and the status of the pod after it; the report is the survey's.
fn says_evicted(fact: &Value) -> bool {
    let events = fact["events"].as_array().cloned().unwrap_or_default();
    let announced = events.iter().any(|event| event["reason"] == "Evicted");
    announced || fact["reason"] == "Evicted"
}

/// The kubelet kills with a signal, so the same end without its words would be a kill by nobody.
#[tokio::test(flavor = "multi_thread")]
async fn pods_that_take_more_disk_than_they_may_are_told_as_evicted_with_the_kubelets_words() -> Result<()> {
    let cluster = Cluster::shared().await?;
    let installation = Installation::of(&cluster).await?;
    let namespace = cluster.namespace("evicted")?;
    let image = cluster.image_with_shell();
    let fill = |path: &str| format!("head -c 8000000 /dev/zero >{path}/file; exec sleep 1000");
    let mut volume = deployment("volume", &image, 1, &fill("/data"));
    let spec = &mut volume["spec"]["template"]["spec"];
    spec["volumes"] = json!([{"name": "data", "emptyDir": {"sizeLimit": "1Mi"}}]);
    spec["containers"][0]["volumeMounts"] = json!([{"name": "data", "mountPath": "/data"}]);
    let mut own = deployment("own", &image, 1, &fill("/tmp"));
    own["spec"]["template"]["spec"]["containers"][0]["resources"] = json!({"limits": {"ephemeral-storage": "1Mi"}});
    namespace.apply(&volume)?;
    namespace.apply(&own)?;
    for (name, words) in [
        ("volume", "Usage of EmptyDir volume \"data\" exceeds the limit"),
        ("own", "Pod ephemeral local storage usage exceeds the total limit"),
    ] {
        let incident = told(&installation, &namespace, name, "evicted").await?;
        ensure!(incident.to_string().contains(&words.replace('"', "\\\"")), "{incident}");
        let by_apiserver = [said(&incident, "podContext"), said(&incident, "report")].concat();
        ensure!(
            by_apiserver.iter().any(says_evicted),
            "the apiserver's word is missing: {incident}"
        );
        ensure!(incident["workload"]["kind"] == "Deployment", "{incident}");
    }
    one_message_each(&installation, &namespace, 2).await
}

/// A class of priority, which belongs to the whole cluster; deleted when dropped.
struct Priority<'a> {
    cluster: &'a Cluster,
    name: String,
}

impl<'a> Priority<'a> {
    fn make(cluster: &'a Cluster, name: &str) -> Result<Self> {
        let class = json!({
            "apiVersion": "scheduling.k8s.io/v1", "kind": "PriorityClass", "metadata": {"name": name}, "value": 1000,
        });
        cluster.apply(&class.to_string())?;
        Ok(Self {
            cluster,
            name: name.to_owned(),
        })
    }
}

impl Drop for Priority<'_> {
    fn drop(&mut self) {
        // What is left goes with the cluster.
        let deleted = self.cluster.kubectl(&["delete", "priorityclass", &self.name]);
        deleted.map(drop).unwrap_or_default();
    }
}

/// A pod that takes most of a node.
fn large(name: &str, image: &str, node: &str) -> Value {
    let mut large = pod(name, image, "exec sleep 1000");
    large["spec"]["nodeSelector"] = json!({"kubernetes.io/hostname": node});
    large["spec"]["terminationGracePeriodSeconds"] = json!(2);
    large["spec"]["containers"][0]["resources"] = json!({"requests": {"cpu": MOST}});
    large
}

/// Its end looks as any kill does: the program ignores SIGTERM and ends in 137.
#[tokio::test(flavor = "multi_thread")]
async fn a_pod_that_makes_room_for_a_more_important_one_is_told_to_nobody() -> Result<()> {
    let cluster = Cluster::shared().await?;
    let installation = Installation::of(&cluster).await?;
    let namespace = cluster.namespace("displaced")?;
    let image = cluster.image_with_shell();
    namespace.apply(&large("humble", &image, "node1"))?;
    namespace.wait_ready("humble").await?;

    let priority = Priority::make(&cluster, namespace.name())?;
    let mut vital = large("vital", &image, "node1");
    vital["spec"]["priorityClassName"] = json!(priority.name);
    namespace.apply(&vital)?;
    namespace.wait_ready("vital").await?;
    ensure!(namespace.get("pod/humble").is_err(), "nobody had to go");
    nothing_but_a_last_crash(&cluster, &installation, &namespace).await
}

/// The pods of a workload on a node.
fn pods_on(namespace: &Namespace<'_>, workload: &str, node: &str) -> Result<usize> {
    let (label, field) = (
        format!("--selector=app={workload}"),
        format!("--field-selector=spec.nodeName={node}"),
    );
    Ok(namespace
        .kubectl(&["get", "pods", &label, &field, "--output", "name"])?
        .lines()
        .count())
}

/// What lives on the node that is to be drained.
const DRAINED: [&str; 2] = ["deployment/web", "statefulset/db"];

/// Waits until all of them run.
fn wait_running(namespace: &Namespace<'_>) -> Result<()> {
    DRAINED.iter().try_for_each(|workload| {
        let status = ["rollout", "status", workload, "--timeout=120s"];
        namespace.kubectl(&status).map(drop)
    })
}

/// Makes them, on that node as long as it takes pods, and a pod that nobody makes again.
async fn live_on(node: &str, namespace: &Namespace<'_>, image: &str) -> Result<()> {
    let mut web = deployment("web", image, 2, "exec sleep 1000");
    web["spec"]["template"]["spec"]["affinity"] = json!({"nodeAffinity": {
        "preferredDuringSchedulingIgnoredDuringExecution": [{"weight": 100, "preference": {"matchExpressions": [
            {"key": "kubernetes.io/hostname", "operator": "In", "values": [node]}]}}],
    }});
    let mut db = web.clone();
    (db["kind"], db["metadata"]["name"]) = (json!("StatefulSet"), json!("db"));
    db["spec"]["serviceName"] = json!("db");
    (db["spec"]["selector"], db["spec"]["template"]["metadata"]) =
        (json!({"matchLabels": {"app": "db"}}), json!({"labels": {"app": "db"}}));
    namespace.apply(&web)?;
    namespace.apply(&db)?;
    let mut alone = pod("alone", image, "exec sleep 1000");
    alone["spec"]["nodeName"] = json!(node);
    namespace.apply(&alone)?;
    wait_running(namespace)?;
    namespace.wait_ready("alone").await?;
    let there = pods_on(namespace, "web", node)? + pods_on(namespace, "db", node)?;
    ensure!(there > 0, "nothing to drain");
    Ok(())
}

/// Everything on the node has to end, and what has a controller moves.
#[tokio::test(flavor = "multi_thread")]
async fn a_node_that_is_drained_for_its_repair_is_told_to_nobody() -> Result<()> {
    const DRAIN: [&str; 4] = [
        "--ignore-daemonsets",
        "--delete-emptydir-data",
        "--force",
        "--timeout=180s",
    ];
    let cluster = Cluster::alone().await?;
    let installation = Installation::of(&cluster).await?;
    let namespace = cluster.namespace("repaired")?;
    // Without storage, an aggregator that moves forgets what it was told.
    let home = node_of(&cluster, "aggregator")?;
    let drained = if home == "node1" { "node2" } else { "node1" };
    live_on(drained, &namespace, &cluster.image_with_shell()).await?;

    let emptied = cluster.kubectl(&[&["drain", drained], &DRAIN[..]].concat());
    let moved = wait_running(&namespace);
    cluster.kubectl(&["uncordon", drained])?;
    emptied?;
    moved?;
    ensure!(namespace.get("pod/alone").is_err(), "it is still there");
    nothing_but_a_last_crash(&cluster, &installation, &namespace).await?;
    let of_node = installation.ask(&["incidents", "--workload", drained])?;
    let of_node = of_node["incidents"].as_array().cloned().unwrap_or_default();
    let open = |incident: &&Value| incident["state"] == "INCIDENT_STATE_OPEN";
    ensure!(!of_node.iter().any(|incident| open(&incident)), "{of_node:#?}");
    Ok(())
}
