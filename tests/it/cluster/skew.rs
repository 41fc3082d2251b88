//! Nodes whose clocks are not the aggregator's.

use std::{fs, time::Duration};

use anyhow::{Result, ensure};
use inquest_tests::{
    Cluster,
    cluster::{FAKETIME, Installation, Namespace, PATIENCE},
    faketime, wait_for,
};
use serde_json::{Value, json};

use super::{
    LIMIT,
    messages::one_message_each,
    product::{deployment, told},
};

/// How far the clock of the aggregator is behind that of the nodes, their runtimes and the apiserver.
const BEHIND: Duration = Duration::from_secs(90);
/// How much later than it was written something may arrive on a busy machine.
const TRAVEL: Duration = Duration::from_secs(20);

/// Waits until the certificates of the cluster are valid by a clock that is behind; those of a real one are older.
async fn wait_aged(cluster: &Cluster) -> Result<()> {
    let certificate = fs::metadata(cluster.home()?.join("pki/apiserver.crt"))?.modified()?;
    wait_for("the apiserver's certificate is old enough", PATIENCE, async || {
        let age = certificate.elapsed()?;
        ensure!(age > BEHIND, "{age:?}");
        Ok::<_, anyhow::Error>(())
    })
    .await
}

/// Changes the environment of the aggregator, in the words of `kubectl set env`, and waits until it runs so.
fn set_environment(cluster: &Cluster, words: &[String]) -> Result<()> {
    const AGGREGATOR: &str = "deployment/inquest-aggregator";
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    cluster.kubectl(&[&["--namespace", "inquest", "set", "env", AGGREGATOR], &words[..]].concat())?;
    let wait = [
        "--namespace",
        "inquest",
        "rollout",
        "status",
        AGGREGATOR,
        "--timeout=180s",
    ];
    cluster.kubectl(&wait)?;
    Ok(())
}

fn nanos(value: &Value) -> i64 {
    value.as_str().and_then(|text| text.parse().ok()).unwrap_or_default()
}

fn is_behind(nanos: i64) -> bool {
    let behind = i64::try_from(BEHIND.as_nanos()).unwrap_or(i64::MAX);
    Duration::from_nanos(nanos.abs_diff(behind)) < TRAVEL
}

/// What the kernel proves and what only the apiserver can explain: the times of both are the cluster's.
async fn told_while_behind(cluster: &Cluster, namespace: &Namespace<'_>) -> Result<()> {
    let installation = Installation::of(cluster).await?;
    let image = cluster.image_with_shell();
    let mut hungry = deployment("hungry", &image, 1, "exec tail /dev/zero");
    hungry["spec"]["template"]["spec"]["containers"][0]["resources"] = json!({"limits": {"memory": LIMIT}});
    let mut stuck = deployment("stuck", &image, 1, "sleep 1000");
    stuck["spec"]["template"]["spec"]["containers"][0]["livenessProbe"] =
        json!({"exec": {"command": ["false"]}, "periodSeconds": 1, "failureThreshold": 2});
    namespace.apply(&deployment("unwanted", &image, 1, "sleep 1000"))?;
    namespace.kubectl(&["rollout", "status", "deployment/unwanted", "--timeout=120s"])?;
    namespace.kubectl(&["delete", "deployment/unwanted", "--cascade=foreground"])?;
    namespace.apply(&hungry)?;
    namespace.apply(&stuck)?;
    for (name, cause) in [("hungry", "oom_limit"), ("stuck", "probe_killed")] {
        let incident = told(&installation, namespace, name, cause).await?;
        let lead = nanos(&incident["firstSeenNs"]) - nanos(&incident["openedAtNs"]);
        ensure!(is_behind(lead), "the beginning is told by the node's clock: {incident}");
        ensure!(incident["workload"]["kind"] == "Deployment", "{incident}");
    }
    one_message_each(&installation, namespace, 2).await?;
    wait_for("the offset of every node is shown", PATIENCE, async || {
        let seen = installation.ask(&["nodes"])?;
        let nodes = seen["nodes"].as_array().cloned().unwrap_or_default();
        let shown = nodes.iter().all(|node| is_behind(nanos(&node["clockOffsetNs"])));
        ensure!(shown && !nodes.is_empty(), "{seen}");
        Ok::<_, anyhow::Error>(())
    })
    .await
}

/// A wrong clock must neither hide a death, nor split it in two, nor turn what somebody wanted into a crash.
#[tokio::test(flavor = "multi_thread")]
async fn deaths_on_nodes_that_are_90_s_ahead_are_told_once_with_their_causes() -> Result<()> {
    let cluster = Cluster::alone().await?;
    Installation::of(&cluster).await?;
    let namespace = cluster.namespace("ahead")?;
    wait_aged(&cluster).await?;
    let seconds = i64::try_from(BEHIND.as_secs())?;
    let variables = faketime::variables(FAKETIME, -seconds);
    let moved = variables.each_ref().map(|(name, value)| format!("{name}={value}"));
    set_environment(&cluster, &moved)?;
    let told = told_while_behind(&cluster, &namespace).await;
    set_environment(&cluster, &variables.map(|(name, _)| format!("{name}-")))?;
    Installation::of(&cluster).await?;
    told
}
