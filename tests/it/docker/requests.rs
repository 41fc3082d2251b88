//! Ends that somebody asked Docker for, and ends that only look like it.

use super::*;

/// The node sees that Docker was asked, never who asked.
#[tokio::test(flavor = "multi_thread")]
async fn a_stop_and_a_removal_are_silent_and_a_kill_names_docker() -> Result<()> {
    let world = world("dk-asked").await?;
    let docker = world.docker()?;
    for name in ["deaf", "removed", "killed", "shot"] {
        docker.run(name, &[], "exec sleep 600")?;
    }
    docker.run("polite", &[], "trap 'exit 1' TERM; while :; do sleep 0.1; done")?;
    docker.docker(&["stop", "--time", "10", "polite"])?;
    docker.docker(&["stop", "--time", "1", "deaf"])?;
    docker.docker(&["rm", "--force", "removed"])?;
    docker.docker(&["kill", "killed"])?;
    world
        .wait_incident("killed", Cause::KilledBy, |i| i.transition == 1)
        .await?;
    // A signal that did not come through Docker has no known sender.
    let pid = docker.docker(&["inspect", "--format", "{{.State.Pid}}", "shot"])?;
    let pid = rustix::process::Pid::from_raw(pid.trim().parse()?).context("pid")?;
    rustix::process::kill_process(pid, rustix::process::Signal::KILL)?;
    world
        .wait_incident("shot", Cause::KilledUnknown, |i| i.transition == 1)
        .await?;
    for name in ["polite", "deaf", "removed"] {
        wait_findings(&world, name, 1).await?;
    }
    let told = accepted_after_silence(&world.webhook).await;
    let causes: Vec<_> = told.iter().map(|r| r.body["data"]["cause"].clone()).collect();
    assert_eq!(causes, ["CAUSE_KILLED_BY", "CAUSE_KILLED_UNKNOWN"], "{told:#?}");
    let text = told[0].body.to_string();
    assert!(text.contains("Docker was asked to send SIGKILL"), "{text}");
    let open: Vec<_> = world
        .incidents()
        .await?
        .into_iter()
        .filter(|i| i.transition > 0)
        .collect();
    assert_eq!(open.len(), 2, "{open:#?}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn an_exec_that_dies_is_no_exit_and_a_failed_start_says_why() -> Result<()> {
    let world = world("dk-exec").await?;
    let docker = world.docker()?;
    docker.run("calm", &[], "exec sleep 600")?;
    let exec = docker.docker(&["exec", "calm", "/bin/sh", "-c", "exit 7"]);
    assert!(exec.is_err(), "the exec was to fail");
    let created = [
        "create",
        "--network",
        "none",
        "--name",
        "bad",
        inquest_tests::dockerd::IMAGE,
        "/nope",
    ];
    docker.docker(&created)?;
    assert!(docker.docker(&["start", "bad"]).is_err(), "there is no such program");
    let incident = world.wait_incident("bad", Cause::CannotStart, |_| true).await?;
    assert_eq!(incident.occurrences, 1);
    assert!(
        findings(&world, "calm").await?.is_empty(),
        "an exec was taken for the container"
    );
    Ok(())
}
