//! How much of what nodes tell the cluster can explain.

use inquest_shared::telemetry::Registry;
use prometheus_client::{
    encoding::EncodeLabelSet,
    metrics::{counter::Counter, family::Family},
};

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(super) struct Reason {
    pub(super) reason: &'static str,
}

/// The numbers of the correlation.
#[derive(Debug, Clone)]
pub struct CorrelationMetrics {
    /// Findings whose pod was known.
    pub(super) completed: Counter,
    /// Findings whose pod was not known.
    pub(super) unknown: Counter,
    /// Findings about pods of other nodes.
    pub(super) foreign: Counter,
    /// Undecided findings that were forgotten before their time.
    pub(super) forgotten: Counter,
    /// Pairs of revisions that were compared.
    pub(super) templates: Counter,
    /// Pairs of revisions that could not be.
    pub(super) templates_failed: Family<Reason, Counter>,
    /// Findings that will not hear what changed.
    pub(super) templates_dropped: Counter,
    /// Logs that apiservers gave.
    pub(super) logs: Counter,
    /// Logs that they did not give.
    pub(super) logs_failed: Family<Reason, Counter>,
    /// Logs that were not asked for.
    pub(super) logs_dropped: Counter,
}

impl CorrelationMetrics {
    /// Registers them.
    #[must_use]
    pub fn new(registry: &Registry) -> Self {
        let counter = |name: &str, help: &str| registry.register(name, help, Counter::default());
        Self {
            completed: counter("correlation_completed", "Findings whose pod the apiserver knew"),
            unknown: counter("correlation_unknown", "Findings whose pod the apiserver did not know"),
            foreign: counter(
                "correlation_foreign",
                "Findings refused since their pod runs on another node",
            ),
            forgotten: counter(
                "correlation_forgotten",
                "Undecided findings that were not looked at again for want of room",
            ),
            templates: counter(
                "correlation_templates",
                "Pairs of revisions of a workload whose templates were compared",
            ),
            templates_failed: registry.register(
                "correlation_templates_failed",
                "Pairs of revisions that could not be compared, by reason",
                Family::default(),
            ),
            templates_dropped: counter(
                "correlation_templates_dropped",
                "Findings that were not told what changed, for want of room",
            ),
            logs: counter("correlation_logs", "Logs of ended containers that apiservers gave"),
            logs_failed: registry.register(
                "correlation_logs_failed",
                "Logs of ended containers that apiservers did not give, by reason",
                Family::default(),
            ),
            logs_dropped: counter(
                "correlation_logs_dropped",
                "Logs of ended containers that were not asked for, for want of room",
            ),
        }
    }
}
