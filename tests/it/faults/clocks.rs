//! Clocks that do not agree. The kernel's clock belongs to the whole machine, so the library of `faketime` moves that of
//! one program; timers inside the programs run on the monotonic clock, which stays as it is.

use std::{fs, process::Command, time::Duration};

use anyhow::{Context as _, Result, ensure};
use inquest_cli::sandbox::{ContainerSpec, PodSpec};
use inquest_proto::{
    ingest::v1::{Cause, evidence::Fact},
    query::v1::{Incident, IncidentState, Node},
};
use inquest_tests::{
    Process, bin, faketime, wait_for,
    world::{Options, PATIENCE, World},
};

/// How much later than it was written a status may arrive on a busy machine.
const TRAVEL: Duration = Duration::from_secs(20);

/// Starts a program of the world with a clock that is `seconds` ahead.
fn start_shifted(world: &World, name: &str, config: &str, seconds: i64) -> Result<Process> {
    let folder = world.path("");
    let library = faketime::library()?.display().to_string();
    let mut command = Command::new(bin(name)?);
    command
        .arg("--config")
        .arg(world.path(config))
        .current_dir(&folder)
        .envs(faketime::variables(&library, seconds));
    Process::spawn(name, command, &folder)
}

/// The world as it is when both programs are started for the first time, each with a clock of its own.
fn start_anew(world: &mut World, agent_ahead: i64, aggregator_ahead: i64) -> Result<()> {
    world.agent.kill9()?;
    world.aggregator.kill9()?;
    fs::remove_dir_all(world.path("data"))?;
    fs::remove_dir_all(world.path("agent"))?;
    world.aggregator = start_shifted(world, "inquest-aggregator", "aggregator.yaml", aggregator_ahead)?;
    world.agent = start_shifted(world, "inquest-agent", "agent.yaml", agent_ahead)?;
    Ok(())
}

/// The node, once its clock was compared and found to be about `seconds` ahead.
async fn wait_offset(world: &World, seconds: i64) -> Result<Node> {
    let expected = seconds * 1_000_000_000;
    wait_for("the offset of the node's clock is shown", PATIENCE, async || {
        let nodes = world.nodes().await?;
        let node = nodes
            .into_iter()
            .find(|node| node.clock_offset_ns.is_some())
            .context("no offset")?;
        let seen = node.clock_offset_ns.unwrap_or_default();
        ensure!(
            Duration::from_nanos(seen.abs_diff(expected)) < TRAVEL,
            "{seen} ns, expected {expected}"
        );
        Ok::<_, anyhow::Error>(node)
    })
    .await
}

/// How far the beginning by the node's clock is after the opening by the aggregator's.
fn lead(incident: &Incident) -> i64 {
    incident.first_seen_ns.saturating_sub(incident.opened_at_ns)
}

/// A node whose clock is wrong, in either direction and by more than the five minutes that certificates are usually
/// back-dated, must be able to report, and its incidents must open, be told once and resolve as any other.
#[tokio::test(flavor = "multi_thread")]
async fn a_node_with_a_wrong_clock_reports_and_its_offset_is_shown() -> Result<()> {
    let options = Options {
        aggregator_extra: "engine: {quiet_period: 3s}".to_owned(),
        ..Options::default()
    };
    let mut world = World::start("clocks", &options).await?;
    for (round, ahead) in [(1, 300), (2, -600)] {
        start_anew(&mut world, ahead, 0)?;
        world.wait_connected().await?;
        wait_offset(&world, ahead).await?;
        world.kill_one()?.remove()?;
        let resolved = wait_for("the kill is an incident that resolves", PATIENCE, async || {
            let incidents = world.incidents().await?;
            ensure!(incidents.len() == 1, "{} incidents", incidents.len());
            let incident = incidents.first().context("none")?.clone();
            ensure!(incident.state() == IncidentState::Resolved, "{incident:?}");
            Ok::<_, anyhow::Error>(incident)
        });
        let incident = resolved.await.with_context(|| world.agent.stderr())?;
        assert_eq!(
            (incident.occurrences, incident.transition),
            (1, 2),
            "opened and resolved"
        );
        let apart = Duration::from_nanos(lead(&incident).abs_diff(ahead * 1_000_000_000));
        assert!(
            apart < TRAVEL,
            "the beginning is told by the node's clock: {incident:?}"
        );
        let told = world.webhook.wait_accepted(2 * round, PATIENCE).await?;
        assert_eq!(told.len(), 2 * round, "opened and resolved, each once");
    }
    assert!(
        world.aggregator.stderr().contains("the clock of a node differs"),
        "the log says so"
    );
    let (_, metrics) = world.status_page(inquest_tests::world::Program::Aggregator, "/metrics")?;
    assert!(
        metrics.contains("inquest_node_clock_offset_seconds_bucket{le=\"60.0\"} 0"),
        "{metrics}"
    );
    Ok(())
}

/// SX-28: the clock of the node with its kernel and its runtime is 90 s ahead of the aggregator's.
#[tokio::test(flavor = "multi_thread")]
async fn a_kill_and_its_exit_stay_one_event_when_the_node_is_ahead() -> Result<()> {
    let options = Options {
        containerd: true,
        ..Options::default()
    };
    let mut world = World::start("ahead", &options).await?;
    world.aggregator.kill9()?;
    fs::remove_dir_all(world.path("data"))?;
    world.aggregator = start_shifted(&world, "inquest-aggregator", "aggregator.yaml", -90)?;
    world.wait_connected().await?;
    wait_offset(&world, 90).await?;
    let app = ContainerSpec::shell("app", "exec tail /dev/zero").memory_limit(20_000_000);
    world
        .runtime()?
        .cri()
        .run_pod(&PodSpec::new("shop", "web-1", 1).container(app))
        .await?;
    let both = |incident: &Incident| {
        let evidence = incident
            .latest
            .as_ref()
            .map(|latest| latest.evidence.as_slice())
            .unwrap_or_default();
        let has = |wanted: fn(&Fact) -> bool| evidence.iter().any(|e| e.fact.as_ref().is_some_and(wanted));
        has(|fact| matches!(fact, Fact::KernelKill(_))) && has(|fact| matches!(fact, Fact::RuntimeExit(_)))
    };
    let incident = world.wait_incident("web-1", Cause::OomLimit, both).await?;
    assert_eq!(
        (incident.occurrences, world.incidents().await?.len()),
        (1, 1),
        "{incident:?}"
    );
    assert!(
        Duration::from_nanos(lead(&incident).abs_diff(90_000_000_000)) < TRAVEL,
        "{incident:?}"
    );
    assert_eq!(world.webhook.wait_accepted(1, PATIENCE).await?.len(), 1);
    Ok(())
}
