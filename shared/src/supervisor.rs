//! Tasks that are watched: started by name, restarted after a failure, stopped in order.
//!
//! Owns the life of every long-running task of a program. Must not know what a task does.
//!
//! A program makes a [`Supervisor`], then its stages in the order in which they have to stop
//! (sources first, what they feed last), and spawns tasks into them. A task that must not end ends
//! the program with its name; one that may fail is restarted with a growing, jittered pause. A
//! panic is a failure like any other. Works on a single-threaded runtime.

mod backoff;
mod run;
mod task;

use std::collections::BTreeMap;
use std::future::Future;
use std::sync::{Arc, Mutex, PoisonError};

use anyhow::Context as _;
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use tokio::sync::watch;
use tokio::task::AbortHandle;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

pub use backoff::Backoff;
pub use run::{Signals, StopError};

use crate::clock::{Clock, UnixNanos};
use crate::telemetry::Registry;

/// What a task gives back. An error is logged once, with its chain, by the supervisor.
pub type TaskResult = anyhow::Result<()>;

/// What to do when a task ends although nobody asked it to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Restart {
    /// Its end is a defect, however it ends: the program stops and names it.
    Never,
    /// An error or a panic starts it again; ending without error is its right.
    OnFailure,
}

/// What a task is doing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TaskState {
    /// It runs.
    Running,
    /// It failed and waits for its next start.
    Waiting,
    /// It ended as it should.
    Done,
    /// It failed and is not started again.
    Failed,
}

/// The life of one task so far.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TaskStatus {
    /// What it is doing.
    pub state: TaskState,
    /// Since when, in wall time.
    pub since: UnixNanos,
    /// How often it was started again.
    pub restarts: u64,
    /// Its last error or panic, bounded to 200 characters.
    pub last_error: Option<String>,
}

/// All tasks by name.
pub type Statuses = BTreeMap<&'static str, TaskStatus>;

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct EndLabel {
    task: &'static str,
    cause: &'static str,
}

/// A task that had to run for ever has ended.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("task {task} ended: {reason}")]
pub struct TaskEnded {
    /// The task.
    pub task: &'static str,
    /// Its error, its panic, or that it simply returned.
    pub reason: String,
}

struct Inner {
    clock: Arc<dyn Clock>,
    backoff: Backoff,
    statuses: watch::Sender<Statuses>,
    fatal: watch::Sender<Option<TaskEnded>>,
    ends: Family<EndLabel, Counter>,
    stages: Mutex<Vec<Arc<StageInner>>>,
}

struct StageInner {
    name: &'static str,
    token: CancellationToken,
    tracker: TaskTracker,
    running: Mutex<BTreeMap<&'static str, AbortHandle>>,
}

/// Starts and stops all tasks of a program. Clones are the same supervisor.
#[derive(Clone)]
pub struct Supervisor(Arc<Inner>);

/// Tasks that stop together.
#[derive(Clone)]
pub struct Stage {
    supervisor: Supervisor,
    inner: Arc<StageInner>,
}

impl Supervisor {
    /// A supervisor without tasks, with the default back-off.
    #[must_use]
    pub fn new(clock: Arc<dyn Clock>) -> Self {
        Self::with_backoff(clock, Backoff::default())
    }

    /// A supervisor whose tasks wait as `backoff` says before they start again.
    #[must_use]
    pub fn with_backoff(clock: Arc<dyn Clock>, backoff: Backoff) -> Self {
        Self(Arc::new(Inner {
            clock,
            backoff,
            statuses: watch::Sender::new(Statuses::new()),
            fatal: watch::Sender::new(None),
            ends: Family::default(),
            stages: Mutex::new(Vec::new()),
        }))
    }

    /// Shows `inquest_task_ends_total{task, cause="error"|"panic"|"returned"}`.
    pub fn register_metrics(&self, registry: &Registry) {
        registry.register("task_ends", "Ends of tasks that nobody asked for", self.0.ends.clone());
    }

    /// A new stage. Stages stop in the order in which they were made.
    #[must_use]
    pub fn stage(&self, name: &'static str) -> Stage {
        let inner = Arc::new(StageInner {
            name,
            token: CancellationToken::new(),
            tracker: TaskTracker::new(),
            running: Mutex::new(BTreeMap::new()),
        });
        let mut stages = self.0.stages.lock().unwrap_or_else(PoisonError::into_inner);
        stages.push(Arc::clone(&inner));
        Stage {
            supervisor: self.clone(),
            inner,
        }
    }

    /// The state of every task; changes wake the receiver.
    #[must_use]
    pub fn statuses(&self) -> watch::Receiver<Statuses> {
        self.0.statuses.subscribe()
    }

    fn record(&self, name: &'static str, state: TaskState, error: Option<String>) {
        let since = self.0.clock.now();
        self.0.statuses.send_modify(|statuses| {
            let fresh = TaskStatus {
                state,
                since,
                restarts: 0,
                last_error: None,
            };
            let status = statuses.entry(name).or_insert(fresh);
            if status.state == TaskState::Waiting && state == TaskState::Running {
                status.restarts = status.restarts.saturating_add(1);
            }
            (status.state, status.since) = (state, since);
            status.last_error = error.or_else(|| status.last_error.take());
        });
    }
}

impl Stage {
    /// Cancelled when this stage has to stop.
    #[must_use]
    pub fn token(&self) -> CancellationToken {
        self.inner.token.clone()
    }

    /// Starts a task. `name` is unique in the program. `factory` makes a fresh future for every
    /// start, so that no restart meets state that a failure left behind; the future must end soon
    /// after the token is cancelled.
    pub fn spawn<F, T>(&self, name: &'static str, restart: Restart, mut factory: F)
    where
        F: FnMut(CancellationToken) -> T + Send + 'static,
        T: Future<Output = TaskResult> + Send + 'static,
    {
        let task = task::Task {
            supervisor: self.supervisor.clone(),
            stage: Arc::clone(&self.inner),
            name,
            restart,
        };
        self.supervisor.record(name, TaskState::Running, None);
        let mut running = self.inner.running.lock().unwrap_or_else(PoisonError::into_inner);
        let handle = self.inner.tracker.spawn(async move { task.live(&mut factory).await });
        running.insert(name, handle.abort_handle());
    }

    /// Starts a task that owns a socket or a queue: there is nothing to start it again from, so its end before the stop is a
    /// defect that ends the program, and the next start of the program reads its sources anew.
    pub fn spawn_once<P, T>(&self, name: &'static str, parts: P, task: fn(P, CancellationToken) -> T)
    where
        P: Send + 'static,
        T: Future<Output = TaskResult> + Send + 'static,
    {
        let mut once = Some(parts);
        self.spawn(name, Restart::Never, move |token| {
            let taken = once.take();
            async move { task(taken.context("started twice")?, token).await }
        });
    }

    /// Starts a task that gets a copy of its parts for every start: the first, and those after a failure.
    pub fn spawn_with<P, T>(&self, name: &'static str, parts: P, task: fn(P, CancellationToken) -> T)
    where
        P: Clone + Send + 'static,
        T: Future<Output = TaskResult> + Send + 'static,
    {
        self.spawn(name, Restart::OnFailure, move |token| task(parts.clone(), token));
    }
}

impl StageInner {
    fn names(&self) -> Vec<&'static str> {
        let running = self.running.lock().unwrap_or_else(PoisonError::into_inner);
        running
            .iter()
            .filter(|(_, handle)| !handle.is_finished())
            .map(|(name, _)| *name)
            .collect()
    }

    fn abort(&self) {
        let running = self.running.lock().unwrap_or_else(PoisonError::into_inner);
        running.values().for_each(AbortHandle::abort);
    }
}

#[cfg(test)]
mod tests;
