//! What the experiments on disks count.

use anyhow::{Context as _, Result, ensure};
use inquest_tests::world::{Program, World};

/// Kills `count` processes in cgroups of their own; every cgroup is gone afterwards.
pub(super) fn kills(world: &World, count: u64) -> Result<()> {
    for _ in 0..count {
        world.kill_one()?.remove()?;
    }
    Ok(())
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
