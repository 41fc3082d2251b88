//! The product in a real cluster, in the standard profile: no capability, no kernel log, no right for the agents.

use std::process::Command;

use anyhow::{Context as _, Result, ensure};
use inquest_tests::{
    Cluster,
    cluster::{Installation, Namespace, pod},
};
use serde_json::{Value, json};

use super::{LIMIT, process_of};

/// A Deployment whose pods run a shell script.
pub(super) fn deployment(name: &str, image: &str, replicas: u32, script: &str) -> Value {
    let mut template = pod(name, image, script);
    template["spec"]["terminationGracePeriodSeconds"] = json!(2);
    json!({
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": name},
        "spec": {
            "replicas": replicas,
            "selector": {"matchLabels": {"app": name}},
            "template": {"metadata": {"labels": {"app": name}}, "spec": template["spec"]},
        },
    })
}

fn is_of(incident: &Value, workload: &str) -> bool {
    incident["workload"]["name"] == workload
}

/// How often something happened.
pub(super) fn occurrences(incident: &Value) -> u64 {
    let count = incident["occurrences"].as_str().and_then(|text| text.parse().ok());
    count.unwrap_or(0)
}

/// Waits for the incident of a workload and checks what it is called.
pub(super) async fn told(
    installation: &Installation<'_>,
    namespace: &Namespace<'_>,
    workload: &str,
    cause: &str,
) -> Result<Value> {
    let what = format!("{workload} is told as {cause}");
    let wanted = format!("CAUSE_{}", cause.to_uppercase());
    let fits = |incident: &Value| is_of(incident, workload) && incident["cause"] == wanted.as_str();
    installation.incident(namespace.name(), &what, fits).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_container_over_its_limit_is_told_with_its_deployment_and_without_a_kernel_log() -> Result<()> {
    let cluster = Cluster::shared().await?;
    let installation = Installation::of(&cluster).await?;
    let namespace = cluster.namespace("told-oom")?;
    let mut hungry = deployment("hungry", &cluster.image_with_shell(), 1, "exec tail /dev/zero");
    hungry["spec"]["template"]["spec"]["containers"][0]["resources"] = json!({"limits": {"memory": LIMIT}});
    namespace.apply(&hungry)?;
    let incident = told(&installation, &namespace, "hungry", "oom_limit").await?;
    assert_eq!(incident["workload"]["kind"], "Deployment", "{incident}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_crash_loop_is_one_incident_of_its_deployment() -> Result<()> {
    let cluster = Cluster::shared().await?;
    let installation = Installation::of(&cluster).await?;
    let namespace = cluster.namespace("told-crash")?;
    namespace.apply(&deployment(
        "broken",
        &cluster.image_with_shell(),
        2,
        "echo no DB_URL; exit 1",
    ))?;
    told(&installation, &namespace, "broken", "app_error").await?;
    namespace
        .wait_for("both pods restarted", "pods", |seen| {
            let pods = seen["items"].as_array()?;
            let restarted = |pod: &Value| pod["status"]["containerStatuses"][0]["restartCount"].as_u64() >= Some(1);
            (pods.len() == 2 && pods.iter().all(restarted)).then_some(())
        })
        .await?;
    assert_eq!(installation.incidents(namespace.name())?.len(), 1);
    Ok(())
}

/// The process of the container ignores SIGTERM, so each of these ends in 137.
#[tokio::test(flavor = "multi_thread")]
async fn what_somebody_wanted_stays_silent() -> Result<()> {
    let cluster = Cluster::shared().await?;
    let installation = Installation::of(&cluster).await?;
    let namespace = cluster.namespace("silent")?;
    let image = cluster.image_with_shell();
    for name in ["restarted", "scaled", "deleted"] {
        namespace.apply(&deployment(name, &image, 1, "sleep 1000"))?;
    }
    for name in ["restarted", "scaled", "deleted"] {
        namespace.kubectl(&["rollout", "status", &format!("deployment/{name}"), "--timeout=120s"])?;
    }
    namespace.kubectl(&["rollout", "restart", "deployment/restarted"])?;
    namespace.kubectl(&["scale", "deployment/scaled", "--replicas=0"])?;
    namespace.kubectl(&["delete", "pod", "--selector=app=deleted"])?;
    namespace.kubectl(&["rollout", "status", "deployment/restarted", "--timeout=120s"])?;
    namespace.kubectl(&["wait", "--for=delete", "pod", "--selector=app=scaled", "--timeout=120s"])?;
    // Told after all of them had ended: what came before it through the same agents has been judged.
    namespace.apply(&deployment("last", &image, 2, "exit 7"))?;
    told(&installation, &namespace, "last", "app_error").await?;
    tokio::time::sleep(SETTLE).await;
    let seen = installation.incidents(namespace.name())?;
    assert!(seen.iter().all(|incident| is_of(incident, "last")), "{seen:#?}");
    Ok(())
}

/// Longer than an undecided death waits before people are told. A silence has no event that could be waited for.
const SETTLE: std::time::Duration = std::time::Duration::from_secs(5);

#[tokio::test(flavor = "multi_thread")]
async fn a_failed_liveness_probe_is_told_as_what_it_is() -> Result<()> {
    let cluster = Cluster::shared().await?;
    let installation = Installation::of(&cluster).await?;
    let namespace = cluster.namespace("told-probe")?;
    let mut stuck = deployment("stuck", &cluster.image_with_shell(), 1, "sleep 1000");
    stuck["spec"]["template"]["spec"]["containers"][0]["livenessProbe"] =
        json!({"exec": {"command": ["false"]}, "periodSeconds": 1, "failureThreshold": 2});
    namespace.apply(&stuck)?;
    told(&installation, &namespace, "stuck", "probe_killed").await?;
    Ok(())
}

/// One Deployment for each way to fail, so that they fail side by side.
#[tokio::test(flavor = "multi_thread")]
async fn each_way_to_fail_has_its_own_cause_and_one_incident() -> Result<()> {
    let cluster = Cluster::shared().await?;
    let installation = Installation::of(&cluster).await?;
    let namespace = cluster.namespace("told-ways")?;
    let image = cluster.image_with_shell();
    let ways = [
        ("faults", "segv; exit $?", "fault_signal"),
        ("absent", "exec /nope", "cannot_start"),
        ("fails", "exit 3", "app_error"),
        ("child", "tail /dev/zero; exec sleep 1000", "oom_child"),
    ];
    for (name, script, _) in ways {
        let mut way = deployment(name, &image, 1, script);
        way["spec"]["template"]["spec"]["containers"][0]["resources"] = json!({"limits": {"memory": LIMIT}});
        namespace.apply(&way)?;
    }
    let mut init = deployment("begins", &image, 1, "sleep 1000");
    let mut first = init["spec"]["template"]["spec"]["containers"][0].clone();
    (first["name"], first["command"]) = ("first".into(), json!(["/bin/sh", "-c", "exit 4"]));
    init["spec"]["template"]["spec"]["initContainers"] = json!([first]);
    namespace.apply(&init)?;
    for (name, _, cause) in ways {
        told(&installation, &namespace, name, cause).await?;
    }
    let incident = told(&installation, &namespace, "begins", "app_error").await?;
    assert_eq!(incident["workload"]["container"], "first", "{incident}");
    let incidents = installation.incidents(namespace.name())?;
    assert_eq!(incidents.len(), ways.len() + 1, "{incidents:#?}");
    Ok(())
}

/// Who reads that agents need nothing must be able to rely on it.
#[tokio::test(flavor = "multi_thread")]
async fn no_pod_of_ours_is_privileged_and_the_agents_account_may_do_nothing() -> Result<()> {
    let cluster = Cluster::shared().await?;
    Installation::of(&cluster).await?;
    let pods: Value =
        serde_json::from_str(&cluster.kubectl(&["--namespace", "inquest", "get", "pods", "--output", "json"])?)?;
    let pods = pods["items"].as_array().context("no pods")?;
    ensure!(pods.len() == 3, "two agents and an aggregator, not {}", pods.len());
    for pod in pods {
        for host in ["hostNetwork", "hostPID", "hostIPC"] {
            ensure!(pod["spec"][host] != true, "{pod}");
        }
        for container in pod["spec"]["containers"].as_array().context("no containers")? {
            let security = &container["securityContext"];
            ensure!(
                security["privileged"] == false && security["capabilities"] == json!({"drop": ["ALL"]}),
                "{pod}"
            );
        }
    }
    let may = |account: &str| cluster.kubectl(&["auth", "can-i", "--list", "--as", account]);
    let nobody = may("system:serviceaccount:inquest:nobody")?;
    assert_eq!(may("system:serviceaccount:inquest:inquest-agent")?, nobody);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_kill_from_outside_names_its_sender_and_is_no_memory_kill() -> Result<()> {
    let cluster = Cluster::shared().await?;
    let installation = Installation::of(&cluster).await?;
    let namespace = cluster.namespace("told-kill")?;
    let victim = deployment("victim", &cluster.image_with_shell(), 1, "exec sleep 98765");
    namespace.apply(&victim)?;
    namespace.kubectl(&["rollout", "status", "deployment/victim", "--timeout=120s"])?;
    let pid = process_of("sleep\098765\0")?;
    // A shell of its own, so that there is a name to be told.
    let killed = Command::new("bash")
        .args(["-c", &format!("kill -KILL {pid}; :")])
        .status()?;
    ensure!(killed.success(), "cannot kill {pid}");
    let incident = told(&installation, &namespace, "victim", "killed_by").await?;
    assert!(
        incident.to_string().contains("\"bash\""),
        "the sender is not named: {incident}"
    );
    Ok(())
}
