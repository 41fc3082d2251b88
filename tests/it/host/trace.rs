//! Trace events of the real kernel: the instance of an agent, and kills that only they tell.

use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use inquest_proto::ingest::v1::{Cause, EvidenceSource, SourceState, SourceStatus, evidence::Fact};
use inquest_tests::{
    Tracefs, wait_for,
    world::{Options, PATIENCE, World, hold_kills},
};
use rustix::process::Signal;

/// Kills of which one must be seen in time.
const TRIES: u32 = 10;
/// How long a kill takes to be told, with room for a busy machine.
const SOON: Duration = Duration::from_secs(5);

fn options() -> Options {
    Options {
        trace: true,
        ..Options::default()
    }
}

fn tracefs(world: &World) -> Result<&Tracefs> {
    world.tracefs.as_ref().context("no tracefs")
}

async fn source(world: &World) -> Result<SourceStatus> {
    let node = world.nodes().await?.into_iter().next().context("no node")?;
    let sources = node.status.unwrap_or_default().sources;
    let trace = sources.into_iter().find(|source| source.name == "trace events");
    trace.context("the source has no status")
}

/// Tracing that goes on without a reader costs the node memory and time.
#[tokio::test(flavor = "multi_thread")]
async fn a_stopped_agent_takes_its_trace_instance_away_and_a_killed_one_leaves_it_to_the_next() -> Result<()> {
    let mut world = World::start("trace-instance", &options()).await?;
    let folder = tracefs(&world)?.folder();
    ensure!(folder.is_dir(), "{} is not there", folder.display());
    world.agent.kill9()?;
    ensure!(folder.is_dir(), "it went with the agent");
    world.start_agent()?;
    world.wait_connected().await?;
    world.agent.signal(Signal::TERM)?;
    wait_for("the instance is removed", PATIENCE, async || {
        ensure!(!folder.exists(), "{} is still there", folder.display());
        Ok::<_, anyhow::Error>(())
    })
    .await
}

/// The standard profile: no kernel log.
#[tokio::test(flavor = "multi_thread")]
async fn without_the_kernel_log_a_kill_for_memory_is_told_by_the_trace() -> Result<()> {
    let options = Options {
        no_kernel_log: true,
        ..options()
    };
    let world = World::start("trace-oom", &options).await?;
    let cgroup = world.victim_cgroup()?;
    // A process outside of containers is known by its cgroup, which cgroup v1 takes from it as it exits. So an agent that
    // looks too late cannot tell which node's it was, where several share the kernel, and one kill in some may be missed.
    let mut told = None;
    for _ in 0..TRIES {
        let mut hog = {
            let _alone = hold_kills()?;
            cgroup.oom_hog().spawn()?
        };
        told = wait_for("the kill is told", SOON, async || {
            world.incidents().await?.into_iter().next().context("no incident")
        })
        .await
        .ok();
        hog.wait()?;
        if told.is_some() {
            break;
        }
    }
    let incident = told.context("none of the kills was told")?;
    assert_eq!(incident.cause(), Cause::OomLimit);
    let evidence = incident.latest.clone().unwrap_or_default().evidence;
    let kill = evidence.iter().find_map(|e| match &e.fact {
        Some(Fact::KernelKill(kill)) if e.source() == EvidenceSource::Trace => Some(kill.clone()),
        _ => None,
    });
    let kill = kill.with_context(|| format!("{evidence:?}"))?;
    assert!(kill.victim_cgroup.ends_with(cgroup.path()), "{kill:?}");
    assert!(kill.limit_cgroup.ends_with(cgroup.path()), "{kill:?}");
    assert_eq!(kill.limit_bytes, Some(16 << 20));
    assert!(kill.anon_bytes > 0 && !kill.comm.is_empty(), "{kill:?}");
    cgroup.remove()?;
    Ok(())
}

/// Two agents on one kernel must not read each other's pipe: each line can be read once.
#[tokio::test(flavor = "multi_thread")]
async fn a_second_agent_with_the_same_instance_says_what_to_change() -> Result<()> {
    let first = World::start("trace-first", &options()).await?;
    let mut second = World::start("trace-second", &options()).await?;
    second.agent.kill9()?;
    let config = std::fs::read_to_string(second.path("agent.yaml"))?;
    let (own, taken) = (tracefs(&second)?.instance(), tracefs(&first)?.instance());
    std::fs::write(second.path("agent.yaml"), config.replace(own, taken))?;
    second.start_agent()?;
    let status = wait_for("the second agent is blind", PATIENCE, async || {
        let status = source(&second).await?;
        ensure!(status.state() == SourceState::Blind, "{status:?}");
        Ok::<_, anyhow::Error>(status)
    })
    .await?;
    assert!(status.detail.contains("another agent"), "{status:?}");
    assert!(status.remedy.contains("sources.trace.instance"), "{status:?}");
    assert_eq!(source(&first).await?.state(), SourceState::Live);
    Ok(())
}
