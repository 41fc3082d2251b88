//! A store in memory and a notifier that does what a test says.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use futures::future::BoxFuture;
use inquest_shared::clock::UnixNanos;
use inquest_shared::model::{Delivery, DeliveryState, Incident, Key};
use tokio::sync::watch;
use ulid::Ulid;

use crate::notify::{Message, Notifier, Outcome, Reason};
use crate::record::{
    Commit, Cursor, Filter, NodeIdentity, OutboxRow, OutboxTotals, Scope, Slot, StoredLog, StoredNode, StoredOccurrence,
};
use crate::store::{Pruned, Store, StoreError, StoreFigures, StoreFuture};

pub(super) fn http_500() -> Outcome {
    Outcome::RetryAfter(None, Reason::new("http 500"))
}

pub(super) fn http_400() -> Outcome {
    Outcome::Permanent(Reason::new("http 400"))
}

pub(super) fn oversize() -> Outcome {
    Outcome::Oversize(Reason::new("http 413"))
}

pub(super) fn throttled(wait: Duration) -> Outcome {
    Outcome::Throttled(Some(wait), Reason::new("http 429"))
}

type Answer = Box<dyn Fn(usize, &Message) -> Outcome + Send>;

/// What a receiver does, and what it was told.
#[derive(Clone)]
pub(super) struct Script(Arc<Inner>);

struct Inner {
    answer: Mutex<Answer>,
    hangs: bool,
    keys: watch::Sender<Vec<String>>,
}

impl Script {
    pub(super) fn of(answer: impl Fn(usize, &Message) -> Outcome + Send + 'static) -> Self {
        Self::new(Box::new(answer), false)
    }

    pub(super) fn delivering() -> Self {
        Self::of(|_, _| Outcome::Delivered)
    }

    pub(super) fn hanging() -> Self {
        Self::new(Box::new(|_, _| Outcome::Delivered), true)
    }

    fn new(answer: Answer, hangs: bool) -> Self {
        Self(Arc::new(Inner {
            answer: Mutex::new(answer),
            hangs,
            keys: watch::Sender::new(Vec::new()),
        }))
    }

    pub(super) fn now_does(&self, answer: impl Fn(usize, &Message) -> Outcome + Send + 'static) {
        *self.0.answer.lock().unwrap() = Box::new(answer);
    }

    pub(super) fn notifier(&self) -> Arc<dyn Notifier> {
        Arc::new(self.clone())
    }

    /// Keys of all calls in order.
    pub(super) fn keys(&self) -> Vec<String> {
        self.0.keys.borrow().clone()
    }

    pub(super) fn key(&self, incident: u128, transition: u32) -> String {
        format!("{}-{transition}", Ulid(incident))
    }

    pub(super) async fn calls_reach(&self, count: usize) {
        self.0
            .keys
            .subscribe()
            .wait_for(|keys| keys.len() >= count)
            .await
            .unwrap();
    }
}

impl Notifier for Script {
    fn deliver<'a>(&'a self, message: &'a Message) -> BoxFuture<'a, Outcome> {
        self.0.keys.send_modify(|keys| keys.push(message.key()));
        let call = self.0.keys.borrow().len();
        Box::pin(async move {
            if self.0.hangs {
                std::future::pending::<()>().await;
            }
            let answer = self.0.answer.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
            answer(call, message)
        })
    }

    fn probe(&self) -> BoxFuture<'_, Result<(), Reason>> {
        Box::pin(async { Ok(()) })
    }
}

/// The outbox part of a store; the rest is empty.
#[derive(Default)]
pub(super) struct FakeStore {
    rows: Mutex<BTreeMap<Ulid, OutboxRow>>,
    writes: Mutex<Vec<OutboxRow>>,
    refusals: AtomicU32,
}

impl FakeStore {
    pub(super) fn empty() -> Arc<Self> {
        Arc::default()
    }

    /// Makes the next calls fail.
    pub(super) fn refuse(&self, calls: u32) {
        self.refusals.store(calls, Ordering::SeqCst);
    }

    pub(super) fn row(&self, id: u128) -> OutboxRow {
        self.rows.lock().unwrap()[&Ulid(id)].clone()
    }

    pub(super) fn state(&self, id: u128) -> DeliveryState {
        self.row(id).state
    }

    /// What was written about a row after its commit.
    pub(super) fn history(&self, id: u128) -> Vec<(DeliveryState, u32)> {
        let writes = self.writes.lock().unwrap();
        writes
            .iter()
            .filter(|row| row.id == Ulid(id))
            .map(|row| (row.state, row.attempts))
            .collect()
    }

    fn admit(&self) -> Result<(), StoreError> {
        let left = self
            .refusals
            .fetch_update(Ordering::SeqCst, Ordering::SeqCst, |left| left.checked_sub(1));
        match left {
            Ok(_) => Err(StoreError::Refused {
                what: "test",
                source: "disk full".into(),
            }),
            Err(_) => Ok(()),
        }
    }
}

fn done<'a, T: Send + 'a>(value: T) -> StoreFuture<'a, T> {
    Box::pin(async { Ok(value) })
}

impl Store for FakeStore {
    fn commit<'a>(&'a self, commit: &'a Commit) -> StoreFuture<'a, ()> {
        let mut rows = self.rows.lock().unwrap();
        for new in &commit.outbox {
            let replaced = |row: &&mut OutboxRow| {
                let place = |row: &OutboxRow| (row.receiver.clone(), row.notice.incident.id, row.slot());
                row.state == DeliveryState::Pending && new.slot() == Slot::Update && place(row) == place(new)
            };
            rows.values_mut()
                .filter(replaced)
                .for_each(|row| row.state = DeliveryState::Superseded);
            rows.insert(new.id, new.clone());
        }
        done(())
    }

    fn outbox_page<'a>(
        &'a self,
        receiver: &'a str,
        after: Option<Ulid>,
        limit: u32,
    ) -> StoreFuture<'a, Vec<OutboxRow>> {
        let result = self.admit().map(|()| {
            let rows = self.rows.lock().unwrap();
            let waiting = rows
                .values()
                .filter(|row| row.state == DeliveryState::Pending && row.receiver == receiver && Some(row.id) > after);
            waiting.take(usize::try_from(limit).unwrap()).cloned().collect()
        });
        Box::pin(async { result })
    }

    fn outbox_receivers(&self) -> StoreFuture<'_, Vec<String>> {
        let rows = self.rows.lock().unwrap();
        let names: BTreeSet<String> = rows.values().map(|row| row.receiver.clone()).collect();
        done(names.into_iter().collect())
    }

    fn put_outcome<'a>(&'a self, row: &'a OutboxRow) -> StoreFuture<'a, ()> {
        let result = self.admit().map(|()| {
            self.writes.lock().unwrap().push(row.clone());
            self.rows.lock().unwrap().insert(row.id, row.clone());
        });
        Box::pin(async { result })
    }

    fn findings<'a>(&'a self, _: &'a [(NodeIdentity, Key)]) -> StoreFuture<'a, Vec<StoredOccurrence>> {
        done(Vec::new())
    }
    fn live_incidents(&self, _: UnixNanos) -> StoreFuture<'_, Vec<Incident>> {
        done(Vec::new())
    }
    fn open_incidents(&self) -> StoreFuture<'_, u64> {
        done(0)
    }
    fn mark<'a>(&'a self, _: &'a NodeIdentity, _: u64) -> StoreFuture<'a, u64> {
        done(0)
    }
    fn put_log<'a>(
        &'a self,
        _: &'a NodeIdentity,
        _: Key,
        _: u32,
        _: &'a StoredLog,
        _: UnixNanos,
    ) -> StoreFuture<'a, ()> {
        done(())
    }
    fn put_node<'a>(&'a self, _: &'a NodeIdentity, _: UnixNanos) -> StoreFuture<'a, ()> {
        done(())
    }
    fn put_status<'a>(&'a self, _: &'a NodeIdentity, _: UnixNanos, _: &'a [u8]) -> StoreFuture<'a, ()> {
        done(())
    }
    fn outbox_totals(&self) -> StoreFuture<'_, OutboxTotals> {
        done(OutboxTotals::default())
    }
    fn list_deliveries<'a>(
        &'a self,
        _: &'a Scope,
        _: Option<DeliveryState>,
        _: &'a str,
        _: Option<&'a Cursor>,
        _: u32,
    ) -> StoreFuture<'a, Vec<OutboxRow>> {
        done(Vec::new())
    }
    fn deliveries(&self, _: Ulid) -> StoreFuture<'_, Vec<Delivery>> {
        done(Vec::new())
    }
    fn list_incidents<'a>(
        &'a self,
        _: &'a Scope,
        _: &'a Filter,
        _: Option<&'a Cursor>,
        _: u32,
    ) -> StoreFuture<'a, Vec<Incident>> {
        done(Vec::new())
    }
    fn find_incidents<'a>(&'a self, _: &'a Scope, _: &'a str) -> StoreFuture<'a, Vec<Incident>> {
        done(Vec::new())
    }
    fn list_findings<'a>(
        &'a self,
        _: &'a Scope,
        _: &'a Filter,
        _: Option<&'a Cursor>,
        _: u32,
    ) -> StoreFuture<'a, Vec<(StoredOccurrence, bool)>> {
        done(Vec::new())
    }
    fn log<'a>(&'a self, _: &'a Scope, _: Key) -> StoreFuture<'a, Option<StoredLog>> {
        done(None)
    }
    fn nodes<'a>(&'a self, _: &'a str, _: Option<&'a NodeIdentity>, _: u32) -> StoreFuture<'a, Vec<StoredNode>> {
        done(Vec::new())
    }
    fn prune(&self, _: UnixNanos, _: u32) -> StoreFuture<'_, Pruned> {
        done(Pruned::default())
    }
    fn oldest(&self, _: u32) -> StoreFuture<'_, Option<UnixNanos>> {
        done(None)
    }
    fn figures(&self) -> StoreFuture<'_, StoreFigures> {
        done(StoreFigures::default())
    }
    fn probe(&self) -> StoreFuture<'_, ()> {
        done(())
    }
    fn describe(&self) -> (String, u32) {
        ("fake".to_owned(), 0)
    }
}
