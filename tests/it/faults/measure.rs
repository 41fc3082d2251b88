//! What the experiments on disks count.

use anyhow::{Context as _, Result, ensure};
use inquest_tests::{
    wait_for,
    world::{PATIENCE, Program, World},
};

/// Kills `count` processes in cgroups of their own; every cgroup is gone afterwards.
pub(super) fn kills(world: &World, count: u64) -> Result<()> {
    for _ in 0..count {
        world.kill_one()?.remove()?;
    }
    Ok(())
}

/// Occurrences of all incidents.
pub(super) async fn occurrences(world: &World) -> Result<u64> {
    Ok(world.incidents().await?.iter().map(|i| i.occurrences).sum())
}

/// Waits until exactly `count` are counted.
pub(super) async fn wait_occurrences(world: &World, count: u64) -> Result<()> {
    wait_for("every kill is counted", PATIENCE, async || {
        let total = occurrences(world).await?;
        ensure!(total == count, "{total} of {count}");
        Ok::<_, anyhow::Error>(())
    })
    .await
}

/// A metric by name and labels as shown; one that was never counted is 0.
pub(super) fn metric(world: &World, program: Program, name: &str) -> Result<i64> {
    let (status, page) = world.status_page(program, "/metrics")?;
    ensure!(status == 200, "/metrics says {status}");
    let line = page.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
    line.map_or(Ok(0), |value| {
        value.parse().with_context(|| format!("{name} is {value}"))
    })
}
