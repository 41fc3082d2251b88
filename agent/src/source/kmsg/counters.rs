//! The counters of the kernel log's reader as metrics. Owns their names; reads them when somebody asks, so that the reader
//! pays nothing for it. Read + lost is the number of records that the kernel wrote since the reader began.

use std::{
    fmt,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use inquest_shared::telemetry::Registry;
use prometheus_client::{
    encoding::{EncodeMetric, MetricEncoder, NoLabelSet},
    metrics::MetricType,
};

use crate::host::kmsg::ReaderStats;

/// One counter of the reader.
#[derive(Debug, Clone)]
struct Reading {
    stats: Arc<ReaderStats>,
    of: fn(&ReaderStats) -> &AtomicU64,
}

impl EncodeMetric for Reading {
    fn encode(&self, mut encoder: MetricEncoder<'_>) -> Result<(), fmt::Error> {
        let value = (self.of)(&self.stats).load(Ordering::Relaxed);
        encoder.encode_counter::<NoLabelSet, u64, u64>(&value, None)
    }

    fn metric_type(&self) -> MetricType {
        MetricType::Counter
    }
}

/// Shows the counters of a reader.
pub fn register(registry: &Registry, stats: &Arc<ReaderStats>) {
    let show = |name: &str, help: &str, of: fn(&ReaderStats) -> &AtomicU64| {
        let stats = Arc::clone(stats);
        registry.register(name, help, Reading { stats, of });
    };
    show(
        "kernel_log_read_records",
        "Records of the kernel log that were read",
        |s| &s.records,
    );
    show(
        "kernel_log_lost_records",
        "Records that the kernel overwrote before they were read",
        |s| &s.lost,
    );
    show(
        "kernel_log_matched_records",
        "Records that were handed to detection",
        |s| &s.matched,
    );
    show(
        "kernel_log_overruns",
        "Times the kernel's ring overtook the reader",
        |s| &s.overruns,
    );
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_look_shows_the_present_values() {
        let registry = Registry::new("agent", "1.0.0");
        let stats = Arc::new(ReaderStats::default());
        register(&registry, &stats);
        stats.records.store(7, Ordering::Relaxed);
        stats.lost.store(3, Ordering::Relaxed);
        let text = registry.encode().unwrap();
        assert!(text.contains("inquest_kernel_log_read_records_total 7\n"), "{text}");
        assert!(text.contains("inquest_kernel_log_lost_records_total 3\n"), "{text}");
    }
}
