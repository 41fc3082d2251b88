//! Deaths of real containers of a real containerd, told end to end: kernel or runtime → agent → aggregator → webhook.

mod calls;
mod cri_runtimes;
mod no_socket;
mod trace;

use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use inquest_cli::sandbox::{ContainerSpec, PodSpec};
use inquest_proto::ingest::v1::{Cause, EvidenceSource, FindingKind, evidence::Fact};
use inquest_tests::{
    Webhook, wait_for,
    webhook::Received,
    world::{Options, PATIENCE, World},
};

const LIMIT: u64 = 20_000_000;

async fn world(label: &str) -> Result<World> {
    World::start(
        label,
        &Options {
            containerd: true,
            ..Options::default()
        },
    )
    .await
}

fn with_cause<'a>(received: &'a [Received], cause: &str) -> Vec<&'a Received> {
    received.iter().filter(|r| r.body["data"]["cause"] == cause).collect()
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

#[tokio::test(flavor = "multi_thread")]
async fn an_oom_kill_is_one_alert_with_the_victim_the_limit_and_later_the_exit() -> Result<()> {
    let world = world("oom").await?;
    let app = ContainerSpec::shell("app", "echo 'starting, password=canary'; exec tail /dev/zero").memory_limit(LIMIT);
    let pod = PodSpec::new("shop", "web-7d4b9c-abcde", 1)
        .label("pod-template-hash", "7d4b9c")
        .container(app);
    world.runtime()?.cri().run_pod(&pod).await?;
    let exited = |i: &inquest_proto::query::v1::Incident| {
        let evidence = i.latest.as_ref().map(|l| l.evidence.as_slice()).unwrap_or_default();
        evidence
            .iter()
            .any(|e| matches!(&e.fact, Some(Fact::RuntimeExit(exit)) if exit.exit_code == 137))
            && evidence.iter().any(|e| matches!(e.fact, Some(Fact::LogExcerpt(_))))
    };
    let incident = world.wait_incident("web", Cause::OomLimit, exited).await?;
    let workload = incident.workload.clone().unwrap_or_default();
    assert_eq!(
        (
            workload.namespace.as_str(),
            workload.kind.as_str(),
            workload.container.as_str()
        ),
        ("shop", "Deployment", "app")
    );
    let latest = incident.latest.clone().unwrap_or_default();
    let kill = latest.evidence.iter().find_map(|e| match &e.fact {
        Some(Fact::KernelKill(kill)) if e.source() == EvidenceSource::Kmsg => Some(kill.clone()),
        _ => None,
    });
    let kill = kill.context("no kernel evidence")?;
    assert_eq!((kill.comm.as_str(), kill.main_process), ("tail", Some(true)));
    assert!(kill.limit_bytes.is_some_and(|l| l.abs_diff(LIMIT) < 65_536), "{kill:?}");
    assert_eq!(incident.occurrences, 1, "the kill and its exit are one event");
    let told = accepted_after_silence(&world.webhook).await;
    assert_eq!(told.len(), 1, "one incident, one message: {told:#?}");
    assert_eq!(told[0].body["type"], "io.inquest.incident.opened");
    let text = serde_json::to_string(&told[0].body)?;
    assert!(!text.contains("canary"), "a secret left the node");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn an_application_error_brings_its_last_lines_and_the_whole_log() -> Result<()> {
    let world = world("crash").await?;
    let script = "for i in 1 2 3; do echo line $i; done; echo 'config key \"DB_URL\" missing' >&2; exit 3";
    let pod = PodSpec::new("shop", "api-1", 1).container(ContainerSpec::shell("app", script));
    world.runtime()?.cri().run_pod(&pod).await?;
    let incident = world
        .wait_incident("api-1", Cause::AppError, |i| i.latest.is_some())
        .await?;
    assert_eq!(
        incident
            .exit_codes
            .iter()
            .map(|c| (c.exit_code, c.count))
            .collect::<Vec<_>>(),
        [(3, 1)]
    );
    let told = world.webhook.wait_accepted(1, PATIENCE).await?;
    assert!(
        told[0].body.to_string().contains("DB_URL"),
        "the alert itself shows the last line"
    );
    let findings = world.findings("api-1").await?;
    let finding = findings
        .first()
        .context("not in the history")?
        .finding
        .clone()
        .unwrap_or_default();
    let key: String = finding.key.iter().map(|b| format!("{b:02x}")).collect();
    let log = wait_for("the log arrives", PATIENCE, async || world.log(&key).await).await?;
    // Both streams are there whole; the runtime orders lines only within one stream.
    assert!(
        log.contains("line 1\nline 2\nline 3") && log.contains("DB_URL"),
        "{log}"
    );
    Ok(())
}

/// S1-04, S1-08, S1-09, S1-28: each run of a restarting container is a record of its own, with its own log.
#[tokio::test(flavor = "multi_thread")]
async fn a_crash_loop_is_one_incident_and_every_run_is_in_the_history() -> Result<()> {
    let world = world("loop").await?;
    let cri = world.runtime()?.cri();
    let pod = cri.run_pod(&PodSpec::new("shop", "job-1", 1)).await?;
    for run in 0..3 {
        let spec = ContainerSpec::shell("app", &format!("echo run {run}; exit 1")).restarted(run);
        let container = cri.create(&pod, &spec).await?;
        cri.start(&container).await?;
        cri.wait_exit(&container, PATIENCE).await?;
    }
    let incident = world
        .wait_incident("job-1", Cause::AppError, |i| i.occurrences == 3)
        .await?;
    assert!(incident.looping);
    assert_eq!(world.incidents().await?.len(), 1);
    let findings = world.findings("job-1").await?;
    assert_eq!(findings.len(), 3);
    for stored in findings {
        let finding = stored.finding.unwrap_or_default();
        let attempt = finding.subject.clone().unwrap_or_default().attempt;
        let line = finding.evidence.iter().find_map(|e| match &e.fact {
            Some(Fact::LogExcerpt(log)) => log.lines.last().cloned(),
            _ => None,
        });
        assert_eq!(line, Some(format!("run {attempt}")), "the log of another run");
        let exit = finding.evidence.iter().find_map(|e| match &e.fact {
            Some(Fact::RuntimeExit(exit)) => Some(exit.clone()),
            _ => None,
        });
        let exit = exit.context("no exit record")?;
        assert!(exit.finished_at_ns > 0);
        assert_eq!(exit.exit_code, 1);
    }
    let told = accepted_after_silence(&world.webhook).await;
    assert_eq!(
        with_cause(&told, "CAUSE_APP_ERROR").len(),
        2,
        "the opening and the third occurrence: {told:#?}"
    );
    Ok(())
}

/// S1-09, S1-15: what the container was before it ended, as the runtime recorded it.
#[tokio::test(flavor = "multi_thread")]
async fn a_record_holds_the_state_before_the_end() -> Result<()> {
    let world = world("record").await?;
    let pod = PodSpec::new("shop", "rec-1", 1).container(ContainerSpec::shell("app", "sleep 0.2; exit 9").restarted(4));
    world.runtime()?.cri().run_pod(&pod).await?;
    let (stored, exit) = wait_for("the runtime's reason arrives", PATIENCE, async || {
        let stored = world.findings("rec-1").await?.into_iter().next().context("no record")?;
        let evidence = stored.finding.clone().unwrap_or_default().evidence;
        let exit = evidence.into_iter().find_map(|e| match e.fact {
            Some(Fact::RuntimeExit(exit)) if !exit.reason.is_empty() => Some(exit),
            _ => None,
        });
        Ok::<_, anyhow::Error>((stored, exit.context("no reason yet")?))
    })
    .await?;
    assert_eq!((exit.exit_code, exit.reason.as_str()), (9, "Error"));
    assert!(
        0 < exit.started_at_ns && exit.started_at_ns < exit.finished_at_ns,
        "{exit:?}"
    );
    assert_eq!((stored.cluster.as_str(), stored.node_name.as_str()), ("test", "n1"));
    assert!(stored.stored_at_ns >= exit.finished_at_ns && !stored.incident_id.is_empty());
    let subject = stored.finding.unwrap_or_default().subject.unwrap_or_default();
    assert_eq!(
        (subject.namespace.as_str(), subject.container.as_str(), subject.attempt),
        ("shop", "app", 4)
    );
    Ok(())
}

/// SX-06: a child dies for memory while the container lives on.
#[tokio::test(flavor = "multi_thread")]
async fn a_killed_child_is_told_although_the_container_lives() -> Result<()> {
    let world = world("child").await?;
    let script = "tail /dev/zero; echo child ended; exec sleep 600";
    let pod = PodSpec::new("shop", "pg-1", 1).container(ContainerSpec::shell("app", script).memory_limit(LIMIT));
    world.runtime()?.cri().run_pod(&pod).await?;
    let incident = world.wait_incident("pg-1", Cause::OomChild, |_| true).await?;
    assert_eq!(incident.latest.map(|l| l.kind()), Some(FindingKind::Kill));
    assert!(incident.exit_codes.is_empty(), "it never ended");
    Ok(())
}

/// 137 is not always memory: the text must not claim it.
#[tokio::test(flavor = "multi_thread")]
async fn a_sigkill_from_outside_is_not_called_memory() -> Result<()> {
    let world = world("sigkill").await?;
    let cri = world.runtime()?.cri();
    let pod = PodSpec::new("shop", "cache-1", 1).container(ContainerSpec::shell("app", "exec sleep 600"));
    let pod = cri.run_pod(&pod).await?;
    cri.stop(&pod.containers[0], Duration::ZERO).await?;
    world
        .wait_incident("cache-1", Cause::KilledUnknown, |i| i.transition == 1)
        .await?;
    let told = world.webhook.wait_accepted(1, PATIENCE).await?;
    let text = told[0].body.to_string().to_lowercase();
    assert!(
        !text.contains("memory limit") && !text.contains("out of memory"),
        "{text}"
    );
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn an_exec_that_ends_is_no_exit_and_a_clean_end_is_no_incident() -> Result<()> {
    let world = world("quiet").await?;
    let cri = world.runtime()?.cri();
    let spec = ContainerSpec::shell("app", "while [ ! -f /tmp/stop ]; do sleep 0.05; done; exit 0");
    let pod = cri.run_pod(&PodSpec::new("shop", "calm-1", 1).container(spec)).await?;
    let failed = cri
        .exec(&pod.containers[0], &["/bin/sh", "-c", "exit 7"], PATIENCE)
        .await?;
    assert_eq!(failed.exit_code, 7);
    cri.exec(&pod.containers[0], &["/bin/sh", "-c", ": > /tmp/stop"], PATIENCE)
        .await?;
    let findings = wait_for("the clean end is stored", PATIENCE, async || {
        let findings = world.findings("calm-1").await?;
        ensure!(!findings.is_empty(), "nothing yet");
        Ok::<_, anyhow::Error>(findings)
    });
    assert_eq!(findings.await?.len(), 1);
    assert!(accepted_after_silence(&world.webhook).await.is_empty());
    assert!(world.incidents().await?.is_empty());
    Ok(())
}

/// Process names and log lines with everything that could break a parser, a line or a terminal.
#[tokio::test(flavor = "multi_thread")]
async fn hostile_names_and_lines_stay_data() -> Result<()> {
    let world = world("hostile").await?;
    // busybox runs any applet under a name that begins with its own; the kernel keeps 15 bytes of it.
    let name = "/tmp/busybox) (,pid=7,";
    let script = format!(r#"cp /bin/busybox "{name}"; printf 'x\033[31m\r\nfake: ok\n'; exec "{name}" tail /dev/zero"#);
    let pod = PodSpec::new("shop", "evil-1", 1).container(ContainerSpec::shell("app", &script).memory_limit(LIMIT));
    world.runtime()?.cri().run_pod(&pod).await?;
    let incident = world.wait_incident("evil-1", Cause::OomLimit, |_| true).await?;
    let evidence = incident.latest.unwrap_or_default().evidence;
    let comm = evidence.iter().find_map(|e| match &e.fact {
        Some(Fact::KernelKill(kill)) => Some(kill.comm.clone()),
        _ => None,
    });
    assert_eq!(comm.as_deref(), Some("busybox) (,pid="));
    Ok(())
}
