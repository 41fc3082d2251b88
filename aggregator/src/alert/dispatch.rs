//! From committed outbox rows to receivers.
//!
//! Owns one worker per receiver. Promise: at least once. A row is committed with its incident and handed over from
//! memory, so the first attempt costs no further write; how it ended is written afterwards. After a crash every pending
//! row is tried again with the same key, so at most the attempts that were in flight are repeated.
//!
//! Receivers come and go while it runs. One that is gone sends nothing more, and what waits for it stays in the store:
//! it goes out when a receiver of that name comes back, and is given up by the next start without one.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, PoisonError, RwLock};

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
use crate::notify::{Destination, Notifier, Reason};
use crate::record::OutboxRow;
use crate::store::{Store, StoreError};

/// Delivers notifications. Clones are the same dispatcher.
#[derive(Clone)]
pub struct Dispatcher {
    store: Arc<dyn Store>,
    clock: Arc<dyn Clock>,
    metrics: Metrics,
    workers: Arc<RwLock<Workers>>,
    /// A receiver was added.
    added: Arc<Notify>,
}

type Workers = BTreeMap<String, Arc<Worker>>;

impl Dispatcher {
    /// A dispatcher for these receivers; nothing is sent before [`Dispatcher::run`].
    #[must_use]
    pub fn new(
        store: Arc<dyn Store>,
        receivers: Vec<Destination>,
        clock: &Arc<dyn Clock>,
        registry: &Registry,
    ) -> Self {
        let dispatcher = Self {
            store,
            clock: Arc::clone(clock),
            metrics: Metrics::new(registry),
            workers: Arc::default(),
            added: Arc::new(Notify::new()),
        };
        dispatcher.renew(receivers);
        dispatcher
    }

    /// Takes over new receivers, and new settings of known ones; what waits for those is tried at once.
    pub fn renew(&self, receivers: Vec<Destination>) {
        let mut workers = self.workers.write().unwrap_or_else(PoisonError::into_inner);
        for (name, notifier) in receivers {
            match workers.get(&name) {
                Some(worker) => worker.renew(notifier),
                None => {
                    let worker = self.worker(&name, notifier);
                    workers.insert(name, Arc::new(worker));
                }
            }
        }
        self.added.notify_one();
    }

    /// Stops sending to every receiver that is not among these.
    pub fn retire_all_but(&self, names: &[&str]) {
        for worker in self
            .all()
            .values()
            .filter(|worker| !names.contains(&worker.name.as_str()))
        {
            worker.retire();
        }
    }

    fn worker(&self, name: &str, notifier: Arc<dyn Notifier>) -> Worker {
        Worker {
            metrics: self.metrics.of(name),
            notifier: RwLock::new(Some(notifier)),
            store: Arc::clone(&self.store),
            clock: Arc::clone(&self.clock),
            backlog: Mutex::new(Backlog::default()),
            wake: Notify::new(),
            name: name.to_owned(),
        }
    }

    fn all(&self) -> Workers {
        self.workers.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Takes rows that were just committed; never waits and never fails. What does not fit into memory is read from
    /// the store later.
    pub fn hand_over(&self, rows: Vec<OutboxRow>) {
        let workers = self.workers.read().unwrap_or_else(PoisonError::into_inner);
        for row in rows {
            match workers.get(&row.receiver) {
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
        for worker in self.all().values() {
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
        let mut running = BTreeSet::new();
        let (dispatcher, stop) = (self.clone(), token.clone());
        tasks.spawn(async move { dispatcher.bury_orphans(stop).await });
        loop {
            for (name, worker) in self.all() {
                if running.insert(name) {
                    tasks.spawn(worker.run(token.clone()));
                }
            }
            // Cancel-safe: a task that ended stays in the set until it is taken.
            tokio::select! {
                ended = tasks.join_next() => match ended {
                    Some(ended) => ended?,
                    None => return Ok(()),
                },
                () = self.added.notified() => {}
            }
        }
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
        let workers = self.all();
        for receiver in self.store.outbox_receivers().await? {
            if !workers.contains_key(&receiver) {
                self.bury_rows_of(&receiver).await?;
            }
        }
        Ok(())
    }

    async fn bury_rows_of(&self, receiver: &str) -> Result<(), StoreError> {
        let mut after: Option<Ulid> = None;
        loop {
            let page = self.store.outbox_page(receiver, after, PAGE).await?;
            let Some(last) = page.last() else { return Ok(()) };
            after = Some(last.id);
            for mut row in page {
                retry::bury(&mut row, &Reason::new("the receiver is no longer configured"));
                self.store.put_outcome(&row).await?;
                self.metrics.buried(&row.receiver);
                tracing::error!(receiver = row.receiver, incident = %row.notice.incident.id, "alert given up: no such receiver");
            }
        }
    }
}

#[cfg(test)]
mod tests;
