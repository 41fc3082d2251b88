//! The host's own truth: the real kernel log and real cgroups, without any container runtime.

mod trace;

use std::process::Command;

use anyhow::{Context as _, Result, ensure};
use inquest_proto::ingest::v1::{Cause, SourceState, evidence::Fact};
use inquest_proto::query::v1::Incident;
use inquest_tests::{
    wait_for,
    world::{Options, PATIENCE, Program, World},
};

async fn wait_kill_in(world: &World, cgroup: &str) -> Result<Incident> {
    wait_for("the kill is told", PATIENCE, async || {
        let all = world.incidents().await?;
        let of = |i: &&Incident| {
            let evidence = i.latest.as_ref().map(|l| l.evidence.as_slice()).unwrap_or_default();
            evidence
                .iter()
                .any(|e| matches!(&e.fact, Some(Fact::KernelKill(kill)) if kill.victim_cgroup.ends_with(cgroup)))
        };
        all.iter()
            .find(of)
            .cloned()
            .with_context(|| format!("{} incidents", all.len()))
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_kill_outside_containers_is_told_with_its_cgroup() -> Result<()> {
    let world = World::start("bare", &Options::default()).await?;
    let cgroup = world.kill_one()?;
    let incident = wait_kill_in(&world, cgroup.path()).await?;
    assert_eq!(incident.cause(), Cause::OomLimit);
    world.webhook.wait_accepted(1, PATIENCE).await?;
    cgroup.remove()?;
    Ok(())
}

/// SX-08: what happened before the agent first came is stored and never alerted; what happened while it was away is told.
#[tokio::test(flavor = "multi_thread")]
async fn kills_before_the_first_start_are_history_and_kills_while_away_are_news() -> Result<()> {
    let mut world = World::start("lookback", &Options::default()).await?;
    world.agent.kill9()?;
    let before = world.kill_one()?;
    std::fs::remove_dir_all(world.path("agent"))?;
    world.start_agent()?;
    world.wait_connected().await?;
    world.agent.kill9()?;
    let away = world.kill_one()?;
    world.start_agent()?;
    wait_kill_in(&world, away.path()).await?;
    assert!(
        wait_kill_in_now(&world, before.path()).await?.is_none(),
        "history was alerted"
    );
    before.remove()?;
    away.remove()?;
    Ok(())
}

async fn wait_kill_in_now(world: &World, cgroup: &str) -> Result<Option<Incident>> {
    let all = world.incidents().await?;
    Ok(all.into_iter().find(|i| format!("{i:?}").contains(cgroup)))
}

/// SX-45: without kernel log and without root the agent starts, says what is blind, why, and what would open it.
#[tokio::test(flavor = "multi_thread")]
async fn an_agent_without_rights_names_its_blind_spots() -> Result<()> {
    let options = Options {
        agent_extra: String::new(),
        ..Options::default()
    };
    let mut world = World::start("blind", &options).await?;
    world.agent.kill9()?;
    let config = std::fs::read_to_string(world.path("agent.yaml"))?;
    let blind = config
        .replace(
            "containerd: {enabled: false}",
            "containerd: {socket: [/nonexistent.sock]}\n  kmsg: {path: /nonexistent/kmsg}",
        )
        .replace("trace: {enabled: false}", "trace: {path: /nonexistent/tracing}")
        .replace("cgroup: {scope", "cgroup: {root: /nonexistent, scope");
    std::fs::write(world.path("agent.yaml"), blind)?;
    world.start_agent()?;
    let sources = wait_for("the agent tells what it cannot see", PATIENCE, async || {
        let node = world.nodes().await?.into_iter().next().context("no node")?;
        let sources = node.status.unwrap_or_default().sources;
        let is_blind = |name: &str| {
            let source = sources.iter().find(|source| source.name == name);
            source.is_some_and(|s| s.state() != SourceState::Live && !s.remedy.is_empty())
        };
        let blind = ["kernel log", "trace events", "cgroups", "containerd"];
        ensure!(blind.into_iter().all(is_blind), "{sources:?}");
        Ok::<_, anyhow::Error>(sources)
    })
    .await?;
    let state = |name: &str| sources.iter().find(|s| s.name == name).map(|s| s.state());
    assert_eq!(state("kernel log"), Some(SourceState::Blind));
    assert_eq!(state("trace events"), Some(SourceState::Blind));
    assert_eq!(state("containerd"), Some(SourceState::Absent));
    Ok(())
}

/// A gauge that stays up after the work is done sends people looking for a jam that is not there.
#[tokio::test(flavor = "multi_thread")]
async fn an_idle_aggregator_shows_empty_queues() -> Result<()> {
    let world = World::start("idle", &Options::default()).await?;
    world.kill_one()?.remove()?;
    world.webhook.wait_accepted(1, PATIENCE).await?;
    wait_for("the queues are shown empty", PATIENCE, async || {
        let (_, page) = world.status_page(Program::Aggregator, "/metrics")?;
        for gauge in [
            "inquest_ingest_queued_messages 0",
            "inquest_ingest_credit_outstanding_bytes 0",
        ] {
            ensure!(page.contains(gauge), "{gauge} is not shown");
        }
        Ok::<_, anyhow::Error>(())
    })
    .await
}

/// SX-31.
#[tokio::test(flavor = "multi_thread")]
async fn both_programs_show_health_and_the_figures_of_the_laws() -> Result<()> {
    let world = World::start("health", &Options::default()).await?;
    for program in [Program::Agent, Program::Aggregator] {
        assert_eq!(world.status_page(program, "/livez")?.0, 200);
        let (status, body) = world.status_page(program, "/readyz")?;
        assert_eq!(status, 200, "{program:?}: {body}");
    }
    let (_, agent) = world.status_page(Program::Agent, "/metrics")?;
    let (_, aggregator) = world.status_page(Program::Aggregator, "/metrics")?;
    for metric in [
        "inquest_spool_records",
        "inquest_spool_observed_records",
        "inquest_source_live",
    ] {
        assert!(agent.contains(metric), "{metric} is missing");
    }
    for metric in ["inquest_findings_stored_total", "inquest_ingest_queued_messages"] {
        assert!(aggregator.contains(metric), "{metric} is missing");
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn readiness_names_the_dependency_that_failed() -> Result<()> {
    let mut world = World::start("ready", &Options::default()).await?;
    world.aggregator.kill9()?;
    let body = wait_for("the agent is not ready", PATIENCE, async || {
        let (status, body) = world.status_page(Program::Agent, "/readyz")?;
        ensure!(status == 503, "{status}");
        Ok::<_, anyhow::Error>(body)
    })
    .await?;
    assert!(body.contains("aggregator"), "{body}");
    assert_eq!(
        world.status_page(Program::Agent, "/livez")?.0,
        200,
        "restarting the agent would not help"
    );
    Ok(())
}

/// A hostile line in the kernel log from user space is not the kernel's word.
#[tokio::test(flavor = "multi_thread")]
async fn a_forged_kernel_line_is_not_believed() -> Result<()> {
    let world = World::start("forged", &Options::default()).await?;
    let line = "Memory cgroup out of memory: Killed process 4242 (forged) total-vm:1kB, anon-rss:1kB, file-rss:0kB, shmem-rss:0kB";
    Command::new("sh")
        .args(["-c", &format!("echo '{line}' > /dev/kmsg")])
        .status()?;
    let cgroup = world.kill_one()?;
    wait_kill_in(&world, cgroup.path()).await?;
    let all = world.incidents().await?;
    assert!(!format!("{all:?}").contains("forged"), "{all:?}");
    cgroup.remove()?;
    Ok(())
}
