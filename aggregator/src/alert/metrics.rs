//! What operators see of deliveries.
//!
//! Owns names and labels. Law: planned = delivered + dead + superseded + pending.

use inquest_shared::telemetry::Registry;
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;

/// Upper bounds in seconds of the delay between planning and acceptance.
const DELAYS: [f64; 12] = [
    0.001, 0.0025, 0.005, 0.01, 0.025, 0.1, 0.5, 2.0, 10.0, 60.0, 600.0, 3600.0,
];

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ReceiverLabel {
    receiver: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct OutcomeLabel {
    receiver: String,
    outcome: &'static str,
}

/// All families.
#[derive(Clone)]
pub(super) struct Metrics {
    planned: Family<ReceiverLabel, Counter>,
    settled: Family<OutcomeLabel, Counter>,
    pending: Family<ReceiverLabel, Gauge>,
    attempts: Family<OutcomeLabel, Counter>,
    spilled: Family<ReceiverLabel, Counter>,
    up: Family<ReceiverLabel, Gauge>,
    store_failures: Family<ReceiverLabel, Counter>,
    delay: Family<ReceiverLabel, Histogram, fn() -> Histogram>,
}

impl Metrics {
    /// Registers them.
    pub(super) fn new(registry: &Registry) -> Self {
        let planned = registry.register("notifications_planned", "Notifications to deliver", Family::default());
        let settled = registry.register(
            "notifications_settled",
            "Notifications by their fate",
            Family::default(),
        );
        let pending = registry.register(
            "notifications_pending",
            "Notifications not settled yet",
            Family::default(),
        );
        let attempts = registry.register("notification_attempts", "Attempts by their outcome", Family::default());
        let help = "Notifications left in the store, to be read later, because the queue was full";
        let spilled = registry.register("notifications_spilled", help, Family::default());
        let up = registry.register("receiver_up", "0 while a receiver counts as broken", Family::default());
        let help = "Failed reads and writes of the outbox, each tried again";
        let store_failures = registry.register("notification_store_failures", help, Family::default());
        let delay = Family::new_with_constructor((|| Histogram::new(DELAYS)) as fn() -> Histogram);
        let delay = registry.register("notification_delay_seconds", "From planning to acceptance", delay);
        Self {
            planned,
            settled,
            pending,
            attempts,
            spilled,
            up,
            store_failures,
            delay,
        }
    }

    /// A row of an earlier life whose receiver is gone was given up.
    pub(super) fn buried(&self, receiver: &str) {
        let receiver = receiver.to_owned();
        let planned = ReceiverLabel {
            receiver: receiver.clone(),
        };
        self.planned.get_or_create_owned(&planned).inc();
        let dead = OutcomeLabel {
            receiver,
            outcome: "dead",
        };
        self.settled.get_or_create_owned(&dead).inc();
    }

    /// Those of one receiver.
    pub(super) fn of(&self, receiver: &str) -> ReceiverMetrics {
        let label = ReceiverLabel {
            receiver: receiver.to_owned(),
        };
        let outcome = |outcome| OutcomeLabel {
            receiver: receiver.to_owned(),
            outcome,
        };
        let metrics = ReceiverMetrics {
            planned: self.planned.get_or_create_owned(&label),
            delivered: self.settled.get_or_create_owned(&outcome("delivered")),
            dead: self.settled.get_or_create_owned(&outcome("dead")),
            superseded: self.settled.get_or_create_owned(&outcome("superseded")),
            pending: self.pending.get_or_create_owned(&label),
            spilled: self.spilled.get_or_create_owned(&label),
            up: self.up.get_or_create_owned(&label),
            store_failures: self.store_failures.get_or_create_owned(&label),
            delay: self.delay.get_or_create_owned(&label),
            attempts: self.attempts.clone(),
            receiver: receiver.to_owned(),
        };
        metrics.up.set(1);
        metrics
    }
}

/// The metrics of one receiver.
pub(super) struct ReceiverMetrics {
    /// Rows told or found.
    pub(super) planned: Counter,
    /// Accepted.
    pub(super) delivered: Counter,
    /// Given up.
    pub(super) dead: Counter,
    /// Replaced by a newer one before they were sent.
    pub(super) superseded: Counter,
    /// The rest.
    pub(super) pending: Gauge,
    /// Not queued.
    pub(super) spilled: Counter,
    /// Health.
    pub(super) up: Gauge,
    /// Outbox trouble.
    pub(super) store_failures: Counter,
    /// Planning to acceptance.
    pub(super) delay: Histogram,
    attempts: Family<OutcomeLabel, Counter>,
    receiver: String,
}

impl ReceiverMetrics {
    /// Counts one attempt.
    pub(super) fn attempt(&self, outcome: &'static str) {
        let label = OutcomeLabel {
            receiver: self.receiver.clone(),
            outcome,
        };
        self.attempts.get_or_create_owned(&label).inc();
    }
}
