//! Pods of every kind end in every way, and each is told once under its own name, or not at all.

use anyhow::{Context as _, Result, ensure};
use inquest_tests::{
    Cluster,
    cluster::{Installation, Namespace, pod},
};
use serde_json::json;

use super::product::{deployment, occurrences, told};

#[tokio::test(flavor = "multi_thread")]
async fn a_program_that_ends_well_again_and_again_is_told_from_the_third_time() -> Result<()> {
    let cluster = Cluster::shared().await?;
    let installation = Installation::of(&cluster).await?;
    let namespace = cluster.namespace("well")?;
    let image = cluster.image_with_shell();
    namespace.apply(&deployment("loops", &image, 1, "sleep 2"))?;
    let mut once = pod("once", &image, "sleep 1");
    once["spec"]["restartPolicy"] = json!("OnFailure");
    namespace.apply(&once)?;
    let incident = told(&installation, &namespace, "loops", "clean_exit_loop").await?;
    ensure!(incident["transition"] == 1, "{incident}");
    ensure!(installation.incidents(namespace.name())?.len() == 1, "{incident}");
    Ok(())
}

/// Nothing but its name tells that the second pod continues the first.
#[tokio::test(flavor = "multi_thread")]
async fn a_stateful_pod_made_again_under_its_name_goes_on_with_its_incident() -> Result<()> {
    let cluster = Cluster::shared().await?;
    let installation = Installation::of(&cluster).await?;
    let namespace = cluster.namespace("state")?;
    let mut set = deployment("db", &cluster.image_with_shell(), 1, "sleep 1; exit 4");
    (set["kind"], set["spec"]["serviceName"]) = (json!("StatefulSet"), json!("db"));
    namespace.apply(&set)?;
    let before = told(&installation, &namespace, "db", "app_error").await?;
    namespace.kubectl(&["delete", "pod", "db-0"])?;
    let again = "the second pod ended as well";
    let incident = installation
        .incident(namespace.name(), again, |incident| {
            occurrences(incident) > occurrences(&before)
        })
        .await?;
    ensure!(incident["id"] == before["id"], "{incident}");
    ensure!(incident["workload"]["kind"] == "StatefulSet", "{incident}");
    ensure!(installation.incidents(namespace.name())?.len() == 1, "{incident}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn of_a_pod_with_two_containers_the_one_that_died_is_named() -> Result<()> {
    let cluster = Cluster::shared().await?;
    let installation = Installation::of(&cluster).await?;
    let namespace = cluster.namespace("two")?;
    let mut two = deployment("two", &cluster.image_with_shell(), 1, "sleep 1000");
    let containers = &mut two["spec"]["template"]["spec"]["containers"];
    let mut second = containers[0].clone();
    (second["name"], second["command"]) = (
        json!("second"),
        json!(["/bin/sh", "-c", "echo first; echo last words; exit 9"]),
    );
    containers.as_array_mut().context("no list")?.push(second);
    namespace.apply(&two)?;
    let incident = told(&installation, &namespace, "two", "app_error").await?;
    ensure!(incident["workload"]["container"] == "second", "{incident}");
    ensure!(incident.to_string().contains("last words"), "not its log: {incident}");
    ensure!(installation.incidents(namespace.name())?.len() == 1, "{incident}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_startup_probe_that_never_passes_is_told_as_what_it_is() -> Result<()> {
    let cluster = Cluster::shared().await?;
    let installation = Installation::of(&cluster).await?;
    let namespace = cluster.namespace("startup")?;
    let mut slow = deployment("slow", &cluster.image_with_shell(), 1, "sleep 1000");
    slow["spec"]["template"]["spec"]["containers"][0]["startupProbe"] =
        json!({"exec": {"command": ["false"]}, "periodSeconds": 1, "failureThreshold": 2});
    namespace.apply(&slow)?;
    let incident = told(&installation, &namespace, "slow", "probe_killed").await?;
    ensure!(incident.to_string().contains("PROBE_KIND_STARTUP"), "{incident}");
    Ok(())
}

/// As `kubectl drain` does with each pod of a node.
#[tokio::test(flavor = "multi_thread")]
async fn an_eviction_that_somebody_asked_for_stays_silent() -> Result<()> {
    let cluster = Cluster::shared().await?;
    let installation = Installation::of(&cluster).await?;
    let namespace = cluster.namespace("drained")?;
    let image = cluster.image_with_shell();
    namespace.apply(&deployment(
        "moves",
        &image,
        1,
        "trap '' TERM; while :; do sleep 1; done",
    ))?;
    namespace.kubectl(&["rollout", "status", "deployment/moves", "--timeout=120s"])?;
    let old = pod_of(&namespace, "moves")?;
    let path = format!("/api/v1/namespaces/{}/pods/{old}/eviction", namespace.name());
    let eviction = json!({"apiVersion": "policy/v1", "kind": "Eviction", "metadata": {"name": old}});
    cluster.post(&path, &eviction.to_string())?;
    namespace.kubectl(&["wait", "--for=delete", &format!("pod/{old}"), "--timeout=120s"])?;
    // Told after it had ended: what came before it has been judged.
    namespace.apply(&deployment("last", &image, 2, "exit 7"))?;
    told(&installation, &namespace, "last", "app_error").await?;
    let seen = installation.incidents(namespace.name())?;
    ensure!(seen.len() == 1, "{seen:#?}");
    Ok(())
}

fn pod_of(namespace: &Namespace<'_>, workload: &str) -> Result<String> {
    let label = format!("--selector=app={workload}");
    let names = namespace.kubectl(&["get", "pods", &label, "--output", "jsonpath={.items[*].metadata.name}"])?;
    Ok(names.split_whitespace().next().context("no pod")?.to_owned())
}

/// The kubelet makes it from a file, and knows it by another uid than the apiserver.
#[tokio::test(flavor = "multi_thread")]
async fn a_static_pod_that_crashes_is_told_as_its_own_workload() -> Result<()> {
    let cluster = Cluster::shared().await?;
    let installation = Installation::of(&cluster).await?;
    let namespace = cluster.namespace("static")?;
    let mut fixed = pod("fixed", &cluster.image_with_shell(), "sleep 1; exit 6");
    fixed["metadata"]["namespace"] = json!(namespace.name());
    let file = cluster.node(1)?.manifests().join(format!("{}.json", namespace.name()));
    std::fs::write(&file, fixed.to_string())?;
    let incident = told(&installation, &namespace, "fixed-node1", "app_error").await;
    std::fs::remove_file(&file)?;
    let incident = incident?;
    ensure!(incident["workload"]["kind"] == "Pod", "{incident}");
    ensure!(installation.incidents(namespace.name())?.len() == 1, "{incident}");
    Ok(())
}
