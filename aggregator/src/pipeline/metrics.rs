//! Numbers of the writer. Law: received = stored + repeated + unusable + still waiting.

use inquest_shared::telemetry::Registry;
use prometheus_client::{
    encoding::EncodeLabelSet,
    metrics::{
        counter::Counter,
        family::Family,
        gauge::Gauge,
        histogram::{Histogram, exponential_buckets},
    },
};

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(super) struct Outcome {
    pub outcome: &'static str,
}

/// Metrics of the writer; clones are the same metrics.
#[derive(Clone)]
pub struct PipelineMetrics {
    pub(super) received: Counter,
    pub(super) stored: Counter,
    pub(super) repeated: Counter,
    pub(super) unusable: Counter,
    pub(super) commit_failures: Family<Outcome, Counter>,
    pub(super) batch_findings: Histogram,
    pub(super) batch_seconds: Histogram,
    pub(super) commit_seconds: Histogram,
    pub(super) queued_messages: Gauge,
    pub(super) waiting_findings: Gauge,
    pub(super) bytes_in_flight: Gauge,
    pub(super) open_incidents: Gauge,
}

impl PipelineMetrics {
    /// Registers all of them.
    #[must_use]
    pub fn new(registry: &Registry) -> Self {
        let seconds = || Histogram::new(exponential_buckets(0.000_1, 2.0, 16));
        let counter = |name, help| registry.register(name, help, Counter::default());
        let gauge = |name, help| registry.register(name, help, Gauge::default());
        Self {
            received: counter("findings_received", "Valid findings taken from agents"),
            stored: counter("findings_stored", "Findings stored for the first time"),
            repeated: counter(
                "findings_repeated",
                "Findings that were stored before; they may have added evidence",
            ),
            unusable: counter(
                "findings_unusable",
                "Findings given up since their stored version is damaged",
            ),
            commit_failures: registry.register(
                "commit_failures",
                "Batches that were not committed and are tried again, by outcome",
                Family::default(),
            ),
            batch_findings: registry.register(
                "batch_findings",
                "Findings in one transaction",
                Histogram::new(exponential_buckets(1.0, 4.0, 6)),
            ),
            batch_seconds: registry.register("batch_seconds", "Time of one batch, from lookup to commit", seconds()),
            commit_seconds: registry.register("commit_seconds", "Time of one commit", seconds()),
            queued_messages: gauge("ingest_queued_messages", "Messages that wait for the writer"),
            waiting_findings: gauge("ingest_waiting_findings", "Findings received and not settled yet"),
            bytes_in_flight: gauge(
                "ingest_credit_outstanding_bytes",
                "Part of the ingest budget that is taken",
            ),
            open_incidents: gauge("incidents_open", "Incidents that are open"),
        }
    }

    /// Findings came in.
    pub(super) fn took(&self, findings: usize) {
        self.received.inc_by(count(findings));
        self.waiting_findings.inc_by(whole(findings));
    }

    /// Findings are on disk, `fresh` of them for the first time.
    pub(super) fn committed(&self, findings: usize, fresh: usize) {
        self.stored.inc_by(count(fresh));
        self.repeated.inc_by(count(findings.saturating_sub(fresh)));
        self.waiting_findings.dec_by(whole(findings));
    }

    /// A finding was given up.
    pub(super) fn gave_up(&self, findings: usize) {
        self.unusable.inc_by(count(findings));
        self.waiting_findings.dec_by(whole(findings));
    }
}

fn count(findings: usize) -> u64 {
    u64::try_from(findings).unwrap_or(u64::MAX)
}

pub(super) fn whole(size: usize) -> i64 {
    i64::try_from(size).unwrap_or(i64::MAX)
}
