//! Files that a dying machine left torn or changed: the programs start, keep the rest, and say what is damaged. Every
//! offset is tried in the unit tests of the spool and of the store; here the real programs meet one of each.

use std::fs;

use anyhow::{Context as _, Result, ensure};
use inquest_tests::{
    wait_for,
    world::{Options, PATIENCE, Program, World},
};

use super::measure::{kills, metric};

/// Experiment 12 at the aggregator.
#[tokio::test(flavor = "multi_thread")]
async fn an_aggregator_with_a_torn_log_starts_with_what_lies_before_the_tear() -> Result<()> {
    let mut world = World::start("torn-a", &Options::default()).await?;
    kills(&world, 2)?;
    world.wait_occurrences(2).await?;
    world.agent.kill9()?;
    world.aggregator.kill9()?;
    let log = world.path("data/inquest.db-wal");
    let length = fs::metadata(&log)?.len();
    fs::File::options().write(true).open(&log)?.set_len(length - 100)?;
    world.start_aggregator()?;
    let kept = wait_for("it starts with what lies before the tear", PATIENCE, async || {
        world.occurrences().await
    })
    .await?;
    ensure!((1..=2).contains(&kept), "{kept} occurrences");

    world.start_agent()?;
    world.wait_connected().await?;
    kills(&world, 1)?;
    wait_for("a new death is told", PATIENCE, async || {
        let now = world.occurrences().await?;
        ensure!(now > kept, "{now} occurrences");
        Ok::<_, anyhow::Error>(())
    })
    .await
}

/// Experiment 13 at the agent.
#[tokio::test(flavor = "multi_thread")]
async fn an_agent_with_a_damaged_spool_starts_and_says_so() -> Result<()> {
    let mut world = World::start("torn-n", &Options::default()).await?;
    world.aggregator.kill9()?;
    kills(&world, 3)?;
    wait_for("the findings are spooled", PATIENCE, async || {
        let waiting = metric(&world, Program::Agent, "inquest_spool_records{spool=\"findings\"}")?;
        ensure!(waiting >= 3, "{waiting}");
        Ok::<_, anyhow::Error>(())
    })
    .await?;
    world.agent.kill9()?;
    let files = fs::read_dir(world.path("agent/findings"))?.collect::<Result<Vec<_>, _>>()?;
    let segment = files.into_iter().map(|entry| entry.path());
    let segment = segment.filter(|path| path.extension().is_some_and(|ending| ending == "seg"));
    let segment = segment
        .max_by_key(|path| fs::metadata(path).map_or(0, |data| data.len()))
        .context("no segment")?;
    let mut bytes = fs::read(&segment)?;
    *bytes.get_mut(20).context("an empty segment")? ^= 4;
    fs::write(&segment, &bytes)?;
    world.start_agent()?;
    wait_for("the damage is counted", PATIENCE, async || {
        let damaged = metric(
            &world,
            Program::Agent,
            "inquest_spool_damaged_places{spool=\"findings\"}",
        )?;
        ensure!(damaged == 1, "{damaged}");
        Ok::<_, anyhow::Error>(())
    })
    .await?;
    world.start_aggregator()?;
    // the damaged record is read again out of the kernel's log, if that is where it came from
    wait_for("the rest arrives", PATIENCE, async || {
        let count = world.occurrences().await?;
        ensure!((2..=3).contains(&count), "{count}");
        Ok::<_, anyhow::Error>(())
    })
    .await
}
