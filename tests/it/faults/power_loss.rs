//! The power fails: what no fsync covered is gone, names included. What was acknowledged must be there.

use anyhow::{Result, ensure};
use inquest_tests::{
    TestDir,
    forgetful::{Faults, Forgetful},
    wait_for,
    world::{Options, PATIENCE, Program, World},
};

use super::measure::{kills, metric};

fn on(disk: &Forgetful) -> Options {
    Options {
        aggregator_extra: format!("store: {{sqlite: {{path: {}}}}}", disk.join("inquest.db").display()),
        ..Options::default()
    }
}

/// Findings that the aggregator acknowledged: the agent has given them away.
fn acknowledged(world: &World) -> Result<i64> {
    let findings = "{spool=\"findings\"}";
    let observed = metric(
        world,
        Program::Agent,
        &format!("inquest_spool_observed_records{findings}"),
    )?;
    let waiting = metric(world, Program::Agent, &format!("inquest_spool_records{findings}"))?;
    Ok(observed - waiting)
}

async fn wait_waiting(world: &World, count: i64) -> Result<()> {
    wait_for("findings wait in the spool", PATIENCE, async || {
        let waiting = metric(world, Program::Agent, "inquest_spool_records{spool=\"findings\"}")?;
        ensure!(waiting >= count, "{waiting} of {count}");
        Ok::<_, anyhow::Error>(())
    })
    .await
}

/// Experiment 7: the acknowledged findings are a part of the recovered ones, and the database opens without help.
#[tokio::test(flavor = "multi_thread")]
async fn a_power_loss_of_the_aggregator_loses_nothing_that_it_acknowledged() -> Result<()> {
    let dir = TestDir::new("power-a")?;
    let mut disk = Forgetful::mount(&dir.join("disk"))?;
    let mut world = World::start("power-a", &on(&disk)).await?;
    let mut total = 0;
    for round in 1..=3 {
        kills(&world, round)?;
        total += round;
        // in the middle of whatever it does: only what the agent knows as acknowledged counts
        wait_for("something is acknowledged", PATIENCE, async || {
            let count = acknowledged(&world)?;
            ensure!(count >= 1, "{count}");
            Ok::<_, anyhow::Error>(())
        })
        .await?;
        world.agent.freeze().await?;
        world.aggregator.kill9()?;
        disk.lose_power()?;
        world.start_aggregator()?;
        world.agent.thaw()?;
        world.wait_occurrences(total).await?;
    }
    // everything is acknowledged now, and the agent can send nothing again: it is gone, and its spool is empty
    wait_for("the spool is empty", PATIENCE, async || {
        let waiting = metric(&world, Program::Agent, "inquest_spool_records{spool=\"findings\"}")?;
        ensure!(waiting == 0, "{waiting} wait");
        Ok::<_, anyhow::Error>(())
    })
    .await?;
    world.agent.kill9()?;
    world.aggregator.kill9()?;
    disk.lose_power()?;
    world.start_aggregator()?;
    world.wait_occurrences(total).await
}

/// Experiment 8: what the spool had on disk is there after the power came back. What lay in memory only may be gone; then the
/// kernel's log, which lives on in this test, tells it again.
#[tokio::test(flavor = "multi_thread")]
async fn a_power_loss_of_the_node_loses_nothing_that_the_spool_had_synced() -> Result<()> {
    let dir = TestDir::new("power-n")?;
    let mut disk = Forgetful::mount(&dir.join("disk"))?;
    let options = Options {
        agent_state: Some(disk.join("agent")),
        ..Options::default()
    };
    let mut world = World::start("power-n", &options).await?;
    world.aggregator.kill9()?;
    kills(&world, 3)?;
    wait_waiting(&world, 3).await?;
    // the spool syncs what it is given at once; a second look is after that
    let synced = metric(
        &world,
        Program::Agent,
        "inquest_spool_sync_failures{spool=\"findings\"}",
    )?;
    ensure!(synced == 0, "{synced} syncs failed");
    world.agent.kill9()?;
    disk.lose_power()?;
    world.start_agent()?;
    wait_waiting(&world, 3).await?;
    ensure!(
        metric(
            &world,
            Program::Agent,
            "inquest_spool_damaged_places{spool=\"findings\"}"
        )? == 0
    );
    world.start_aggregator()?;
    world.wait_occurrences(3).await
}

/// Experiment 11 at the aggregator: fsync says EIO. Nothing is acknowledged on such a word, and once the disk works
/// again all of it is stored, also for a loss of power afterwards.
#[tokio::test(flavor = "multi_thread")]
async fn a_failed_sync_at_the_aggregator_acknowledges_nothing() -> Result<()> {
    let dir = TestDir::new("eio-a")?;
    let mut disk = Forgetful::mount(&dir.join("disk"))?;
    let mut world = World::start("eio-a", &on(&disk)).await?;
    kills(&world, 1)?;
    world.wait_occurrences(1).await?;
    let before = acknowledged(&world)?;
    for faults in [
        Faults {
            sync: true,
            ..Faults::default()
        },
        Faults {
            read_only: true,
            ..Faults::default()
        },
    ] {
        disk.fail(faults);
        kills(&world, 1)?;
        wait_waiting(&world, 1).await?;
        wait_for("/readyz names the store", PATIENCE, async || {
            let (status, page) = world.status_page(Program::Aggregator, "/readyz")?;
            ensure!(status == 503 && page.contains("failed store: "), "{status}: {page}");
            Ok::<_, anyhow::Error>(())
        })
        .await?;
        ensure!(acknowledged(&world)? >= before, "the count went back");
        ensure!(metric(&world, Program::Agent, "inquest_spool_records{spool=\"findings\"}")? >= 1);
        disk.fail(Faults::default());
        wait_for("the spool is empty", PATIENCE, async || {
            let waiting = metric(&world, Program::Agent, "inquest_spool_records{spool=\"findings\"}")?;
            ensure!(waiting == 0, "{waiting} wait");
            Ok::<_, anyhow::Error>(())
        })
        .await?;
    }
    world.wait_occurrences(3).await?;
    world.agent.kill9()?;
    world.aggregator.kill9()?;
    disk.lose_power()?;
    world.start_aggregator()?;
    world.wait_occurrences(3).await
}

/// Experiment 11 at the agent: a file whose sync failed is replaced by one that is on disk, and the failure is told.
#[tokio::test(flavor = "multi_thread")]
async fn a_failed_sync_at_the_agent_is_told_and_its_records_reach_the_disk_after_all() -> Result<()> {
    let dir = TestDir::new("eio-n")?;
    let mut disk = Forgetful::mount(&dir.join("disk"))?;
    let options = Options {
        agent_state: Some(disk.join("agent")),
        ..Options::default()
    };
    let mut world = World::start("eio-n", &options).await?;
    world.aggregator.kill9()?;
    // the file exists then: only its bytes are in doubt afterwards
    kills(&world, 1)?;
    wait_waiting(&world, 1).await?;
    disk.fail(Faults {
        sync: true,
        ..Faults::default()
    });
    kills(&world, 2)?;
    wait_waiting(&world, 3).await?;
    wait_for("the failure is told", PATIENCE, async || {
        let failures = metric(
            &world,
            Program::Agent,
            "inquest_spool_sync_failures{spool=\"findings\"}",
        )?;
        let live = metric(&world, Program::Agent, "inquest_source_live{source=\"spool\"}")?;
        ensure!(failures > 0 && live == 0, "{failures} failures, live {live}");
        Ok::<_, anyhow::Error>(())
    })
    .await?;
    disk.fail(Faults::default());
    // the next record brings the next sync
    kills(&world, 1)?;
    wait_waiting(&world, 4).await?;
    world.agent.terminate(PATIENCE).await?;
    disk.lose_power()?;
    world.start_agent()?;
    wait_waiting(&world, 4).await?;
    world.start_aggregator()?;
    world.wait_occurrences(4).await
}
