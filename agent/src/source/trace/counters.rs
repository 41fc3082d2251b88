//! Counters of the trace source. Read + lost is the number of events that the kernel wrote into our ring.

use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering},
};

use inquest_shared::telemetry::Registry;

use crate::source::reading;

/// Counters since the start of the agent.
#[derive(Debug, Default)]
pub struct TraceStats {
    events: AtomicU64,
    unreadable: AtomicU64,
    /// Of instances that are gone.
    lost_before: AtomicU64,
    lost: AtomicU64,
}

impl TraceStats {
    /// An event was read.
    pub fn event(&self) {
        self.events.fetch_add(1, Ordering::Relaxed);
    }

    /// Lines were no event.
    pub fn unreadable(&self, lines: u64) {
        self.unreadable.fetch_add(lines, Ordering::Relaxed);
    }

    /// What the kernel says that the present ring lost. A lower number is that of a new ring.
    pub fn lose(&self, of_ring: u64) {
        let before = self.lost.swap(of_ring, Ordering::Relaxed);
        if of_ring < before {
            self.lost_before.fetch_add(before, Ordering::Relaxed);
        }
    }

    /// Events lost unread.
    #[must_use]
    pub fn lost(&self) -> u64 {
        self.lost_before
            .load(Ordering::Relaxed)
            .saturating_add(self.lost.load(Ordering::Relaxed))
    }
}

/// Shows the counters.
pub fn register(registry: &Registry, stats: &Arc<TraceStats>) {
    let show = |name: &str, help: &str, of: fn(&TraceStats) -> u64| reading::show(registry, stats, (name, help), of);
    show("trace_read_events", "Trace events that were read", |s| {
        s.events.load(Ordering::Relaxed)
    });
    show(
        "trace_lost_events",
        "Trace events that the kernel overwrote or dropped before they were read",
        TraceStats::lost,
    );
    show("trace_unreadable_lines", "Lines of the trace that were no event", |s| {
        s.unreadable.load(Ordering::Relaxed)
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_new_ring_does_not_hide_what_the_old_one_lost() {
        let registry = Registry::new("agent", "1.0.0");
        let stats = Arc::new(TraceStats::default());
        register(&registry, &stats);
        stats.event();
        for of_ring in [3, 5, 0, 2] {
            stats.lose(of_ring);
        }
        let text = registry.encode().unwrap();
        assert!(text.contains("inquest_trace_lost_events_total 7\n"), "{text}");
        assert!(text.contains("inquest_trace_read_events_total 1\n"), "{text}");
    }
}
