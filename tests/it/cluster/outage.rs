//! Parts of a cluster fail, and come back. Each of these has the cluster to itself.

use anyhow::{Context as _, Result, ensure};
use inquest_shared::clock::{Clock as _, SystemClock};
use inquest_tests::{
    Cluster,
    cluster::{Installation, PATIENCE, is_ready, pod},
    wait_for,
};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::json;

use super::{
    LIMIT, main_status, process_of,
    product::{deployment, occurrences, told},
};

#[tokio::test(flavor = "multi_thread")]
async fn pods_live_on_while_the_apiserver_is_away() -> Result<()> {
    let cluster = Cluster::alone().await?;
    let namespace = cluster.namespace("away")?;
    let mut app = pod("app", &cluster.image_with_shell(), "exec sleep 1000");
    app["spec"]["nodeName"] = json!("node1");
    namespace.apply(&app)?;
    let before = namespace.wait_ready("app").await?;
    let node = cluster.node(1)?;
    let container = container_of(&before)?;

    cluster.ctl(&["stop", "apiserver"])?;
    assert!(
        cluster.kubectl(&["get", "nodes"]).is_err(),
        "the apiserver still answers"
    );
    assert!(node.containers()?.contains(&container), "{container} is gone");
    cluster.ctl(&["start", "apiserver"])?;

    let after = namespace.wait_ready("app").await?;
    assert_eq!(main_status(&after)["containerID"], main_status(&before)["containerID"]);
    assert_eq!(main_status(&after)["restartCount"], 0);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_frozen_kubelet_goes_on_where_it_stood() -> Result<()> {
    let cluster = Cluster::alone().await?;
    let namespace = cluster.namespace("frozen")?;
    cluster.ctl(&["freeze", "kubelet-node2"])?;
    let mut app = pod("app", &cluster.image_with_shell(), "exec sleep 1000");
    app["spec"]["nodeName"] = json!("node2");
    namespace.apply(&app)?;
    let waiting = namespace.get("pod/app")?;
    cluster.ctl(&["thaw", "kubelet-node2"])?;
    assert_eq!(waiting["status"]["phase"], "Pending");
    namespace.wait_ready("app").await?;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_that_lost_its_power_boots_and_starts_its_pods_again() -> Result<()> {
    let cluster = Cluster::alone().await?;
    let namespace = cluster.namespace("power")?;
    let mut app = pod("app", &cluster.image_with_shell(), "exec sleep 1000");
    app["spec"]["nodeName"] = json!("node2");
    namespace.apply(&app)?;
    let before = container_of(&namespace.wait_ready("app").await?)?;

    cluster.ctl(&["kill", "node2"])?;
    assert!(cluster.node(2)?.containers().is_err(), "its containerd still answers");
    cluster.ctl(&["start", "node2"])?;

    let what = "the second run of the pod";
    let again = namespace
        .wait_for(what, "pod/app", |seen| {
            (main_status(seen)["restartCount"] == 1 && is_ready(seen)).then(|| seen.clone())
        })
        .await?;
    let running = cluster.node(2)?.containers()?;
    assert!(
        running.contains(&container_of(&again)?) && !running.contains(&before),
        "{running:?}"
    );
    Ok(())
}

/// The id of the container that runs, or ran last.
fn container_of(pod: &serde_json::Value) -> Result<String> {
    let id = main_status(pod)["containerID"].as_str().context("it has not started")?;
    Ok(id.trim_start_matches("containerd://").to_owned())
}

fn signal(pid: u32, signal: Signal) -> Result<()> {
    let pid = Pid::from_raw(i32::try_from(pid)?).context("no pid")?;
    Ok(kill_process(pid, signal)?)
}

fn nanos(value: &serde_json::Value) -> i64 {
    value.as_str().and_then(|text| text.parse().ok()).unwrap_or(i64::MAX)
}

/// Nobody who asks the apiserver can tell of this one.
#[tokio::test(flavor = "multi_thread")]
async fn a_memory_kill_is_told_while_the_apiserver_is_away_and_completed_afterwards() -> Result<()> {
    const WAITING: &str = "trap 'exec tail /dev/zero' USR1; while :; do sleep 0.1; done";
    let cluster = Cluster::alone().await?;
    let installation = Installation::of(&cluster).await?;
    let namespace = cluster.namespace("told-away")?;
    let mut hungry = deployment("hungry", &cluster.image_with_shell(), 1, WAITING);
    hungry["spec"]["template"]["spec"]["containers"][0]["resources"] = json!({"limits": {"memory": LIMIT}});
    namespace.apply(&hungry)?;
    namespace.kubectl(&["rollout", "status", "deployment/hungry", "--timeout=120s"])?;
    let victim = process_of(&format!("/bin/sh\0-c\0{WAITING}\0"))?;

    cluster.ctl(&["stop", "apiserver"])?;
    signal(victim, Signal::USR1)?;
    wait_for("the kubelet starts it again", PATIENCE, async || {
        let again = process_of(&format!("/bin/sh\0-c\0{WAITING}\0"))?;
        ensure!(again != victim, "{victim} lives");
        Ok::<_, anyhow::Error>(())
    })
    .await?;
    let returned = SystemClock.now().0;
    cluster.ctl(&["start", "apiserver"])?;

    let incident = told(&installation, &namespace, "hungry", "oom_limit").await?;
    assert!(nanos(&incident["openedAtNs"]) < returned, "opened late: {incident}");
    let what = "the incident has its context";
    let completed = |incident: &serde_json::Value| {
        let evidence = incident["latest"]["evidence"].as_array();
        evidence.is_some_and(|all| all.iter().any(|fact| fact["podContext"]["current"] == true))
    };
    installation.incident(namespace.name(), what, completed).await?;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn incidents_outlive_a_killed_aggregator_and_new_deaths_reach_it() -> Result<()> {
    let cluster = Cluster::alone().await?;
    let installation = Installation::of(&cluster).await?;
    let namespace = cluster.namespace("told-again")?;
    let image = cluster.image_with_shell();
    namespace.apply(&deployment("before", &image, 1, "exit 5"))?;
    let before = told(&installation, &namespace, "before", "app_error").await?;
    signal(process_of("/inquest-aggregator\0")?, Signal::KILL)?;
    namespace.apply(&deployment("after", &image, 1, "exit 6"))?;
    told(&installation, &namespace, "after", "app_error").await?;
    let again = told(&installation, &namespace, "before", "app_error").await?;
    assert_eq!(again["id"], before["id"]);
    Ok(())
}

/// The node of a pod of ours.
pub(super) fn node_of(cluster: &Cluster, component: &str) -> Result<String> {
    let label = format!("--selector=app.kubernetes.io/component={component}");
    let names = ["get", "pods", &label, "--output", "jsonpath={.items[*].spec.nodeName}"];
    let names = cluster.kubectl(&[&["--namespace", "inquest"], &names[..]].concat())?;
    Ok(names.split_whitespace().next().context("no pod")?.to_owned())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_that_lost_its_power_is_one_incident_and_its_pods_are_none() -> Result<()> {
    let cluster = Cluster::alone().await?;
    let installation = Installation::of(&cluster).await?;
    let namespace = cluster.namespace("lost")?;
    let home = node_of(&cluster, "aggregator")?;
    let lost = if home == "node1" { "node2" } else { "node1" };
    let mut app = deployment("app", &cluster.image_with_shell(), 2, "sleep 1000");
    app["spec"]["template"]["spec"]["nodeName"] = json!(lost);
    namespace.apply(&app)?;
    namespace.kubectl(&["rollout", "status", "deployment/app", "--timeout=120s"])?;

    cluster.ctl(&["kill", lost])?;
    let is_lost = |incident: &serde_json::Value| incident["cause"] == "CAUSE_NODE_LOST";
    let incident = installation.named(lost, "the node is told as lost", is_lost).await;
    cluster.ctl(&["start", lost])?;
    // With the power its mounts went as well.
    Installation::of(&cluster).await?;
    let incident = incident?;
    let report = &incident["latest"]["evidence"][0]["report"];
    ensure!(report["affected"].as_u64() >= Some(2), "{incident}");
    let mended = |incident: &serde_json::Value| incident["standing"].as_array().is_none_or(Vec::is_empty);
    installation.named(lost, "the node is back", mended).await?;
    let seen = installation.incidents(namespace.name())?;
    // What the agent finds after the boot is that the runtime lost the containers.
    let of_crash = |incident: &&serde_json::Value| incident["cause"] != "CAUSE_UNKNOWN";
    ensure!(!seen.iter().any(|incident| of_crash(&incident)), "{seen:#?}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn crashes_while_the_agents_are_replaced_are_told_all_the_same() -> Result<()> {
    let cluster = Cluster::alone().await?;
    let installation = Installation::of(&cluster).await?;
    let namespace = cluster.namespace("told-replaced")?;
    namespace.apply(&deployment("crash", &cluster.image_with_shell(), 1, "sleep 3; exit 5"))?;
    let pods = [
        "delete",
        "pods",
        "--selector=app.kubernetes.io/component=agent",
        "--wait=false",
    ];
    cluster.kubectl(&[&["--namespace", "inquest"], &pods[..]].concat())?;
    let incident = told(&installation, &namespace, "crash", "app_error").await?;
    ensure!(incident["workload"]["kind"] == "Deployment", "{incident}");
    namespace
        .wait_for("a second end", "pods", |seen| {
            let count = seen["items"][0]["status"]["containerStatuses"][0]["restartCount"].as_u64();
            (count >= Some(2)).then_some(())
        })
        .await?;
    let both = |incident: &serde_json::Value| occurrences(incident) >= 2;
    installation
        .incident(namespace.name(), "both ends are counted", both)
        .await?;
    Installation::of(&cluster).await?;
    Ok(())
}
