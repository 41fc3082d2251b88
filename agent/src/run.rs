//! Wires the agent: configuration in, tasks under the supervisor out. The only place that knows every part.

use std::{sync::Arc, time::Duration};

use anyhow::Context as _;
use inquest_shared::{
    clock::{Clock, SystemClock},
    config::{AgentConfig, ContainerdSource},
    reload::{self, Reload},
    supervisor::{Restart, Signals, Stage, Supervisor},
    telemetry::{Condition, Health, Need, Registry, status_server},
};
use prometheus_client::metrics::{counter::Counter, gauge::Gauge};
use tokio::{
    net::TcpListener,
    sync::{mpsc, watch},
};
use tokio_util::sync::CancellationToken;

use crate::{
    conclude::{Conclude, Told},
    detect::{Fusion, oom},
    host::{
        cgroup::notice::{Bell, Ringers},
        kmsg::{Filter, KmsgReader, ReaderConfig},
        machine,
        paths::HostPaths,
        procfs,
    },
    log_record::LogRecord,
    metrics::Metrics,
    observation::Observation,
    outgoing::Outgoing,
    source::{
        SourceHealth, SourceState, Statuses,
        containerd::{self, Containerd, Outputs},
        cri,
        docker::{self, Docker},
        kill_counter::{self, Announced, KillCounters},
        kmsg,
        log_tail::TailLimits,
        pod_logs::{self, PodLogs},
        redact::Redactor,
    },
    spool::{Limits, Shed, Spool},
    spool_status,
    state::StateFile,
    uplink::{self, Uplink, UplinkConfig},
};

/// Observations that may wait; a full queue blocks the sources (each says what then happens).
const OBSERVATIONS: usize = 1024;
/// Batches of kernel records that may wait.
const KERNEL_BATCHES: usize = 16;
/// Log tails that may wait; at most 64 KiB each.
const LOG_RECORDS: usize = 32;
/// Time for a clean stop, below the 30 s that Kubernetes gives.
const GRACE: Duration = Duration::from_secs(10);

/// The parts that tasks share.
struct Parts {
    config: AgentConfig,
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
    anyhow::ensure!(
        config.bootstrap_secret_file.is_some(),
        "enrolment.bootstrap_secret_file is not set: this node cannot prove itself to the aggregator"
    );
    let mut signals = Signals::install().context("cannot listen for signals")?;
    let listener = TcpListener::bind(config.status)
        .await
        .with_context(|| format!("cannot listen on {}", config.status))?;
    let parts = Parts::open(config)?;
    let supervisor = Supervisor::new(Arc::clone(&parts.clock));
    supervisor.register_metrics(&parts.registry);
    start_reload(&parts, &supervisor.stage("configuration"), reload);
    start(parts, &supervisor, listener)?;
    Ok(supervisor.run(&mut signals, GRACE).await?)
}

impl Parts {
    fn open(config: AgentConfig) -> anyhow::Result<Self> {
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
    let (running, running_now) = watch::channel(Announced::new());
    start_uplink(&parts, &uplink);
    let outputs = Outputs {
        observations: observations.clone(),
        logs,
    };
    start_docker(&parts, &sources, running.clone(), outputs.clone())?;
    start_containerd(&parts, &sources, &running, &outputs)?;
    start_cri(&parts, &sources, &running, &outputs)?;
    start_pod_logs(&parts, &sources, running, outputs)?;
    let bell = Bell::new().context("descriptors")?;
    start_counters(&parts, &sources, running_now, observations.clone(), bell.clone());
    start_kmsg(&parts, &sources, observations, bell)?;
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
    pages.spawn("status page", Restart::OnFailure, move |token| {
        let (listener, registry, health, metrics) =
            (Arc::clone(&listener), registry.clone(), health.clone(), metrics.clone());
        async move {
            let listener = TcpListener::from_std(listener.try_clone()?)?;
            tokio::select! {
                () = status_server(listener, registry, health, token.clone()) => {}
                () = metrics.follow(token) => {}
            }
            Ok(())
        }
    });
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
    spawn_once(stage, "detection", (conclude, queue), |(conclude, queue), token| {
        conclude.run(queue, token)
    });
}

/// Starts a task that owns a queue: there is nothing to start it again from, so its end before the stop is a defect that
/// ends the agent, and the next start reads the sources anew.
fn spawn_once<T, F>(stage: &Stage, name: &'static str, parts: T, task: fn(T, CancellationToken) -> F)
where
    T: Send + 'static,
    F: Future<Output = ()> + Send + 'static,
{
    let mut once = Some(parts);
    stage.spawn(name, Restart::Never, move |token| {
        let taken = once.take();
        async move {
            task(taken.context("started twice")?, token).await;
            Ok(())
        }
    });
}

fn start_kmsg(parts: &Parts, stage: &Stage, out: mpsc::Sender<Observation>, bell: Bell) -> anyhow::Result<()> {
    if !parts.config.sources.kmsg.enabled {
        let off = SourceHealth::not(SourceState::Absent, "switched off", "set sources.kmsg.enabled: true");
        parts.statuses.set(kmsg::NAME, off);
        out.try_send(Observation::KernelLog { live: false })
            .context("observation queue")?;
        return Ok(());
    }
    let (batches, queue) = mpsc::channel(KERNEL_BATCHES);
    let reader = KmsgReader::spawn(
        ReaderConfig {
            path: parts.paths.kmsg.clone(),
            resume_after: parts.state.state().kmsg_seq,
            filter: Filter::new(oom::LITERALS, oom::is_shape).context("kernel log filter")?,
            bell,
            clock: Arc::clone(&parts.clock),
        },
        batches,
    )?;
    kmsg::counters::register(&parts.registry, &reader.stats);
    let parts = (reader, queue, out, parts.paths.clone(), parts.statuses.clone());
    spawn_once(
        stage,
        "kernel log",
        parts,
        |(reader, queue, out, paths, statuses), token| kmsg::run(reader, queue, out, paths, statuses, token),
    );
    Ok(())
}

fn start_counters(
    parts: &Parts,
    stage: &Stage,
    running: watch::Receiver<Announced>,
    out: mpsc::Sender<Observation>,
    bell: Bell,
) {
    let config = &parts.config.sources.cgroup;
    if !config.enabled {
        let off = SourceHealth::not(SourceState::Absent, "switched off", "set sources.cgroup.enabled: true");
        return parts.statuses.set(kill_counter::NAME, off);
    }
    let (paths, poll, clock, statuses) = (
        parts.paths.clone(),
        config.poll.0,
        Arc::clone(&parts.clock),
        parts.statuses.clone(),
    );
    stage.spawn("cgroups", Restart::OnFailure, move |token| {
        let counters = KillCounters {
            paths: paths.clone(),
            poll,
            clock: Arc::clone(&clock),
            running: running.clone(),
            ringers: Ringers::new(bell.clone()),
            statuses: statuses.clone(),
        };
        let out = out.clone();
        async move {
            counters.run(out, token).await;
            Ok(())
        }
    });
}

fn start_containerd(
    parts: &Parts,
    stage: &Stage,
    running: &watch::Sender<Announced>,
    outputs: &Outputs,
) -> anyhow::Result<()> {
    let config = &parts.config.sources.containerd;
    if !config.enabled {
        let off = SourceHealth::not(
            SourceState::Absent,
            "switched off",
            "set sources.containerd.enabled: true",
        );
        parts.statuses.set(containerd::NAME, off);
        return Ok(());
    }
    start_runtime(parts, stage, containerd::NAME, config, running, outputs)
}

/// CRI-O and cri-dockerd. A socket that the containerd source reads is left to it, so that nothing is told twice.
fn start_cri(
    parts: &Parts,
    stage: &Stage,
    running: &watch::Sender<Announced>,
    outputs: &Outputs,
) -> anyhow::Result<()> {
    let sources = &parts.config.sources;
    if !sources.cri.enabled {
        return Ok(());
    }
    let mut config = sources.cri.clone();
    if sources.containerd.enabled {
        config
            .socket
            .retain(|socket| !sources.containerd.socket.contains(socket));
    }
    start_runtime(parts, stage, cri::NAME, &config, running, outputs)
}

fn start_runtime(
    parts: &Parts,
    stage: &Stage,
    name: &'static str,
    config: &ContainerdSource,
    running: &watch::Sender<Announced>,
    outputs: &Outputs,
) -> anyhow::Result<()> {
    let tail = tail_limits(parts)?;
    let redactor = Arc::clone(&parts.redactor);
    let (clock, statuses) = (Arc::clone(&parts.clock), parts.statuses.clone());
    let (config, paths, running, outputs) = (config.clone(), parts.paths.clone(), running.clone(), outputs.clone());
    stage.spawn(name, Restart::OnFailure, move |token| {
        let source = Containerd {
            name,
            optional: name == cri::NAME,
            sockets: config.socket.clone(),
            poll: config.poll.0,
            reconcile: config.reconcile.0,
            events: config.events,
            tail,
            redactor: Arc::clone(&redactor),
            paths: paths.clone(),
            clock: Arc::clone(&clock),
            statuses: statuses.clone(),
            running: running.clone(),
        };
        let outputs = outputs.clone();
        async move {
            source.run(outputs, token).await;
            Ok(())
        }
    });
    Ok(())
}

/// Follows the configuration file.
fn start_reload(parts: &Parts, stage: &Stage, reload: Reload) {
    let shown = reload::Shown::new(&parts.registry, &parts.health);
    let parts = (reload, Arc::clone(&parts.redactor), shown);
    spawn_once(
        stage,
        "configuration",
        parts,
        |(reload, redactor, shown), token| async move {
            let apply = |config: AgentConfig, _: &reload::Changes| Ok(redactor.replace(&config.redaction_patterns)?);
            if let Err(error) = reload.follow(apply, shown, token.clone()).await {
                tracing::error!(%error, "changes of the configuration need a restart");
                token.cancelled().await;
            }
        },
    );
}

/// How much of a log is read.
fn tail_limits(parts: &Parts) -> anyhow::Result<TailLimits> {
    let tail = &parts.config.log_tail;
    Ok(TailLimits {
        bytes: tail.max_bytes.0,
        lines: usize::try_from(tail.max_lines)?,
    })
}

fn start_pod_logs(
    parts: &Parts,
    stage: &Stage,
    running: watch::Sender<Announced>,
    outputs: Outputs,
) -> anyhow::Result<()> {
    let tail = tail_limits(parts)?;
    let redactor = Arc::clone(&parts.redactor);
    let (clock, statuses) = (Arc::clone(&parts.clock), parts.statuses.clone());
    let (folder, paths) = (parts.config.container_logs.clone(), parts.paths.clone());
    stage.spawn(pod_logs::NAME, Restart::OnFailure, move |token| {
        let source = PodLogs {
            folder: folder.clone(),
            paths: paths.clone(),
            tail,
            redactor: Arc::clone(&redactor),
            clock: Arc::clone(&clock),
            statuses: statuses.clone(),
            running: running.clone(),
        };
        let outputs = outputs.clone();
        async move {
            source.run(outputs, token).await;
            Ok(())
        }
    });
    Ok(())
}

fn start_docker(
    parts: &Parts,
    stage: &Stage,
    running: watch::Sender<Announced>,
    outputs: Outputs,
) -> anyhow::Result<()> {
    let config = parts.config.sources.docker.clone();
    if !config.enabled {
        let off = SourceHealth::not(SourceState::Absent, "switched off", "set sources.docker.enabled: true");
        parts.statuses.set(docker::NAME, off);
        return Ok(());
    }
    let tail = tail_limits(parts)?;
    let redactor = Arc::clone(&parts.redactor);
    let (paths, clock, statuses) = (parts.paths.clone(), Arc::clone(&parts.clock), parts.statuses.clone());
    stage.spawn("docker", Restart::OnFailure, move |token| {
        let source = Docker {
            sockets: config.socket.clone(),
            reconcile: config.reconcile.0,
            tail,
            redactor: Arc::clone(&redactor),
            paths: paths.clone(),
            clock: Arc::clone(&clock),
            statuses: statuses.clone(),
            running: running.clone(),
        };
        let outputs = outputs.clone();
        async move {
            source.run(outputs, token).await;
            Ok(())
        }
    });
    Ok(())
}

fn start_log_spool(parts: &Parts, stage: &Stage, queue: mpsc::Receiver<LogRecord>) {
    spawn_once(
        stage,
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
        },
    );
}

fn start_uplink(parts: &Parts, stage: &Stage) {
    for (name, outgoing) in [
        ("finding sync", parts.findings.clone()),
        ("log sync", parts.logs.clone()),
    ] {
        stage.spawn(name, Restart::OnFailure, move |token| {
            let outgoing = outgoing.clone();
            async move {
                outgoing.sync_on_append(token).await;
                Ok(())
            }
        });
    }
    let (findings, logs, statuses) = (parts.findings.clone(), parts.logs.clone(), parts.statuses.clone());
    stage.spawn("spool status", Restart::OnFailure, move |token| {
        let (findings, logs, statuses) = (findings.clone(), logs.clone(), statuses.clone());
        async move {
            spool_status::follow(findings, logs, statuses, token).await;
            Ok(())
        }
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
    stage.spawn("uplink", Restart::OnFailure, move |token| {
        let uplink = uplink.clone();
        async move {
            uplink.run(token).await;
            Ok(())
        }
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
        bootstrap_secret_file: parts.config.bootstrap_secret_file.clone(),
        host_id: machine::id(&node_name),
        node_name,
        boot_id: parts.boot_id.clone(),
        keep_alive: aggregator.keep_alive.interval.get(),
        keep_alive_timeout: aggregator.keep_alive.timeout.get(),
    }
}
