//! No space left, at the aggregator and at the agent: nothing acknowledged is lost, everything else goes on, and both come
//! back by themselves.

use std::fs;

use anyhow::{Context as _, Result, bail, ensure};
use inquest_tests::{
    TestDir,
    disk::SmallDisk,
    wait_for,
    world::{Options, PATIENCE, Program, World},
};

use super::measure::{kills, metric};

/// Experiment 9.
#[tokio::test(flavor = "multi_thread")]
async fn a_full_disk_at_the_aggregator_acknowledges_nothing_and_loses_nothing() -> Result<()> {
    let dir = TestDir::new("full-a")?;
    let disk = SmallDisk::mount(&dir.join("disk"), 16 * 1024)?;
    let options = Options {
        aggregator_extra: format!("store: {{sqlite: {{path: {}}}}}", disk.join("inquest.db").display()),
        ..Options::default()
    };
    let world = World::start("full-a", &options).await?;
    kills(&world, 1)?;
    world.wait_occurrences(1).await?;
    let pid = world.aggregator.pid();

    disk.fill()?;
    let made = kill_until_three_wait(&world).await?;
    wait_for("/readyz names the store", PATIENCE, async || {
        let (status, page) = world.status_page(Program::Aggregator, "/readyz")?;
        ensure!(status == 503 && page.contains("failed store: "), "{status}: {page}");
        Ok::<_, anyhow::Error>(())
    })
    .await?;
    ensure!(world.occurrences().await? < made, "queries are still answered");
    ensure!(
        metric(
            &world,
            Program::Aggregator,
            "inquest_commit_failures_total{outcome=\"refused\"}"
        )? > 0
    );
    ensure!(world.status_page(Program::Aggregator, "/livez")?.0 == 200);

    disk.free()?;
    world.wait_occurrences(made).await?;
    wait_for("/readyz is content again", PATIENCE, async || {
        let (status, page) = world.status_page(Program::Aggregator, "/readyz")?;
        ensure!(status == 200 && page.contains("ok store"), "{status}: {page}");
        Ok::<_, anyhow::Error>(())
    })
    .await?;
    ensure!(
        world.aggregator.pid() == pid && fs::exists(format!("/proc/{pid}"))?,
        "no restart was needed"
    );
    wait_for("the spool is empty", PATIENCE, async || {
        let waiting = metric(&world, Program::Agent, "inquest_spool_records{spool=\"findings\"}")?;
        ensure!(waiting == 0, "{waiting} wait");
        Ok::<_, anyhow::Error>(())
    })
    .await
}

/// Kills one process after the other. The database's log may have room that was used before, so the first ones can still be
/// stored. Gives how many were made, the one before included.
async fn kill_until_three_wait(world: &World) -> Result<u64> {
    for made in 2..200 {
        kills(world, 1)?;
        let waiting = wait_for("the kill is stored or waits", PATIENCE, async || {
            let waiting = metric(world, Program::Agent, "inquest_spool_records{spool=\"findings\"}")?;
            let stored = world.occurrences().await?;
            ensure!(
                stored + u64::try_from(waiting)? >= made,
                "{stored} stored and {waiting} waiting of {made}"
            );
            Ok::<_, anyhow::Error>(waiting)
        });
        if waiting.await? >= 3 {
            return Ok(made);
        }
    }
    bail!("the disk is not full")
}

/// Experiment 10.
#[tokio::test(flavor = "multi_thread")]
async fn a_full_disk_at_the_agent_is_told_and_survived_in_memory() -> Result<()> {
    let dir = TestDir::new("full-n")?;
    let disk = SmallDisk::mount(&dir.join("disk"), 1024)?;
    let options = Options {
        agent_state: Some(disk.join("agent")),
        ..Options::default()
    };
    let mut world = World::start("full-n", &options).await?;
    disk.fill()?;
    // the last block of a file takes a few records more
    let mut killed = 0;
    while metric(&world, Program::Agent, "inquest_source_live{source=\"spool\"}")? == 1 {
        ensure!(
            killed < 12,
            "the agent does not say that its disk is full: {}",
            world.agent.stderr()
        );
        kills(&world, 1)?;
        killed += 1;
    }
    world.wait_occurrences(killed).await?;
    let told = wait_for("the aggregator knows the blind spot", PATIENCE, async || {
        let node = world.nodes().await?.into_iter().next().context("no node")?;
        let sources = node.status.unwrap_or_default().sources;
        let spool = sources.into_iter().find(|source| source.name == "spool");
        let spool = spool.filter(|source| source.detail.contains("No space left"));
        spool.context("not told")
    })
    .await?;
    ensure!(told.remedy.contains("state_dir"), "{told:?}");

    world.aggregator.kill9()?;
    kills(&world, 3)?;
    wait_for("records wait in memory", PATIENCE, async || {
        let waiting = metric(
            &world,
            Program::Agent,
            "inquest_spool_in_memory_records{spool=\"findings\"}",
        )?;
        ensure!(waiting >= 3, "{waiting} wait");
        Ok::<_, anyhow::Error>(())
    })
    .await?;
    let resident = resident_kib(world.agent.pid())?;
    ensure!(resident < 64 * 1024, "{resident} KiB");

    disk.free()?;
    wait_for("the records are on disk", PATIENCE, async || {
        let waiting = metric(
            &world,
            Program::Agent,
            "inquest_spool_in_memory_records{spool=\"findings\"}",
        )?;
        let live = metric(&world, Program::Agent, "inquest_source_live{source=\"spool\"}")?;
        ensure!(waiting == 0 && live == 1, "{waiting} wait in memory, live {live}");
        Ok::<_, anyhow::Error>(())
    })
    .await?;
    // proof that they are: the agent's memory is gone before the aggregator is back
    world.agent.kill9()?;
    world.start_aggregator()?;
    world.start_agent()?;
    world.wait_occurrences(killed + 3).await
}

/// Resident memory by proc_pid_status(5). A build for tests is several times larger than the shipped one.
fn resident_kib(pid: u32) -> Result<u64> {
    let status = fs::read_to_string(format!("/proc/{pid}/status"))?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let number = line
        .and_then(|line| line.split_whitespace().next())
        .context("no VmRSS")?;
    Ok(number.parse()?)
}
