//! What the agent asks a runtime for, as the runtime sees it.

use std::{collections::BTreeSet, time::Duration};

use anyhow::{Result, ensure};
use inquest_cli::sandbox::{ContainerSpec, PodSpec};
use inquest_proto::ingest::v1::Cause;
use inquest_tests::{
    call_recorder::CallRecorder,
    wait_for,
    world::{Options, PATIENCE, World},
};

/// All that an agent may ask: who holds a runtime's socket could do anything, so this list is closed.
const ALLOWED: [&str; 8] = [
    "/runtime.v1.RuntimeService/Version",
    "/runtime.v1.RuntimeService/Status",
    "/runtime.v1.RuntimeService/ListContainers",
    "/runtime.v1.RuntimeService/ListPodSandbox",
    "/runtime.v1.RuntimeService/ContainerStatus",
    "/runtime.v1.RuntimeService/PodSandboxStatus",
    "/runtime.v1.RuntimeService/GetContainerEvents",
    "/containerd.services.events.v1.Events/Subscribe",
];

/// SX-47; SX-01: made, dead and removed at once, and told with its code.
#[tokio::test(flavor = "multi_thread")]
async fn a_whole_run_makes_only_the_listed_calls() -> Result<()> {
    let options = Options {
        containerd: true,
        ..Options::default()
    };
    let mut world = World::start("calls", &options).await?;
    world.agent.kill9()?;
    let socket = world.path("recorded.sock");
    let recorder = CallRecorder::start(&socket, &world.runtime()?.socket())?;
    let config = std::fs::read_to_string(world.path("agent.yaml"))?;
    let own = world.runtime()?.socket().display().to_string();
    std::fs::write(
        world.path("agent.yaml"),
        config.replace(&own, &socket.display().to_string()),
    )?;
    world.start_agent()?;
    world.wait_connected().await?;
    let cri = world.runtime()?.cri().clone();
    let subscribed = "/containerd.services.events.v1.Events/Subscribe";
    wait_for("the subscription", PATIENCE, async || {
        ensure!(recorder.calls().contains(subscribed), "{:?}", recorder.calls());
        Ok::<_, anyhow::Error>(())
    })
    .await?;
    let crash = ContainerSpec::shell("app", "echo failing; exit 3");
    let pod = cri
        .run_pod(&PodSpec::new("shop", "crash-1", 1).container(crash))
        .await?;
    cri.wait_exit(&pod.containers[0], PATIENCE).await?;
    cri.remove_pod(&pod.id).await?;
    let hog = ContainerSpec::memory_hog("app", 20_000_000);
    cri.run_pod(&PodSpec::new("shop", "hog-1", 2).container(hog)).await?;
    let stays = ContainerSpec::shell("app", "exec sleep 600");
    let stays = cri
        .run_pod(&PodSpec::new("shop", "stays-1", 3).container(stays))
        .await?;
    let crash = world.wait_incident("crash-1", Cause::AppError, |_| true).await?;
    assert_eq!(crash.exit_codes.first().map(|c| c.exit_code), Some(3));
    world.wait_incident("hog-1", Cause::OomLimit, |_| true).await?;
    cri.stop(&stays.containers[0], Duration::ZERO).await?;
    world.wait_incident("stays-1", Cause::KilledUnknown, |_| true).await?;
    let allowed: BTreeSet<String> = ALLOWED.map(str::to_owned).into();
    let made = recorder.calls();
    assert!(made.is_subset(&allowed), "{:?}", made.difference(&allowed));
    for needed in ["Version", "ListContainers", "ListPodSandbox", "ContainerStatus"] {
        assert!(
            made.contains(&format!("/runtime.v1.RuntimeService/{needed}")),
            "{made:?}"
        );
    }
    Ok(())
}

/// The process that holds a pod together is no application.
#[tokio::test(flavor = "multi_thread")]
async fn the_end_of_a_sandbox_is_no_crash_of_an_application() -> Result<()> {
    let options = Options {
        containerd: true,
        ..Options::default()
    };
    let world = World::start("pause", &options).await?;
    let cri = world.runtime()?.cri().clone();
    cri.run_pod(&PodSpec::new("shop", "empty-1", 1)).await?;
    let pod = PodSpec::new("shop", "after-1", 2).container(ContainerSpec::shell("app", "exit 4"));
    let cgroup = world.runtime()?.cgroup_root();
    // The runtime answers before the program of the sandbox has taken over from runc.
    let pauses = wait_for("the sandbox's process", PATIENCE, async || pause_processes(&cgroup)).await?;
    for pid in pauses {
        rustix::process::kill_process(pid, rustix::process::Signal::KILL)?;
    }
    // Whatever was told of the sandbox was told before this.
    cri.run_pod(&pod).await?;
    world.wait_incident("after-1", Cause::AppError, |_| true).await?;
    assert!(world.findings("empty-1").await?.is_empty());
    assert_eq!(world.incidents().await?.len(), 1);
    Ok(())
}

/// First processes of the sandboxes below a cgroup.
fn pause_processes(cgroup: &str) -> Result<Vec<rustix::process::Pid>> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir("/proc")?.flatten() {
        let pid = entry.file_name().to_str().and_then(|name| name.parse().ok());
        let Some(pid) = pid.and_then(rustix::process::Pid::from_raw) else {
            continue;
        };
        let read = |file: &str| std::fs::read_to_string(entry.path().join(file)).unwrap_or_default();
        if read("cgroup").contains(&format!("{cgroup}/")) && read("cmdline").contains("2147483647") {
            found.push(pid);
        }
    }
    ensure!(!found.is_empty(), "no sandbox below {cgroup}");
    Ok(found)
}
