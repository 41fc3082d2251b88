//! Experiment 35: containerd dies and comes back. Ends in between are found, and nobody is declared dead.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
};

use anyhow::{Context as _, Result, ensure};
use inquest_cli::sandbox::{ContainerSpec, Pod, PodSpec};
use inquest_proto::ingest::v1::{Cause, SourceState};
use inquest_tests::{
    wait_for,
    world::{Options, PATIENCE, World},
};

use super::runtime_hang::source_of;

/// Pods whose containers end while containerd is away; one of them around the moment of its death.
const LEAVERS: u32 = 5;

#[tokio::test(flavor = "multi_thread")]
async fn ends_while_containerd_is_away_are_each_told_once_and_the_living_are_left_alone() -> Result<()> {
    let options = Options {
        containerd: true,
        ..Options::default()
    };
    let mut world = World::start("rt35", &options).await?;
    let cri = world.runtime()?.cri().clone();
    let steady = PodSpec::new("shop", "steady-1", 100).container(ContainerSpec::shell("app", "exec sleep 600"));
    cri.run_pod(&steady).await?;
    let mut leavers = Vec::new();
    for n in 0..LEAVERS {
        let script = format!("while [ ! -f /tmp/go ]; do sleep 0.02; done; exit {}", n + 3);
        let pod = PodSpec::new("shop", &format!("leaver-{n}"), n).container(ContainerSpec::shell("app", &script));
        let pod = cri.run_pod(&pod).await?;
        leavers.push((pid_of(&world, &pod).await?, pod));
    }
    let (first, rest) = leavers.split_first().context("no pods")?;
    // The death of this one and that of containerd race: its event may be lost on the way, or its log half read.
    let_go(first.0)?;
    world.containerd.as_mut().context("containerd")?.kill9().await?;
    for (pid, _) in rest {
        let_go(*pid)?;
    }
    for (pid, pod) in &leavers {
        let what = format!("the end of {}", pod.spec.name);
        wait_for(&what, PATIENCE, async || {
            ensure!(!files_of(*pid).join("tmp").exists(), "it runs");
            Ok::<_, anyhow::Error>(())
        })
        .await?;
    }
    world.containerd.as_mut().context("containerd")?.restart().await?;
    for (n, (_, pod)) in leavers.iter().enumerate() {
        let incident = world.wait_incident(&pod.spec.name, Cause::AppError, |_| true).await?;
        let codes: BTreeMap<_, _> = incident.exit_codes.iter().map(|c| (c.exit_code, c.count)).collect();
        assert_eq!(codes, [(i32::try_from(n)? + 3, 1)].into(), "{}", pod.spec.name);
    }
    // The stream is open again: a new end comes without waiting for a list.
    wait_for("containerd is live again", PATIENCE, async || {
        let source = source_of(&world, "containerd").await?;
        ensure!(source.state() == SourceState::Live, "{source:?}");
        Ok::<_, anyhow::Error>(())
    })
    .await?;
    let fresh = PodSpec::new("shop", "fresh-1", 200).container(ContainerSpec::shell("app", "exit 9"));
    cri.run_pod(&fresh).await?;
    world.wait_incident("fresh-1", Cause::AppError, |_| true).await?;
    for (_, pod) in &leavers {
        assert_eq!(
            world.findings(&pod.spec.name).await?.len(),
            1,
            "{} was told twice",
            pod.spec.name
        );
    }
    assert!(
        world.findings("steady-1").await?.is_empty(),
        "a running container was declared dead"
    );
    Ok(())
}

/// Pid of the first container of a pod on the host.
pub(super) async fn pid_of(world: &World, pod: &Pod) -> Result<u64> {
    let answer = world.runtime()?.cri().status(&pod.containers[0]).await?;
    let info: serde_json::Value = serde_json::from_str(&answer.info["info"])?;
    info["pid"].as_u64().context("no pid")
}

/// Lets a container's script go on: the runtime need not answer for that.
pub(super) fn let_go(pid: u64) -> Result<()> {
    Ok(std::fs::write(files_of(pid).join("tmp/go"), "")?)
}

/// The file system as a process sees it.
fn files_of(pid: u64) -> PathBuf {
    Path::new("/proc").join(pid.to_string()).join("root")
}
