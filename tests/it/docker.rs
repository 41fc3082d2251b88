//! Deaths of real containers of a real dockerd, told end to end: Docker and kernel → agent → aggregator → webhook.

mod requests;

use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use inquest_proto::{
    ingest::v1::{Cause, EvidenceSource, Finding, FindingKind, evidence::Fact},
    query::v1::Incident,
};
use inquest_tests::{
    Webhook, wait_for,
    webhook::Received,
    world::{Options, PATIENCE, World},
};

const LIMIT: &str = "20m";

async fn world(label: &str) -> Result<World> {
    World::start(
        label,
        &Options {
            docker: true,
            ..Options::default()
        },
    )
    .await
}

/// Everything accepted after nothing new came for a while: silence is part of what is promised.
async fn accepted_after_silence(webhook: &Webhook) -> Vec<Received> {
    let mut seen = webhook.accepted().len();
    loop {
        tokio::time::sleep(Duration::from_millis(1500)).await;
        let now = webhook.accepted();
        if now.len() == seen {
            return now;
        }
        seen = now.len();
    }
}

/// Stored findings about a container by its name.
async fn findings(world: &World, container: &str) -> Result<Vec<Finding>> {
    let all = world.findings("").await?;
    let findings = all.into_iter().filter_map(|stored| stored.finding);
    Ok(findings
        .filter(|f| f.subject.as_ref().is_some_and(|s| s.container == container))
        .collect())
}

async fn wait_findings(world: &World, container: &str, count: usize) -> Result<Vec<Finding>> {
    let what = format!("{count} findings of {container}");
    wait_for(&what, PATIENCE, async || {
        let found = findings(world, container).await?;
        ensure!(found.len() == count, "{} findings: {found:#?}", found.len());
        Ok::<_, anyhow::Error>(found)
    })
    .await
}

fn last_line(finding: &Finding) -> Option<String> {
    finding.evidence.iter().find_map(|e| match &e.fact {
        Some(Fact::LogExcerpt(log)) => log.lines.last().cloned(),
        _ => None,
    })
}

fn has_log(incident: &Incident) -> bool {
    let latest = incident.latest.as_ref();
    latest.is_some_and(|l| l.evidence.iter().any(|e| matches!(e.fact, Some(Fact::LogExcerpt(_)))))
}

/// json-file and local are the drivers that Docker reads back from its own files.
#[tokio::test(flavor = "multi_thread")]
async fn an_exit_brings_its_last_lines_whatever_log_driver_keeps_them() -> Result<()> {
    let world = world("dk-exit").await?;
    let docker = world.docker()?;
    let script = "for i in 1 2 3; do echo line $i; done; echo 'password=canary missing' >&2; exit 3";
    docker.run("json", &[], script)?;
    docker.run("local", &["--log-driver", "local"], script)?;
    docker.run("tty", &["--tty"], script)?;
    docker.run("mute", &["--log-driver", "none"], script)?;
    // Made, dead and removed before anybody could look.
    docker.run("brief", &["--rm"], "exit 9")?;
    for name in ["json", "local", "tty"] {
        let incident = world.wait_incident(name, Cause::AppError, has_log).await?;
        let codes: Vec<_> = incident.exit_codes.iter().map(|c| (c.exit_code, c.count)).collect();
        assert_eq!(codes, [(3, 1)], "{name}");
        let finding = findings(&world, name).await?.into_iter().next().context("no finding")?;
        let subject = finding.subject.clone().unwrap_or_default();
        assert_eq!(
            (subject.runtime.as_str(), subject.owner_kind.as_str()),
            ("docker", "Container")
        );
        let key: String = finding.key.iter().map(|b| format!("{b:02x}")).collect();
        let log = wait_for("the log arrives", PATIENCE, async || world.log(&key).await).await?;
        // Docker reads the two streams side by side: only lines of one of them are in order.
        let lines: Vec<_> = log.lines().filter(|line| line.starts_with("line ")).collect();
        assert_eq!(lines, ["line 1", "line 2", "line 3"], "{name}: {log}");
        assert!(log.contains("missing"), "{name}: {log}");
        assert!(!log.contains("canary"), "{name}: a secret left the node");
    }
    world.wait_incident("mute", Cause::AppError, |i| !has_log(i)).await?;
    let brief = world.wait_incident("brief", Cause::AppError, |_| true).await?;
    assert_eq!(brief.exit_codes.iter().map(|c| c.exit_code).collect::<Vec<_>>(), [9]);
    let told = accepted_after_silence(&world.webhook).await;
    assert_eq!(told.len(), 5, "one message each: {told:#?}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn an_oom_kill_is_one_alert_with_the_kernels_proof_and_hostile_names_stay_data() -> Result<()> {
    let world = world("dk-oom").await?;
    // busybox runs any applet under a name that begins with its own; the kernel keeps 15 bytes of it.
    let name = "/tmp/busybox) (,pid=7,";
    let script = format!(r#"cp /bin/busybox "{name}"; printf 'x\033[31m\r\nfake: ok\n'; exec "{name}" tail /dev/zero"#);
    let label = "com.docker.compose.service=ev\u{1b}[31mil\nfake";
    let options = ["--memory", LIMIT, "--label", label];
    world.docker()?.run("shop-evil-1", &options, &script)?;
    let exited = |i: &Incident| i.exit_codes.iter().any(|c| c.exit_code == 137);
    let incident = world.wait_incident("ev_[31mil_fake", Cause::OomLimit, exited).await?;
    assert_eq!(incident.occurrences, 1, "the kill and its exit are one event");
    let latest = incident.latest.clone().unwrap_or_default();
    let kill = latest.evidence.iter().find_map(|e| match &e.fact {
        Some(Fact::KernelKill(kill)) if e.source() == EvidenceSource::Kmsg => Some(kill.clone()),
        _ => None,
    });
    let kill = kill.context("no kernel evidence")?;
    assert_eq!((kill.comm.as_str(), kill.main_process), ("busybox) (,pid=", Some(true)));
    let told = accepted_after_silence(&world.webhook).await;
    assert_eq!(told.len(), 1, "one incident, one message: {told:#?}");
    Ok(())
}

/// Docker keeps the id over restarts; each run is a record of its own, with its own log.
#[tokio::test(flavor = "multi_thread")]
async fn a_restart_policy_is_one_incident_and_every_run_is_counted_once() -> Result<()> {
    let world = world("dk-loop").await?;
    // The container's own files live on over its runs. Nothing goes to standard error: Docker may write it later.
    let script = r#"n=$(cat /tmp/n 2>/dev/null || echo 0); echo $((n + 1)) > /tmp/n; echo run $n; exit 4"#;
    world.docker()?.run("looping", &["--restart", "on-failure:3"], script)?;
    let incident = world
        .wait_incident("looping", Cause::AppError, |i| i.occurrences == 4)
        .await?;
    assert!(incident.looping);
    let found = wait_findings(&world, "looping", 4).await?;
    let mut lines: Vec<_> = found.iter().filter_map(last_line).collect();
    lines.sort();
    assert_eq!(lines, ["run 0", "run 1", "run 2", "run 3"], "the log of another run");
    let mut instances: Vec<_> = found
        .iter()
        .filter_map(|f| f.subject.as_ref().map(|s| s.instance.clone()))
        .collect();
    instances.sort();
    instances.dedup();
    assert_eq!(instances.len(), 4, "{instances:?}");
    assert_eq!(world.incidents().await?.len(), 1);
    accepted_after_silence(&world.webhook).await;
    assert_eq!(findings(&world, "looping").await?.len(), 4);
    Ok(())
}

/// Docker tells of an end only after it has cleaned up, and not at all while it hangs. Its containerd knows at once.
#[tokio::test(flavor = "multi_thread")]
async fn an_end_is_told_while_dockerd_hangs_and_is_the_same_end_afterwards() -> Result<()> {
    let world = world("dk-hang").await?;
    let docker = world.docker()?;
    let script = "while [ ! -e /tmp/go ]; do sleep 0.1; done; echo last words; exit 4";
    docker.run("hung", &[], script)?;
    // Docker tells what runs in order, so after this end the agent knows the other container.
    docker.run("first", &[], "exit 3")?;
    world.wait_incident("first", Cause::AppError, |_| true).await?;
    let pid = docker.docker(&["inspect", "--format", "{{.State.Pid}}", "hung"])?;
    docker.process()?.freeze().await?;
    let root = std::path::Path::new("/proc").join(pid.trim()).join("root");
    std::fs::write(root.join("tmp/go"), "")?;
    world.wait_incident("hung", Cause::AppError, |i| !has_log(i)).await?;
    docker.process()?.thaw()?;
    world.wait_incident("hung", Cause::AppError, has_log).await?;
    let told = accepted_after_silence(&world.webhook).await;
    assert_eq!(told.len(), 2, "{told:#?}");
    let ends = findings(&world, "hung").await?;
    assert_eq!(ends.len(), 1, "{ends:#?}");
    Ok(())
}

/// Exits while Docker is away are found by inspection, and nobody is declared dead.
#[tokio::test(flavor = "multi_thread")]
async fn a_killed_dockerd_loses_no_exit_and_kills_nobody_on_paper() -> Result<()> {
    let mut world = world("dk-down").await?;
    let docker = world.docker.as_mut().context("docker")?;
    docker.run("steady", &[], "exec sleep 600")?;
    docker.run("gone", &[], "while [ ! -e /tmp/go ]; do sleep 0.1; done; exit 4")?;
    let root = docker.docker(&["inspect", "--format", "{{.State.Pid}}", "gone"])?;
    let pid = root.trim().to_owned();
    docker.kill9()?;
    let root = std::path::Path::new("/proc").join(&pid).join("root");
    std::fs::write(root.join("tmp/go"), "")?;
    let ended = wait_for("the container ends", PATIENCE, async || {
        let state = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
        ensure!(state.is_empty() || state.contains(") Z "), "{state}");
        Ok::<_, anyhow::Error>(())
    });
    ended.await?;
    docker.launch().await?;
    wait_findings(&world, "gone", 1).await?;
    wait_for("docker is live again", PATIENCE, async || {
        world.wait_connected().await.map(|_| ())
    })
    .await?;
    assert!(
        findings(&world, "steady").await?.is_empty(),
        "a running container was declared dead"
    );
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn an_end_while_the_agent_is_away_is_told_after_its_start_and_once() -> Result<()> {
    let mut world = world("dk-away").await?;
    world.docker()?.run("before", &[], "exit 5")?;
    world
        .wait_incident("before", Cause::AppError, |i| i.occurrences == 1)
        .await?;
    world.docker()?.run("stopped", &[], "exec sleep 600")?;
    world.agent.kill9()?;
    let docker = world.docker()?;
    docker.run("away", &[], "echo last words; exit 6")?;
    docker.docker(&["wait", "away"])?;
    docker.docker(&["stop", "--time", "1", "stopped"])?;
    world.start_agent()?;
    let incident = world.wait_incident("away", Cause::AppError, has_log).await?;
    assert_eq!(incident.occurrences, 1);
    wait_findings(&world, "stopped", 1).await?;
    let told = accepted_after_silence(&world.webhook).await;
    assert_eq!(told.len(), 2, "nothing is told twice, and a stop not at all: {told:#?}");
    assert_eq!(findings(&world, "before").await?.len(), 1);
    Ok(())
}

/// dockerd keeps its containers in containerd, in a namespace of its own.
#[tokio::test(flavor = "multi_thread")]
async fn a_container_of_docker_is_not_told_a_second_time_through_containerd() -> Result<()> {
    let options = Options {
        docker: true,
        containerd: true,
        ..Options::default()
    };
    let world = World::start("dk-moby", &options).await?;
    world.docker()?.run("once", &[], "exit 3")?;
    world
        .docker()?
        .run("full", &["--memory", LIMIT], "exec tail /dev/zero")?;
    world.wait_incident("once", Cause::AppError, |_| true).await?;
    world
        .wait_incident("full", Cause::OomLimit, |i| i.exit_codes.len() == 1)
        .await?;
    let told = accepted_after_silence(&world.webhook).await;
    assert_eq!(told.len(), 2, "{told:#?}");
    let all: Vec<Finding> = world
        .findings("")
        .await?
        .into_iter()
        .filter_map(|f| f.finding)
        .collect();
    let exits = all.iter().filter(|f| f.kind() == FindingKind::Exit);
    assert_eq!(exits.count(), 2, "{all:#?}");
    let foreign = all.iter().flat_map(|f| &f.evidence);
    assert_eq!(foreign.filter(|e| e.source() == EvidenceSource::Containerd).count(), 0);
    Ok(())
}
