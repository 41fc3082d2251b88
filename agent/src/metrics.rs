//! The agent's figures: sources and spools. Law of each spool: recovered + observed = acknowledged + waiting + shed.

use std::time::Duration;

use inquest_proto::ingest::v1::SourceState;
use inquest_shared::telemetry::Registry;
use prometheus_client::{
    encoding::EncodeLabelSet,
    metrics::{family::Family, gauge::Gauge},
};
use tokio::time::{MissedTickBehavior, interval};
use tokio_util::sync::CancellationToken;

use crate::{outgoing::Outgoing, source::Statuses};

/// How often the figures are read off the parts.
const EVERY: Duration = Duration::from_secs(2);

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct SourceLabel {
    source: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct SpoolLabel {
    spool: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ShedLabel {
    spool: &'static str,
    class: &'static str,
    reason: &'static str,
}

/// Gauges that are read off the parts every few seconds, so that no hot path pays for them.
#[derive(Clone)]
pub struct Metrics {
    statuses: Statuses,
    spools: [(&'static str, Outgoing); 2],
    live: Family<SourceLabel, Gauge>,
    lost: Family<SourceLabel, Gauge>,
    records: Family<SpoolLabel, Gauge>,
    bytes: Family<SpoolLabel, Gauge>,
    recovered: Family<SpoolLabel, Gauge>,
    observed: Family<SpoolLabel, Gauge>,
    acknowledged: Family<SpoolLabel, Gauge>,
    in_memory: Family<SpoolLabel, Gauge>,
    damaged: Family<SpoolLabel, Gauge>,
    sync_failures: Family<SpoolLabel, Gauge>,
    shed: Family<ShedLabel, Gauge>,
}

impl Metrics {
    /// Registers the gauges.
    #[must_use]
    pub fn register(registry: &Registry, statuses: Statuses, findings: Outgoing, logs: Outgoing) -> Self {
        let family = |name, help| registry.register(name, help, Family::default());
        Self {
            statuses,
            spools: [("findings", findings), ("logs", logs)],
            live: registry.register(
                "source_live",
                "1 live, 0 degraded, -1 blind or absent",
                Family::default(),
            ),
            lost: registry.register(
                "source_lost_records",
                "Records lost before they could be read",
                Family::default(),
            ),
            records: family("spool_records", "Records that wait for acknowledgement"),
            bytes: family("spool_bytes", "Bytes on disk"),
            recovered: family("spool_recovered_records", "Records that waited when the agent started"),
            observed: family("spool_observed_records", "Records given to the spool since the start"),
            acknowledged: family("spool_acknowledged_records", "Records acknowledged since the start"),
            in_memory: family(
                "spool_in_memory_records",
                "Records that wait in memory since the disk takes none",
            ),
            damaged: family("spool_damaged_places", "Damaged places found in files"),
            sync_failures: family("spool_sync_failures", "Files that a sync did not bring to disk"),
            shed: registry.register(
                "spool_shed_records",
                "Records given up, by class and reason",
                Family::default(),
            ),
        }
    }

    /// Keeps the gauges fresh until the token ends.
    pub async fn follow(self, token: CancellationToken) {
        let mut ticks = interval(EVERY);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        while token.run_until_cancelled(ticks.tick()).await.is_some() {
            self.read_sources();
            self.read_spools();
        }
    }

    fn read_sources(&self) {
        for status in self.statuses.to_wire() {
            let value = match status.state() {
                SourceState::Live => 1,
                SourceState::Degraded => 0,
                SourceState::Blind | SourceState::Absent | SourceState::Unspecified => -1,
            };
            let label = SourceLabel { source: status.name };
            self.live.get_or_create(&label).set(value);
            self.lost.get_or_create(&label).set(whole(status.lost_total));
        }
    }

    fn read_spools(&self) {
        for (spool, outgoing) in &self.spools {
            // Read at once, so that the law holds in every sample.
            let stats = outgoing.lock().stats();
            let label = SpoolLabel { spool };
            self.recovered.get_or_create(&label).set(whole(stats.recovered));
            self.acknowledged.get_or_create(&label).set(whole(stats.acknowledged));
            self.damaged.get_or_create(&label).set(whole(stats.damaged));
            self.records.get_or_create(&label).set(whole(stats.pending));
            self.bytes.get_or_create(&label).set(whole(stats.disk_bytes));
            self.observed.get_or_create(&label).set(whole(stats.observed));
            self.in_memory.get_or_create(&label).set(whole(stats.in_memory));
            self.sync_failures.get_or_create(&label).set(whole(stats.sync_failures));
            for ((class, reason), count) in &stats.shed {
                let label = ShedLabel {
                    spool,
                    class: class.name(),
                    reason: reason.name(),
                };
                self.shed.get_or_create(&label).set(whole(*count));
            }
        }
    }
}

fn whole(value: u64) -> i64 {
    i64::try_from(value).unwrap_or(i64::MAX)
}
