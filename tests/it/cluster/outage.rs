//! Parts of a cluster fail, and come back. Each of these has the cluster to itself.

use anyhow::{Result, ensure};
use inquest_tests::{
    Cluster,
    cluster::{PATIENCE, is_ready, pod},
    wait_for,
};
use serde_json::json;

use super::main_status;

#[tokio::test(flavor = "multi_thread")]
async fn pods_live_on_while_the_apiserver_is_away() -> Result<()> {
    let cluster = Cluster::alone().await?;
    let namespace = cluster.namespace("away")?;
    let mut app = pod("app", &cluster.image_with_shell(), "exec sleep 1000");
    app["spec"]["nodeName"] = json!("node1");
    namespace.apply(&app)?;
    let before = namespace.wait_ready("app").await?;
    let node = cluster.node(1)?;
    let running = node.containers()?;

    cluster.ctl(&["stop", "apiserver"])?;
    assert!(
        cluster.kubectl(&["get", "nodes"]).is_err(),
        "the apiserver still answers"
    );
    assert_eq!(node.containers()?, running);
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
    namespace.wait_ready("app").await?;

    cluster.ctl(&["kill", "node2"])?;
    assert!(cluster.node(2)?.containers().is_err(), "its containerd still answers");
    cluster.ctl(&["start", "node2"])?;

    let what = "the second run of the pod";
    namespace
        .wait_for(what, "pod/app", |seen| {
            (main_status(seen)["restartCount"] == 1 && is_ready(seen)).then_some(())
        })
        .await?;
    wait_for("two containers on node2", PATIENCE, async || {
        let running = cluster.node(2)?.containers()?;
        ensure!(running.len() == 2, "{running:?}");
        Ok::<_, anyhow::Error>(())
    })
    .await
}
