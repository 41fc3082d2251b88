//! Counters that a reader keeps for itself, as metrics. They are read when somebody asks, so that the reader pays nothing.

use std::{fmt, sync::Arc};

use inquest_shared::telemetry::Registry;
use prometheus_client::{
    encoding::{EncodeMetric, MetricEncoder, NoLabelSet},
    metrics::MetricType,
};

/// One counter of `S`.
struct Reading<S> {
    stats: Arc<S>,
    of: fn(&S) -> u64,
}

// Derived ones would ask the same of `S`.
impl<S> Clone for Reading<S> {
    fn clone(&self) -> Self {
        let (stats, of) = (Arc::clone(&self.stats), self.of);
        Self { stats, of }
    }
}

impl<S> fmt::Debug for Reading<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Reading")
    }
}

impl<S: Send + Sync + 'static> EncodeMetric for Reading<S> {
    fn encode(&self, mut encoder: MetricEncoder<'_>) -> Result<(), fmt::Error> {
        encoder.encode_counter::<NoLabelSet, u64, u64>(&(self.of)(&self.stats), None)
    }

    fn metric_type(&self) -> MetricType {
        MetricType::Counter
    }
}

/// Shows one counter of `stats` under a name without prefix and suffix.
pub(super) fn show<S: Send + Sync + 'static>(
    registry: &Registry,
    stats: &Arc<S>,
    (name, help): (&str, &str),
    of: fn(&S) -> u64,
) {
    let stats = Arc::clone(stats);
    registry.register(name, help, Reading { stats, of });
}
