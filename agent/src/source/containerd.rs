//! containerd, and with it every runtime that speaks CRI: what runs, and how it ended. The CRI list is the base (every second,
//! or every 30 s while an event stream is live); containerd's own events or CRI's make it quick. Owns the connection and the
//! table of containers; must not know findings.
//!
//! Overflow policy: events wait in a queue of 1,024; when it is full an event is dropped and counted, and the list is read
//! at once to make up for it.

mod bare;
mod call;
pub(super) mod describe;
pub(super) mod events;
mod events_only;
mod feed;
mod follow;
mod table;
mod work;

use std::{
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use inquest_shared::{
    clock::{Clock, UnixNanos},
    model::Key,
    redact::Redactor,
    tail::Tail,
};
use tokio::{
    sync::{broadcast, mpsc, watch},
    time::sleep,
};
use tokio_util::sync::CancellationToken;
use tonic::transport::Channel;

use super::{
    SourceHealth, SourceState, Statuses,
    cri::{Dialect, Runtime},
    docker::EarlyEnd,
    kill_counter::Announced,
    log_tail::TailLimits,
};
use crate::{host::paths::HostPaths, log_record::LogRecord, observation::Observation};
use call::CallError;
use follow::Follower;

/// Name of the source in statuses and metrics.
pub const NAME: &str = "containerd";
/// Longest wait between two tries to reach the socket: a runtime that is back is followed again within a second.
const RETRY_MAX: Duration = Duration::from_secs(1);
const RETRY_MIN: Duration = Duration::from_millis(200);
/// Name of the source that reads dockerd itself.
const DOCKER: &str = "docker";
/// How long that source may take to say how it stands.
const DOCKER_SETTLES: Duration = Duration::from_secs(2);

/// What the source needs.
#[derive(Clone)]
pub struct Containerd {
    /// Name in statuses and metrics.
    pub name: &'static str,
    /// Whether a host without any of the sockets is as it should be.
    pub optional: bool,
    /// Socket paths to try in order; the first that answers is followed.
    pub sockets: Vec<PathBuf>,
    /// How often the list is read while there is no event stream.
    pub poll: Duration,
    /// How often while there is.
    pub reconcile: Duration,
    /// Whether to subscribe to events.
    pub events: bool,
    /// How much of a log to read.
    pub tail: TailLimits,
    /// What to take out of logs.
    pub redactor: Arc<Redactor>,
    /// Where the host's files are.
    pub paths: HostPaths,
    /// Wall time.
    pub clock: Arc<dyn Clock>,
    /// Who is told what is live.
    pub statuses: Statuses,
    /// Told what ended in Docker. Without a listener it is lost: Docker tells the same a moment later.
    pub early_ends: broadcast::Sender<EarlyEnd>,
    /// Told which instances run, for the kill counters.
    pub running: watch::Sender<Announced>,
}

/// Where the source's results go.
#[derive(Clone)]
pub struct Outputs {
    /// Facts for detection.
    pub observations: mpsc::Sender<Observation>,
    /// Log tails for the log spool; a full queue delays the next tail.
    pub logs: mpsc::Sender<LogRecord>,
}

impl Outputs {
    /// Tells detection. A full queue makes the source wait; its events then wait in their own queue.
    pub(super) async fn tell(&self, observation: Observation) {
        if self.observations.send(observation).await.is_err() {
            tracing::debug!("observation queue closed");
        }
    }

    /// Hands over the log of a run. The receiver is gone only while the agent stops.
    pub(super) async fn log(&self, instance: &str, finished_at: UnixNanos, tail: &Tail, captured_at: UnixNanos) {
        let record = LogRecord {
            finding: Key::exit(instance, finished_at),
            data: tail.text().into_bytes(),
            captured_at,
            redactions: tail.redactions,
            truncated: tail.truncated,
        };
        if self.logs.send(record).await.is_err() {
            tracing::debug!("log queue closed");
        }
    }
}

impl Containerd {
    /// Follows containerd until the token ends: connects, follows, and connects again after every loss.
    pub async fn run(self, outputs: Outputs, token: CancellationToken) {
        let mut follower = Follower::new(outputs);
        let mut wait = RETRY_MIN;
        loop {
            let outcome = tokio::select! {
                () = token.cancelled() => return,
                outcome = self.connect_and_follow(&mut follower) => outcome,
            };
            let was_live = follower.take_live();
            if let Some(outcome) = outcome {
                self.statuses.set(self.name, outcome);
            }
            wait = if was_live { RETRY_MIN } else { (wait * 2).min(RETRY_MAX) };
            tokio::select! {
                () = token.cancelled() => return,
                () = sleep(wait) => {}
            }
        }
    }

    /// The state after the connection, or without one; `None` when there is nothing to say.
    async fn connect_and_follow(&self, follower: &mut Follower) -> Option<SourceHealth> {
        let (mut refused, mut without_cri) = (None, None);
        for socket in self.sockets.iter().filter(|path| path.exists()) {
            match self.open(socket).await {
                Ok((_, Some(dialect))) if self.is_left_to_docker(&dialect).await => {}
                Ok((channel, Some(dialect))) => {
                    follower.follow(self, channel, &dialect).await;
                    return Some(lost());
                }
                // Docker's packages bring a containerd without its CRI plugin: another socket may be the right one.
                Ok((channel, None)) => without_cri = without_cri.or(Some(channel)),
                Err(error) => refused = refused.or(Some(error)),
            }
        }
        if let Some(channel) = without_cri {
            self.docker_settles().await;
            follower.follow_events(self, channel).await;
            return Some(lost());
        }
        match refused {
            Some(error) => Some(blind(&error)),
            None if self.optional => None,
            None => Some(self.absent()),
        }
    }

    /// A connection, with who answers; nobody when its events are all that it has.
    async fn open(&self, socket: &Path) -> Result<(Channel, Option<Dialect>), CallError> {
        let channel = call::connect(socket).await?;
        match call::identify(channel.clone()).await {
            Ok(dialect) => Ok((channel, Some(dialect))),
            Err(error) if error.is_without_cri() && self.events && !self.optional => Ok((channel, None)),
            Err(error) => Err(error),
        }
    }

    fn blind(&self, error: &CallError) {
        self.statuses.set(self.name, blind(error));
    }

    /// dockerd tells its own source more than cri-dockerd tells us, and nothing may be told twice.
    async fn is_left_to_docker(&self, dialect: &Dialect) -> bool {
        if dialect.runtime != Runtime::CriDockerd {
            return false;
        }
        self.docker_settles().await;
        !matches!(self.statuses.state(DOCKER), None | Some(SourceState::Absent))
    }

    async fn docker_settles(&self) {
        if self.statuses.state(DOCKER).is_none() {
            sleep(DOCKER_SETTLES).await;
        }
    }

    fn absent(&self) -> SourceHealth {
        let tried = self.sockets.iter().map(|p| p.display().to_string());
        let tried = tried.collect::<Vec<_>>().join(", ");
        SourceHealth::not(
            SourceState::Absent,
            "not running",
            format!(
                "start the runtime, or name its socket in sources.{}.socket (tried {tried})",
                self.name
            ),
        )
    }
}

fn lost() -> SourceHealth {
    SourceHealth::not(
        SourceState::Blind,
        "connection lost",
        "the runtime is restarting or stopped",
    )
}

fn blind(error: &CallError) -> SourceHealth {
    SourceHealth::not(SourceState::Blind, error.to_string(), error.remedy())
}
