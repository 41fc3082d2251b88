//! CRI-O and cri-dockerd as their sources document them: a stand-in serves their CRI, the agent is real.

use std::path::Path;

use anyhow::{Context as _, Result, ensure};
use inquest_proto::ingest::v1::{Cause, SourceState, SourceStatus};
use inquest_shared::clock::{Clock as _, SystemClock};
use inquest_tests::{
    cri_server::{CriServer, Events},
    wait_for,
    world::{Options, PATIENCE, World},
};

/// A world whose agent follows the stand-in on `socket`.
async fn follow(world: &mut World, socket: &Path, lists: &str) -> Result<()> {
    world.agent.kill9()?;
    let config = std::fs::read_to_string(world.path("agent.yaml"))?;
    let cri = format!("sources:\n  cri: {{socket: [{}], {lists}}}\n", socket.display());
    std::fs::write(world.path("agent.yaml"), config.replace("sources:\n", &cri))?;
    world.start_agent()
}

async fn wait_cri(world: &World, state: SourceState) -> Result<SourceStatus> {
    wait_for("the runtime is followed", PATIENCE, async || {
        let node = world.nodes().await?.into_iter().next().context("no node")?;
        let sources = node.status.unwrap_or_default().sources;
        let source = sources.into_iter().find(|s| s.name == "cri").context("not yet")?;
        ensure!(source.state() == state, "{source:?}");
        Ok::<_, anyhow::Error>(source)
    })
    .await
}

fn now() -> i64 {
    SystemClock.now().0
}

/// SX-01: with the stream, what lives and dies between two lists is told.
#[tokio::test(flavor = "multi_thread")]
async fn a_container_that_lived_between_two_lists_is_told_from_cri_os_stream() -> Result<()> {
    let mut world = World::start("crio", &Options::default()).await?;
    let socket = world.path("crio.sock");
    let crio = CriServer::start(&socket, "cri-o", "1.30.4", Events::Sent)?;
    follow(&mut world, &socket, "poll: 1h, reconcile: 1h").await?;
    let live = wait_cri(&world, SourceState::Live).await?;
    assert_eq!(live.detail, "cri-o 1.30.4");
    wait_for("the stream has its reader", PATIENCE, async || {
        if crio.readers() == 1 { Ok(()) } else { Err("no reader") }
    })
    .await?;
    let id = "c1".repeat(32);
    crio.run(&id, "app");
    crio.end(&id, 3, now());
    crio.remove(&id);
    let incident = world.wait_incident("web", Cause::AppError, |_| true).await?;
    assert_eq!(
        incident.exit_codes.first().map(|c| (c.exit_code, c.count)),
        Some((3, 1))
    );
    let finding = world.findings("web-7d4b9c-abcde").await?;
    assert_eq!(finding.len(), 1);
    let subject = finding[0]
        .finding
        .clone()
        .unwrap_or_default()
        .subject
        .unwrap_or_default();
    assert_eq!((subject.runtime.as_str(), subject.container.as_str()), ("crio", "app"));
    let looks = [
        "version",
        "list_containers",
        "list_pod_sandbox",
        "container_status",
        "get_container_events",
    ];
    let calls = crio.calls();
    assert!(calls.iter().all(|call| looks.contains(call)), "{calls:?}");
    Ok(())
}

/// SX-01: without it, ends are found by the list, and what a list cannot show is said.
#[tokio::test(flavor = "multi_thread")]
async fn runtimes_without_a_usable_stream_are_polled_and_the_gap_is_said() -> Result<()> {
    let mut world = World::start("polled", &Options::default()).await?;
    let runtimes = [
        ("cri-o", "1.30.4", Events::EndAtOnce, "crio"),
        ("cri-o", "1.26.1", Events::Sent, "old"),
        ("docker", "27.3.1", Events::Refused, "dockerd"),
    ];
    let config = std::fs::read_to_string(world.path("agent.yaml"))?;
    for (n, (name, version, events, label)) in runtimes.into_iter().enumerate() {
        std::fs::write(world.path("agent.yaml"), &config)?;
        let socket = world.path(&format!("{label}.sock"));
        let runtime = CriServer::start(&socket, name, version, events)?;
        follow(&mut world, &socket, "poll: 100ms").await?;
        let polled = wait_for("it is polled", PATIENCE, async || {
            let source = wait_cri(&world, SourceState::Degraded).await?;
            ensure!(source.detail.contains(version), "{source:?}");
            Ok::<_, anyhow::Error>(source)
        })
        .await?;
        assert!(polled.detail.contains("between two lists is not seen"), "{polled:?}");
        assert!(!polled.remedy.is_empty());
        let (id, container) = (format!("d{n}").repeat(32), format!("app-{label}"));
        runtime.run(&id, &container);
        runtime.end(&id, 4, now());
        wait_for("the end is told", PATIENCE, async || {
            let findings = world.findings("web-7d4b9c-abcde").await?;
            ensure!(findings.len() == n + 1, "{} findings", findings.len());
            Ok::<_, anyhow::Error>(())
        })
        .await?;
        let asked = runtime.calls().contains(&"get_container_events");
        assert_eq!(
            asked,
            events == Events::EndAtOnce,
            "events of {name} {version} belong to the kubelet"
        );
    }
    Ok(())
}
