//! Numbers of nodes.

use inquest_shared::telemetry::Registry;
use prometheus_client::{
    encoding::EncodeLabelSet,
    metrics::{family::Family, gauge::Gauge},
};

use super::{Census, Skew};

/// Names of nodes in one line of the log; a failed network silences all at once.
const NAMED: usize = 5;

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Label {
    skew: &'static str,
}

/// How many nodes are silent or run another version; clones are the same metrics.
#[derive(Clone)]
pub struct NodesMetrics {
    silent: Gauge,
    skew: Family<Label, Gauge>,
}

impl NodesMetrics {
    /// Registers all of them.
    #[must_use]
    pub fn new(registry: &Registry) -> Self {
        Self {
            silent: registry.register(
                "nodes_silent",
                "Nodes that said nothing for three heartbeats",
                Gauge::default(),
            ),
            skew: registry.register(
                "nodes_version_skew",
                "Nodes whose agent has another version than the aggregator",
                Family::default(),
            ),
        }
    }

    /// Takes over what a look found, and says who fell silent.
    pub(super) fn show(&self, census: &Census) {
        self.silent.set(census.silent);
        for skew in [Skew::Older, Skew::Newer, Skew::Unknown] {
            let count = census.skews.get(&skew).copied().unwrap_or_default();
            self.skew.get_or_create(&Label { skew: skew.label() }).set(count);
        }
        if !census.fell_silent.is_empty() {
            let names: Vec<_> = census.fell_silent.iter().take(NAMED).map(String::as_str).collect();
            tracing::warn!(
                nodes = names.join(", "),
                count = census.fell_silent.len(),
                "nodes are silent: nothing is known of deaths there until their agents speak again"
            );
        }
    }
}
