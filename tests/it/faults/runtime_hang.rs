//! Experiment 36: containerd hangs on every call. The kernel's word is told all the same, the hang itself becomes known, and
//! what happened meanwhile is told when it goes on.

use anyhow::{Context as _, Result, ensure};
use inquest_cli::sandbox::{ContainerSpec, PodSpec};
use inquest_proto::ingest::v1::{Cause, FindingKind, SourceState, SourceStatus};
use inquest_tests::{
    wait_for,
    world::{Options, PATIENCE, Program, World},
};
use rustix::process::{Pid, Signal, kill_process};

use super::runtime_restart::{let_go, pid_of};

const LIMIT: u64 = 20_000_000;

/// What the aggregator knows of a source of the one agent.
pub(super) async fn source_of(world: &World, name: &str) -> Result<SourceStatus> {
    let node = world.nodes().await?.into_iter().next().context("no node")?;
    let sources = node.status.unwrap_or_default().sources;
    sources
        .into_iter()
        .find(|s| s.name == name)
        .with_context(|| format!("no source {name}"))
}

/// Waits until a source is in a state and its words contain `text`.
pub(super) async fn wait_source(world: &World, name: &str, state: SourceState, text: &str) -> Result<SourceStatus> {
    wait_for(&format!("{name} is {state:?}"), PATIENCE, async || {
        let source = source_of(world, name).await?;
        ensure!(source.state() == state && source.detail.contains(text), "{source:?}");
        Ok::<_, anyhow::Error>(source)
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_runtime_that_hangs_is_named_and_silences_nobody_else() -> Result<()> {
    let options = Options {
        containerd: true,
        ..Options::default()
    };
    let world = World::start("rt36", &options).await?;
    let cri = world.runtime()?.cri().clone();
    let waits = "while [ ! -f /tmp/go ]; do sleep 0.02; done;";
    let hog = ContainerSpec::shell("app", &format!("{waits} exec tail /dev/zero")).memory_limit(LIMIT);
    let hog = cri.run_pod(&PodSpec::new("shop", "hog-1", 1).container(hog)).await?;
    let quits = ContainerSpec::shell("app", &format!("{waits} exit 5"));
    let quits = cri
        .run_pod(&PodSpec::new("shop", "quits-1", 2).container(quits))
        .await?;
    let (hog, quits) = (pid_of(&world, &hog).await?, pid_of(&world, &quits).await?);
    let pid = world.runtime()?.pid().context("no containerd")?;
    let pid = Pid::from_raw(i32::try_from(pid)?).context("no pid")?;
    kill_process(pid, Signal::STOP)?;
    let blind = wait_source(&world, "containerd", SourceState::Blind, "did not answer within 5 s").await?;
    assert!(blind.remedy.contains("unresponsive"), "{blind:?}");
    let (_, page) = world.status_page(Program::Agent, "/metrics")?;
    assert!(page.contains("inquest_source_live{source=\"containerd\"}"), "{page}");
    let_go(hog)?;
    let_go(quits)?;
    let killed = world.wait_incident("hog-1", Cause::OomLimit, |_| true).await?;
    assert_eq!(killed.latest.map(|l| l.kind()), Some(FindingKind::Kill));
    assert!(killed.exit_codes.is_empty(), "nobody can know the end yet");
    assert!(world.findings("quits-1").await?.is_empty());
    assert_eq!(source_of(&world, "kernel log").await?.state(), SourceState::Live);
    kill_process(pid, Signal::CONT)?;
    wait_source(&world, "containerd", SourceState::Live, "").await?;
    world
        .wait_incident("hog-1", Cause::OomLimit, |i| {
            i.exit_codes.iter().any(|c| c.exit_code == 137)
        })
        .await?;
    world
        .wait_incident("quits-1", Cause::AppError, |i| i.occurrences == 1)
        .await?;
    Ok(())
}
