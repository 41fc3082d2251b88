//! The way from the aggregator's pod to a receiver outside of the cluster.

use anyhow::{Context as _, Result, ensure};
use inquest_tests::{
    Cluster,
    cluster::{Installation, Namespace, PATIENCE, RECEIVER, pod},
    wait_for,
};
use serde_json::{Value, json};

use super::{messages::one_message_each, product::told};

/// Failures in a row after which a receiver counts as broken and is left alone for half a minute.
const BROKEN: u64 = 5;

/// A pod that is not started again, so there is one end and one message of it.
fn ends_once(name: &str, image: &str, script: &str) -> Value {
    let mut once = pod(name, image, script);
    once["spec"]["restartPolicy"] = json!("Never");
    once
}

/// What was planned for the receiver of the tests about an incident.
fn delivery(installation: &Installation<'_>, incident: &Value) -> Result<Value> {
    let id = incident["id"].as_str().context("no id")?;
    let seen = installation.ask(&["incident", id])?;
    let planned = seen["deliveries"].as_array().cloned().unwrap_or_default();
    let ours = |delivery: &&Value| delivery["receiver"] == RECEIVER;
    let delivery = planned.iter().find(ours).cloned();
    delivery.with_context(|| format!("nothing is planned: {seen}"))
}

/// Two workloads crash, the second one when the receiver has refused the message of the first. Gives their incidents once
/// the receiver counts as broken.
async fn crash_unheard(
    cluster: &Cluster,
    installation: &Installation<'_>,
    namespace: &Namespace<'_>,
) -> Result<[Value; 2]> {
    let image = cluster.image_with_shell();
    namespace.apply(&ends_once("first", &image, "exit 5"))?;
    let first = told(installation, namespace, "first", "app_error").await?;
    let attempts = async |incidents: &[&Value], least: u64| {
        wait_for("the receiver refuses", PATIENCE, async || {
            let planned = incidents.iter().map(|incident| delivery(installation, incident));
            let planned = planned.collect::<Result<Vec<_>>>()?;
            let tried: u64 = planned.iter().filter_map(|one| one["attempts"].as_u64()).sum();
            ensure!(tried >= least, "{planned:?}");
            Ok::<_, anyhow::Error>(())
        })
        .await
    };
    attempts(&[&first], 1).await?;
    namespace.apply(&ends_once("second", &image, "exit 6"))?;
    let second = told(installation, namespace, "second", "app_error").await?;
    attempts(&[&first, &second], BROKEN).await?;
    Ok([first, second])
}

/// Whoever restarts a chat server must not lose the crashes of that minute, nor hear of them twice.
#[tokio::test(flavor = "multi_thread")]
async fn crashes_while_the_receiver_refuses_connections_are_told_once_when_it_is_back() -> Result<()> {
    let cluster = Cluster::alone().await?;
    let installation = Installation::of(&cluster).await?;
    let namespace = cluster.namespace("unheard")?;
    installation.receiver().go_down();
    let crashed = crash_unheard(&cluster, &installation, &namespace).await;
    let heard = installation.messages(namespace.name());
    installation.receiver().come_back()?;
    let crashed = crashed?;
    ensure!(heard.is_empty(), "{heard:#?}");

    one_message_each(&installation, &namespace, crashed.len()).await?;
    for incident in &crashed {
        let delivery = delivery(&installation, incident)?;
        ensure!(delivery["state"] == "DELIVERY_STATE_DELIVERED", "{delivery}");
    }
    Ok(())
}
