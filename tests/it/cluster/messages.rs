//! What people were told: counted at a receiver, not at the list of incidents.

use std::{collections::BTreeSet, time::Duration};

use anyhow::{Result, ensure};
use inquest_tests::{
    Cluster,
    cluster::{Installation, Namespace, PATIENCE},
    wait_for,
};

use serde_json::{Value, json};

use super::product::{deployment, told};

/// Longer than an undecided death waits before people are told. A silence has no event that could be waited for.
const SILENCE: Duration = Duration::from_secs(5);

/// What an incident that goes on says on purpose: its third end, its tenth, and so on.
const MILESTONE: &str = "TRANSITION_KIND_MILESTONE";

/// All that people were told of a namespace, but how often it went on.
fn news(installation: &Installation<'_>, namespace: &str) -> Vec<Value> {
    let mut told = installation.messages(namespace);
    told.retain(|body| body["data"]["transitionKind"] != MILESTONE);
    told
}

/// Waits until people were told of this many incidents of a namespace, and makes sure that each took one message, and that
/// none follows.
pub(super) async fn one_message_each(
    installation: &Installation<'_>,
    namespace: &Namespace<'_>,
    incidents: usize,
) -> Result<()> {
    let name = namespace.name();
    wait_for("people are told", PATIENCE, async || {
        let told = news(installation, name).len();
        ensure!(told >= incidents, "{told} of {incidents} messages");
        Ok::<_, anyhow::Error>(())
    })
    .await?;
    tokio::time::sleep(SILENCE).await;
    let told = news(installation, name);
    let ids: BTreeSet<_> = told.iter().filter_map(|body| body["data"]["id"].as_str()).collect();
    let opened = told.iter().all(|body| body["type"] == "io.inquest.incident.opened");
    ensure!(
        opened && (told.len(), ids.len()) == (incidents, incidents),
        "not one message for each of {incidents}: {}",
        json!(told)
    );
    let listed = installation.incidents(name)?;
    ensure!(listed.len() == incidents, "{listed:#?}");
    Ok(())
}

/// Makes sure that nobody was or is told of what happened in a namespace before this. A crash on each node is told after
/// it, so whatever came through the same agents has been judged.
pub(super) async fn nothing_but_a_last_crash(
    cluster: &Cluster,
    installation: &Installation<'_>,
    namespace: &Namespace<'_>,
) -> Result<()> {
    namespace.apply(&deployment("last", &cluster.image_with_shell(), 2, "exit 7"))?;
    told(installation, namespace, "last", "app_error").await?;
    one_message_each(installation, namespace, 1).await
}
