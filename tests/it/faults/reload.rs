//! Configuration files that change under running programs: broken, swapped, with a receiver gone.

use std::{fs, os::unix::fs::symlink, process::Command};

use anyhow::{Context as _, Result, ensure};
use inquest_tests::{
    Process, TestDir, bin, wait_for,
    world::{Options, PATIENCE, Program, World},
};
use rustix::process::Signal;

/// Waits until a metric of the program has this line.
async fn wait_metric(world: &World, program: Program, line: &str) -> Result<()> {
    wait_for(line, PATIENCE, async || {
        let (_, page) = world.status_page(program, "/metrics")?;
        let name = line.rsplit_once(' ').map_or(line, |(name, _)| name);
        let now = page.lines().find(|l| l.starts_with(name));
        ensure!(now == Some(line), "{now:?}");
        anyhow::Ok(())
    })
    .await
}

/// The aggregator's file with other routes and receivers.
fn with_receivers(text: &str, receivers: &str) -> Result<String> {
    let (head, _) = text.split_once("route:").context("no route")?;
    Ok(format!("{head}{receivers}"))
}

const ONLY_LOG: &str = "receivers: [{name: log, stdout: {}}]\n";

#[tokio::test(flavor = "multi_thread")]
async fn a_broken_file_leaves_the_old_one_in_force_and_says_so() -> Result<()> {
    let world = World::start("reload", &Options::default()).await?;
    for (program, file, mistake) in [
        (Program::Aggregator, "aggregator.yaml", "retention: {occurrences: 7}"),
        (Program::Agent, "agent.yaml", "redaction: {patterns: ['token=(.*']}"),
    ] {
        let path = world.path(file);
        let good = fs::read_to_string(&path)?;
        fs::write(&path, format!("{good}{mistake}\n"))?;
        wait_metric(&world, program, "inquest_config_reload_failed 1").await?;
        let (status, report) = world.status_page(program, "/readyz")?;
        assert_eq!(status, 200, "{report}");
        assert!(
            report.contains("degraded configuration: ") && report.contains(file),
            "{report}"
        );
        world.kill_one()?.remove()?;
        fs::write(&path, good)?;
        wait_metric(&world, program, "inquest_config_reload_failed 0").await?;
    }
    world.webhook.wait_accepted(1, PATIENCE).await?;
    wait_for("both kills are counted", PATIENCE, async || {
        let total: u64 = world.incidents().await?.iter().map(|i| i.occurrences).sum();
        ensure!(total == 2, "{total}");
        anyhow::Ok(())
    })
    .await?;
    for log in [world.aggregator.stderr(), world.agent.stderr()] {
        let lines = log.lines().filter(|line| line.contains("configuration not reloaded"));
        assert_eq!(lines.count(), 1, "{log}");
    }
    Ok(())
}

/// Mounts the file as the kubelet mounts a `ConfigMap`.
fn publish(world: &World, version: &str, text: &str) -> Result<()> {
    fs::create_dir(world.path(version))?;
    fs::write(world.path(version).join("aggregator.yaml"), text)?;
    symlink(version, world.path("..data_tmp"))?;
    fs::rename(world.path("..data_tmp"), world.path("..data"))?;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn the_swap_of_a_mounted_file_is_taken_over_and_what_needs_a_restart_is_named() -> Result<()> {
    let mut world = World::start("swap", &Options::default()).await?;
    let path = world.path("aggregator.yaml");
    let first = fs::read_to_string(&path)?;
    world.aggregator.kill9()?;
    fs::remove_file(&path)?;
    publish(&world, "..first", &first)?;
    symlink("..data/aggregator.yaml", &path)?;
    world.start_aggregator()?;
    world.wait_connected().await?;
    let second = with_receivers(&first, ONLY_LOG)?.replace("name: test", "name: other");
    publish(&world, "..second", &second)?;
    wait_metric(&world, Program::Aggregator, "inquest_config_restart_pending 1").await?;
    let log = world.aggregator.stderr();
    assert!(log.contains("cluster.name"), "{log}");
    world.kill_one()?.remove()?;
    let delivered = "inquest_notifications_settled_total{receiver=\"log\",outcome=\"delivered\"} 1";
    wait_metric(&world, Program::Aggregator, delivered).await?;
    assert!(world.webhook.received().is_empty(), "the old receiver is gone");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn what_waits_for_a_removed_receiver_is_kept_until_it_is_back() -> Result<()> {
    let mut world = World::start("removed", &Options::default()).await?;
    let path = world.path("aggregator.yaml");
    let with_hook = fs::read_to_string(&path)?;
    let pending = "inquest_notifications_pending{receiver=\"hook\"} 1";
    world.webhook.go_down();
    world.kill_one()?.remove()?;
    wait_metric(&world, Program::Aggregator, pending).await?;
    fs::write(&path, with_receivers(&with_hook, ONLY_LOG)?)?;
    // SIGHUP reads at once what the notice of the folder would read a moment later.
    world.aggregator.signal(Signal::HUP)?;
    wait_for("the receiver is gone", PATIENCE, async || {
        let log = world.aggregator.stderr();
        ensure!(log.contains("receiver removed"), "{log}");
        anyhow::Ok(())
    })
    .await?;
    world.webhook.come_back()?;
    // The incident goes on; its next milestone is told by the receiver that is left.
    for _ in 0..3 {
        world.kill_one()?.remove()?;
    }
    let by_log = "inquest_notifications_settled_total{receiver=\"log\",outcome=\"delivered\"} 1";
    wait_metric(&world, Program::Aggregator, by_log).await?;
    wait_metric(&world, Program::Aggregator, pending).await?;
    assert!(
        world.webhook.received().is_empty(),
        "nothing goes to a removed receiver"
    );
    fs::write(&path, with_hook)?;
    let told = world.webhook.wait_accepted(1, PATIENCE).await?;
    wait_metric(
        &world,
        Program::Aggregator,
        "inquest_notifications_pending{receiver=\"hook\"} 0",
    )
    .await?;
    assert_eq!(told.len(), 1);
    Ok(())
}

/// S2-19.
#[tokio::test]
async fn a_webhook_without_an_address_is_refused_at_the_start() -> Result<()> {
    let dir = TestDir::new("no-address")?;
    fs::write(dir.join("aggregator.yaml"), "receivers:\n- name: hook\n  webhook: {}\n")?;
    let mut command = Command::new(bin("inquest-aggregator")?);
    command.arg("--config").arg(dir.join("aggregator.yaml"));
    let mut process = Process::spawn("inquest-aggregator", command, dir.path())?;
    let status = process.wait_exit(PATIENCE).await?;
    assert_eq!(status.code(), Some(64));
    let said = process.stderr();
    assert!(
        said.contains("aggregator.yaml:3:12: receivers[0].webhook.url: missing"),
        "{said}"
    );
    Ok(())
}
