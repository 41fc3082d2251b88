//! Hostile neighbours on live ports: who may connect, forged identities, floods, leaked secrets.

mod attacker;
mod flood;
mod identity;
mod secrets;
mod tls;

use anyhow::{Context, Result, ensure};
use inquest_tests::{
    wait_for,
    world::{PATIENCE, Program, World},
};

/// A figure of the aggregator; 0 when it was never counted.
fn figure(world: &World, name: &str, labels: &[&str]) -> Result<u64> {
    let (_, page) = world.status_page(Program::Aggregator, "/metrics")?;
    let line = page.lines().find(|line| {
        let family = line.split(['{', ' ']).next();
        family == Some(name) && labels.iter().all(|label| line.contains(label))
    });
    line.map_or(Ok(0), |line| {
        let value = line.rsplit(' ').next().context("no value")?;
        Ok(value.parse()?)
    })
}

/// Connections to the agents' port that ended for this reason.
fn refusals(world: &World, reason: &str) -> Result<u64> {
    let reason = format!("reason=\"{reason}\"");
    let labels = ["listener=\"ingest\"", reason.as_str()];
    figure(world, "inquest_connections_refused_total", &labels)
}

async fn wait_refusals(world: &World, reason: &str, least: u64) -> Result<()> {
    wait_for(&format!("{least} refusals as {reason}"), PATIENCE, async || {
        let seen = refusals(world, reason)?;
        ensure!(seen >= least, "{seen}");
        Ok::<_, anyhow::Error>(())
    })
    .await
}

/// The path from a death to the database still works.
async fn still_serves(world: &World, kills: u64) -> Result<()> {
    world.kill_one()?.remove()?;
    wait_for("the kill is stored", PATIENCE, async || {
        let total: u64 = world.incidents().await?.iter().map(|i| i.occurrences).sum();
        ensure!(total == kills, "{total} of {kills}");
        Ok::<_, anyhow::Error>(())
    })
    .await
}
