//! The kernel log overruns its reader: what was lost is known to the record, and the reader goes on.

use anyhow::{Context as _, Result, ensure};
use inquest_tests::{
    kernel_lines::{KernelLines, ReaderCounters, newest},
    wait_for,
    world::{Options, PATIENCE, Program, World, hold_kills},
};

/// Fills the ring of any usual size several times over.
const LINES: u32 = 20_000;

fn counters(world: &World) -> Result<ReaderCounters> {
    ReaderCounters::parse(&world.status_page(Program::Agent, "/metrics")?.1)
}

/// How far the newest record is ahead of the reader's count: the same number whenever the reader is at the end, since it
/// counted from the oldest record that the ring held when it came.
fn ahead(world: &World) -> Result<u64> {
    let newest = newest()?;
    newest
        .checked_sub(counters(world)?.position())
        .context("the reader counted more than there is")
}

#[tokio::test(flavor = "multi_thread")]
async fn an_overrun_is_counted_to_the_record_and_the_next_kill_is_told() -> Result<()> {
    let world = World::start("flood", &Options::default()).await?;
    let mut lines = KernelLines::open()?;
    let base = wait_for("the reader at the end of the log", PATIENCE, async || {
        let (first, second) = (ahead(&world)?, ahead(&world)?);
        ensure!(first == second, "{first} and {second} ahead");
        anyhow::Ok(first)
    })
    .await?;
    let before = counters(&world)?;
    let held = hold_kills()?;
    world.agent.freeze().await?;
    lines.flood(LINES)?;
    world.agent.thaw()?;
    drop(held);
    let after = wait_for("every record is read or counted as lost", PATIENCE, async || {
        let ahead = ahead(&world)?;
        ensure!(ahead == base, "{ahead} ahead instead of {base}");
        counters(&world)
    })
    .await?;
    assert!(after.overruns > before.overruns, "the ring held everything: {after:?}");
    assert!(after.lost - before.lost > u64::from(LINES / 2), "{before:?} {after:?}");
    let cgroup = world.kill_one()?;
    world.webhook.wait_accepted(1, PATIENCE).await?;
    cgroup.remove()?;
    Ok(())
}
