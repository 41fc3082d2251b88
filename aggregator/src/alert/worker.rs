//! One receiver: takes rows from its backlog, has them delivered, and writes down how it went.
//!
//! Owns the attempts of one receiver. Receivers share nothing but the store, so a dead one delays nobody.

use std::panic::AssertUnwindSafe;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};
use std::time::Duration;

use futures::FutureExt as _;
use inquest_shared::clock::{Clock, UnixNanos};
use inquest_shared::failpoint::{self, Point};
use inquest_shared::model::DeliveryState;
use tokio::sync::Notify;
use tokio::task::JoinSet;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::backlog::{Backlog, Job, Offered};
use super::gate::MAX_FAILURES;
use super::metrics::ReceiverMetrics;
use super::retry::{self, MAX_WAIT};
use crate::notify::{Message, Notifier, Outcome, Reason};
use crate::record::OutboxRow;
use crate::store::{Store, StoreError};

/// Most attempts at the same time: a receiver that takes seconds to answer still takes several incidents at once.
pub(super) const MAX_IN_FLIGHT: usize = 8;
/// Rows read from the store at once.
pub(super) const PAGE: u32 = 256;
/// Wait after a failure of the store.
pub(super) const STORE_PAUSE: Duration = Duration::from_secs(1);

/// One receiver with all that it needs.
pub(super) struct Worker {
    pub(super) name: String,
    /// None while no receiver of this name is configured.
    pub(super) notifier: RwLock<Option<Arc<dyn Notifier>>>,
    pub(super) store: Arc<dyn Store>,
    pub(super) clock: Arc<dyn Clock>,
    pub(super) metrics: ReceiverMetrics,
    pub(super) backlog: Mutex<Backlog>,
    pub(super) wake: Notify,
}

impl Worker {
    /// Takes a committed row without waiting for anything.
    pub(super) fn hand_over(&self, row: OutboxRow) {
        let offered = self.backlog().hand_over(row, Instant::now());
        if offered != Offered::Duplicate {
            self.metrics.planned.inc();
        }
        if offered == Offered::Spilled {
            self.metrics.spilled.inc();
        }
        self.wake.notify_one();
    }

    /// Reads the store before anything else is taken.
    pub(super) fn look_in_store(&self) {
        self.backlog().suspect();
        self.wake.notify_one();
    }

    /// Sends with new settings from now on; what is known of the receiver's health was known of the old ones.
    pub(super) fn renew(&self, notifier: Arc<dyn Notifier>) {
        *self.notifier.write().unwrap_or_else(PoisonError::into_inner) = Some(notifier);
        self.backlog().renew(Instant::now());
        self.metrics.up.set(1);
        self.wake.notify_one();
    }

    /// Sends nothing more. What waits goes on waiting.
    pub(super) fn retire(&self) {
        let notifier = self.notifier.write().unwrap_or_else(PoisonError::into_inner).take();
        if notifier.is_some() {
            let waiting = self.backlog().outstanding();
            tracing::warn!(
                receiver = self.name,
                waiting,
                "receiver removed; what waits for it is kept"
            );
        }
    }

    fn notifier(&self) -> Option<Arc<dyn Notifier>> {
        self.notifier.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Delivers until the token is cancelled, then waits for the attempts in flight.
    pub(super) async fn run(self: Arc<Self>, token: CancellationToken) {
        self.backlog().restart();
        let mut flights = JoinSet::new();
        flights.spawn(Arc::clone(&self).probe());
        let mut read_after = Instant::now();
        while !token.is_cancelled() {
            if Instant::now() >= read_after && self.read_store().await.is_err() {
                read_after = Instant::now() + STORE_PAUSE;
            }
            self.launch(&mut flights, &token);
            let next_look = self.next_look(flights.len(), read_after);
            tokio::select! {
                () = token.cancelled() => {}
                () = self.wake.notified() => {}
                // An attempt does not panic: what it calls is caught.
                Some(_) = flights.join_next() => {}
                () = pause(next_look) => {}
            }
        }
        while flights.join_next().await.is_some() {}
    }

    /// Finds a wrong address before the first alert does, and opens the connection that it will use.
    async fn probe(self: Arc<Self>) {
        let Some(notifier) = self.notifier() else { return };
        if let Err(reason) = notifier.probe().await {
            tracing::warn!(receiver = self.name, %reason, "receiver cannot be reached");
        }
    }

    /// Starts as many attempts as may run.
    fn launch(self: &Arc<Self>, flights: &mut JoinSet<()>, token: &CancellationToken) {
        let rewrite = {
            let mut backlog = self.backlog();
            while flights.len() < MAX_IN_FLIGHT {
                let Some(notifier) = self.notifier() else { break };
                let Some(job) = backlog.take(Instant::now()) else { break };
                flights.spawn(Arc::clone(self).attempt(job, notifier, token.clone()));
            }
            self.publish(&mut backlog)
        };
        for row in rewrite {
            let (worker, token) = (Arc::clone(self), token.clone());
            // Unwritten only if the program stops first; then the row waits beside the one that replaced it.
            flights.spawn(async move {
                let _written = worker.write(&row, &token).await;
            });
        }
    }

    /// When the next row is due or the store may be read again. While no further attempt may run, a row that is due waits for
    /// the end of one and not for a time.
    pub(super) fn next_look(&self, in_flight: usize, read_after: Instant) -> Option<Instant> {
        let backlog = self.backlog();
        let reading = backlog.wants_reading().then_some(read_after);
        let may_start = in_flight < MAX_IN_FLIGHT && self.notifier().is_some();
        let due = may_start.then(|| backlog.next_due(Instant::now())).flatten();
        [due, reading].into_iter().flatten().min()
    }

    async fn attempt(self: Arc<Self>, job: Job, notifier: Arc<dyn Notifier>, token: CancellationToken) {
        let Job { mut row, again } = job;
        row.attempts = row.attempts.saturating_add(1);
        if again && let Err(error) = self.store.put_outcome(&row).await {
            // The note only tells a later reader of the table that a try began; telling people matters more.
            self.store_failed(&error);
        }
        failpoint::reach(Point::NotifyBefore);
        let outcome = self.deliver(&*notifier, &row).await;
        failpoint::reach(Point::NotifyAfter);
        self.judge(&row, &outcome);
        let now = self.clock.now();
        retry::settle(&mut row, &outcome, now);
        if self.write(&row, &token).await {
            failpoint::reach(Point::OutcomeRecorded);
            self.conclude(row, now);
        }
    }

    /// One attempt, and a second, shorter one if the first was too large.
    async fn deliver(&self, notifier: &dyn Notifier, row: &OutboxRow) -> Outcome {
        let mut message = Message {
            notice: Arc::clone(&row.notice),
            brief: false,
        };
        let outcome = self.deliver_once(notifier, &message).await;
        if !matches!(outcome, Outcome::Oversize(_)) {
            return outcome;
        }
        message.brief = true;
        self.deliver_once(notifier, &message).await
    }

    async fn deliver_once(&self, notifier: &dyn Notifier, message: &Message) -> Outcome {
        let attempt = AssertUnwindSafe(notifier.deliver(message)).catch_unwind().await;
        let outcome = attempt.unwrap_or_else(|_| Outcome::Ambiguous(Reason::new("the notifier panicked")));
        self.metrics.attempt(word(&outcome));
        outcome
    }

    /// Draws conclusions about the receiver.
    fn judge(&self, row: &OutboxRow, outcome: &Outcome) {
        let now = Instant::now();
        let mut backlog = self.backlog();
        let was_broken = backlog.gate.is_broken();
        match outcome {
            Outcome::Delivered | Outcome::Permanent(_) | Outcome::Oversize(_) => backlog.gate.succeeded(),
            Outcome::AuthBroken(_) => backlog.gate.failed(row.id, MAX_FAILURES, now),
            Outcome::Ambiguous(_) | Outcome::RetryAfter(None, _) => backlog.gate.failed(row.id, 1, now),
            Outcome::RetryAfter(Some(wait), _) => {
                backlog.gate.failed(row.id, 1, now);
                backlog.gate.silence(row.id, now + *wait);
            }
            Outcome::Throttled(wait, _) => {
                backlog.gate.silence(row.id, now + wait.unwrap_or(retry::THROTTLED));
            }
        }
        let is_broken = backlog.gate.is_broken();
        if was_broken && !is_broken {
            backlog.hurry(now);
        }
        drop(backlog);
        self.tell_health(was_broken, is_broken, outcome);
    }

    fn tell_health(&self, was_broken: bool, is_broken: bool, outcome: &Outcome) {
        self.metrics.up.set(i64::from(!is_broken));
        match (was_broken, is_broken, outcome) {
            (false, true, Outcome::AuthBroken(reason)) => {
                tracing::error!(receiver = self.name, %reason, "receiver refuses our credentials; alerts wait");
            }
            (false, true, Outcome::Ambiguous(reason) | Outcome::RetryAfter(_, reason)) => {
                tracing::warn!(receiver = self.name, %reason, "receiver is broken; alerts wait");
            }
            (true, false, _) => tracing::info!(receiver = self.name, "receiver is back"),
            _ => {}
        }
    }

    /// Writes a row down, again and again while the store refuses. False when the program stops first; the row is then
    /// still pending in the store.
    async fn write(&self, row: &OutboxRow, token: &CancellationToken) -> bool {
        loop {
            match self.store.put_outcome(row).await {
                Ok(()) => return true,
                Err(error) => self.store_failed(&error),
            }
            tokio::select! {
                () = token.cancelled() => return false,
                () = tokio::time::sleep(STORE_PAUSE) => {}
            }
        }
    }

    fn conclude(&self, row: OutboxRow, now: UnixNanos) {
        match row.state {
            DeliveryState::Delivered => {
                self.metrics.delivered.inc();
                self.metrics.delay.observe(now.since(row.planned_at).as_secs_f64());
            }
            DeliveryState::Dead => {
                self.metrics.dead.inc();
                tracing::error!(receiver = self.name, incident = %row.notice.incident.id, reason = row.last_error, "alert given up");
            }
            DeliveryState::Pending | DeliveryState::Superseded => {
                let due = self.due(&row, now);
                return self.backlog().postponed(row, due);
            }
        }
        self.backlog().settled(&row);
    }

    /// Reads waiting rows from the store if some are there only.
    async fn read_store(&self) -> Result<(), StoreError> {
        if !self.backlog().wants_reading() {
            return Ok(());
        }
        self.backlog().begin_reading();
        let mut after = None;
        loop {
            let page = self
                .store
                .outbox_page(&self.name, after, PAGE)
                .await
                .inspect_err(|error| self.store_failed(error))?;
            let now = self.clock.now();
            let mut backlog = self.backlog();
            let Some(last) = page.last().map(|row| row.id) else {
                backlog.end_reading();
                return Ok(());
            };
            after = Some(last);
            for row in page {
                let due = self.due(&row, now);
                if !backlog.found(row, due) {
                    return Ok(());
                }
            }
        }
    }

    /// A wall time as a timer. A clock that was set cannot make a row wait longer than the longest wait.
    fn due(&self, row: &OutboxRow, now: UnixNanos) -> Instant {
        Instant::now() + row.next_at.since(now).min(MAX_WAIT.max(crate::notify::MAX_RETRY_AFTER))
    }

    /// Shows what changed; gives back rows that the store has to be told of.
    fn publish(&self, backlog: &mut Backlog) -> Vec<OutboxRow> {
        let changes = backlog.take_changes();
        self.metrics.planned.inc_by(changes.found);
        self.metrics.superseded.inc_by(changes.superseded);
        self.metrics.pending.set(backlog.outstanding());
        changes.to_write
    }

    fn store_failed(&self, error: &StoreError) {
        self.metrics.store_failures.inc();
        tracing::warn!(
            receiver = self.name,
            error = error as &dyn std::error::Error,
            "the outbox cannot be reached"
        );
    }

    fn backlog(&self) -> MutexGuard<'_, Backlog> {
        self.backlog.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

async fn pause(until: Option<Instant>) {
    match until {
        Some(at) => tokio::time::sleep_until(at).await,
        None => std::future::pending().await,
    }
}

const fn word(outcome: &Outcome) -> &'static str {
    match outcome {
        Outcome::Delivered => "delivered",
        Outcome::Ambiguous(_) => "ambiguous",
        Outcome::RetryAfter(..) => "retry",
        Outcome::Throttled(..) => "throttled",
        Outcome::Oversize(_) => "oversize",
        Outcome::Permanent(_) => "permanent",
        Outcome::AuthBroken(_) => "auth_broken",
    }
}
