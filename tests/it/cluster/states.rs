//! Trouble that ends no container: the apiserver knows it, and no node does. One message for each.

use anyhow::{Result, ensure};
use inquest_tests::{
    Cluster,
    cluster::{Installation, Namespace},
};
use serde_json::{Value, json};

use super::product::{deployment, occurrences, told};

/// An image that nobody has.
const ABSENT: &str = "img.local/absent:1";

/// The first container of a workload's template.
fn container(workload: &mut Value) -> &mut Value {
    &mut workload["spec"]["template"]["spec"]["containers"][0]
}

/// What the apiserver's words were.
fn reported(incident: &Value) -> String {
    let evidence = incident["latest"]["evidence"].as_array().cloned().unwrap_or_default();
    let message = |fact: &Value| fact["report"]["message"].as_str().map(str::to_owned);
    evidence.iter().find_map(message).unwrap_or_default()
}

fn is_one_message(incident: &Value) -> Result<()> {
    ensure!(
        incident["transition"] == 1,
        "{} messages: {incident}",
        incident["transition"]
    );
    Ok(())
}

/// Name of a workload, its cause, part of the apiserver's words, and what is wrong with it.
type Way = (&'static str, &'static str, &'static str, fn(&mut Value));

/// Side by side, as each takes its time.
#[tokio::test(flavor = "multi_thread")]
async fn pods_that_cannot_start_are_told_with_what_is_missing() -> Result<()> {
    let cluster = Cluster::shared().await?;
    let installation = Installation::of(&cluster).await?;
    let namespace = cluster.namespace("no-start")?;
    let image = cluster.image_with_shell();
    namespace.kubectl(&["create", "secret", "generic", "keys", "--from-literal=a=b"])?;
    let ways: [Way; 6] = [
        ("pulls", "image_error", ABSENT, |w| {
            container(w)["image"] = json!(ABSENT)
        }),
        ("config", "config_error", "configmap \"absent\" not found", |w| {
            container(w)["envFrom"] = json!([{"configMapRef": {"name": "absent"}}]);
        }),
        ("key", "config_error", "couldn't find key nope in Secret", |w| {
            container(w)["env"] =
                json!([{"name": "A", "valueFrom": {"secretKeyRef": {"name": "keys", "key": "nope"}}}]);
        }),
        ("large", "unschedulable", "Insufficient cpu", |w| {
            container(w)["resources"] = json!({"requests": {"cpu": "1000"}});
        }),
        ("volume", "mount_failed", "secret \"absent\" not found", |w| {
            w["spec"]["template"]["spec"]["volumes"] = json!([{"name": "v", "secret": {"secretName": "absent"}}]);
            container(w)["volumeMounts"] = json!([{"name": "v", "mountPath": "/v"}]);
        }),
        ("never", "rollout_stuck", "timed out progressing", |w| {
            w["spec"]["progressDeadlineSeconds"] = json!(5);
            container(w)["readinessProbe"] = json!({"exec": {"command": ["false"]}, "periodSeconds": 1});
        }),
    ];
    for (name, _, _, change) in ways {
        let mut workload = deployment(name, &image, 1, "sleep 1000");
        change(&mut workload);
        namespace.apply(&workload)?;
    }
    for (name, cause, words, _) in ways {
        let incident = told(&installation, &namespace, name, cause).await?;
        let said = reported(&incident);
        ensure!(said.contains(words), "{name}: {said}");
        ensure!(incident["workload"]["kind"] == "Deployment", "{incident}");
    }
    let all = installation.incidents(namespace.name())?;
    ensure!(all.len() == ways.len(), "{all:#?}");
    all.iter().try_for_each(is_one_message)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_command_that_does_not_exist_is_one_incident_of_node_and_apiserver() -> Result<()> {
    let cluster = Cluster::shared().await?;
    let installation = Installation::of(&cluster).await?;
    let namespace = cluster.namespace("no-command")?;
    let mut absent = deployment("absent", &cluster.image_with_shell(), 1, "");
    container(&mut absent)["command"] = json!(["/nope"]);
    namespace.apply(&absent)?;
    told(&installation, &namespace, "absent", "cannot_start").await?;
    namespace
        .wait_for("the second try", "pods", |seen| {
            let status = &seen["items"][0]["status"]["containerStatuses"][0];
            (status["restartCount"].as_u64() >= Some(1)).then_some(())
        })
        .await?;
    let all = installation.incidents(namespace.name())?;
    ensure!(all.len() == 1, "{all:#?}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_quota_that_refuses_every_pod_is_told_although_no_pod_exists() -> Result<()> {
    let cluster = Cluster::shared().await?;
    let installation = Installation::of(&cluster).await?;
    let namespace = cluster.namespace("no-quota")?;
    namespace.kubectl(&["create", "quota", "none", "--hard=pods=0"])?;
    namespace.apply(&deployment("refused", &cluster.image_with_shell(), 2, "sleep 1000"))?;
    let incident = told(&installation, &namespace, "refused", "creation_refused").await?;
    ensure!(reported(&incident).contains("exceeded quota: none"), "{incident}");
    is_one_message(&incident)
}

/// The old pods serve, so nobody needs to be told twice.
#[tokio::test(flavor = "multi_thread")]
async fn a_rollout_to_an_image_that_does_not_exist_is_one_message_and_ends_when_it_is_mended() -> Result<()> {
    let cluster = Cluster::shared().await?;
    let installation = Installation::of(&cluster).await?;
    let namespace = cluster.namespace("bad-rollout")?;
    let mut web = deployment("web", &cluster.image_with_shell(), 2, "sleep 1000");
    // Longer than the kubelet takes to say that it cannot get the image.
    web["spec"]["progressDeadlineSeconds"] = json!(40);
    namespace.apply(&web)?;
    namespace.kubectl(&["rollout", "status", "deployment/web", "--timeout=120s"])?;
    namespace.kubectl(&["set", "image", "deployment/web", &format!("main={ABSENT}")])?;
    told(&installation, &namespace, "web", "image_error").await?;
    namespace
        .wait_for("the deadline passes", "deployment/web", |seen| {
            let conditions = seen["status"]["conditions"].as_array()?;
            let late = |c: &Value| c["reason"] == "ProgressDeadlineExceeded";
            conditions.iter().any(late).then_some(())
        })
        .await?;
    let changed = "what changed is told with it";
    let names_image = |incident: &Value| incident.to_string().contains("TEMPLATE_FIELD_IMAGE");
    installation.incident(namespace.name(), changed, names_image).await?;
    let joined = "the stuck rollout is part of it";
    let incident = installation
        .incident(namespace.name(), joined, |incident| occurrences(incident) >= 2)
        .await?;
    is_one_message(&incident)?;
    ensure!(installation.incidents(namespace.name())?.len() == 1, "{incident}");

    namespace.kubectl(&["rollout", "undo", "deployment/web"])?;
    let mended = |incident: &Value| incident["standing"].as_array().is_none_or(Vec::is_empty);
    installation
        .incident(namespace.name(), "nothing holds any more", mended)
        .await?;
    Ok(())
}

/// A job named `name` that fails each time it is tried.
fn job(name: &str, image: &str, retries: u32) -> Value {
    let mut template = super::pod(name, image, "echo no luck; exit 3");
    template["spec"]["restartPolicy"] = json!("Never");
    json!({
        "apiVersion": "batch/v1", "kind": "Job", "metadata": {"name": name},
        "spec": {"backoffLimit": retries, "template": {"spec": template["spec"]}},
    })
}

async fn failed(namespace: &Namespace<'_>, job: &str) -> Result<()> {
    let holds = |seen: &Value| {
        let conditions = seen["status"]["conditions"].as_array()?;
        let failed = |c: &Value| c["type"] == "Failed" && c["status"] == "True";
        conditions.iter().any(failed).then_some(())
    };
    namespace.wait_for("it gives up", &format!("job/{job}"), holds).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_job_that_fails_is_one_incident_with_the_reason_of_its_container() -> Result<()> {
    let cluster = Cluster::shared().await?;
    let installation = Installation::of(&cluster).await?;
    let namespace = cluster.namespace("jobs")?;
    let image = cluster.image_with_shell();
    namespace.apply(&job("once", &image, 0))?;
    namespace.apply(&job("twice", &image, 1))?;
    let cron = job("tidy", &image, 0);
    namespace.apply(&json!({
        "apiVersion": "batch/v1", "kind": "CronJob", "metadata": {"name": "tidy"},
        "spec": {"schedule": "0 0 1 1 *", "failedJobsHistoryLimit": 5, "jobTemplate": {"spec": cron["spec"]}},
    }))?;
    for run in ["tidy-1", "tidy-2"] {
        namespace.kubectl(&["create", "job", run, "--from=cronjob/tidy"])?;
    }
    for name in ["once", "twice", "tidy-1", "tidy-2"] {
        failed(&namespace, name).await?;
    }
    for (kind, name, least) in [("Job", "once", 2), ("Job", "twice", 3), ("CronJob", "tidy", 4)] {
        let what = format!("{kind} {name} with its ends and its failure");
        let complete = |incident: &Value| {
            let is_its = incident["workload"]["kind"] == kind && incident["workload"]["name"] == name;
            is_its && occurrences(incident) >= least
        };
        let incident = installation.incident(namespace.name(), &what, complete).await?;
        ensure!(incident["cause"] == "CAUSE_APP_ERROR", "{incident}");
    }
    let all = installation.incidents(namespace.name())?;
    ensure!(all.len() == 3, "{all:#?}");
    Ok(())
}

/// Batch programs say with their code that there was nothing to do; their authors tell the job so.
#[tokio::test(flavor = "multi_thread")]
async fn an_end_that_the_failure_policy_of_a_job_ignores_stays_silent() -> Result<()> {
    let cluster = Cluster::shared().await?;
    let installation = Installation::of(&cluster).await?;
    let namespace = cluster.namespace("ignored")?;
    let image = cluster.image_with_shell();
    let mut ignored = job("ignored", &image, 3);
    container(&mut ignored)["command"] = json!(["/bin/sh", "-c", "exit 42"]);
    ignored["spec"]["podFailurePolicy"] =
        json!({"rules": [{"action": "Ignore", "onExitCodes": {"operator": "In", "values": [42]}}]});
    namespace.apply(&ignored)?;
    namespace
        .wait_for("two pods of the job ended", "pods", |seen| {
            let pods = seen["items"].as_array()?;
            let ended = pods.iter().filter(|pod| pod["status"]["phase"] == "Failed");
            (ended.count() >= 2).then_some(())
        })
        .await?;
    // Told after both had ended, by the same agents.
    namespace.apply(&deployment("last", &image, 2, "exit 7"))?;
    told(&installation, &namespace, "last", "app_error").await?;
    let all = installation.incidents(namespace.name())?;
    ensure!(all.len() == 1, "{all:#?}");
    Ok(())
}

/// Three teams are not to be told of one registry that is down.
#[tokio::test(flavor = "multi_thread")]
async fn a_registry_that_is_down_is_one_incident_of_all_who_wait_for_it() -> Result<()> {
    let cluster = Cluster::shared().await?;
    let installation = Installation::of(&cluster).await?;
    let namespace = cluster.namespace("registry")?;
    // Nothing listens on port 1 of any node.
    let names = ["one", "two", "three"];
    for name in names {
        let mut waiting = deployment(name, "127.0.0.1:1/app:1", 1, "sleep 1000");
        // In a young cluster the volume of the token is late, which is a trouble of its own.
        waiting["spec"]["template"]["spec"]["automountServiceAccountToken"] = json!(false);
        namespace.apply(&waiting)?;
    }
    let of_registry = |incident: &Value| {
        let workload = &incident["workload"];
        workload["kind"] == "Registry" && workload["name"] == "127.0.0.1:1" && occurrences(incident) >= 3
    };
    let incident = installation
        .named("127.0.0.1:1", "the registry with its three pods", of_registry)
        .await?;
    ensure!(incident["cause"] == "CAUSE_IMAGE_ERROR", "{incident}");
    is_one_message(&incident)?;
    let of_ours = installation.incidents(namespace.name())?;
    ensure!(of_ours.is_empty(), "{of_ours:#?}");
    Ok(())
}
