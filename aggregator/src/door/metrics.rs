//! Numbers of a listener.

use inquest_shared::telemetry::Registry;
use prometheus_client::{
    encoding::EncodeLabelSet,
    metrics::{counter::Counter, family::Family, gauge::Gauge},
};

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Listener {
    listener: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Refused {
    listener: &'static str,
    reason: &'static str,
}

/// Metrics of one listener; the families are the same for all. Every label has a fixed set of values.
#[derive(Debug, Clone)]
pub struct DoorMetrics {
    listener: &'static str,
    open: Family<Listener, Gauge>,
    refused: Family<Refused, Counter>,
}

impl DoorMetrics {
    /// Registers the families once; [`DoorMetrics::of`] gives each listener its own.
    #[must_use]
    pub fn new(registry: &Registry, listener: &'static str) -> Self {
        Self {
            listener,
            open: registry.register("connections_open", "Connections, by listener", Family::default()),
            refused: registry.register(
                "connections_refused",
                "Connections closed before or instead of an answer, by listener and reason",
                Family::default(),
            ),
        }
    }

    /// The same families for another listener.
    #[must_use]
    pub fn of(&self, listener: &'static str) -> Self {
        Self {
            listener,
            ..self.clone()
        }
    }

    pub(super) fn opened(&self, open: usize) {
        let label = Listener {
            listener: self.listener,
        };
        let open = i64::try_from(open).unwrap_or(i64::MAX);
        self.open.get_or_create(&label).set(open);
    }

    /// Counts a connection that was closed for this reason.
    pub fn refused(&self, reason: &'static str) {
        let label = Refused {
            listener: self.listener,
            reason,
        };
        self.refused.get_or_create(&label).inc();
    }
}
