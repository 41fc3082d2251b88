//! Aggregator and agent as programs of a host: the cluster is known by a kubeconfig.

use anyhow::{Context as _, Result, ensure};
use inquest_proto::ingest::v1::{LogExcerpt, LogOrigin, evidence::Fact};
use inquest_proto::query::v1::Incident;
use inquest_tests::{
    Cluster,
    cluster::PATIENCE,
    wait_for,
    world::{OfNode, Options, World},
};
use serde_json::json;

use super::product::deployment;

/// Both programs beside node 1; the agent keeps no lines of any log.
async fn beside_node_1(cluster: &Cluster) -> Result<World> {
    let (node, kubeconfig) = (cluster.node(1)?, cluster.kubeconfig().display());
    let options = Options {
        node: Some(OfNode {
            containerd: node.containerd(),
            cgroup: node.cgroup()?,
        }),
        agent_extra: "log_tail: {max_lines: 0}".to_owned(),
        aggregator_extra: format!(
            "clusters: [{{name: test, kubeconfig: {kubeconfig}}}]\nlog_fallback: {{enabled: true}}"
        ),
        ..Options::default()
    };
    World::start("outside", &options).await
}

fn log(incident: &Incident) -> Option<&LogExcerpt> {
    let evidence = &incident.latest.as_ref()?.evidence;
    evidence.iter().find_map(|evidence| match &evidence.fact {
        Some(Fact::LogExcerpt(log)) => Some(log),
        _ => None,
    })
}

#[tokio::test(flavor = "multi_thread")]
async fn a_log_that_the_agent_does_not_keep_comes_through_the_apiserver() -> Result<()> {
    let cluster = Cluster::shared().await?;
    let world = beside_node_1(&cluster).await?;
    let namespace = cluster.namespace("outside")?;
    let script = "echo password=hunter2; echo no DB_URL; sleep 1; exit 3";
    let mut broken = deployment("broken", &cluster.image_with_shell(), 1, script);
    broken["spec"]["template"]["spec"]["nodeName"] = json!("node1");
    namespace.apply(&broken)?;
    let told = wait_for("the crash is told with its log", PATIENCE, async || {
        let incidents = world.incidents().await?;
        let of_ours = |incident: &Incident| {
            incident
                .workload
                .as_ref()
                .is_some_and(|w| w.namespace == namespace.name())
        };
        let incident = incidents.into_iter().find(of_ours).context("no incident")?;
        ensure!(log(&incident).is_some(), "no log: {incident:?}");
        Ok(incident)
    })
    .await?;
    let workload = told.workload.as_ref().context("no workload")?;
    ensure!(
        (&*workload.kind, &*workload.name) == ("Deployment", "broken"),
        "{workload:?}"
    );
    let log = log(&told).context("no log")?;
    ensure!(log.lines == ["password=[redacted]", "no DB_URL"], "{log:?}");
    ensure!((log.origin(), log.redactions) == (LogOrigin::Apiserver, 1), "{log:?}");
    Ok(())
}
