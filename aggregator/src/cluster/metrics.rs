//! What operators see of the cluster index.
//!
//! Owns the metrics. Must not know records.

use std::sync::Arc;

use inquest_shared::telemetry::Registry;
use prometheus_client::{
    encoding::EncodeLabelSet,
    metrics::{counter::Counter, family::Family, gauge::Gauge},
};

use super::{change::Pushed, kind::Kind};

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Of {
    cluster: Arc<str>,
    kind: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Restart {
    cluster: Arc<str>,
    kind: &'static str,
    cause: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Fate {
    cluster: Arc<str>,
    fate: &'static str,
}

/// The metrics of all clusters. Clones are the same metrics.
#[derive(Debug, Clone, Default)]
pub struct ClusterMetrics {
    objects: Family<Of, Gauge>,
    blind: Family<Of, Gauge>,
    progress: Family<Of, Gauge>,
    restarts: Family<Restart, Counter>,
    unreadable: Family<Of, Counter>,
    changes: Family<Fate, Counter>,
}

impl ClusterMetrics {
    /// Registers them.
    #[must_use]
    pub fn new(registry: &Registry) -> Self {
        Self {
            objects: registry.register("cluster_objects", "Objects in the cluster index", Family::default()),
            blind: registry.register(
                "cluster_watches_down",
                "Watches that are degraded or blind",
                Family::default(),
            ),
            progress: registry.register(
                "cluster_watch_progress_timestamp_seconds",
                "When the apiserver last said anything, for the watch that waits longest",
                Family::default(),
            ),
            restarts: registry.register(
                "cluster_watch_restarts",
                "Watches that ended, by what ended them",
                Family::default(),
            ),
            unreadable: registry.register(
                "cluster_objects_unreadable",
                "Objects of a watch that could not be read",
                Family::default(),
            ),
            changes: registry.register(
                "cluster_changes",
                "Changes on their way to the engine: replaced by a newer one, or dropped since the queue was full",
                Family::default(),
            ),
        }
    }

    pub(super) fn objects(&self, cluster: &Arc<str>, kind: Kind, count: usize) {
        let count = i64::try_from(count).unwrap_or(i64::MAX);
        self.objects.get_or_create(&of(cluster, kind)).set(count);
    }

    pub(super) fn watches(&self, cluster: &Arc<str>, kind: Kind, down: usize, progress_secs: i64) {
        let down = i64::try_from(down).unwrap_or(i64::MAX);
        self.blind.get_or_create(&of(cluster, kind)).set(down);
        self.progress.get_or_create(&of(cluster, kind)).set(progress_secs);
    }

    pub(super) fn restarted(&self, cluster: &Arc<str>, kind: Kind, cause: &'static str) {
        let label = Restart {
            cluster: Arc::clone(cluster),
            kind: kind.name(),
            cause,
        };
        self.restarts.get_or_create(&label).inc();
    }

    pub(super) fn unreadable(&self, cluster: &Arc<str>, kind: Kind) {
        self.unreadable.get_or_create(&of(cluster, kind)).inc();
    }

    pub(super) fn pushed(&self, cluster: &Arc<str>, pushed: Pushed) {
        for (fate, count) in [("replaced", pushed.replaced), ("dropped", pushed.dropped)] {
            if count > 0 {
                let cluster = Arc::clone(cluster);
                self.changes.get_or_create(&Fate { cluster, fate }).inc_by(count);
            }
        }
    }
}

fn of(cluster: &Arc<str>, kind: Kind) -> Of {
    Of {
        cluster: Arc::clone(cluster),
        kind: kind.name(),
    }
}
