//! A node whose runtime may not be asked: kernel, cgroups and the kubelet's own files still tell of kills and restarts.

use std::{os::unix::fs::symlink, path::Path};

use anyhow::{Context as _, Result, ensure};
use inquest_cli::sandbox::{Container, ContainerSpec, PodSpec};
use inquest_proto::ingest::v1::{Cause, FindingKind, SourceState, evidence::Fact};
use inquest_tests::{
    wait_for,
    world::{Options, PATIENCE, World},
};

const LIMIT: u64 = 20_000_000;

/// The link that a kubelet makes for a container.
fn link(folder: &Path, pod: &PodSpec, container: &Container) -> Result<()> {
    let name = format!("{}_{}_{}-{}.log", pod.name, pod.namespace, container.name, container.id);
    Ok(symlink(&container.log_path, folder.join(name))?)
}

/// SX-50.
#[tokio::test(flavor = "multi_thread")]
async fn without_the_runtimes_socket_kills_and_restarts_are_told_and_the_missing_is_named() -> Result<()> {
    let options = Options {
        containerd: true,
        ..Options::default()
    };
    let mut world = World::start("sx50", &options).await?;
    world.agent.kill9()?;
    let links = world.path("containers");
    std::fs::create_dir_all(&links)?;
    let config = std::fs::read_to_string(world.path("agent.yaml"))?;
    let own = world.runtime()?.socket().display().to_string();
    let config = config.replace(&own, "/nonexistent.sock");
    let config = format!("{config}host: {{container_logs: {}}}\n", links.display());
    std::fs::write(world.path("agent.yaml"), config)?;
    world.start_agent()?;
    wait_for("the agent reads the kubelet's links", PATIENCE, async || {
        let node = world.nodes().await?.into_iter().next().context("no node")?;
        let sources = node.status.unwrap_or_default().sources;
        let of = |name: &str| {
            sources
                .iter()
                .find(|s| s.name == name)
                .map(|s| (s.state(), s.detail.clone()))
        };
        let (state, detail) = of("kubelet logs").context("no such source")?;
        ensure!(
            state == SourceState::Degraded && detail.contains("no exit code"),
            "{detail}"
        );
        ensure!(
            of("containerd").is_some_and(|(state, _)| state == SourceState::Absent),
            "{sources:?}"
        );
        Ok::<_, anyhow::Error>(())
    })
    .await?;
    let cri = world.runtime()?.cri().clone();
    let spec = PodSpec::new("shop", "web-1", 1);
    let pod = cri.run_pod(&spec).await?;
    // Made, linked as a kubelet does, and only then started.
    let hog = ContainerSpec::shell("app", "echo about to grow; sleep 3; exec tail /dev/zero").memory_limit(LIMIT);
    let first = cri.create(&pod, &hog).await?;
    cri.start(&first).await?;
    link(&links, &spec, &first)?;
    cri.wait_exit(&first, PATIENCE).await?;
    world
        .wait_incident("web-1", Cause::OomLimit, |i| {
            i.latest.as_ref().is_some_and(|l| l.kind() == FindingKind::Kill)
        })
        .await?;
    let again = cri
        .create(&pod, &ContainerSpec::shell("app", "exec sleep 600").restarted(1))
        .await?;
    cri.start(&again).await?;
    link(&links, &spec, &again)?;
    let exit = wait_for("the restart is told", PATIENCE, async || {
        let findings = world.findings("web-1").await?;
        let exits = findings.into_iter().filter_map(|stored| stored.finding);
        let exit = exits.into_iter().find(|f| f.kind() == FindingKind::Exit);
        exit.context("no exit yet")
    })
    .await?;
    let subject = exit.subject.clone().unwrap_or_default();
    assert_eq!(
        (subject.namespace.as_str(), subject.container.as_str(), subject.attempt),
        ("shop", "app", 0)
    );
    assert!(subject.image.is_empty(), "nobody could know the image");
    let record = exit.evidence.iter().find_map(|e| match &e.fact {
        Some(Fact::RuntimeExit(exit)) => Some(exit.clone()),
        _ => None,
    });
    assert_eq!(record.context("no record")?.exit_code, -1, "an unknown code is not 0");
    let line = exit.evidence.iter().find_map(|e| match &e.fact {
        Some(Fact::LogExcerpt(log)) => log.lines.first().cloned(),
        _ => None,
    });
    assert_eq!(line.as_deref(), Some("about to grow"));
    world
        .wait_incident("web-1", Cause::OomLimit, |i| i.occurrences >= 1)
        .await?;
    assert_eq!(world.incidents().await?.len(), 1, "the restart belongs to the kill");
    Ok(())
}
