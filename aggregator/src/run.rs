//! Wires the aggregator: configuration in, tasks under the supervisor out. The only place that names concrete backends.

mod enrolment;

use std::{net::SocketAddr, sync::Arc, time::Duration};

use anyhow::{Context as _, Result};
use inquest_shared::{
    clock::{Clock, SystemClock, UnixNanos},
    config::AggregatorConfig,
    model::{Incident, Key},
    reload::{self, Reload},
    supervisor::{Signals, Stage, Supervisor},
    telemetry::{Condition, Health, Need, Registry, status_server},
    text::{self, Lang, Paint},
};
use jiff::tz::TimeZone;
use tokio::{
    net::{TcpListener, TcpSocket},
    sync::watch,
};
use ulid::Ulid;

use crate::{
    alert::{Dispatcher, Routes, plan},
    api,
    cluster::{ClusterMetrics, Clusters, connect_all, keep_watching},
    correlate::{Correlation, CorrelationMetrics, CorrelationSettings, keep_correlating},
    door::{Door, DoorMetrics, Limits, connections_within},
    ingest::{self, Authority, Ingest, IngestMetrics, Nodes, NodesMetrics},
    notify::{self, Surroundings},
    pipeline::{self, Handover, Intake, Pipeline, PipelineMetrics, Planner, Standings},
    reconfigure::{Live, rules},
    record::{Notice, OutboxRow},
    retention::{Keep, Retention, RetentionMetrics},
    store::{SqliteStore, Store, Watched, keep_watch},
    survey::{Survey, SurveyMetrics},
};

/// Time for a clean stop, below the 30 s that Kubernetes gives.
const GRACE: Duration = Duration::from_secs(20);
/// Connections that wait to be accepted; the kernel allows as many by default (`net.core.somaxconn` since Linux 5.4).
const LISTEN_QUEUE: u32 = 4_096;
/// Conditions in `/readyz`, beside the store's.
const INGEST: &str = "ingest";
const API: &str = "api";

/// Listeners are bound before anything else starts, so that a taken port is an error at the start and not a surprise.
struct Listeners {
    ingest: TcpListener,
    api: TcpListener,
    status: TcpListener,
}

/// What the tasks share.
struct Parts {
    config: AggregatorConfig,
    store: Arc<dyn Store>,
    watched: Arc<Watched>,
    clock: Arc<dyn Clock>,
    nodes: Nodes,
    registry: Registry,
    door_metrics: DoorMetrics,
    health: Health,
    server_id: String,
    clusters: Clusters,
}

/// Runs the aggregator until it is told to stop.
///
/// # Errors
/// Start-up that cannot work (ports, store, authority, receivers) and a stop that did not come to an end in time.
pub async fn run(config: AggregatorConfig, reload: Reload) -> anyhow::Result<()> {
    let mut signals = Signals::install().context("cannot listen for signals")?;
    let listeners = Listeners::bind(&config)?;
    let parts = Parts::open(config).await?;
    let supervisor = Supervisor::new(Arc::clone(&parts.clock));
    supervisor.register_metrics(&parts.registry);
    start(&parts, &supervisor, listeners, reload).await?;
    tracing::info!(
        server = parts.server_id,
        cluster = parts.config.cluster_name,
        "aggregator started"
    );
    Ok(supervisor.run(&mut signals, GRACE).await?)
}

impl Listeners {
    fn bind(config: &AggregatorConfig) -> anyhow::Result<Self> {
        let bind = |address, key| listen(address).with_context(|| format!("cannot listen on {address} (listen.{key})"));
        Ok(Self {
            ingest: bind(config.listen.ingest, "ingest")?,
            api: bind(config.listen.api, "api")?,
            status: bind(config.listen.status, "status")?,
        })
    }
}

/// Listens with room for all agents that come back at once. A connection beyond the queue would look open to its peer and
/// be known to nobody here.
fn listen(address: SocketAddr) -> std::io::Result<TcpListener> {
    let socket = if address.is_ipv4() {
        TcpSocket::new_v4()?
    } else {
        TcpSocket::new_v6()?
    };
    socket.set_reuseaddr(true)?;
    socket.bind(address)?;
    socket.listen(LISTEN_QUEUE)
}

impl Parts {
    async fn open(config: AggregatorConfig) -> anyhow::Result<Self> {
        let clock: Arc<dyn Clock> = Arc::new(SystemClock);
        std::fs::create_dir_all(&config.data_dir)
            .with_context(|| format!("cannot make the data directory {}", config.data_dir.display()))?;
        let registry = Registry::new("inquest-aggregator", env!("CARGO_PKG_VERSION"));
        let health = Health::new(&registry);
        for condition in [INGEST, API] {
            health.declare(condition, Need::Required);
        }
        let store = SqliteStore::open(&config.sqlite_path).await.context("store")?;
        let watched = Arc::new(Watched::new(Arc::new(store), health.clone(), &registry));
        let store: Arc<dyn Store> = watched.clone();
        let nodes = Nodes::restore(store.as_ref(), clock.now()).await.context("store")?;
        let connections = connect_all(&config.cluster_name, config.kubernetes, &config.clusters).await?;
        let clusters = Clusters::new(connections, &clock, &ClusterMetrics::new(&registry));
        let server_id = format!("{}-{}", config.cluster_name, server_suffix(clock.now()));
        Ok(Self {
            config,
            store,
            watched,
            clock,
            nodes,
            door_metrics: DoorMetrics::new(&registry, "ingest"),
            registry,
            health,
            server_id,
            clusters,
        })
    }
}

/// Tells one run of the program from another in answers and logs.
fn server_suffix(now: UnixNanos) -> String {
    Key::of(b"server", &[&now.0.to_le_bytes(), &std::process::id().to_le_bytes()])
        .to_string()
        .chars()
        .take(8)
        .collect()
}

/// Starts every task; stages stop in this order: listeners, watches, the writer, senders, housekeeping.
async fn start(parts: &Parts, supervisor: &Supervisor, listeners: Listeners, reload: Reload) -> anyhow::Result<()> {
    let doors = supervisor.stage("listeners");
    let watches = supervisor.stage("watches");
    let writer = supervisor.stage("writer");
    let senders = supervisor.stage("senders");
    let house = supervisor.stage("housekeeping");
    let surroundings = surroundings(parts);
    let dispatcher = start_dispatcher(parts, &surroundings, &senders)?;
    let routes = watch::Sender::new(Routes::compile(&parts.config.route).context("route")?);
    let live = Live {
        receivers: parts.config.receivers.clone(),
        surroundings,
        dispatcher,
        routes,
        rules: watch::Sender::new(rules(&parts.config.engine)),
        keep: watch::Sender::new(Keep::of(&parts.config)),
    };
    let standing = watch::Sender::default();
    let intake = start_pipeline(parts, &writer, &live, &standing).await?;
    start_api(parts, &doors, listeners.api, &intake);
    let correlation = start_watches(parts, &watches, &intake)?;
    start_survey(parts, &watches, (intake.clone(), correlation.clone()), standing);
    start_ingest(parts, &doors, &house, listeners.ingest, (intake, correlation))?;
    start_housekeeping(parts, &house, live.keep.subscribe());
    start_reload(parts, &house, reload, live);
    start_status(parts, &house, listeners.status);
    Ok(())
}

fn surroundings(parts: &Parts) -> Surroundings {
    let stdout: notify::stdout::Writer = Arc::new(std::sync::Mutex::new(std::io::stdout()));
    let card = Arc::new(|incident: &Incident| text::card(incident, &[], Lang::En, &TimeZone::system(), Paint::Plain));
    Surroundings {
        clock: Arc::clone(&parts.clock),
        stdout,
        card,
    }
}

fn start_dispatcher(parts: &Parts, surroundings: &Surroundings, stage: &Stage) -> anyhow::Result<Dispatcher> {
    let receivers = notify::build_all(&parts.config.receivers, surroundings)?;
    let dispatcher = Dispatcher::new(Arc::clone(&parts.store), receivers, &parts.clock, &parts.registry);
    stage.spawn_with("dispatcher", dispatcher.clone(), |dispatcher, token| async move {
        dispatcher.run(token).await
    });
    Ok(dispatcher)
}

async fn start_pipeline(
    parts: &Parts,
    stage: &Stage,
    live: &Live,
    standing: &watch::Sender<Standings>,
) -> anyhow::Result<Intake> {
    let (pipeline, intake) = Pipeline::start(pipeline::Parts {
        store: Arc::clone(&parts.store),
        rules: live.rules.subscribe(),
        standing: standing.subscribe(),
        planner: Box::new(RoutePlanner(live.routes.subscribe())),
        handover: Arc::new(live.dispatcher.clone()),
        clock: Arc::clone(&parts.clock),
        ids: pipeline::monotonic_ids(),
        metrics: PipelineMetrics::new(&parts.registry),
    })
    .await
    .context("store")?;
    stage.spawn_once("writer", pipeline, |pipeline, token| async move {
        Ok(pipeline.run(token).await?)
    });
    Ok(intake)
}

fn start_ingest(
    parts: &Parts,
    stage: &Stage,
    house: &Stage,
    listener: TcpListener,
    (intake, correlation): (Intake, Correlation),
) -> anyhow::Result<()> {
    let config = &parts.config;
    let now = parts.clock.now();
    let authority = Authority::open(&config.tls.ca_dir, now).context("certificate authority")?;
    let identity = authority
        .server_identity(&config.tls.names, now)
        .context("server certificate")?;
    let ingest = Ingest {
        authority,
        enrolment: enrolment::enrolment(parts, house)?,
        store: Arc::clone(&parts.store),
        intake,
        correlation,
        nodes: parts.nodes.clone(),
        clock: Arc::clone(&parts.clock),
        server_id: parts.server_id.clone(),
        metrics: IngestMetrics::new(&parts.registry),
        keep_alive: config.keep_alive,
    };
    let limits = Limits {
        connections: connections_within(ingest::LIMITS.connections),
        ..ingest::LIMITS
    };
    let door = Door::new(listener, limits, parts.door_metrics.clone());
    let health = parts.health.clone();
    stage.spawn_once(
        "ingest",
        (door, identity, ingest, health),
        |(door, identity, ingest, health), token| async move {
            health.set(INGEST, Condition::Ok);
            Ok(ingest::serve(door, &identity, ingest, token).await?)
        },
    );
    Ok(())
}

fn start_api(parts: &Parts, stage: &Stage, listener: TcpListener, intake: &Intake) {
    let watched = intake.clone();
    let server = api::Api {
        store: Arc::clone(&parts.store),
        changes: Arc::new(move || watched.watch()),
        nodes: parts.nodes.clone(),
        health: parts.health.clone(),
        server: api::ServerInfo {
            server_id: parts.server_id.clone(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            started_at: parts.clock.now(),
            cluster: parts.config.cluster_name.clone(),
        },
    };
    let door = Door::new(listener, api::LIMITS, parts.door_metrics.of("api"));
    let health = parts.health.clone();
    stage.spawn_once(
        "api",
        (door, server, health),
        |(door, server, health), token| async move {
            health.set(API, Condition::Ok);
            Ok(api::serve(door, server, token).await?)
        },
    );
}

/// Follows Kubernetes, where there is one.
fn start_watches(parts: &Parts, stage: &Stage, intake: &Intake) -> Result<Correlation> {
    for index in parts.clusters.all() {
        tracing::info!(cluster = &**index.name(), "watching Kubernetes");
    }
    let namespaces = parts.config.watch.namespaces.clone();
    stage.spawn_with(
        "cluster watches",
        (parts.clusters.clone(), namespaces, parts.health.clone()),
        |(clusters, namespaces, health), token| keep_watching(clusters, namespaces, health, token),
    );
    let metrics = CorrelationMetrics::new(&parts.registry);
    let settings = CorrelationSettings::of(&parts.config)?;
    let correlation = Correlation::new(parts.clusters.clone(), Arc::clone(&parts.clock), metrics, settings);
    stage.spawn_with(
        "correlation",
        (correlation.clone(), intake.clone()),
        |(correlation, intake), token| keep_correlating(correlation, intake, token),
    );
    Ok(correlation)
}

/// Tells what the apiservers know and no node sees.
fn start_survey(
    parts: &Parts,
    stage: &Stage,
    (intake, correlation): (Intake, Correlation),
    standing: watch::Sender<Standings>,
) {
    let survey = Survey {
        clusters: parts.clusters.clone(),
        nodes: parts.nodes.clone(),
        patience: parts.config.watch.report_after.get(),
        correlation,
        intake,
        standing,
        clock: Arc::clone(&parts.clock),
        metrics: SurveyMetrics::new(&parts.registry),
    };
    stage.spawn_with("survey", survey, |survey, token| async move {
        survey.run(token).await;
        Ok(())
    });
}

fn start_housekeeping(parts: &Parts, stage: &Stage, keep: watch::Receiver<Keep>) {
    let (store, clock, nodes) = (Arc::clone(&parts.store), Arc::clone(&parts.clock), parts.nodes.clone());
    let statuses = (nodes, store, clock, NodesMetrics::new(&parts.registry));
    stage.spawn_with(
        "node statuses",
        statuses,
        |(nodes, store, clock, metrics), token| async move {
            ingest::keep_statuses(nodes, store, clock, metrics, token).await;
            Ok(())
        },
    );
    let retention = Retention {
        store: Arc::clone(&parts.store),
        nodes: parts.nodes.clone(),
        clock: Arc::clone(&parts.clock),
        keep,
        metrics: RetentionMetrics::new(&parts.registry),
    };
    stage.spawn_with("retention", retention, |retention, token| async move {
        retention.run(token).await;
        Ok(())
    });
    stage.spawn_with("store watch", Arc::clone(&parts.watched), |watched, token| async move {
        keep_watch(watched, token).await;
        Ok(())
    });
}

/// Follows the configuration file.
fn start_reload(parts: &Parts, stage: &Stage, reload: Reload, live: Live) {
    let shown = reload::Shown::new(&parts.registry, &parts.health);
    stage.spawn_once(
        "configuration",
        (reload, live, shown),
        |(reload, mut live, shown), token| async move {
            let apply = move |config, changes: &reload::Changes| live.apply(config, changes);
            Ok(reload.follow(apply, shown, token).await?)
        },
    );
}

fn start_status(parts: &Parts, stage: &Stage, listener: TcpListener) {
    let (registry, health) = (parts.registry.clone(), parts.health.clone());
    stage.spawn_once(
        "status page",
        (listener, registry, health),
        |(listener, registry, health), token| async move {
            status_server(listener, registry, health, token).await;
            Ok(())
        },
    );
}

/// Plans by the configured routes.
struct RoutePlanner(watch::Receiver<Routes>);

impl Planner for RoutePlanner {
    fn plan(&mut self, notices: &[Notice], now: UnixNanos, ids: &mut dyn FnMut(UnixNanos) -> Ulid) -> Vec<OutboxRow> {
        plan(notices.to_vec(), &self.0.borrow(), now, || ids(now))
    }
}

impl Handover for Dispatcher {
    fn hand_over(&self, rows: Vec<OutboxRow>) {
        Self::hand_over(self, rows);
    }

    fn look_in_store(&self) {
        Self::look_in_store(self);
    }
}
