//! Numbers of the agents' door.

use inquest_shared::{telemetry::Registry, wire::WireError};
use prometheus_client::{
    encoding::EncodeLabelSet,
    metrics::{counter::Counter, family::Family, gauge::Gauge, histogram::Histogram},
};

/// Upper bounds in seconds of the distance between the clock of a node and the aggregator's.
const OFFSETS: [f64; 9] = [0.05, 0.1, 0.5, 1.0, 5.0, 30.0, 60.0, 300.0, 3600.0];

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(super) struct Reason {
    pub reason: &'static str,
}

/// Metrics of ingest; clones are the same metrics. Every label has a fixed set of values.
#[derive(Clone)]
pub struct IngestMetrics {
    pub(super) refused: Family<Reason, Counter>,
    pub(super) enrolled: Counter,
    pub(super) enrolled_offline: Counter,
    pub(super) enrol_refused: Family<Reason, Counter>,
    pub(super) two_addresses: Counter,
    pub(super) replays: Counter,
    pub(super) streams: Gauge,
    pub(super) streams_ended: Family<Reason, Counter>,
    pub(super) log_chunks: Counter,
    pub(super) log_refused: Family<Reason, Counter>,
    pub(super) clock_offset: Histogram,
}

impl IngestMetrics {
    /// Registers all of them.
    #[must_use]
    pub fn new(registry: &Registry) -> Self {
        let family = |name, help| registry.register(name, help, Family::<Reason, Counter>::default());
        let counter = |name, help| registry.register(name, help, Counter::default());
        Self {
            refused: family(
                "findings_refused",
                "Findings that mean nothing; acknowledged and not stored",
            ),
            enrolled: counter("enrolments", "Certificates given to agents"),
            enrolled_offline: counter(
                "enrolments_offline",
                "Certificates of ten minutes given by cached keys while the apiserver was away",
            ),
            enrol_refused: family("enrolments_refused", "Enrolments refused, by reason"),
            two_addresses: counter(
                "ingest_identity_conflicts",
                "Streams of a node from a second address while the first was still open",
            ),
            replays: counter(
                "ingest_replays",
                "Streams whose numbers were acknowledged before, or did not rise",
            ),
            streams: registry.register("ingest_streams", "Report streams that are open", Gauge::default()),
            streams_ended: family("ingest_streams_ended", "Report streams that ended, by reason"),
            log_chunks: counter("log_chunks_stored", "Chunks of crash logs stored"),
            log_refused: family(
                "log_chunks_refused",
                "Chunks of crash logs that mean nothing; acknowledged",
            ),
            clock_offset: registry.register(
                "node_clock_offset_seconds",
                "Distance between the clocks of nodes and the aggregator's, at each status",
                Histogram::new(OFFSETS),
            ),
        }
    }
}

/// Label value of what is wrong with a message.
pub(super) const fn reason_of(error: &WireError) -> &'static str {
    match error {
        WireError::Missing(_) => "missing",
        WireError::Number { .. } => "number",
        WireError::Key { .. } => "key",
        WireError::TooLarge { .. } => "too_large",
        WireError::Ulid { .. } => "ulid",
        WireError::Decode(_) => "malformed",
    }
}
