//! Who killed a container: real signals to real containers, seen through trace events.

use std::{fs, process::Command};

use inquest_cli::sandbox::Pod;
use inquest_proto::{ingest::v1::SignalSent, query::v1::Incident};
use inquest_shared::{
    model,
    text::{Lang, headline, why},
};

use super::*;

/// Kills of which one must be looked at in time.
const TRIES: usize = 10;

/// A world with trace events; `standard` takes the kernel log away.
async fn traced(label: &str, standard: bool) -> Result<World> {
    let options = Options {
        containerd: true,
        trace: true,
        no_kernel_log: standard,
        ..Options::default()
    };
    World::start(label, &options).await
}

async fn run(world: &World, name: &str, spec: ContainerSpec) -> Result<Pod> {
    let pod = PodSpec::new("shop", name, 1).container(spec);
    Ok(world.runtime()?.cri().run_pod(&pod).await?)
}

/// The first process of a pod's container, in the initial pid namespace.
async fn main_pid(world: &World, pod: &Pod) -> Result<u32> {
    let status = world.runtime()?.cri().status(&pod.containers[0]).await?;
    let id = status.status.context("no status")?.id;
    wait_for("the process is there", PATIENCE, async || {
        let pids = fs::read_dir("/proc")?.filter_map(|entry| entry.ok()?.file_name().to_str()?.parse::<u32>().ok());
        let of_container = |pid: &u32| {
            let read = |file: &str| fs::read_to_string(format!("/proc/{pid}/{file}")).unwrap_or_default();
            read("cgroup").contains(&id)
                && read("status")
                    .lines()
                    .any(|l| l.starts_with("NSpid:") && l.ends_with("\t1"))
        };
        pids.into_iter()
            .find(of_container)
            .context("no process of the container")
    })
    .await
}

fn signals(incident: &Incident) -> Vec<SignalSent> {
    let evidence = incident.latest.clone().unwrap_or_default().evidence;
    let sent = |fact| match fact {
        Some(Fact::SignalSent(sent)) => Some(sent),
        _ => None,
    };
    evidence.into_iter().filter_map(|e| sent(e.fact)).collect()
}

/// Headline and proof as people read them.
fn told(incident: Incident) -> Result<(String, String)> {
    let incident = model::Incident::try_from(incident)?;
    Ok((headline(&incident, Lang::En), why(&incident.latest, Lang::En)))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_kill_by_a_shell_of_the_host_is_put_on_that_shell() -> Result<()> {
    let world = traced("who", false).await?;
    let pod = run(&world, "cache-2", ContainerSpec::shell("app", "exec sleep 600")).await?;
    let pid = main_pid(&world, &pod).await?;
    let shell = world.path("oncall-shell");
    fs::copy("/bin/sh", &shell)?;
    // It lives on for a moment, as a person's shell does.
    let mut culprit = Command::new(&shell)
        .args(["-c", &format!("kill -9 {pid}; sleep 2; true")])
        .spawn()?;
    let incident = world.wait_incident("cache-2", Cause::KilledBy, |_| true).await?;
    let sent = signals(&incident);
    let kill = sent
        .iter()
        .find(|s| s.signal == 9)
        .with_context(|| format!("{incident:?}"))?;
    assert_eq!(
        (kill.sender_comm.as_str(), kill.sender_pid),
        ("oncall-shell", culprit.id())
    );
    assert_eq!(
        (kill.target_pid, kill.main_process, kill.sender_uid),
        (pid, Some(true), Some(0))
    );
    let (title, proof) = told(incident)?;
    assert_eq!(title, "Killed by oncall-shell (SIGKILL)");
    assert!(
        proof.starts_with(&format!("SIGKILL by oncall-shell, pid {}", culprit.id())),
        "{proof}"
    );
    culprit.wait()?;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_kill_from_another_container_names_that_container() -> Result<()> {
    let world = traced("who-container", false).await?;
    let pod = run(&world, "cache-3", ContainerSpec::shell("app", "exec sleep 600")).await?;
    let pid = main_pid(&world, &pod).await?;
    let debug = run(&world, "debug-1", ContainerSpec::shell("tool", "exec sleep 600")).await?;
    let inside = main_pid(&world, &debug).await?;
    // A privileged debugging pod shares the host's pids: the same cgroup, the host's pid namespace.
    let groups = fs::read_to_string(format!("/proc/{inside}/cgroup"))?;
    let memory = groups
        .lines()
        .find_map(|line| line.split_once(":memory:").map(|(_, path)| path.to_owned()));
    let folder = match memory {
        Some(path) => format!("/sys/fs/cgroup/memory{path}"),
        None => format!("/sys/fs/cgroup{}", groups.trim().trim_start_matches("0::")),
    };
    let script = format!("echo $$ > {folder}/cgroup.procs; kill -9 {pid}; sleep 2; true");
    let mut culprit = Command::new("sh").args(["-c", &script]).spawn()?;
    let incident = world.wait_incident("cache-3", Cause::KilledBy, |_| true).await?;
    let containers: Vec<_> = signals(&incident).into_iter().map(|s| s.sender_container).collect();
    assert!(containers.contains(&"shop/debug-1/tool".to_owned()), "{containers:?}");
    let (_, proof) = told(incident)?;
    assert!(proof.ends_with("container shop/debug-1/tool"), "{proof}");
    culprit.wait()?;
    Ok(())
}

/// The runtime acts on somebody's order; the node does not know whose, and a planned stop looks the same.
#[tokio::test(flavor = "multi_thread")]
async fn a_stop_that_the_process_ignored_is_the_runtimes_after_its_grace() -> Result<()> {
    let world = traced("who-runtime", false).await?;
    // The first process of a pid namespace ignores SIGTERM unless it has a handler.
    let pod = run(&world, "cache-4", ContainerSpec::shell("app", "exec sleep 600")).await?;
    // The runtime's own init, which it is before, has handlers.
    let pid = main_pid(&world, &pod).await?;
    wait_for("the program runs", PATIENCE, async || {
        let name = fs::read_to_string(format!("/proc/{pid}/comm"))?;
        ensure!(name == "sleep\n", "{name}");
        Ok::<_, anyhow::Error>(())
    })
    .await?;
    let cri = world.runtime()?.cri();
    cri.stop(&pod.containers[0], Duration::from_secs(3)).await?;
    let incident = world
        .wait_incident("cache-4", Cause::KilledUnknown, |i| !signals(i).is_empty())
        .await?;
    let sent: Vec<_> = signals(&incident)
        .iter()
        .map(|s| (s.signal, s.sender_comm.clone()))
        .collect();
    assert!(sent.iter().all(|(_, comm)| comm == "runc"), "{sent:?}");
    let (title, proof) = told(incident)?;
    assert_eq!(title, "Killed by the runtime, on an unknown order (SIGKILL)");
    assert!(proof.contains("of grace; the process ignores SIGTERM"), "{proof}");
    Ok(())
}

/// The standard profile has no kernel log; its causes must be right all the same.
#[tokio::test(flavor = "multi_thread")]
async fn without_the_kernel_log_a_containers_oom_is_told_with_victim_and_limit() -> Result<()> {
    let world = traced("trace-limit", true).await?;
    // The limit is read from the victim's cgroup, which cgroup v1 takes from it as it exits: one in some is read too late.
    let mut seen = None;
    for n in 1..=TRIES {
        let pod = format!("hog-{n}");
        let app = ContainerSpec::shell("app", "exec tail /dev/zero").memory_limit(LIMIT);
        run(&world, &pod, app).await?;
        let exited = |i: &Incident| !i.exit_codes.is_empty();
        let incident = world.wait_incident(&pod, Cause::OomLimit, exited).await?;
        let evidence = incident.latest.clone().unwrap_or_default().evidence;
        let kill = evidence.iter().find_map(|e| match &e.fact {
            Some(Fact::KernelKill(kill)) if e.source() == EvidenceSource::Trace => Some(kill.clone()),
            _ => None,
        });
        let kill = kill.with_context(|| format!("{evidence:?}"))?;
        assert_eq!((kill.comm.as_str(), kill.main_process), ("tail", Some(true)));
        assert_eq!(incident.occurrences, 1, "the kill and its exit are one event");
        assert_eq!(
            accepted_after_silence(&world.webhook).await.len(),
            n,
            "one message each"
        );
        if kill.limit_bytes.is_some_and(|l| l.abs_diff(LIMIT) < 65_536) {
            seen = Some(incident);
            break;
        }
    }
    let (title, _) = told(seen.context("no kill told its limit")?)?;
    assert_eq!(title, "OOM at container limit");
    Ok(())
}

/// Both witnesses of one kill are one incident.
#[tokio::test(flavor = "multi_thread")]
async fn the_kernel_log_and_the_trace_tell_one_kill_once() -> Result<()> {
    let world = traced("both", false).await?;
    let app = ContainerSpec::shell("app", "exec tail /dev/zero").memory_limit(LIMIT);
    run(&world, "hog-2", app).await?;
    let both = |i: &Incident| {
        let evidence = i.latest.clone().unwrap_or_default().evidence;
        let by = |source| {
            evidence
                .iter()
                .any(|e| e.source() == source && matches!(e.fact, Some(Fact::KernelKill(_))))
        };
        by(EvidenceSource::Kmsg) && by(EvidenceSource::Trace)
    };
    let incident = world.wait_incident("hog-2", Cause::OomLimit, both).await?;
    assert_eq!(incident.occurrences, 1);
    assert_eq!(accepted_after_silence(&world.webhook).await.len(), 1);
    Ok(())
}

/// A name is data: it must not forge the sender, and the alert stays one line.
#[tokio::test(flavor = "multi_thread")]
async fn a_killer_with_a_hostile_name_is_still_the_killer() -> Result<()> {
    let world = traced("who-hostile", false).await?;
    let pod = run(&world, "cache-5", ContainerSpec::shell("app", "exec sleep 600")).await?;
    let pid = main_pid(&world, &pod).await?;
    let shell = world.path("x pid=1\n-2 [0]:");
    fs::copy("/bin/sh", &shell)?;
    let mut culprit = Command::new(&shell)
        .args(["-c", &format!("kill -9 {pid}; sleep 2; true")])
        .spawn()?;
    let incident = world.wait_incident("cache-5", Cause::KilledBy, |_| true).await?;
    let sent = signals(&incident);
    assert!(
        sent.iter().any(|s| s.sender_pid == culprit.id() && s.target_pid == pid),
        "{sent:?}"
    );
    let (title, proof) = told(incident)?;
    assert!(
        title.contains("\"x pid=1\\u{a}-2 [0]:\"") && !proof.contains('\n'),
        "{title}: {proof}"
    );
    culprit.wait()?;
    Ok(())
}

/// The kernel says why a program faulted; the exit code only says that it did.
#[tokio::test(flavor = "multi_thread")]
async fn a_program_that_faults_brings_the_kernels_reason() -> Result<()> {
    let world = traced("fault", false).await?;
    let script = format!(
        "printf '{}' > /tmp/crash; chmod +x /tmp/crash; exec /tmp/crash",
        crash()
    );
    run(&world, "fault-1", ContainerSpec::shell("app", &script)).await?;
    let incident = world
        .wait_incident("fault-1", Cause::FaultSignal, |i| !signals(i).is_empty())
        .await?;
    let (title, proof) = told(incident)?;
    assert_eq!(title, "Crashes with SIGSEGV");
    assert_eq!(proof, "SIGSEGV by the kernel: address not mapped (SEGV_MAPERR)");
    Ok(())
}

/// The smallest program (elf(5)) whose first instruction lies at address 0, where nothing is; for `printf`.
fn crash() -> String {
    let machine: u16 = if cfg!(target_arch = "aarch64") { 183 } else { 62 };
    let mut file = b"\x7fELF\x02\x01\x01\0\0\0\0\0\0\0\0\0".to_vec();
    for half in [2, machine] {
        file.extend(half.to_le_bytes());
    }
    file.extend(1_u32.to_le_bytes());
    for place in [0_u64, 64, 0] {
        file.extend(place.to_le_bytes());
    }
    file.extend(0_u32.to_le_bytes());
    for half in [64_u16, 56, 1, 0, 0, 0] {
        file.extend(half.to_le_bytes());
    }
    // One segment to read and execute: the headers themselves.
    for word in [1_u32, 5] {
        file.extend(word.to_le_bytes());
    }
    for long in [0_u64, 0x40_0000, 0x40_0000, 120, 120, 0x1000] {
        file.extend(long.to_le_bytes());
    }
    file.iter().map(|byte| format!("\\{byte:03o}")).collect()
}
