//! Secrets that stay where they are: canaries in every place that holds one, and a search through all that comes out.

use std::{
    fs,
    path::Path,
    process::{Command, Output},
};

use anyhow::{Context, Result, ensure};
use inquest_cli::sandbox::{ContainerSpec, PodSpec};
use inquest_proto::ingest::v1::Cause;
use inquest_tests::{
    Behaviour, TestDir, bin, http, wait_for,
    world::{Options, PATIENCE, Program, World},
};
use rustix::process::Signal;

/// In every secret of this suite.
const MARK: &str = "k4n4ry";

/// A container that leaks: its command line, the environment of a child and its log hold secrets of common shapes.
fn leaky() -> String {
    format!(
        "echo 'Authorization: Bearer {MARK}-bearer-0123456789'; \
         echo 'dial postgres://app:{MARK}-dsn@db:5432/x failed'; \
         echo 'DB_PASSWORD={MARK}-env retry'; \
         echo '{{\"client_secret\": \"{MARK}-json\"}}'; \
         echo 'card-{MARK}'; \
         API_TOKEN={MARK}-environment sh -c 'exit 0' {MARK}-argument; \
         echo 'config key DB_URL missing' >&2; exit 3"
    )
}

/// Every file below a folder that holds the mark.
fn files_with_mark(folder: &Path) -> Result<Vec<String>> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).with_context(|| folder.display().to_string())? {
        let path = entry?.path();
        if path.is_dir() {
            found.extend(files_with_mark(&path)?);
        } else if path.is_file() && holds_mark(&fs::read(&path)?) {
            found.push(path.display().to_string());
        }
    }
    Ok(found)
}

fn holds_mark(bytes: &[u8]) -> bool {
    bytes.windows(MARK.len()).any(|window| window == MARK.as_bytes())
}

fn ensure_clean(what: &str, text: impl AsRef<[u8]>) -> Result<()> {
    ensure!(
        !holds_mark(text.as_ref()),
        "{what} holds a secret: {}",
        String::from_utf8_lossy(text.as_ref())
    );
    Ok(())
}

/// The world's own files already name the secrets of bootstrap and signature; they become canaries before a restart.
async fn with_canaries(label: &str) -> Result<World> {
    let options = Options {
        containerd: true,
        webhook_extra: format!("headers: {{authorization: Bearer {MARK}-header, x-key: {MARK}-key-0123}}"),
        agent_extra: "redaction: {patterns: [\"card-(?P<secret>[a-z0-9]+)\"]}".to_owned(),
        ..Options::default()
    };
    let mut world = World::start(label, &options).await?;
    fs::write(world.path("bootstrap"), format!("{MARK}-bootstrap-secret\n"))?;
    world.aggregator.kill9()?;
    world.agent.kill9()?;
    world.start_aggregator()?;
    world.start_agent()?;
    world.wait_connected().await?;
    Ok(world)
}

fn print_config(world: &World, program: &str, file: &str) -> Result<Output> {
    let mut command = Command::new(bin(program)?);
    Ok(command
        .args(["--print-config", "--config"])
        .arg(world.path(file))
        .output()?)
}

#[tokio::test(flavor = "multi_thread")]
async fn no_secret_is_in_anything_that_comes_out() -> Result<()> {
    let world = with_canaries("sec-canary").await?;
    // A receiver that refuses makes errors, attempts and log lines about the delivery.
    world.webhook.script([Behaviour::Status(500), Behaviour::Status(401)]);
    let pod = PodSpec::new("shop", "leaky-1", 1).container(ContainerSpec::shell("app", &leaky()));
    world.runtime()?.cri().run_pod(&pod).await?;
    world.wait_incident("leaky-1", Cause::AppError, |_| true).await?;
    let finding = world
        .findings("leaky-1")
        .await?
        .into_iter()
        .next()
        .context("no finding")?;
    let key = finding.finding.unwrap_or_default().key;
    let key: String = key.iter().map(|b| format!("{b:02x}")).collect();
    let log = wait_for("the log arrives", PATIENCE, async || world.log(&key).await).await?;
    ensure!(log.contains("[redacted]") && log.contains("DB_URL"), "{log}");
    ensure_clean("the stored log", &log)?;
    let told = wait_for("an attempt", PATIENCE, async || {
        let told = world.webhook.received();
        ensure!(!told.is_empty(), "none");
        Ok::<_, anyhow::Error>(told)
    })
    .await?;
    for message in told {
        ensure_clean("a message", message.body.to_string())?;
    }
    let api: u16 = world.api_url().rsplit(':').next().context("no port")?.parse()?;
    for path in [
        "/",
        "/api/v1/incidents",
        "/api/v1/findings",
        "/api/v1/nodes",
        "/api/v1/server",
        "/api/v1/k4n4r",
    ] {
        ensure_clean(path, http::get(api, path)?.1)?;
    }
    for incident in world.incidents().await? {
        let whole = format!("{:?}", world.incident(&incident.id).await?);
        ensure_clean("an incident with its deliveries", whole)?;
    }
    for program in [Program::Agent, Program::Aggregator] {
        for page in ["/metrics", "/readyz", "/livez"] {
            ensure_clean(page, world.status_page(program, page)?.1)?;
        }
    }
    for process in [&world.agent, &world.aggregator] {
        ensure_clean("standard output", process.stdout())?;
        ensure_clean("standard error", process.stderr())?;
        for file in ["cmdline", "environ"] {
            ensure_clean(file, fs::read(format!("/proc/{}/{file}", process.pid()))?)?;
        }
    }
    for (program, file) in [
        ("inquest-agent", "agent.yaml"),
        ("inquest-aggregator", "aggregator.yaml"),
    ] {
        let shown = print_config(&world, program, file)?;
        ensure!(
            shown.status.success() && !shown.stdout.is_empty(),
            "--print-config of {program}"
        );
        ensure_clean("--print-config", [shown.stdout, shown.stderr].concat())?;
    }
    // Database, authority and spool.
    for folder in ["data", "agent"] {
        let found = files_with_mark(&world.path(folder))?;
        ensure!(found.is_empty(), "{found:?}");
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_crash_leaves_no_core_file_with_keys_in_it() -> Result<()> {
    let mut world = World::start("sec-core", &Options::default()).await?;
    for process in [&mut world.agent, &mut world.aggregator] {
        let limits = fs::read_to_string(format!("/proc/{}/limits", process.pid()))?;
        let core = limits.lines().find(|line| line.starts_with("Max core file size"));
        let core: Vec<_> = core.context("no such limit")?.split_whitespace().collect();
        ensure!(core.contains(&"0") && !core.contains(&"unlimited"), "{core:?}");
        process.signal(Signal::ABORT)?;
        let ended = process.wait_exit(PATIENCE).await?;
        ensure!(!std::os::unix::process::ExitStatusExt::core_dumped(&ended), "{ended}");
    }
    Ok(())
}

/// S1-32: there is no default secret, and an empty or missing one is not taken for one.
#[tokio::test(flavor = "multi_thread")]
async fn a_start_without_a_needed_secret_is_refused_with_the_name_of_the_key() -> Result<()> {
    let dir = TestDir::new("sec-start")?;
    fs::write(dir.join("empty"), "\n")?;
    let root = dir.path().display();
    let signed = |file: &str| {
        format!(
            "data_dir: {root}/data\nlisten: {{ingest: \"127.0.0.1:0\", api: \"127.0.0.1:0\", status: \"127.0.0.1:0\"}}\n\
             route: {{receiver: hook}}\nreceivers:\n  - name: hook\n    webhook: {{url: \"http://127.0.0.1:1/\", secret_file: {root}/{file}}}\n"
        )
    };
    let enrols = |file: &str| {
        format!(
            "data_dir: {root}/data\nlisten: {{ingest: \"127.0.0.1:0\", api: \"127.0.0.1:0\", status: \"127.0.0.1:0\"}}\n\
             enrolment: {{bootstrap_secret_file: {root}/{file}}}\n"
        )
    };
    let agent = format!("state_dir: {root}/agent\nlisten: {{status: \"127.0.0.1:0\"}}\n");
    for (program, config, words) in [
        ("inquest-agent", agent, "enrolment.bootstrap_secret_file is not set"),
        ("inquest-aggregator", enrols("empty"), "is empty"),
        ("inquest-aggregator", enrols("missing"), "cannot read secret file"),
        ("inquest-aggregator", signed("empty"), "is empty"),
        ("inquest-aggregator", signed("missing"), "cannot read"),
    ] {
        let file = dir.join("config.yaml");
        fs::write(&file, config)?;
        let refused = Command::new(bin(program)?).arg("--config").arg(&file).output()?;
        let said = String::from_utf8_lossy(&refused.stderr).into_owned();
        ensure!(
            refused.status.code() == Some(2),
            "{program} ended with {}: {said}",
            refused.status
        );
        ensure!(said.contains(words), "{program}: {said}");
    }
    Ok(())
}
