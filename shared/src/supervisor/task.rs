//! The life of one task: start, watch, restart.
//!
//! Owns the loop. Must not know the other tasks.

use std::any::Any;
use std::future::Future;
use std::sync::Arc;

use tokio::time::{Instant, sleep};
use tokio_util::sync::CancellationToken;
use tokio_util::task::AbortOnDropHandle;

use super::{EndLabel, Restart, StageInner, Supervisor, TaskEnded, TaskResult, TaskState};

/// Longest error text kept in a status, in characters.
const MAX_ERROR_CHARS: usize = 200;

pub(super) struct Task {
    pub(super) supervisor: Supervisor,
    pub(super) stage: Arc<StageInner>,
    pub(super) name: &'static str,
    pub(super) restart: Restart,
}

/// How one start of a task ended.
enum End {
    Returned,
    Error(String),
    Panic(String),
}

impl Task {
    pub(super) async fn live<F, T>(self, factory: &mut F)
    where
        F: FnMut(CancellationToken) -> T,
        T: Future<Output = TaskResult> + Send + 'static,
    {
        let mut backoff = self.supervisor.0.backoff.clone();
        loop {
            self.supervisor.record(self.name, TaskState::Running, None);
            let started = Instant::now();
            let end = attempt(factory(self.stage.token.child_token())).await;
            if self.is_over(&end) {
                return;
            }
            let pause = backoff.after(started.elapsed());
            tracing::warn!(task = self.name, ?pause, "task starts again after a pause");
            // Cancel-safe: neither branch holds anything.
            tokio::select! {
                () = self.stage.token.cancelled() => {
                    self.supervisor.record(self.name, TaskState::Done, None);
                    return;
                }
                () = sleep(pause) => {}
            }
        }
    }

    /// Counts, logs and publishes an end; says whether it is final.
    fn is_over(&self, end: &End) -> bool {
        let (cause, text) = match end {
            End::Returned => ("returned", None),
            End::Error(text) => ("error", Some(text.clone())),
            End::Panic(text) => ("panic", Some(text.clone())),
        };
        let asked = self.stage.token.is_cancelled();
        if let Some(error) = &text {
            tracing::error!(task = self.name, cause, error, "task failed");
        }
        if text.is_none() && (asked || self.restart == Restart::OnFailure) {
            self.supervisor.record(self.name, TaskState::Done, None);
            return true;
        }
        self.supervisor
            .0
            .ends
            .get_or_create(&EndLabel { task: self.name, cause })
            .inc();
        if asked || self.restart == Restart::Never {
            self.supervisor.record(self.name, TaskState::Failed, text.clone());
            if !asked {
                self.give_up(
                    text.unwrap_or_else(|| "it returned, but it has to run as long as the program".to_owned()),
                );
            }
            return true;
        }
        self.supervisor.record(self.name, TaskState::Waiting, text);
        false
    }

    /// Stops the program; the first task to say so is the one that is named.
    fn give_up(&self, reason: String) {
        let ended = TaskEnded {
            task: self.name,
            reason,
        };
        self.supervisor.0.fatal.send_if_modified(|fatal| {
            let first = fatal.is_none();
            fatal.get_or_insert(ended);
            first
        });
    }
}

/// Runs one start as a task of its own: its panic ends it and not its watcher, and dropping the
/// watcher aborts it.
async fn attempt(future: impl Future<Output = TaskResult> + Send + 'static) -> End {
    match AbortOnDropHandle::new(tokio::spawn(future)).await {
        Ok(Ok(())) => End::Returned,
        Ok(Err(error)) => End::Error(bounded(&format!("{error:#}"))),
        Err(error) => match error.try_into_panic() {
            Ok(payload) => End::Panic(bounded(&panic_text(payload.as_ref()))),
            Err(_) => End::Error("aborted".to_owned()),
        },
    }
}

fn panic_text(payload: &(dyn Any + Send)) -> String {
    let text = payload.downcast_ref::<&str>().map(|text| (*text).to_owned());
    text.or_else(|| payload.downcast_ref::<String>().cloned())
        .unwrap_or_else(|| "panicked without a text".to_owned())
}

fn bounded(text: &str) -> String {
    text.chars().take(MAX_ERROR_CHARS).collect()
}
