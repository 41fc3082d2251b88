//! Forgetting: what is older than the retention, and the oldest when the store grows too large.
//!
//! Owns when and how much. The size limit works as a shorter retention: the oldest of all kinds go first, so what is left
//! is complete for its time. Must not know backends, nor what a record means.

use std::{sync::Arc, time::Duration};

use inquest_shared::{clock::Clock, config::AggregatorConfig, telemetry::Registry};
use prometheus_client::{
    encoding::EncodeLabelSet,
    metrics::{counter::Counter, family::Family, gauge::Gauge},
};
use tokio::{sync::watch, time::sleep};
use tokio_util::sync::CancellationToken;

use crate::{
    ingest::Nodes,
    store::{Pruned, Store, StoreError},
};

/// How often old records are deleted, and how many of each kind at once: small bites keep the writer free.
const EVERY: Duration = Duration::from_secs(60);
const ROWS: u32 = 2_000;

/// What is kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Keep {
    /// At most this long.
    pub time: Duration,
    /// At most so many bytes, without what is free inside the file.
    pub bytes: u64,
}

impl Keep {
    /// As configured.
    #[must_use]
    pub fn of(config: &AggregatorConfig) -> Self {
        Self {
            time: config.retain_occurrences.0,
            bytes: config.retain_bytes.0,
        }
    }
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Gone {
    kind: &'static str,
    reason: &'static str,
}

/// What operators see of the store's size.
#[derive(Debug, Clone)]
pub struct RetentionMetrics {
    deleted: Family<Gone, Counter>,
    used: Gauge,
    free: Gauge,
    damaged: Gauge,
}

impl RetentionMetrics {
    /// Registers them.
    #[must_use]
    pub fn new(registry: &Registry) -> Self {
        Self {
            deleted: registry.register(
                "retention_deleted",
                "Records deleted, by kind and by what they exceeded",
                Family::default(),
            ),
            used: registry.register(
                "store_used_bytes",
                "Bytes of the records in the store",
                Gauge::default(),
            ),
            free: registry.register(
                "store_free_bytes",
                "Bytes free inside the store's file",
                Gauge::default(),
            ),
            damaged: registry.register(
                "store_damaged_reads",
                "Damaged records met while reading, since the start",
                Gauge::default(),
            ),
        }
    }

    fn count(&self, gone: &Pruned, reason: &'static str) {
        for (kind, rows) in gone.by_kind() {
            if rows > 0 {
                self.deleted.get_or_create(&Gone { kind, reason }).inc_by(rows);
            }
        }
    }
}

/// The task's parts.
#[derive(Clone)]
pub struct Retention {
    /// What is pruned.
    pub store: Arc<dyn Store>,
    /// The live view, which forgets the same nodes.
    pub nodes: Nodes,
    /// The aggregator's clock.
    pub clock: Arc<dyn Clock>,
    /// What is kept; a change holds from the next round on.
    pub keep: watch::Receiver<Keep>,
    /// Its numbers.
    pub metrics: RetentionMetrics,
}

impl Retention {
    /// Forgets once a minute until `stop` is cancelled. A store that refuses is tried again with the next round.
    pub async fn run(self, stop: CancellationToken) {
        loop {
            // Cancelled between two statements, a transaction is rolled back and its rows go with the next start.
            match stop.run_until_cancelled(self.round()).await {
                None => return,
                Some(Ok(())) => {}
                Some(Err(error)) => tracing::warn!(%error, "old records were not deleted now"),
            }
            if stop.run_until_cancelled(sleep(EVERY)).await.is_none() {
                return;
            }
        }
    }

    /// Everything that is due now.
    ///
    /// # Errors
    /// [`StoreError`] of the store; a later round goes on where this one ended.
    pub async fn round(&self) -> Result<(), StoreError> {
        let keep = *self.keep.borrow();
        let before = self.clock.now().saturating_sub(keep.time);
        self.nodes.forget(before);
        let mut free = u64::MAX;
        loop {
            let gone = self.store.prune(before, ROWS).await?;
            self.metrics.count(&gone, "age");
            let shrinks = gone.free_bytes > 0 && gone.free_bytes < free;
            if gone.rows() == 0 && !shrinks {
                break;
            }
            free = gone.free_bytes;
        }
        while self.measure().await? > keep.bytes {
            let Some(before) = self.store.oldest(ROWS).await? else {
                break;
            };
            let gone = self.store.prune(before, ROWS).await?;
            self.metrics.count(&gone, "size");
            if gone.rows() == 0 {
                break;
            }
        }
        self.measure().await?;
        Ok(())
    }

    async fn measure(&self) -> Result<u64, StoreError> {
        let figures = self.store.figures().await?;
        let whole = |bytes: u64| i64::try_from(bytes).unwrap_or(i64::MAX);
        self.metrics.used.set(whole(figures.used_bytes));
        self.metrics.free.set(whole(figures.free_bytes));
        self.metrics.damaged.set(whole(figures.damaged_reads));
        Ok(figures.used_bytes)
    }
}
