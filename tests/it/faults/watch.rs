//! `inquest watch` over a restart of the aggregator.

use std::process::Command;

use anyhow::{Result, ensure};
use inquest_tests::{
    Process, bin, wait_for,
    world::{Options, PATIENCE, World},
};

use super::tally::kill;

/// Whoever leaves a terminal open sees the death after the restart too, and is told that there was a gap.
#[tokio::test(flavor = "multi_thread")]
async fn a_watch_goes_on_after_the_aggregator_was_restarted_and_says_so() -> Result<()> {
    let mut world = World::start("watch", &Options::default()).await?;
    let mut command = Command::new(bin("inquest")?);
    command.args(["--server", &world.api_url(), "watch", "--current", "-o", "json"]);
    kill(&world, 1)?;
    world.webhook.wait_accepted(1, PATIENCE).await?;
    let mut watch = Process::spawn("watch", command, &world.path("."))?;
    watch.wait_output("CAUSE_OOM_LIMIT", PATIENCE).await?;
    world.aggregator.kill9()?;
    wait_for("the watch says that it is cut off", PATIENCE, async || {
        let said = watch.stderr();
        ensure!(said.contains("connecting again"), "{said}");
        Ok::<_, anyhow::Error>(())
    })
    .await?;
    let before = watch.stdout().lines().count();
    world.start_aggregator()?;
    wait_for("the watch is back", PATIENCE, async || {
        let said = watch.stderr();
        ensure!(said.contains("connected again"), "{said}");
        Ok::<_, anyhow::Error>(())
    })
    .await?;
    world.wait_connected().await?;
    kill(&world, 1)?;
    wait_for("changes after the restart", PATIENCE, async || {
        let lines = watch.stdout().lines().count();
        ensure!(lines > before, "{lines} lines");
        Ok::<_, anyhow::Error>(())
    })
    .await?;
    ensure!(
        watch.signal(rustix::process::Signal::INT).is_ok(),
        "the watch ended by itself"
    );
    ensure!(watch.wait_exit(PATIENCE).await?.success(), "Ctrl-C is no failure");
    Ok(())
}
