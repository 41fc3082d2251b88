//! What changed before a crash, as a real apiserver tells it.

use anyhow::{Context as _, Result};
use inquest_tests::{
    Cluster,
    cluster::{Installation, Namespace},
};
use serde_json::{Value, json};

use super::product::deployment;

/// What must never leave the template.
const SECRET: &str = "postgres-hunter2";

/// What the newest event of an incident says about the rollout.
fn rollout(incident: &Value) -> Option<&Value> {
    let mut facts = incident["latest"]["evidence"].as_array()?.iter();
    facts.find_map(|fact| fact.get("rolloutContext"))
}

/// The workload runs with a variable, and then an update takes it away and makes the program fail.
async fn broken_by_an_update(
    cluster: &Cluster,
    installation: &Installation<'_>,
    namespace: &Namespace<'_>,
    kind: &str,
) -> Result<Value> {
    let manifest = |script: &str, env: Value| {
        let mut manifest = deployment("api", &cluster.image_with_shell(), 3, script);
        manifest["kind"] = kind.into();
        if kind == "StatefulSet" {
            manifest["spec"]["serviceName"] = "api".into();
        }
        manifest["spec"]["template"]["spec"]["containers"][0]["env"] = env;
        manifest
    };
    let variable = json!([{"name": "DB_URL", "value": SECRET}]);
    namespace.apply(&manifest("exec sleep 1000", variable))?;
    let workload = format!("{}/api", kind.to_lowercase());
    namespace.kubectl(&["rollout", "status", &workload, "--timeout=120s"])?;
    namespace.apply(&manifest("echo no DB_URL; exit 1", json!([])))?;
    let told = |incident: &Value| {
        let changes = rollout(incident).and_then(|rollout| rollout["changes"].as_array());
        let removed = json!({"what": "TEMPLATE_FIELD_ENV_REMOVED", "container": "main", "name": "DB_URL"});
        incident["cause"] == "CAUSE_APP_ERROR" && changes.is_some_and(|changes| changes.contains(&removed))
    };
    installation
        .incident(namespace.name(), "the removed variable is named", told)
        .await
}

/// The pods of each revision, the newest first: crashed and healthy.
fn pods(incident: &Value) -> Vec<(u64, u64)> {
    let shares = rollout(incident).and_then(|rollout| rollout["revisions"].as_array());
    let count = |share: &Value, name: &str| share[name].as_u64().unwrap_or_default();
    let both = |share: &Value| (count(share, "crashed"), count(share, "healthy"));
    shares.into_iter().flatten().map(both).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_crash_after_an_update_names_what_changed_and_says_that_old_pods_are_healthy() -> Result<()> {
    let cluster = Cluster::shared().await?;
    let installation = Installation::of(&cluster).await?;
    let namespace = cluster.namespace("told-update")?;
    let incident = broken_by_an_update(&cluster, &installation, &namespace, "Deployment").await?;
    let said = rollout(&incident).cloned().unwrap_or_default();
    assert_eq!((&said["revision"], &said["previous"]), (&json!("2"), &json!("1")));
    assert!(said["startedAtNs"].is_string(), "{said}");
    assert_eq!(pods(&incident), [(1, 0), (0, 3)], "{said}");
    let incidents = installation.incidents(namespace.name())?;
    assert_eq!(incidents.len(), 1, "{incidents:#?}");
    let aggregator = ["--namespace", "inquest", "exec", "deployment/inquest-aggregator", "--"];
    let show = ["/inquest", "incident", incident["id"].as_str().context("no id")?];
    let card = cluster.kubectl(&[&aggregator[..], &show].concat())?;
    let changed =
        "after revision 2 (command changed, env DB_URL removed); 1 of 1 new pods crash, 3 of 3 old pods healthy";
    assert!(card.contains(changed) && card.contains("1 of 4 pods (25 %)"), "{card}");
    let log = cluster.kubectl(&["--namespace", "inquest", "logs", "deployment/inquest-aggregator"])?;
    for told in [json!(incidents).to_string(), card, log] {
        assert!(!told.contains(SECRET), "{told}");
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn revisions_of_a_stateful_set_are_compared_too() -> Result<()> {
    let cluster = Cluster::shared().await?;
    let installation = Installation::of(&cluster).await?;
    let namespace = cluster.namespace("told-update-set")?;
    let incident = broken_by_an_update(&cluster, &installation, &namespace, "StatefulSet").await?;
    assert_eq!(pods(&incident), [(1, 0), (0, 2)], "{incident}");
    assert!(!incident.to_string().contains(SECRET), "{incident}");
    Ok(())
}
