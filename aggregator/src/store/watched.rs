//! A store whose failures are seen: by `/readyz` and by a counter.
//!
//! Owns which operations fail at present. Must not know backends, nor change any answer.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use inquest_shared::{
    clock::UnixNanos,
    model::{Delivery, DeliveryState, Incident, Key},
    telemetry::{Condition, Health, Need, Registry},
};
use prometheus_client::{
    encoding::EncodeLabelSet,
    metrics::{counter::Counter, family::Family},
};
use tokio::time::{Instant, sleep};
use tokio_util::sync::CancellationToken;
use ulid::Ulid;

use super::{Pruned, Store, StoreError, StoreFigures, StoreFuture};
use crate::record::{
    Commit, Cursor, Filter, NodeIdentity, OutboxRow, OutboxTotals, Scope, StoredLog, StoredNode, StoredOccurrence,
};

/// Name of the condition in `/readyz`.
const STORE: &str = "store";
/// How often a store that failed is tried.
const PROBE_EVERY: Duration = Duration::from_secs(2);
/// An operation that has not failed for this long counts as working again once the probe works: whoever needs it tries
/// it again more often than that.
const QUIET: Duration = Duration::from_secs(8);

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Operation {
    operation: &'static str,
}

/// Passes everything on and notes how it went.
pub struct Watched {
    inner: Arc<dyn Store>,
    health: Health,
    failing: Mutex<BTreeMap<&'static str, Instant>>,
    failures: Family<Operation, Counter>,
}

impl Watched {
    /// Watches a store. The condition [`STORE`] follows it from now on.
    #[must_use]
    pub fn new(inner: Arc<dyn Store>, health: Health, registry: &Registry) -> Self {
        health.declare(STORE, Need::Required);
        health.set(STORE, Condition::Ok);
        Self {
            inner,
            health,
            failing: Mutex::default(),
            failures: registry.register(
                "store_failures",
                "Operations that the store refused or left in doubt",
                Family::default(),
            ),
        }
    }

    async fn noted<T>(&self, operation: &'static str, call: StoreFuture<'_, T>) -> Result<T, StoreError> {
        let result = call.await;
        match &result {
            Ok(_) => self.works(operation),
            Err(error @ (StoreError::Refused { .. } | StoreError::Doubtful { .. })) => self.fails(operation, error),
            // The store works; a record or the set-up does not.
            Err(_) => {}
        }
        result
    }

    fn works(&self, operation: &'static str) {
        let mut failing = self.failing();
        if failing.remove(operation).is_some() && failing.is_empty() {
            self.health.set(STORE, Condition::Ok);
        }
    }

    fn fails(&self, operation: &'static str, error: &StoreError) {
        self.failures.get_or_create(&Operation { operation }).inc();
        let mut failing = self.failing();
        failing.insert(operation, Instant::now());
        let cause = std::error::Error::source(error).map_or_else(String::new, |cause| format!(": {cause}"));
        self.health.set(STORE, Condition::degraded(format!("{error}{cause}")));
    }

    /// Tries the store if something failed. True when it works as far as anybody knows.
    async fn check(&self) -> bool {
        if self.failing().is_empty() {
            return true;
        }
        if self.noted("probe", self.inner.probe()).await.is_err() {
            return false;
        }
        let mut failing = self.failing();
        failing.retain(|_, failed| failed.elapsed() < QUIET);
        let works = failing.is_empty();
        if works {
            self.health.set(STORE, Condition::Ok);
        }
        works
    }

    fn failing(&self) -> MutexGuard<'_, BTreeMap<&'static str, Instant>> {
        self.failing.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Finds out, after a failure, when the store works again, also while nobody needs it.
pub async fn keep_watch(store: Arc<Watched>, stop: CancellationToken) {
    let mut worked = true;
    while stop.run_until_cancelled(sleep(PROBE_EVERY)).await.is_some() {
        let works = store.check().await;
        if works && !worked {
            tracing::info!("the store works again");
        }
        worked = works;
    }
}

/// Each method is the same call on the inner store, noted under its name.
macro_rules! pass_on {
    ($($name:ident($($arg:ident: $type:ty),*) -> $answer:ty;)+) => {
        $(
            fn $name<'a>(&'a self, $($arg: $type),*) -> StoreFuture<'a, $answer> {
                Box::pin(self.noted(stringify!($name), self.inner.$name($($arg),*)))
            }
        )+
    };
}

impl Store for Watched {
    pass_on! {
        findings(keys: &'a [(NodeIdentity, Key)]) -> Vec<StoredOccurrence>;
        commit(commit: &'a Commit) -> ();
        live_incidents(resolved_since: UnixNanos) -> Vec<Incident>;
        open_incidents() -> u64;
        mark(node: &'a NodeIdentity, epoch: u64) -> u64;
        put_log(node: &'a NodeIdentity, key: Key, offset: u32, log: &'a StoredLog, at: UnixNanos) -> ();
        put_node(node: &'a NodeIdentity, at: UnixNanos) -> ();
        put_status(node: &'a NodeIdentity, at: UnixNanos, status: &'a [u8]) -> ();
        outbox_page(receiver: &'a str, after: Option<Ulid>, limit: u32) -> Vec<OutboxRow>;
        outbox_receivers() -> Vec<String>;
        put_outcome(row: &'a OutboxRow) -> ();
        outbox_totals() -> OutboxTotals;
        deliveries(incident: Ulid) -> Vec<Delivery>;
        list_deliveries(scope: &'a Scope, state: Option<DeliveryState>, receiver: &'a str, after: Option<&'a Cursor>, limit: u32)
            -> Vec<OutboxRow>;
        list_incidents(scope: &'a Scope, filter: &'a Filter, after: Option<&'a Cursor>, limit: u32) -> Vec<Incident>;
        find_incidents(scope: &'a Scope, prefix: &'a str) -> Vec<Incident>;
        list_findings(scope: &'a Scope, filter: &'a Filter, after: Option<&'a Cursor>, limit: u32)
            -> Vec<(StoredOccurrence, bool)>;
        log(scope: &'a Scope, key: Key) -> Option<StoredLog>;
        nodes(cluster: &'a str, after: Option<&'a NodeIdentity>, limit: u32) -> Vec<StoredNode>;
        prune(before: UnixNanos, limit: u32) -> Pruned;
        oldest(limit: u32) -> Option<UnixNanos>;
        figures() -> StoreFigures;
        probe() -> ();
    }

    fn describe(&self) -> (String, u32) {
        self.inner.describe()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::Ordering;

    use super::*;
    use crate::pipeline::tests::memory::MemoryStore;

    fn watched(inner: &Arc<MemoryStore>) -> (Arc<Watched>, Health, Registry) {
        let (registry, health) = (Registry::new("t", "0"), Health::default());
        let store: Arc<dyn Store> = inner.clone();
        (
            Arc::new(Watched::new(store, health.clone(), &registry)),
            health,
            registry,
        )
    }

    #[tokio::test(start_paused = true)]
    async fn a_store_that_refuses_is_named_with_the_reason_until_it_works() {
        let inner = MemoryStore::new();
        let (store, health, registry) = watched(&inner);
        assert_eq!(health.report(), "ok store\n");
        inner.refuse.store(1, Ordering::SeqCst);
        assert!(store.commit(&Commit::default()).await.is_err());
        let report = health.report();
        assert!(
            report.starts_with("failed store: commit") && report.contains("disk full"),
            "{report}"
        );
        let text = registry.encode().unwrap();
        assert!(
            text.contains(r#"inquest_store_failures_total{operation="commit"} 1"#),
            "{text}"
        );
        store.commit(&Commit::default()).await.unwrap();
        assert_eq!(health.report(), "ok store\n");
    }

    /// Small writes go through before large ones do; one that works must not hide one that does not.
    #[tokio::test(start_paused = true)]
    async fn another_operation_that_works_does_not_hide_the_one_that_fails() {
        let inner = MemoryStore::new();
        let (store, health, _registry) = watched(&inner);
        inner.refuse.store(1, Ordering::SeqCst);
        assert!(store.commit(&Commit::default()).await.is_err());
        store.probe().await.unwrap();
        assert!(!health.is_ready() && !store.check().await);
        tokio::time::advance(QUIET).await;
        assert!(
            store.check().await && health.is_ready(),
            "nobody needs the operation any more"
        );
    }
}
