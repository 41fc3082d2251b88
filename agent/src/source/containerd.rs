//! containerd: what runs, and how it ended. The CRI list is the base (every second, or every 30 s while the event stream is
//! live); containerd's own events make it quick. Owns the connection and the table of containers; must not know findings.
//!
//! Overflow policy: events wait in a queue of 1,024; when it is full an event is dropped and counted, and the list is read
//! at once to make up for it.

mod call;
mod describe;
mod events;
mod follow;
mod table;

use std::{path::PathBuf, sync::Arc, time::Duration};

use inquest_shared::clock::Clock;
use tokio::{
    sync::{mpsc, watch},
    time::sleep,
};
use tokio_util::sync::CancellationToken;

use super::{SourceHealth, SourceState, Statuses, kill_counter::Running, log_tail::TailLimits, redact::Redactor};
use crate::{log_record::LogRecord, observation::Observation};
use follow::Follower;

/// Name of the source in statuses and metrics.
pub const NAME: &str = "containerd";
/// Longest wait between two tries to reach the socket.
const RETRY_MAX: Duration = Duration::from_secs(10);
const RETRY_MIN: Duration = Duration::from_millis(200);

/// What the source needs.
pub struct Containerd {
    /// Socket paths to try in order.
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
    /// Wall time.
    pub clock: Arc<dyn Clock>,
    /// Who is told what is live.
    pub statuses: Statuses,
    /// Told which instances run, for the kill counters.
    pub running: watch::Sender<Running>,
}

/// Where the source's results go.
#[derive(Clone)]
pub struct Outputs {
    /// Facts for detection.
    pub observations: mpsc::Sender<Observation>,
    /// Log tails for the log spool; a full queue delays the next tail.
    pub logs: mpsc::Sender<LogRecord>,
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
            self.statuses.set(NAME, outcome);
            wait = if was_live { RETRY_MIN } else { (wait * 2).min(RETRY_MAX) };
            tokio::select! {
                () = token.cancelled() => return,
                () = sleep(wait) => {}
            }
        }
    }

    async fn connect_and_follow(&self, follower: &mut Follower) -> SourceHealth {
        let Some(socket) = self.sockets.iter().find(|path| path.exists()) else {
            let tried = self
                .sockets
                .iter()
                .map(|p| p.display().to_string())
                .collect::<Vec<_>>()
                .join(", ");
            return SourceHealth::not(
                SourceState::Absent,
                "not running",
                format!("start containerd, or name its socket in sources.containerd.socket (tried {tried})"),
            );
        };
        match call::connect(socket).await {
            Ok((channel, version)) => {
                self.statuses.set(NAME, SourceHealth::live(version));
                follower.follow(self, channel).await;
                SourceHealth::not(
                    SourceState::Blind,
                    "connection lost",
                    "containerd is restarting or stopped",
                )
            }
            Err(error) => SourceHealth::not(SourceState::Blind, error.to_string(), error.remedy()),
        }
    }
}
