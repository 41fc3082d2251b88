//! The chart in a real Kubernetes, as people install, try, change and remove it.

use std::{
    ffi::OsString,
    fs,
    path::Path,
    process::{Command, Stdio},
};

use anyhow::{Context as _, Result, ensure};
use inquest_tests::{
    Cluster, TestDir,
    cluster::{PATIENCE, ask, cgroup_scope, images, mount_tracefs, pod},
    wait_for,
};
use serde_json::{Value, json};

/// The program, set by the test runner, which builds it.
const HELM: &str = "INQUEST_TEST_HELM";
/// Release and namespace, as in the handbook.
const NAME: &str = "inquest";
/// Everything that the chart may make.
const KINDS: &str = "all,configmaps,secrets,serviceaccounts,networkpolicies,persistentvolumeclaims,poddisruptionbudgets,\
                     roles,rolebindings,clusterroles,clusterrolebindings,priorityclasses";

/// Runs helm; gives what it printed.
fn helm(cluster: &Cluster, arguments: &[&str]) -> Result<String> {
    let mut command = Command::new(std::env::var_os(HELM).unwrap_or_else(|| OsString::from("helm")));
    command.arg("--kubeconfig").arg(cluster.kubeconfig());
    command.args(["--namespace", NAME]).args(arguments).stdin(Stdio::null());
    let output = command.output().context("cannot run helm")?;
    let (said, complaint) = (
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr),
    );
    ensure!(
        output.status.success(),
        "helm {}: {complaint}{said}",
        arguments.join(" ")
    );
    Ok(said.into_owned())
}

/// Images that exist here, the memory of a debug build, no storage, and nodes that share a kernel.
fn values(cluster: &Cluster) -> Result<Value> {
    let (agent, aggregator) = images(cluster)?;
    let image = |reference: &str| {
        let (repository, tag) = reference.rsplit_once(':').context("no tag")?;
        Ok::<_, anyhow::Error>(json!({"repository": repository, "tag": tag}))
    };
    Ok(json!({
        "agent": {
            "image": image(&agent)?,
            "resources": {"limits": {"memory": "128Mi"}},
            "env": [
                {"name": "INQUEST_SOURCES_CGROUP_SCOPE", "value": cgroup_scope(cluster)?},
                {"name": "INQUEST_SOURCES_TRACE_INSTANCE", "value": "$(INQUEST_NODE_NAME)"},
            ],
        },
        "aggregator": {"image": image(&aggregator)?, "persistence": {"enabled": false}},
        "test": {"image": cluster.image_with_shell()},
    }))
}

/// The pods of a part, each of which is another one after a restart of the part.
fn pods(cluster: &Cluster, part: &str) -> Result<String> {
    let label = format!("--selector=app.kubernetes.io/component={part}");
    let uids = [
        "--namespace",
        NAME,
        "get",
        "pods",
        &label,
        "--output",
        "jsonpath={.items[*].metadata.uid}",
    ];
    cluster.kubectl(&uids)
}

fn authority(cluster: &Cluster) -> Result<String> {
    let secret = ["get", "secret", "inquest-authority", "--output", "jsonpath={.data}"];
    cluster.kubectl(&[&["--namespace", NAME], &secret[..]].concat())
}

/// Waits until every node has its agent, and this agent the aggregator.
async fn wait_connected(cluster: &Cluster) -> Result<()> {
    let rollout = ["rollout", "status", "daemonset/inquest-agent", "--timeout=120s"];
    cluster.kubectl(&[&["--namespace", NAME], &rollout[..]].concat())?;
    let nodes = cluster.nodes()?;
    wait_for("every agent reports", PATIENCE, async || {
        let seen = ask(cluster, &["nodes"])?;
        let known = seen["nodes"].as_array().cloned().unwrap_or_default();
        let connected = known.iter().filter(|node| node["connected"] == true).count();
        ensure!(connected == nodes, "{seen}");
        Ok::<_, anyhow::Error>(())
    })
    .await
}

/// A pod on the second node ends with 3, and is told as that.
async fn crash_is_told(cluster: &Cluster, name: &str) -> Result<()> {
    let namespace = cluster.namespace(name)?;
    let mut crash = pod("crash", &cluster.image_with_shell(), "exit 3");
    (crash["spec"]["nodeName"], crash["spec"]["restartPolicy"]) = (json!("node2"), json!("Never"));
    namespace.apply(&crash)?;
    wait_for("the crash is told", PATIENCE, async || {
        let seen = ask(cluster, &["incidents", "--namespace", namespace.name()])?;
        let incidents = seen["incidents"].as_array().cloned().unwrap_or_default();
        let right = incidents.iter().all(|incident| incident["cause"] == "CAUSE_APP_ERROR");
        ensure!(right && incidents.len() == 1, "{seen}");
        Ok::<_, anyhow::Error>(())
    })
    .await
}

/// An upgrade that lost the authority would cut off every agent, and one that restarted everything would be felt.
async fn upgrade(cluster: &Cluster, chart: &str) -> Result<()> {
    let before = (
        pods(cluster, "agent")?,
        pods(cluster, "aggregator")?,
        authority(cluster)?,
    );
    let change = [
        "--reuse-values",
        "--set",
        "agent.config.log.format=json",
        "--wait",
        "--timeout",
        "180s",
    ];
    helm(cluster, &[&["upgrade", NAME, chart], &change[..]].concat())?;
    wait_connected(cluster).await?;
    let after = (
        pods(cluster, "agent")?,
        pods(cluster, "aggregator")?,
        authority(cluster)?,
    );
    ensure!(after.0 != before.0, "the agents do not have the change");
    ensure!(
        (after.1, after.2) == (before.1, before.2),
        "more than the agents changed"
    );
    let log = cluster.kubectl(&["--namespace", NAME, "logs", "daemonset/inquest-agent"])?;
    ensure!(log.starts_with('{'), "{log}");
    Ok(())
}

/// All that a release leaves behind is what people put there themselves.
async fn uninstall(cluster: &Cluster) -> Result<()> {
    helm(cluster, &["uninstall", NAME, "--wait", "--timeout", "180s"])?;
    wait_for("nothing is left", PATIENCE, async || {
        let label = format!("--selector=app.kubernetes.io/instance={NAME}");
        let left = cluster.kubectl(&["get", KINDS, "--all-namespaces", &label, "--output", "name"])?;
        ensure!(left.is_empty(), "{left}");
        Ok::<_, anyhow::Error>(())
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn the_chart_installs_passes_its_test_takes_a_change_and_goes_without_a_trace() -> Result<()> {
    let cluster = Cluster::shared().await?;
    mount_tracefs(&cluster)?;
    let dir = TestDir::new("chart")?;
    let file = dir.join("values.yaml");
    fs::write(&file, values(&cluster)?.to_string())?;
    let file = file.display().to_string();
    let chart = Path::new(env!("CARGO_MANIFEST_DIR")).join("../deploy/helm/inquest");
    let chart = chart.display().to_string();
    cluster.kubectl(&["create", "namespace", NAME])?;
    cluster.kubectl(&[
        "label",
        "namespace",
        NAME,
        "pod-security.kubernetes.io/enforce=privileged",
    ])?;

    helm(
        &cluster,
        &[
            "install",
            NAME,
            &chart,
            "--values",
            &file,
            "--wait",
            "--timeout",
            "180s",
        ],
    )?;
    wait_connected(&cluster).await?;
    let tested = helm(&cluster, &["test", NAME, "--timeout", "120s"])?;
    ensure!(tested.contains("Succeeded"), "{tested}");
    crash_is_told(&cluster, "before").await?;
    upgrade(&cluster, &chart).await?;
    crash_is_told(&cluster, "after").await?;
    uninstall(&cluster).await
}
