//! What Kubernetes knows about a death, added to the finding of its node.
//!
//! Owns which facts of the cluster index become evidence, and which findings are looked at again when the index or the apiserver
//! tells more. Must not know the engine, the store or transports. No finding waits for an apiserver: what is not known is not
//! added, and follows.

mod asking;
mod changed;
mod context;
mod events;
mod follow;
mod logs;
mod metrics;
mod rollout;
mod settings;
mod template;
#[cfg(test)]
mod tests;
mod waiting;

use std::{
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use inquest_shared::{
    cause,
    clock::{Clock, UnixNanos},
    model::{Evidence, EvidenceSource, Fact, Finding, Owner, PodContext, clean_name},
};
use thiserror::Error;

pub use follow::keep_correlating;
pub use logs::LogSettings;
pub use metrics::CorrelationMetrics;
pub use settings::CorrelationSettings;

use crate::{
    cluster::{self, ClusterIndex, Clusters, Kind, PodView},
    record::NodeIdentity,
};
use logs::Logs;
use rollout::Rollouts;
use template::Templates;
use waiting::Waiting;

/// How long an undecided death may still be explained: as long as it waits before people are told, and more for an index that
/// lags; later news correct the incident all the same.
const LAG: Duration = Duration::from_secs(10);
/// How long one waits for an apiserver that is away.
const OUTAGE: Duration = Duration::from_secs(3_600);

/// A finding with the node that told of it.
type Told = (Arc<NodeIdentity>, Finding);

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
    rollouts: Arc<Mutex<Rollouts>>,
    templates: Arc<Templates>,
    /// Only where logs may be asked for.
    logs: Option<Arc<Logs>>,
    events: usize,
    metrics: CorrelationMetrics,
}

impl Correlation {
    /// With the indexes of these clusters; findings of other clusters stay as they are.
    #[must_use]
    pub fn new(
        clusters: Clusters,
        clock: Arc<dyn Clock>,
        metrics: CorrelationMetrics,
        settings: CorrelationSettings,
    ) -> Self {
        Self {
            clusters,
            clock,
            waiting: Arc::default(),
            rollouts: Arc::default(),
            templates: Arc::default(),
            logs: settings.logs.map(|settings| Arc::new(Logs::new(settings))),
            events: settings.event_entries,
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
        match self.add(index, node, finding) {
            Ok(Pod::Known(pod, owner)) => {
                self.metrics.completed.inc();
                self.add_rollout(index, node, finding, (&pod, &owner));
                self.ask_for_log(node, finding);
            }
            Ok(Pod::Unknown) => {
                self.metrics.unknown.inc();
            }
            Err(ForeignPod) => {
                self.metrics.foreign.inc();
                return Err(ForeignPod);
            }
        }
        if let Some(patience) = patience(finding) {
            let dropped = self.waiting().add(node, finding, (self.clock.now(), patience));
            self.metrics.forgotten.inc_by(dropped);
        }
        Ok(())
    }

    /// Findings about a pod that the index knows more about than before, each with what was added.
    fn more_about(&self, index: &ClusterIndex, pod: &PodView) -> Vec<Told> {
        let uid = pod.uid.to_string();
        let hash = pod.rare.as_deref().and_then(|rare| rare.static_hash.as_deref());
        self.again(index, |finding| {
            let named = &finding.subject.pod_uid;
            *named == uid || hash == Some(named.as_str())
        })
    }

    /// Findings that came while the apiserver could not be asked; nothing while it still cannot.
    fn caught_up(&self, index: &ClusterIndex) -> Vec<Told> {
        if !index.live(Kind::Pods) {
            return Vec::new();
        }
        self.again(index, |finding| finding.evidence.pod().is_some_and(|pod| !pod.current))
    }

    fn again(&self, index: &ClusterIndex, concerns: impl Fn(&Finding) -> bool) -> Vec<Told> {
        let mut told = Vec::new();
        self.waiting().revisit(index.name(), self.clock.now(), |node, finding| {
            if !concerns(finding) {
                return;
            }
            let before = finding.clone();
            let Ok(known) = self.add(index, node, finding) else {
                return;
            };
            if let Pod::Known(pod, owner) = known
                && finding.evidence.rollout().is_none()
            {
                self.add_rollout(index, node, finding, (&pod, &owner));
            }
            if *finding != before {
                told.push((Arc::clone(node), finding.clone()));
            }
        });
        told
    }

    /// Adds what the index knows now; said again, it changes nothing.
    fn add(&self, index: &ClusterIndex, node: &NodeIdentity, finding: &mut Finding) -> Result<Pod, ForeignPod> {
        let current = index.live(Kind::Pods);
        let Some(pod) = pod_of(index, finding) else {
            if !current && !finding.subject.pod_uid.is_empty() {
                note(finding, finding.observed_at, PodContext::default());
            }
            return Ok(Pod::Unknown);
        };
        if is_foreign(index, node, &pod) {
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
        let (at, said) = context::context_of(index, &pod, finding, self.events);
        let context = PodContext { current, ..said };
        // A pod of which there is nothing to say needs no evidence, unless it was said that nothing could be asked.
        let silent = context
            == PodContext {
                current: true,
                ..PodContext::default()
            };
        if !silent || finding.evidence.pod().is_some() {
            note(finding, at, context);
        }
        Ok(Pod::Known(pod, owner))
    }

    fn rollouts(&self) -> MutexGuard<'_, Rollouts> {
        self.rollouts.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn waiting(&self) -> MutexGuard<'_, Waiting> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Whether the apiserver knows the pod of a finding.
enum Pod {
    Known(PodView, cluster::Owner),
    Unknown,
}

/// How long a finding may still be changed by what the index learns; `None` when it says all already.
fn patience(finding: &Finding) -> Option<Duration> {
    let uninformed = finding.evidence.pod().is_some_and(|pod| !pod.current);
    let undecided = !cause::settle(cause::judge(&finding.evidence).cause).is_zero();
    match (uninformed, undecided) {
        (true, _) => Some(OUTAGE),
        (false, true) => Some(LAG),
        (false, false) => None,
    }
}

fn note(finding: &mut Finding, at: UnixNanos, context: PodContext) {
    let position = finding.subject.pod_uid.clone();
    let fact = Fact::PodContext(context);
    finding
        .evidence
        .insert(EvidenceSource::Kubernetes, position, Evidence { at, fact });
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
