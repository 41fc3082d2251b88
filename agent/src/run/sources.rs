//! Starts the sources that the configuration wants, with what they share.

use std::sync::Arc;

use anyhow::Context as _;
use inquest_shared::{config::ContainerdSource, supervisor::Stage};
use tokio::sync::{broadcast, mpsc, watch};
use tokio_util::sync::CancellationToken;

use super::Parts;
use crate::{
    detect::oom,
    host::{
        cgroup::notice::{Bell, Ringers},
        kmsg::{Filter, KmsgReader, ReaderConfig},
        tracefs::InstanceConfig,
    },
    observation::Observation,
    source::{
        SourceHealth, SourceState,
        containerd::{self, Containerd, Outputs},
        cri,
        docker::{self, Docker, EarlyEnd},
        kill_counter::{self, Announced, KillCounters},
        kmsg,
        log_tail::TailLimits,
        pod_logs::{self, PodLogs},
        trace::{self, Trace},
    },
};

/// Batches of kernel records that may wait.
const KERNEL_BATCHES: usize = 16;
/// Ends in Docker that may wait; one beyond it is told later, by Docker.
const EARLY_ENDS: usize = 256;

/// What the sources of containers share.
struct Shared<'a> {
    parts: &'a Parts,
    stage: &'a Stage,
    running: watch::Sender<Announced>,
    early_ends: broadcast::Sender<EarlyEnd>,
    outputs: Outputs,
    tail: TailLimits,
}

/// Starts all; what is switched off says so in its status.
pub(super) fn start(parts: &Parts, stage: &Stage, outputs: Outputs) -> anyhow::Result<()> {
    let (running, running_now) = watch::channel(Announced::new());
    let observations = outputs.observations.clone();
    let tail = &parts.config.log_tail;
    let shared = Shared {
        parts,
        stage,
        running,
        early_ends: broadcast::Sender::new(EARLY_ENDS),
        outputs,
        tail: TailLimits {
            bytes: tail.max_bytes.0,
            lines: usize::try_from(tail.max_lines)?,
        },
    };
    shared.start_docker();
    shared.start_containerd();
    shared.start_cri();
    shared.start_pod_logs();
    let bell = Bell::new().context("descriptors")?;
    start_trace(parts, stage, running_now.clone(), observations.clone());
    start_counters(parts, stage, running_now, observations.clone(), bell.clone());
    start_kmsg(parts, stage, observations, bell)
}

/// A source, and its section under `sources` in the configuration.
fn switched_off(parts: &Parts, name: &'static str, section: &str) {
    let remedy = format!("set sources.{section}.enabled: true");
    let off = SourceHealth::not(SourceState::Absent, "switched off", remedy);
    parts.statuses.set(name, off);
}

impl Shared<'_> {
    /// Starts a source with what it needs; a failure starts it again from the same.
    fn follow<S, F>(&self, name: &'static str, source: S, run: fn(S, Outputs, CancellationToken) -> F)
    where
        S: Clone + Send + 'static,
        F: Future<Output = ()> + Send + 'static,
    {
        let parts = (source, self.outputs.clone(), run);
        self.stage
            .spawn_with(name, parts, |(source, outputs, run), token| async move {
                run(source, outputs, token).await;
                Ok(())
            });
    }

    fn start_docker(&self) {
        let config = &self.parts.config.sources.docker;
        if !config.enabled {
            return switched_off(self.parts, docker::NAME, "docker");
        }
        let source = Docker {
            sockets: config.socket.clone(),
            reconcile: config.reconcile.0,
            tail: self.tail,
            redactor: Arc::clone(&self.parts.redactor),
            paths: self.parts.paths.clone(),
            clock: Arc::clone(&self.parts.clock),
            statuses: self.parts.statuses.clone(),
            early_ends: self.early_ends.clone(),
            running: self.running.clone(),
        };
        self.follow(docker::NAME, source, Docker::run);
    }

    fn start_containerd(&self) {
        let config = &self.parts.config.sources.containerd;
        if !config.enabled {
            return switched_off(self.parts, containerd::NAME, "containerd");
        }
        self.start_runtime(containerd::NAME, config.clone());
    }

    /// CRI-O and cri-dockerd. A socket that the containerd source reads is left to it, so that nothing is told twice.
    fn start_cri(&self) {
        let sources = &self.parts.config.sources;
        if !sources.cri.enabled {
            return;
        }
        let mut config = sources.cri.clone();
        if sources.containerd.enabled {
            config
                .socket
                .retain(|socket| !sources.containerd.socket.contains(socket));
        }
        self.start_runtime(cri::NAME, config);
    }

    fn start_runtime(&self, name: &'static str, config: ContainerdSource) {
        let source = Containerd {
            name,
            optional: name == cri::NAME,
            sockets: config.socket,
            poll: config.poll.0,
            reconcile: config.reconcile.0,
            events: config.events,
            tail: self.tail,
            redactor: Arc::clone(&self.parts.redactor),
            paths: self.parts.paths.clone(),
            clock: Arc::clone(&self.parts.clock),
            statuses: self.parts.statuses.clone(),
            early_ends: self.early_ends.clone(),
            running: self.running.clone(),
        };
        self.follow(name, source, Containerd::run);
    }

    fn start_pod_logs(&self) {
        let source = PodLogs {
            folder: self.parts.config.container_logs.clone(),
            paths: self.parts.paths.clone(),
            tail: self.tail,
            redactor: Arc::clone(&self.parts.redactor),
            clock: Arc::clone(&self.parts.clock),
            statuses: self.parts.statuses.clone(),
            running: self.running.clone(),
        };
        self.follow(pod_logs::NAME, source, PodLogs::run);
    }
}

fn start_kmsg(parts: &Parts, stage: &Stage, out: mpsc::Sender<Observation>, bell: Bell) -> anyhow::Result<()> {
    if !parts.config.sources.kmsg.enabled {
        switched_off(parts, kmsg::NAME, "kmsg");
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
    stage.spawn_once(
        kmsg::NAME,
        parts,
        |(reader, queue, out, paths, statuses), token| async move {
            kmsg::run(reader, queue, out, paths, statuses, token).await;
            Ok(())
        },
    );
    Ok(())
}

fn start_trace(parts: &Parts, stage: &Stage, running: watch::Receiver<Announced>, out: mpsc::Sender<Observation>) {
    let config = &parts.config.sources.trace;
    if !config.enabled {
        return switched_off(parts, trace::NAME, "trace");
    }
    let stats = Arc::default();
    trace::counters::register(&parts.registry, &stats);
    let source = Trace {
        instance: InstanceConfig {
            root: config.path.clone(),
            name: format!("inquest-{}", config.instance),
        },
        paths: parts.paths.clone(),
        clock: Arc::clone(&parts.clock),
        running,
        statuses: parts.statuses.clone(),
        stats,
    };
    stage.spawn_with(trace::NAME, (source, out), |(source, out), token| async move {
        source.run(out, token).await;
        Ok(())
    });
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
        return switched_off(parts, kill_counter::NAME, "cgroup");
    }
    let counters = KillCounters {
        paths: parts.paths.clone(),
        poll: config.poll.0,
        clock: Arc::clone(&parts.clock),
        running,
        ringers: Ringers::new(bell),
        statuses: parts.statuses.clone(),
    };
    stage.spawn_with(
        kill_counter::NAME,
        (counters, out),
        |(counters, out), token| async move {
            counters.run(out, token).await;
            Ok(())
        },
    );
}
