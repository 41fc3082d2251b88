//! The counters of the kernel log's reader as metrics. Owns their names. Read + lost is the number of records that the kernel wrote since the reader began.

use std::sync::{Arc, atomic::Ordering};

use inquest_shared::telemetry::Registry;

use crate::{host::kmsg::ReaderStats, source::reading};

/// Shows the counters of a reader.
pub fn register(registry: &Registry, stats: &Arc<ReaderStats>) {
    let show = |name: &str, help: &str, of: fn(&ReaderStats) -> u64| reading::show(registry, stats, (name, help), of);
    show(
        "kernel_log_read_records",
        "Records of the kernel log that were read",
        |s| s.records.load(Ordering::Relaxed),
    );
    show(
        "kernel_log_lost_records",
        "Records that the kernel overwrote before they were read",
        |s| s.lost.load(Ordering::Relaxed),
    );
    show(
        "kernel_log_matched_records",
        "Records that were handed to detection",
        |s| s.matched.load(Ordering::Relaxed),
    );
    show(
        "kernel_log_overruns",
        "Times the kernel's ring overtook the reader",
        |s| s.overruns.load(Ordering::Relaxed),
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
