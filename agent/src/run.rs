//! Wires the agent: configuration in, tasks under the supervisor out. The only place that knows every part.

mod sources;

use std::{path::Path, sync::Arc, time::Duration};

use anyhow::Context as _;
use inquest_shared::{
    clock::{Clock, SystemClock},
    config::{AgentConfig, DEFAULT_TOKEN_FILE},
    redact::Redactor,
    reload::{self, Reload},
    supervisor::{Signals, Stage, Supervisor},
    telemetry::{Condition, Health, Need, Registry, status_server},
};
use prometheus_client::metrics::{counter::Counter, gauge::Gauge};
use tokio::{net::TcpListener, sync::mpsc};

use crate::{
    conclude::{Conclude, Told},
    detect::Fusion,
    host::{machine, paths::HostPaths, procfs},
    log_record::LogRecord,
    metrics::Metrics,
    observation::Observation,
    outgoing::Outgoing,
    source::{Statuses, containerd::Outputs},
    spool::{Limits, Shed, Spool},
    spool_status,
    state::StateFile,
    uplink::{self, Proof, Uplink, UplinkConfig},
};

/// Observations that may wait; a full queue blocks the sources (each says what then happens).
const OBSERVATIONS: usize = 1024;
/// Log tails that may wait; at most 64 KiB each.
const LOG_RECORDS: usize = 32;
/// Time for a clean stop, below the 30 s that Kubernetes gives.
const GRACE: Duration = Duration::from_secs(10);

/// The parts that tasks share.
struct Parts {
    config: AgentConfig,
    proof: Proof,
    paths: HostPaths,
    clock: Arc<dyn Clock>,
    statuses: Statuses,
    findings: Outgoing,
    logs: Outgoing,
    state: StateFile,
    boot_id: String,
    redactor: Arc<Redactor>,
    health: Health,
    registry: Registry,
}

/// Runs the agent until it is told to stop.
///
/// # Errors
/// Start-up that cannot work (state directory, listener) and a stop that did not come to an end in time.
pub async fn run(config: AgentConfig, reload: Reload) -> anyhow::Result<()> {
    // Without proof nothing could ever be sent; better said at the start than found out when the spool is full.
    let proof = Proof::choose(&config.proof, Path::new(DEFAULT_TOKEN_FILE))
        .context("this node cannot prove itself to the aggregator")?;
    let mut signals = Signals::install().context("cannot listen for signals")?;
    let listener = TcpListener::bind(config.status)
        .await
        .with_context(|| format!("cannot listen on {}", config.status))?;
    let parts = Parts::open(config, proof)?;
    let supervisor = Supervisor::new(Arc::clone(&parts.clock));
    supervisor.register_metrics(&parts.registry);
    start_reload(&parts, &supervisor.stage("configuration"), reload);
    start(parts, &supervisor, listener)?;
    Ok(supervisor.run(&mut signals, GRACE).await?)
}

impl Parts {
    fn open(config: AgentConfig, proof: Proof) -> anyhow::Result<Self> {
        let clock: Arc<dyn Clock> = Arc::new(SystemClock);
        let paths = HostPaths {
            kmsg: config.sources.kmsg.path.clone(),
            proc: config.host_proc.clone(),
            cgroup: config.sources.cgroup.root.clone(),
        };
        std::fs::create_dir_all(&config.state_dir)
            .with_context(|| format!("cannot make the state directory {}", config.state_dir.display()))?;
        let boot_id = procfs::boot_id(&paths).context("cannot read the boot id")?;
        let state = StateFile::open(&config.state_dir, &boot_id, clock.now());
        let spool = |name: &str, max| {
            let dir = config.state_dir.join(name);
            let (spool, recovery) =
                Spool::open(&dir, Limits::of(max)).with_context(|| format!("spool {}", dir.display()))?;
            tracing::info!(spool = name, ?recovery, "spool");
            anyhow::Ok(Outgoing::new(spool))
        };
        let findings = spool("findings", config.spool.findings_max.0)?;
        let logs = spool("logs", config.spool.logs_max.0)?;
        let redactor = Arc::new(Redactor::new(&config.redaction_patterns)?);
        let registry = Registry::new("inquest-agent", env!("CARGO_PKG_VERSION"));
        let health = Health::new(&registry);
        health.declare(uplink::CONDITION, Need::Required);
        let statuses = Statuses::new(Arc::clone(&clock));
        Ok(Self {
            config,
            proof,
            paths,
            clock,
            statuses,
            findings,
            logs,
            state,
            boot_id,
            redactor,
            health,
            registry,
        })
    }
}

/// Starts every task; stages stop in this order: sources, detection, uplink, status page.
fn start(parts: Parts, supervisor: &Supervisor, listener: TcpListener) -> anyhow::Result<()> {
    let (sources, detection, uplink, pages) = (
        supervisor.stage("sources"),
        supervisor.stage("detection"),
        supervisor.stage("uplink"),
        supervisor.stage("status page"),
    );
    let (observations, queue) = mpsc::channel(OBSERVATIONS);
    let (logs, log_queue) = mpsc::channel(LOG_RECORDS);
    start_uplink(&parts, &uplink);
    let outputs = Outputs { observations, logs };
    sources::start(&parts, &sources, outputs)?;
    start_log_spool(&parts, &detection, log_queue);
    let Parts {
        registry,
        health,
        statuses,
        findings,
        logs,
        ..
    } = &parts;
    let metrics = Metrics::register(registry, statuses.clone(), findings.clone(), logs.clone());
    let (registry, health) = (registry.clone(), health.clone());
    // The listener is a socket: a second start of the page needs a copy of it.
    let listener = Arc::new(listener.into_std().context("status listener")?);
    let page = (listener, registry, health, metrics);
    pages.spawn_with(
        "status page",
        page,
        |(listener, registry, health, metrics), token| async move {
            let listener = TcpListener::from_std(listener.try_clone()?)?;
            tokio::select! {
                () = status_server(listener, registry, health, token.clone()) => {}
                () = metrics.follow(token) => {}
            }
            Ok(())
        },
    );
    start_detection(parts, &detection, queue);
    Ok(())
}

fn start_detection(parts: Parts, stage: &Stage, queue: mpsc::Receiver<Observation>) {
    let made = parts.registry.register(
        "findings_made",
        "Versions of findings that detection made",
        Counter::default(),
    );
    // The kernel prints pages; every architecture of today has at least 4 KiB.
    let page_bytes = procfs::page_bytes(&parts.paths).unwrap_or(4096);
    let conclude = Conclude {
        fusion: Fusion::new(
            parts.boot_id,
            parts.state.state().since,
            &parts.config.sources.cgroup.scope,
            page_bytes,
        ),
        findings: parts.findings,
        state: parts.state,
        through: None,
        clock: parts.clock,
        made,
        forgotten: parts.registry.register(
            "detection_forgotten",
            "Containers, findings and counters forgotten before their time since a table was full",
            Counter::default(),
        ),
        told: Told::default(),
    };
    stage.spawn_once("detection", (conclude, queue), |(conclude, queue), token| async move {
        conclude.run(queue, token).await;
        Ok(())
    });
}

/// Follows the configuration file.
fn start_reload(parts: &Parts, stage: &Stage, reload: Reload) {
    let shown = reload::Shown::new(&parts.registry, &parts.health);
    let parts = (reload, Arc::clone(&parts.redactor), shown);
    stage.spawn_once("configuration", parts, |(reload, redactor, shown), token| async move {
        let apply = |config: AgentConfig, _: &reload::Changes| Ok(redactor.replace(&config.redaction_patterns)?);
        if let Err(error) = reload.follow(apply, shown, token.clone()).await {
            tracing::error!(%error, "changes of the configuration need a restart");
            token.cancelled().await;
        }
        Ok(())
    });
}

fn start_log_spool(parts: &Parts, stage: &Stage, queue: mpsc::Receiver<LogRecord>) {
    stage.spawn_once(
        "log spool",
        (parts.logs.clone(), queue),
        |(logs, mut queue), token| async move {
            while let Some(Some(record)) = token.run_until_cancelled(queue.recv()).await {
                if let Err(error) = logs.append(&record.encode(), Shed::Detail) {
                    tracing::warn!(key = %record.finding, %error, "a log tail was not spooled");
                }
            }
            // No source sends logs on this host; that is no reason to end.
            token.cancelled().await;
            Ok(())
        },
    );
}

fn start_uplink(parts: &Parts, stage: &Stage) {
    for (name, outgoing) in [
        ("finding sync", parts.findings.clone()),
        ("log sync", parts.logs.clone()),
    ] {
        stage.spawn_with(name, outgoing, |outgoing, token| async move {
            outgoing.sync_on_append(token).await;
            Ok(())
        });
    }
    let spools = (parts.findings.clone(), parts.logs.clone(), parts.statuses.clone());
    stage.spawn_with("spool status", spools, |(findings, logs, statuses), token| async move {
        spool_status::follow(findings, logs, statuses, token).await;
        Ok(())
    });
    let uplink = Uplink {
        config: Arc::new(uplink_config(parts)),
        findings: parts.findings.clone(),
        logs: parts.logs.clone(),
        statuses: parts.statuses.clone(),
        health: parts.health.clone(),
        clock: Arc::clone(&parts.clock),
        expires: parts.registry.register(
            "identity_expires_timestamp_seconds",
            "End of the certificate's validity; 0 before the first enrolment",
            Gauge::default(),
        ),
    };
    parts.health.set(uplink::CONDITION, Condition::degraded("connecting"));
    stage.spawn_with("uplink", uplink, |uplink, token| async move {
        uplink.run(token).await;
        Ok(())
    });
}

fn uplink_config(parts: &Parts) -> UplinkConfig {
    let aggregator = &parts.config.aggregator;
    let host_name = || rustix::system::uname().nodename().to_string_lossy().into_owned();
    let node_name = parts.config.node_name.clone().unwrap_or_else(host_name);
    UplinkConfig {
        address: aggregator.address.to_string(),
        server_name: aggregator
            .server_name
            .clone()
            .unwrap_or_else(|| aggregator.address.host().to_owned()),
        ca_file: aggregator.ca_file.clone(),
        proof: parts.proof.clone(),
        host_id: machine::id(&node_name),
        node_name,
        boot_id: parts.boot_id.clone(),
        keep_alive: aggregator.keep_alive.interval.get(),
        keep_alive_timeout: aggregator.keep_alive.timeout.get(),
    }
}
