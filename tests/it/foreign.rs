//! A client that shares no code with us: grpcurl finds the services by reflection and reads an incident.

use std::process::Command;

use anyhow::{Context as _, Result, ensure};
use inquest_tests::{
    http,
    world::{Options, PATIENCE, World},
};

/// Path of grpcurl, set by `tests/run`.
const GRPCURL: &str = "INQUEST_TEST_GRPCURL";

fn grpcurl(world: &World, arguments: &[&str]) -> Result<String> {
    let program = std::env::var(GRPCURL).with_context(|| format!("{GRPCURL} is not set; run `tests/run foreign`"))?;
    let address = world.api_url().replace("http://", "");
    let (flags, symbols) = arguments.split_at(
        arguments
            .iter()
            .take_while(|a| a.starts_with('-') || a.starts_with('{'))
            .count(),
    );
    let output = Command::new(program)
        .arg("-plaintext")
        .args(flags)
        .arg(address)
        .args(symbols)
        .output()?;
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    ensure!(
        output.status.success(),
        "{text}{}",
        String::from_utf8_lossy(&output.stderr)
    );
    Ok(text)
}

#[tokio::test(flavor = "multi_thread")]
async fn grpcurl_lists_describes_and_reads() -> Result<()> {
    let world = World::start("foreign", &Options::default()).await?;
    let services = grpcurl(&world, &["list"])?;
    for service in [
        "inquest.query.v1.QueryService",
        "inquest.admin.v1.AdminService",
        "grpc.health.v1.Health",
    ] {
        assert!(services.contains(service), "{services}");
    }
    assert!(
        !services.contains("runtime.v1"),
        "a protocol that is only called is advertised: {services}"
    );
    let described = grpcurl(&world, &["describe", "inquest.query.v1.Incident"])?;
    assert!(described.contains("fingerprint"), "{described}");
    let cgroup = world.kill_one()?;
    world.webhook.wait_accepted(1, PATIENCE).await?;
    let listed = grpcurl(&world, &["-d", "{}", "inquest.query.v1.QueryService/ListIncidents"])?;
    assert!(listed.contains("CAUSE_OOM_LIMIT"), "{listed}");
    let health = grpcurl(&world, &["-d", "{}", "grpc.health.v1.Health/Check"])?;
    assert!(health.contains("SERVING"), "{health}");
    cgroup.remove()?;
    Ok(())
}

/// The JSON side is the proto3 mapping of the same messages: camelCase names, enum names, 64-bit numbers as strings.
#[tokio::test(flavor = "multi_thread")]
async fn plain_http_reads_the_same_incidents_as_json() -> Result<()> {
    let world = World::start("json", &Options::default()).await?;
    let cgroup = world.kill_one()?;
    world.webhook.wait_accepted(1, PATIENCE).await?;
    let port: u16 = world.api_url().rsplit(':').next().context("port")?.parse()?;
    let (status, body) = http::get(port, "/api/v1/incidents?open_only=true&cause=oom_limit")?;
    assert_eq!(status, 200, "{body}");
    let json: serde_json::Value = serde_json::from_str(&body)?;
    assert_eq!(json["incidents"][0]["cause"], "CAUSE_OOM_LIMIT", "{body}");
    assert!(json["incidents"][0]["openedAtNs"].is_string(), "{body}");
    let (status, body) = http::get(port, "/api/v1/incidents?namespce=shop")?;
    assert_eq!(status, 400);
    assert!(body.contains("namespace"), "the nearest known name is offered: {body}");
    cgroup.remove()?;
    Ok(())
}
