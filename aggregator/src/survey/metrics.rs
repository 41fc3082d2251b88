//! How much trouble the apiserver knows of.

use inquest_shared::{model::Finding, telemetry::Registry};
use prometheus_client::{
    encoding::EncodeLabelSet,
    metrics::{counter::Counter, family::Family, gauge::Gauge},
};

use super::memory::Memory;

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct OfKind {
    kind: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct OfCluster {
    cluster: String,
}

/// The numbers of the survey.
#[derive(Debug, Clone)]
pub struct SurveyMetrics {
    told: Family<OfKind, Counter>,
    states: Family<OfCluster, Gauge>,
    left_out: Family<OfCluster, Gauge>,
}

impl SurveyMetrics {
    /// Registers them.
    #[must_use]
    pub fn new(registry: &Registry) -> Self {
        Self {
            told: registry.register(
                "survey_reports",
                "States of the apiserver that became findings",
                Family::default(),
            ),
            states: registry.register(
                "survey_states",
                "States that are not as they should be, told or not yet",
                Family::default(),
            ),
            left_out: registry.register(
                "survey_left_out",
                "States that are not told for want of room",
                Family::default(),
            ),
        }
    }

    pub(super) fn told(&self, finding: &Finding) {
        if let Some(report) = finding.evidence.report() {
            let kind = report.kind.code();
            self.told.get_or_create(&OfKind { kind }).inc();
        }
    }

    pub(super) fn holding(&self, cluster: &str, memory: &Memory) {
        let cluster = OfCluster {
            cluster: cluster.to_owned(),
        };
        let states = i64::try_from(memory.len()).unwrap_or(i64::MAX);
        self.states.get_or_create(&cluster).set(states);
        let left_out = i64::try_from(memory.left_out()).unwrap_or(i64::MAX);
        self.left_out.get_or_create(&cluster).set(left_out);
    }
}
