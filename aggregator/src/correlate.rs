//! What Kubernetes knows about a death, added to the finding of its node.
//!
//! Owns which facts of the cluster index become evidence, and which findings are looked at again when the index learns more.
//! Must not know the engine, the store or transports. Nothing here waits for an apiserver: what is not known is not added.

mod context;
mod follow;
mod metrics;
#[cfg(test)]
mod tests;
mod waiting;

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use inquest_shared::{
    cause,
    clock::Clock,
    model::{Evidence, EvidenceSource, Fact, Finding, Owner, clean_name},
};
use thiserror::Error;

pub use follow::keep_correlating;
pub use metrics::CorrelationMetrics;

use crate::{
    cluster::{ClusterIndex, Clusters, PodView},
    record::NodeIdentity,
};
use waiting::Waiting;

/// A node told about a pod that the apiserver knows on another node. The same finding is refused again.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[error("the pod runs on another node")]
pub struct ForeignPod;

/// Completes findings. Clones share what waits.
#[derive(Clone)]
pub struct Correlation {
    clusters: Clusters,
    clock: Arc<dyn Clock>,
    waiting: Arc<Mutex<Waiting>>,
    metrics: CorrelationMetrics,
}

impl Correlation {
    /// With the indexes of these clusters; findings of other clusters stay as they are.
    #[must_use]
    pub fn new(clusters: Clusters, clock: Arc<dyn Clock>, metrics: CorrelationMetrics) -> Self {
        Self {
            clusters,
            clock,
            waiting: Arc::default(),
            metrics,
        }
    }

    /// Adds what is known now. A finding whose cause may still change is remembered for a few seconds.
    ///
    /// # Errors
    /// [`ForeignPod`]
    pub fn complete(&self, node: &Arc<NodeIdentity>, finding: &mut Finding) -> Result<(), ForeignPod> {
        let Some(index) = self.clusters.get(&node.cluster) else {
            return Ok(());
        };
        self.add(index, node, finding)?;
        if !cause::settle(cause::judge(&finding.evidence).cause).is_zero() {
            let dropped = self.waiting().add(node, finding, self.clock.now());
            self.metrics.forgotten.inc_by(dropped);
        }
        Ok(())
    }

    fn add(&self, index: &ClusterIndex, node: &NodeIdentity, finding: &mut Finding) -> Result<(), ForeignPod> {
        let Some(pod) = pod_of(index, finding) else {
            self.metrics.unknown.inc();
            return Ok(());
        };
        if is_foreign(index, node, &pod) {
            self.metrics.foreign.inc();
            return Err(ForeignPod);
        }
        let owner = index.root_owner(&pod);
        if owner.resolved {
            finding.subject.owner = Owner {
                kind: clean_name(&owner.kind),
                name: clean_name(&owner.name),
            };
            finding.subject.owner_confirmed = true;
        }
        let end = finding.evidence.exit().map(|exit| exit.finished_at);
        if let Some((at, context)) = context::context_of(index, &pod, &finding.subject.container, end) {
            let fact = Fact::PodContext(context);
            let position = finding.subject.pod_uid.clone();
            finding
                .evidence
                .insert(EvidenceSource::Kubernetes, position, Evidence { at, fact });
        }
        self.metrics.completed.inc();
        Ok(())
    }

    /// Findings that the index knows more about than before, each with what was added.
    fn more_about(&self, index: &ClusterIndex, pod: &PodView) -> Vec<(Arc<NodeIdentity>, Finding)> {
        let mut told = Vec::new();
        self.waiting()
            .revisit(index.name(), pod, self.clock.now(), |node, finding| {
                let before = finding.evidence.clone();
                if self.add(index, node, finding).is_ok() && finding.evidence != before {
                    told.push((Arc::clone(node), finding.clone()));
                }
            });
        told
    }

    fn waiting(&self) -> MutexGuard<'_, Waiting> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The pod that a finding is about, by its uid, else by its container.
fn pod_of(index: &ClusterIndex, finding: &Finding) -> Option<PodView> {
    let subject = &finding.subject;
    let by_uid = (!subject.pod_uid.is_empty())
        .then(|| index.pod(&subject.pod_uid))
        .flatten();
    by_uid.or_else(|| index.pod_of_container(&subject.instance).map(|(pod, _)| pod))
}

/// Whether the apiserver knows the sender as a node, and the pod on another one. A node whose identity is not the cluster's
/// own, as one that enrolled by secret, cannot be compared.
fn is_foreign(index: &ClusterIndex, node: &NodeIdentity, pod: &PodView) -> bool {
    let known = index
        .node(&node.name)
        .is_some_and(|known| known.uid.to_string() == node.uid);
    known && pod.node.as_deref().is_some_and(|name| name != node.name)
}
