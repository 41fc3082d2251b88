//! The command line as people and scripts use it: real process, real server, exit status and both output streams.

use std::process::{Command, Output};

use anyhow::{Result, ensure};
use inquest_tests::{
    bin,
    world::{Options, PATIENCE, World},
};

fn inquest(world: Option<&World>, arguments: &[&str]) -> Result<Output> {
    let mut command = Command::new(bin("inquest")?);
    if let Some(world) = world {
        command.arg("--server").arg(world.api_url());
    }
    Ok(command.args(arguments).env_remove("NO_COLOR").output()?)
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn every_question_has_an_answer_on_standard_output() -> Result<()> {
    let world = World::start("ask", &Options::default()).await?;
    world.kill_one()?.remove()?;
    world.webhook.wait_accepted(1, PATIENCE).await?;
    let id = world
        .incidents()
        .await?
        .first()
        .map(|i| i.id.clone())
        .unwrap_or_default();
    let questions: [(&[&str], &str); 6] = [
        (&["incidents"], "OOM at the limit"),
        (&["incidents", "-o", "json"], "CAUSE_OOM_LIMIT"),
        (&["incidents", "-o", "yaml"], "CAUSE_OOM_LIMIT"),
        (&["findings", "--since", "1h"], "oom_limit"),
        (&["incident", &id], "kernel killed \"tail\""),
        (&["nodes", "-o", "wide"], "kernel log"),
    ];
    for (arguments, expected) in questions {
        let output = inquest(Some(&world), arguments)?;
        let (out, err) = (text(&output.stdout), text(&output.stderr));
        assert_eq!(output.status.code(), Some(0), "{arguments:?}: {err}");
        assert!(out.contains(expected), "{arguments:?}: {out}");
        assert!(!out.contains('\u{1b}'), "colours in a file: {arguments:?}");
    }
    Ok(())
}

/// Scripts decide by the status alone.
#[tokio::test(flavor = "multi_thread")]
async fn the_exit_status_tells_findings_failure_connection_and_usage_apart() -> Result<()> {
    let world = World::start("status", &Options::default()).await?;
    assert_eq!(
        inquest(Some(&world), &["incidents", "--fail-on", "high"])?
            .status
            .code(),
        Some(0)
    );
    world.kill_one()?.remove()?;
    world.webhook.wait_accepted(1, PATIENCE).await?;
    assert_eq!(
        inquest(Some(&world), &["incidents", "--fail-on", "high"])?
            .status
            .code(),
        Some(1)
    );
    assert_eq!(
        inquest(Some(&world), &["incidents", "--colour-of-the-sky"])?
            .status
            .code(),
        Some(64)
    );
    let nobody = inquest(None, &["--server", "http://127.0.0.1:1", "incidents"])?;
    assert_eq!(nobody.status.code(), Some(3));
    assert!(text(&nobody.stderr).contains("127.0.0.1:1"), "{}", text(&nobody.stderr));
    Ok(())
}

#[test]
fn a_broken_configuration_is_told_with_its_place_before_anything_starts() -> Result<()> {
    let fixture = concat!(env!("CARGO_MANIFEST_DIR"), "/fixtures/config/broken");
    let file = std::fs::read_dir(fixture)?
        .flatten()
        .map(|e| e.path())
        .find(|p| p.extension().is_some_and(|e| e == "yaml"));
    let file = file.unwrap_or_default().display().to_string();
    let output = inquest(None, &["config", "check", &file])?;
    assert_eq!(output.status.code(), Some(64), "{}", text(&output.stderr));
    assert!(text(&output.stderr).contains(&file), "{}", text(&output.stderr));
    Ok(())
}

/// What the README promises: one command, one real death, the true cause, status 0, nothing left behind.
#[test]
fn the_demo_tells_the_true_cause_of_a_real_death() -> Result<()> {
    for (trigger, cause) in [("oom", "OOM at container limit"), ("crash", "DB_URL")] {
        let output = inquest(None, &["demo", "--trigger", trigger, "--once"])?;
        let (out, err) = (text(&output.stdout), text(&output.stderr));
        ensure!(output.status.code() == Some(0), "{trigger}: {out}{err}");
        assert!(out.contains(cause), "{trigger}: {out}");
        assert!(out.contains("alert delivered"), "{trigger}: {out}");
        assert!(
            !out.contains("hunter2") && !out.contains("password=checkout"),
            "a secret was shown: {out}"
        );
    }
    Ok(())
}
