//! The end of the program: why it comes, in which order, and within which time.
//!
//! Owns signals and the ordered stop. Must not know what the stages do.

use std::io;
use std::sync::{Arc, PoisonError};
use std::time::Duration;

use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep_until};

use super::{StageInner, Supervisor, TaskEnded};

/// Time between two lines that name the tasks still running.
const PROGRESS: Duration = Duration::from_secs(2);

/// Requests to stop. The interrupt and the termination signal mean the same.
pub struct Signals(Source);

enum Source {
    Process { interrupt: Signal, terminate: Signal },
    Channel(mpsc::Receiver<()>),
}

impl Signals {
    /// Takes over both signals of this process. Call it before the first task is started: a signal
    /// that comes earlier ends the process at once, as usual.
    ///
    /// # Errors
    /// The operating system's; trying again does not help.
    pub fn install() -> io::Result<Self> {
        let interrupt = signal(SignalKind::interrupt())?;
        let terminate = signal(SignalKind::terminate())?;
        Ok(Self(Source::Process { interrupt, terminate }))
    }

    /// Requests from a channel, for a program inside another (the demo, tests). A closed channel
    /// asks for nothing.
    #[must_use]
    pub const fn from_channel(requests: mpsc::Receiver<()>) -> Self {
        Self(Source::Channel(requests))
    }

    /// Waits for the next request. Cancel-safe.
    pub async fn next(&mut self) {
        match &mut self.0 {
            Source::Process { interrupt, terminate } => {
                tokio::select! {
                    _ = interrupt.recv() => {}
                    _ = terminate.recv() => {}
                }
            }
            Source::Channel(requests) => {
                if requests.recv().await.is_none() {
                    std::future::pending::<()>().await;
                }
            }
        }
    }
}

/// Why a stop was not clean. The process must end with a failure status.
#[derive(Debug, thiserror::Error)]
pub enum StopError {
    /// A task ended that must not; the others were stopped in order.
    #[error(transparent)]
    TaskEnded(#[from] TaskEnded),
    /// The deadline passed; the tasks named were aborted.
    #[error("tasks did not stop in time: {}", .0.join(", "))]
    Deadline(Vec<&'static str>),
    /// A second request came while stopping. The caller calls `std::process::exit` at once,
    /// without waiting for the runtime.
    #[error("stopped at once by a second signal")]
    Forced,
}

impl Supervisor {
    /// Runs until a signal comes or a task ends that must not, then stops every stage in order
    /// within `grace` (keep it below the grace period of the pod).
    ///
    /// # Errors
    /// [`StopError`]; there is nothing to try again.
    pub async fn run(&self, signals: &mut Signals, grace: Duration) -> Result<(), StopError> {
        let mut fatal = self.0.fatal.subscribe();
        // Cancel-safe: both only wait.
        let ended = tokio::select! {
            () = signals.next() => None,
            ended = fatal.wait_for(Option::is_some) => ended.ok().and_then(|ended| ended.clone()),
        };
        match &ended {
            Some(ended) => tracing::error!(
                task = ended.task,
                reason = ended.reason,
                "stopping: a task ended that must not"
            ),
            None => tracing::info!("stopping: asked to"),
        }
        // Cancel-safe: a second signal gives up the orderly stop on purpose.
        let stopped = tokio::select! {
            stopped = self.stop(grace) => stopped,
            () = signals.next() => {
                self.abort_all();
                Err(StopError::Forced)
            }
        };
        match ended {
            Some(ended) => Err(ended.into()),
            None => stopped,
        }
    }

    /// Stops the stages one after another: cancels, waits, and at the deadline aborts what is left.
    ///
    /// # Errors
    /// [`StopError::Deadline`] with the names of the tasks that were aborted.
    pub async fn stop(&self, grace: Duration) -> Result<(), StopError> {
        let deadline = Instant::now() + grace;
        let mut late = Vec::new();
        for stage in self.stages() {
            stage.token.cancel();
            stage.tracker.close();
            late.extend(drain(&stage, deadline).await);
        }
        if late.is_empty() {
            Ok(())
        } else {
            Err(StopError::Deadline(late))
        }
    }

    fn abort_all(&self) {
        self.stages().iter().for_each(|stage| stage.abort());
    }

    fn stages(&self) -> Vec<Arc<StageInner>> {
        self.0.stages.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

/// Waits for the tasks of a stage; gives the names of those that had to be aborted.
async fn drain(stage: &StageInner, deadline: Instant) -> Vec<&'static str> {
    loop {
        let pause = deadline.min(Instant::now() + PROGRESS);
        // Cancel-safe: both only wait.
        tokio::select! {
            biased;
            () = stage.tracker.wait() => return Vec::new(),
            () = sleep_until(pause) => {}
        }
        let names = stage.names();
        tracing::warn!(stage = stage.name, running = ?names, "still stopping");
        if Instant::now() >= deadline {
            stage.abort();
            return names;
        }
    }
}
