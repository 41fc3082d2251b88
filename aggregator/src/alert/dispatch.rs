//! From committed outbox rows to receivers.
//!
//! Owns one worker per receiver. Promise: at least once. A row is committed with its incident and handed over from
//! memory, so the first attempt costs no further write; how it ended is written afterwards. After a crash every pending
//! row is tried again with the same key, so at most the attempts that were in flight are repeated.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use inquest_shared::clock::Clock;
use inquest_shared::supervisor::TaskResult;
use inquest_shared::telemetry::Registry;
use tokio::sync::Notify;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use ulid::Ulid;

use super::backlog::Backlog;
use super::metrics::Metrics;
use super::retry;
use super::worker::{PAGE, STORE_PAUSE, Worker};
use crate::notify::{Destination, Reason};
use crate::record::OutboxRow;
use crate::store::{Store, StoreError};

/// Delivers notifications. Clones are the same dispatcher.
#[derive(Clone)]
pub struct Dispatcher {
    store: Arc<dyn Store>,
    workers: Arc<BTreeMap<String, Arc<Worker>>>,
}

impl Dispatcher {
    /// A dispatcher for these receivers; nothing is sent before [`Dispatcher::run`].
    #[must_use]
    pub fn new(
        store: Arc<dyn Store>,
        receivers: Vec<Destination>,
        clock: &Arc<dyn Clock>,
        registry: &Registry,
    ) -> Self {
        let metrics = Metrics::new(registry);
        let worker = |(name, notifier): Destination| {
            let worker = Worker {
                metrics: metrics.of(&name),
                notifier,
                store: Arc::clone(&store),
                clock: Arc::clone(clock),
                backlog: Mutex::new(Backlog::default()),
                wake: Notify::new(),
                name: name.clone(),
            };
            (name, Arc::new(worker))
        };
        let workers = Arc::new(receivers.into_iter().map(worker).collect());
        Self { store, workers }
    }

    /// Takes rows that were just committed; never waits and never fails. What does not fit into memory is read from
    /// the store later.
    pub fn hand_over(&self, rows: Vec<OutboxRow>) {
        for row in rows {
            match self.workers.get(&row.receiver) {
                Some(worker) => worker.hand_over(row),
                None => tracing::error!(
                    receiver = row.receiver,
                    "an alert is for a receiver that does not exist"
                ),
            }
        }
    }

    /// The outcome of a commit was unknown: rows may be in the store that were never handed over.
    pub fn look_in_store(&self) {
        for worker in self.workers.values() {
            worker.look_in_store();
        }
    }

    /// Delivers until the token is cancelled and the attempts in flight have ended; first what an earlier life of the
    /// program left behind.
    ///
    /// # Errors
    /// A worker's panic. Running again helps: it starts from the store.
    pub async fn run(&self, token: CancellationToken) -> TaskResult {
        let mut tasks = JoinSet::new();
        for worker in self.workers.values() {
            tasks.spawn(Arc::clone(worker).run(token.clone()));
        }
        let (dispatcher, stop) = (self.clone(), token);
        tasks.spawn(async move { dispatcher.bury_orphans(stop).await });
        while let Some(ended) = tasks.join_next().await {
            ended?;
        }
        Ok(())
    }

    /// Gives up rows whose receiver is no longer configured, so that they do not wait for ever unseen.
    async fn bury_orphans(&self, token: CancellationToken) {
        while let Err(error) = self.bury_all().await {
            tracing::warn!(error = &error as &dyn std::error::Error, "the outbox cannot be reached");
            tokio::select! {
                () = token.cancelled() => return,
                () = tokio::time::sleep(STORE_PAUSE) => {}
            }
        }
    }

    async fn bury_all(&self) -> Result<(), StoreError> {
        let mut after: Option<Ulid> = None;
        loop {
            let page = self.store.outbox_page(after, PAGE).await?;
            let Some(last) = page.last() else { return Ok(()) };
            after = Some(last.id);
            for mut row in page.into_iter().filter(|row| !self.workers.contains_key(&row.receiver)) {
                retry::bury(&mut row, &Reason::new("the receiver is no longer configured"));
                self.store.put_outcome(&row).await?;
                tracing::error!(receiver = row.receiver, incident = %row.notice.incident.id, "alert given up: no such receiver");
            }
        }
    }
}

#[cfg(test)]
mod tests;
