//! Counting what was caused and what was told.

use std::{collections::BTreeSet, time::Duration};

use anyhow::{Context as _, Result, ensure};
use inquest_tests::{
    wait_for,
    world::{PATIENCE, World},
};

/// Nothing may come for this long after everything was told.
const SILENCE: Duration = Duration::from_millis(1500);
/// Time to drain after the fault is gone: the longest pause between two connections is 10 s.
const DRAIN: Duration = Duration::from_secs(60);

/// Kills `count` processes in cgroups of their own; every cgroup is gone afterwards.
pub(super) fn kill(world: &World, count: usize) -> Result<()> {
    for _ in 0..count {
        world.kill_one()?.remove()?;
    }
    Ok(())
}

/// Waits until exactly this many occurrences are counted over all incidents.
pub(super) async fn wait_occurrences(world: &World, count: u64) -> Result<()> {
    wait_for("every death is counted", DRAIN, async || {
        let total = world.occurrences().await?;
        ensure!(total == count, "{total} of {count}");
        Ok::<_, anyhow::Error>(())
    })
    .await
}

/// The value of a metric without labels, or the sum over its labels.
pub(super) fn metric(page: &str, name: &str) -> Result<u64> {
    let values: Vec<u64> = page
        .lines()
        .filter_map(|line| line.strip_prefix(name))
        .filter(|rest| rest.starts_with([' ', '{']))
        .filter_map(|rest| rest.rsplit(' ').next()?.parse().ok())
        .collect();
    ensure!(!values.is_empty(), "there is no metric {name}");
    Ok(values.into_iter().sum())
}

/// Waits until the number of records in the agent's spool is right.
pub(super) async fn wait_spool(page: impl Fn() -> Result<(u16, String)>, right: impl Fn(u64) -> bool) -> Result<()> {
    wait_for("the spool", DRAIN, async || {
        let (_, page) = page()?;
        let waiting = metric(&page, "inquest_spool_records")?;
        ensure!(right(waiting), "{waiting} records wait");
        Ok::<_, anyhow::Error>(())
    })
    .await
}

/// Every death is in the store once, and no notification was accepted twice, also not after a while.
pub(super) async fn told_once(world: &World, deaths: u64) -> Result<()> {
    wait_for("every notification is delivered", PATIENCE, async || {
        for incident in world.incidents().await? {
            let incident = world.incident(&incident.id).await?;
            let pending = incident.deliveries.iter().filter(|d| d.state == 1).count();
            ensure!(pending == 0 && !incident.deliveries.is_empty(), "{pending} pending");
        }
        Ok::<_, anyhow::Error>(())
    })
    .await?;
    tokio::time::sleep(SILENCE).await;
    wait_occurrences(world, deaths).await?;
    let stored: BTreeSet<_> = world.findings("").await?.into_iter().map(key).collect::<Result<_>>()?;
    ensure!(
        u64::try_from(stored.len())? >= deaths,
        "{} findings for {deaths} deaths",
        stored.len()
    );
    let accepted = world.webhook.accepted();
    let keys: BTreeSet<_> = accepted.iter().map(|r| r.header("idempotency-key")).collect();
    ensure!(
        !keys.is_empty() && keys.len() == accepted.len(),
        "something was told twice"
    );
    Ok(())
}

fn key(stored: inquest_proto::query::v1::StoredFinding) -> Result<Vec<u8>> {
    Ok(stored.finding.context("a finding without content")?.key)
}
