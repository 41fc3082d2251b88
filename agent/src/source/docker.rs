//! Docker: what runs, and how it ended. The event stream makes it quick; inspection gives the record, and a list every 30 s
//! makes up for events that got lost. Owns the connection and the table of containers; must not know findings.
//!
//! Docker keeps the id over a restart, so one run is named by id and start (`<id>@<StartedAt in ns>`).
//!
//! Logs are read through Docker, not from its files: that works for every log driver that Docker itself can read, follows
//! rotation and compression, and needs no mount of Docker's data folder into the agent's container.
//!
//! Docker tells of an end only after it has cleaned up, 50 ms and more later. Where containerd's events are read too, its own
//! news of the end is told first, and Docker's record adds the reason and the rest of the log.
//!
//! Overflow policy: events wait in a queue of 1,024; when it is full an event is dropped and counted, and every container is
//! inspected at once to make up for it.

mod call;
mod describe;
mod events;
mod follow;
mod log;
mod table;

use std::{path::PathBuf, sync::Arc, time::Duration};

use inquest_shared::{
    clock::{Clock, UnixNanos},
    redact::Redactor,
};
use tokio::{
    sync::{broadcast, watch},
    time::sleep,
};
use tokio_util::sync::CancellationToken;

use super::{SourceHealth, SourceState, Statuses, containerd::Outputs, kill_counter::Announced, log_tail::TailLimits};
use crate::host::paths::HostPaths;
use follow::Follower;

/// Name of the source in statuses and metrics.
pub const NAME: &str = "docker";
/// Longest wait between two tries to reach the socket.
const RETRY_MAX: Duration = Duration::from_secs(10);
const RETRY_MIN: Duration = Duration::from_millis(200);

/// An end that containerd told, which runs Docker's containers, before Docker did.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EarlyEnd {
    /// Container id; the same in both.
    pub id: String,
    /// As the process gave it; 128 + number for a signal.
    pub exit_code: i32,
    /// When the process ended; Docker records the same time.
    pub at: UnixNanos,
}

/// What the source needs.
#[derive(Clone)]
pub struct Docker {
    /// Socket paths to try in order.
    pub sockets: Vec<PathBuf>,
    /// How often the list is read beside the event stream.
    pub reconcile: Duration,
    /// How much of a log to read.
    pub tail: TailLimits,
    /// What to take out of logs.
    pub redactor: Arc<Redactor>,
    /// Where the cgroup of a process is found.
    pub paths: HostPaths,
    /// Wall time.
    pub clock: Arc<dyn Clock>,
    /// Who is told what is live.
    pub statuses: Statuses,
    /// Where containerd tells ends; more than wait there are told by Docker's own events alone.
    pub early_ends: broadcast::Sender<EarlyEnd>,
    /// Told which instances run, for the kill counters.
    pub running: watch::Sender<Announced>,
}

impl Docker {
    /// Follows Docker until the token ends: connects, follows, and connects again after every loss.
    pub async fn run(self, outputs: Outputs, token: CancellationToken) {
        let mut follower = Follower::new(outputs);
        let mut wait = RETRY_MIN;
        loop {
            let outcome = tokio::select! {
                () = token.cancelled() => return,
                outcome = self.connect_and_follow(&mut follower) => outcome,
            };
            let was_live = follower.take_live();
            self.statuses.set(NAME, follower.with_losses(outcome));
            wait = if was_live { RETRY_MIN } else { (wait * 2).min(RETRY_MAX) };
            tokio::select! {
                () = token.cancelled() => return,
                () = sleep(wait) => {}
            }
        }
    }

    async fn connect_and_follow(&self, follower: &mut Follower) -> SourceHealth {
        let Some(socket) = self.sockets.iter().find(|path| path.exists()) else {
            // A node has one runtime as a rule, so the absence of Docker is nothing to repair.
            let tried: Vec<String> = self.sockets.iter().map(|p| p.display().to_string()).collect();
            return SourceHealth::not(SourceState::Absent, format!("no {}", tried.join(", ")), "");
        };
        match call::connect(socket).await {
            Ok((client, version)) => {
                self.statuses
                    .set(NAME, follower.with_losses(SourceHealth::live(version)));
                follower.follow(self, &client).await;
                SourceHealth::not(SourceState::Blind, "connection lost", "Docker is restarting or stopped")
            }
            Err(error) => SourceHealth::not(SourceState::Blind, error.to_string(), error.remedy()),
        }
    }
}
