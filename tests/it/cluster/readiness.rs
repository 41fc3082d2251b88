//! Containers that run and do not serve.

use anyhow::{Result, ensure};
use inquest_tests::{Cluster, cluster::Installation};
use serde_json::json;

use super::{
    messages::one_message_each,
    product::{deployment, told},
};

/// No container ends, so no node has anything to tell; people need the probe's words all the same.
#[tokio::test(flavor = "multi_thread")]
async fn a_rollout_whose_pods_never_become_ready_is_told_once_with_the_words_of_the_probe() -> Result<()> {
    let cluster = Cluster::shared().await?;
    let installation = Installation::of(&cluster).await?;
    let namespace = cluster.namespace("unready")?;
    let mut web = deployment("web", &cluster.image_with_shell(), 2, "sleep 1000");
    web["spec"]["progressDeadlineSeconds"] = json!(6);
    web["spec"]["template"]["spec"]["containers"][0]["readinessProbe"] =
        json!({"exec": {"command": ["sh", "-c", "echo no database; exit 1"]}, "periodSeconds": 1});
    namespace.apply(&web)?;
    let incident = told(&installation, &namespace, "web", "rollout_stuck").await?;
    let report = &incident["latest"]["evidence"][0]["report"];
    let words = report["message"].as_str().unwrap_or_default();
    ensure!(
        words.contains("timed out progressing") && words.contains("Readiness probe failed: no database"),
        "{incident}"
    );
    one_message_each(&installation, &namespace, 1).await
}
