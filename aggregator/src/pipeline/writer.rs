//! The task that commits.
//!
//! Owns the engine. A batch that is not committed has never happened: its change is dropped, nothing is acknowledged, and
//! the same findings are folded again. When the outcome of a commit is unknown the engine starts anew from the store.

use std::{collections::BTreeSet, sync::Arc, time::Duration};

use inquest_shared::{
    clock::{Clock, UnixNanos},
    failpoint::{self, Point},
    model::Incident,
    supervisor::Backoff,
};
use tokio::{
    sync::{broadcast, mpsc, watch},
    time::{Instant, sleep},
};
use tokio_util::sync::CancellationToken;

use super::{
    Handover, Ids, Intake, PipelineMetrics, Planner, Standings, Submission,
    fold::{Folded, News, Part, fold, keys_of, parts_of},
    intake::Budget,
    lanes::{BATCH, Item, Lanes},
    metrics::{Outcome, whole},
    settled::Settled,
};
use crate::{
    engine::{Delta, Engine, Rules},
    record::Commit,
    store::{Store, StoreError},
};

/// A batch is never made smaller than this: below it the disk costs more than the findings.
const SMALLEST: usize = 64;
/// Changed incidents kept for a watcher that is slow; beyond it the watcher is told how many it missed.
const WATCH_QUEUE: usize = 1_024;
/// Longest time without a look at the clock.
const LONGEST_NAP: Duration = Duration::from_secs(1);
/// Shortest one, so that a timer that stays due cannot spin.
const SHORTEST_NAP: Duration = Duration::from_millis(2);

/// What the writer works with.
pub struct Parts {
    /// Where everything is kept.
    pub store: Arc<dyn Store>,
    /// Rules of the engine; a change takes effect with the next batch.
    pub rules: watch::Receiver<Rules>,
    /// States that the apiservers know and that hold at present. Each news is the whole truth about its clusters.
    pub standing: watch::Receiver<Standings>,
    /// Whom to tell.
    pub planner: Box<dyn Planner>,
    /// Who sends.
    pub handover: Arc<dyn Handover>,
    /// The aggregator's clock.
    pub clock: Arc<dyn Clock>,
    /// Source of ids.
    pub ids: Ids,
    /// Its numbers.
    pub metrics: PipelineMetrics,
}

/// The writer, ready to run.
pub struct Pipeline {
    parts: Parts,
    engine: Engine,
    intake: mpsc::Receiver<Submission>,
    budget: Budget,
    remembered: Arc<Settled>,
    changes: broadcast::Sender<Arc<Incident>>,
    lanes: Lanes,
    backoff: Backoff,
    /// This many findings are committed one by one: one of them stands on a damaged record.
    one_by_one: usize,
    /// How many findings fit into one batch's time, by the last one that did not; what is taken beyond it is read from
    /// the store for nothing.
    fits: usize,
    /// What the engine does not have yet; taken with the next commit.
    news: News,
}

/// Where a batch failed.
enum Failed {
    Reading(StoreError),
    Writing(StoreError),
}

impl Pipeline {
    /// Reads the live incidents and makes the door for connections.
    ///
    /// # Errors
    /// [`StoreError`] of the reading; its kind says whether trying again helps.
    pub async fn start(mut parts: Parts) -> Result<(Self, Intake), StoreError> {
        let engine = load(&mut parts).await?;
        let changes = broadcast::Sender::new(WATCH_QUEUE);
        let (intake, queue) = Intake::new(changes.clone(), parts.metrics.clone());
        let backoff = Backoff::new(Duration::from_millis(50), Duration::from_secs(5), Duration::MAX);
        let pipeline = Self {
            parts,
            engine,
            budget: intake.budget(),
            remembered: intake.settled(),
            intake: queue,
            changes,
            lanes: Lanes::default(),
            backoff,
            one_by_one: 0,
            fits: BATCH,
            news: News::default(),
        };
        Ok((pipeline, intake))
    }

    /// Commits until `stop` is cancelled or every door is dropped; then once more what has arrived.
    ///
    /// # Errors
    /// [`StoreError`] that no retry repairs: a damaged or newer database, or one that another process holds.
    pub async fn run(mut self, stop: CancellationToken) -> Result<(), StoreError> {
        while self.wait(&stop).await {
            if let Err(failed) = self.round().await {
                self.recover(failed, &stop).await?;
            }
        }
        self.intake.close();
        self.take_waiting();
        while !self.lanes.is_empty() && self.round().await.is_ok() {
            self.take_waiting();
        }
        Ok(())
    }

    /// Waits until there is something to do; false when it is time to end. Cancel-safe in all branches: a message that
    /// was not received stays in the queue.
    async fn wait(&mut self, stop: &CancellationToken) -> bool {
        if self.lanes.is_empty() {
            let nap = self.nap();
            tokio::select! {
                () = stop.cancelled() => return false,
                submission = self.intake.recv() => match submission {
                    Some(submission) => self.sort(submission),
                    None => return false,
                },
                () = sleep(nap) => {}
                Ok(()) = self.parts.rules.changed() => self.parts.rules.mark_changed(),
                Ok(()) = self.parts.standing.changed() => self.parts.standing.mark_changed(),
            }
        }
        self.take_waiting();
        !stop.is_cancelled()
    }

    fn nap(&self) -> Duration {
        let due = self.engine.next_deadline().map(|at| at.since(self.parts.clock.now()));
        due.unwrap_or(LONGEST_NAP).clamp(SHORTEST_NAP, LONGEST_NAP)
    }

    fn take_waiting(&mut self) {
        if self.parts.rules.has_changed().unwrap_or(false) {
            self.news.rules = Some(self.parts.rules.borrow_and_update().clone());
        }
        if self.parts.standing.has_changed().unwrap_or(false) {
            self.news.standing = self.parts.standing.borrow_and_update().clone();
        }
        while !self.lanes.is_full() {
            let Ok(submission) = self.intake.try_recv() else { break };
            self.sort(submission);
        }
        self.show_queues();
    }

    /// Shown before and after every round, so that an idle writer shows empty queues.
    fn show_queues(&self) {
        let metrics = &self.parts.metrics;
        metrics.queued_messages.set(whole(self.intake.len()));
        metrics.bytes_in_flight.set(whole(self.budget.used()));
    }

    fn sort(&mut self, submission: Submission) {
        for received in submission.findings {
            let opens = self.engine.would_open(&submission.node, &received.finding);
            let (node, sink) = (Arc::clone(&submission.node), submission.sink.clone());
            self.lanes.push(Item {
                node,
                sink,
                received,
                opens,
            });
        }
    }

    /// One batch. What was not committed is back in its lane afterwards.
    async fn round(&mut self) -> Result<(), Failed> {
        let start = Instant::now();
        let limit = if self.one_by_one > 0 { 1 } else { self.fits };
        let mut work = self.lanes.take(limit);
        let done = self.commit(&work).await;
        match done {
            Ok(taken) => {
                self.fits = fits(work.len(), taken);
                self.lanes.put_back(work.split_off(taken));
                self.one_by_one = self.one_by_one.saturating_sub(taken);
                self.backoff.reset();
                if !work.is_empty() {
                    self.parts.metrics.batch_seconds.observe(start.elapsed().as_secs_f64());
                }
                Ok(())
            }
            Err(failed) => {
                self.lanes.put_back(work);
                Err(failed)
            }
        }
    }

    /// Folds and commits `work` from the front; returns how much of it is settled.
    async fn commit(&mut self, work: &[Item]) -> Result<usize, Failed> {
        let keys = keys_of(work);
        let stored = if keys.is_empty() {
            Vec::new()
        } else {
            self.parts.store.findings(&keys).await.map_err(Failed::Reading)?
        };
        let now = self.parts.clock.now();
        let news = self.news.clone();
        let Folded {
            mut delta,
            taken,
            fresh,
        } = fold(&self.engine, work, stored, news, now, &mut self.parts.ids);
        let settled = work.get(..taken).unwrap_or(work);
        let groups = parts_of(settled);
        let mut commit = self.commit_of(&mut delta, &groups, now);
        if !(commit.occurrences.is_empty() && commit.incidents.is_empty() && commit.outbox.is_empty()) {
            let start = Instant::now();
            failpoint::reach(Point::BatchBeforeCommit);
            self.parts.store.commit(&commit).await.map_err(Failed::Writing)?;
            failpoint::reach(Point::BatchAfterCommit);
            self.parts.metrics.commit_seconds.observe(start.elapsed().as_secs_f64());
        }
        let rows = std::mem::take(&mut commit.outbox);
        if !rows.is_empty() {
            self.parts.handover.hand_over(rows);
            failpoint::reach(Point::HandedOver);
        }
        delta.incidents = commit.incidents;
        self.news = News::default();
        self.settled(&delta, &groups, taken, fresh);
        self.remembered.add(settled.iter().map(|item| item.received.digest));
        Ok(taken)
    }

    fn commit_of(&mut self, delta: &mut Delta, groups: &[Part], now: UnixNanos) -> Commit {
        let outbox = self.parts.planner.plan(&delta.notices, now, &mut self.parts.ids);
        Commit {
            occurrences: std::mem::take(&mut delta.occurrences),
            incidents: std::mem::take(&mut delta.incidents),
            outbox,
            marks: groups.iter().map(mark_of).collect(),
        }
    }

    fn settled(&mut self, delta: &Delta, groups: &[Part], taken: usize, fresh: usize) {
        self.engine.apply(delta);
        for group in groups {
            group.sink.settle(&group.seqs, group.bytes);
        }
        if self.changes.receiver_count() > 0 {
            for incident in &delta.incidents {
                // Nobody listens any more: nobody misses it.
                self.changes.send(Arc::new(incident.clone())).unwrap_or(0);
            }
        }
        let metrics = &self.parts.metrics;
        metrics.committed(taken, fresh);
        metrics.open_incidents.set(whole(self.engine.open_incidents()));
        if taken > 0 {
            metrics
                .batch_findings
                .observe(f64::from(u32::try_from(taken).unwrap_or(u32::MAX)));
        }
    }

    /// Makes the next round possible, after a pause; gives up when no retry can help.
    async fn recover(&mut self, failed: Failed, stop: &CancellationToken) -> Result<(), StoreError> {
        match failed {
            Failed::Reading(StoreError::Damaged { what, source }) => {
                tracing::error!(what, error = %source, "a stored finding is damaged");
                self.step_over();
                return Ok(());
            }
            Failed::Reading(error @ (StoreError::Refused { .. } | StoreError::Doubtful { .. }))
            | Failed::Writing(error @ StoreError::Refused { .. }) => self.note("refused", &error),
            Failed::Writing(error @ StoreError::Doubtful { .. }) => {
                self.note("doubtful", &error);
                self.reload(stop).await?;
            }
            Failed::Reading(error) | Failed::Writing(error) => return Err(error),
        }
        self.pause(stop).await;
        Ok(())
    }

    fn note(&self, outcome: &'static str, error: &StoreError) {
        self.parts
            .metrics
            .commit_failures
            .get_or_create(&Outcome { outcome })
            .inc();
        let cause = std::error::Error::source(error).map(ToString::to_string);
        tracing::warn!(outcome, %error, cause, "a batch was not committed and is tried again");
    }

    /// Waits longer with every failure in a row.
    async fn pause(&mut self, stop: &CancellationToken) {
        let pause = self.backoff.after(Duration::ZERO);
        tokio::select! {
            () = stop.cancelled() => {}
            () = sleep(pause) => {}
        }
    }

    /// Finds the finding whose stored version is damaged by committing one by one, and gives up that one, so that it
    /// does not hold up everybody else.
    fn step_over(&mut self) {
        if self.one_by_one == 0 {
            self.one_by_one = self.lanes.len().min(BATCH);
            return;
        }
        let given_up = self.lanes.take(1);
        self.one_by_one = self.one_by_one.saturating_sub(1);
        for part in parts_of(&given_up) {
            part.sink.settle(&part.seqs, part.bytes);
        }
        self.parts.metrics.gave_up(given_up.len());
    }

    /// Starts the engine anew from the store, as often as it takes.
    async fn reload(&mut self, stop: &CancellationToken) -> Result<(), StoreError> {
        loop {
            match load(&mut self.parts).await {
                Ok(engine) => {
                    self.engine = engine;
                    self.news.rules = None;
                    self.parts.handover.look_in_store();
                    return Ok(());
                }
                Err(error @ (StoreError::Refused { .. } | StoreError::Doubtful { .. })) if !stop.is_cancelled() => {
                    self.note("refused", &error);
                    self.pause(stop).await;
                }
                Err(error) => return Err(error),
            }
        }
    }
}

/// The next batch's size: twice what fitted, so that it finds back to the largest when findings become cheaper.
fn fits(given: usize, taken: usize) -> usize {
    match taken < given {
        true => taken.saturating_mul(2).clamp(SMALLEST, BATCH),
        false => given.saturating_mul(2).clamp(SMALLEST, BATCH),
    }
}

fn mark_of(part: &Part) -> (crate::record::NodeIdentity, u64, u64) {
    let seqs: &BTreeSet<u64> = &part.seqs;
    ((*part.node).clone(), part.sink.epoch(), part.sink.after(seqs))
}

async fn load(parts: &mut Parts) -> Result<Engine, StoreError> {
    let rules = parts.rules.borrow_and_update().clone();
    let since = parts.clock.now().saturating_sub(rules.reopen_window);
    let live = parts.store.live_incidents(since).await?;
    Ok(Engine::new(rules, live))
}
