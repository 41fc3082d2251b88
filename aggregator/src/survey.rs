//! Trouble that no node sees: what the apiserver knows of pods that cannot start, workloads that do not get on, and nodes.
//!
//! Owns which states of the cluster index are worth a finding, how long each must last before it is told, and the list of
//! those that still hold. Must not know the engine's rules, the store or transports. A look is pure: the same index, time and
//! memory give the same findings. What a detector needs and cannot see at present is taken to be as it was.

mod containers;
mod creation;
mod culprit;
mod jobs;
mod memory;
mod metrics;
mod nodes;
mod pods;
mod rollouts;
mod sight;
#[cfg(test)]
mod tests;

use std::{sync::Arc, time::Duration};

use inquest_shared::clock::{Clock, UnixNanos};
use tokio::{sync::watch, time::interval};
use tokio_util::sync::CancellationToken;

pub use metrics::SurveyMetrics;

use crate::{
    cluster::{ClusterIndex, Clusters, Container, Kind, Node, Phase, Pod, PodView},
    correlate::Correlation,
    engine::Standing,
    ingest::{NodeView, Nodes},
    pipeline::{Intake, Standings, Stopped},
};
use memory::Memory;
use sight::{Sight, Told};

/// How often each cluster is looked at. A look walks over all pods once: some 10 ms for 150,000.
const LOOK: Duration = Duration::from_secs(2);

/// What a detector may look at.
struct View<'a> {
    index: &'a ClusterIndex,
    /// Pods that do not run, or of which a container waits for more than its start.
    troubled: Vec<PodView>,
    /// The cluster's agents that are silent.
    silent: Vec<NodeView>,
    /// Nodes that were started anew since the last look.
    restarted: Vec<Arc<Node>>,
    now: UnixNanos,
}

/// One way to see trouble.
struct Detector {
    /// What must be known and followed at present; else all is taken to be as it was.
    needs: &'static [Kind],
    /// All that it sees; `None` if it cannot be judged at present.
    look: fn(&View<'_>) -> Option<Vec<Sight>>,
}

/// The registry.
static DETECTORS: [Detector; 10] = [
    containers::WAITING,
    pods::UNSCHEDULED,
    pods::UNMOUNTED,
    pods::EVICTED,
    creation::REFUSED,
    rollouts::STUCK,
    jobs::FAILED,
    nodes::UNWELL,
    nodes::RESTARTED,
    nodes::WARNED,
];

/// Looks at clusters and tells what it sees. Clones share nothing but where they tell it.
#[derive(Clone)]
pub struct Survey {
    /// The indexes.
    pub clusters: Clusters,
    /// The agents.
    pub nodes: Nodes,
    /// How long a state must last before it is told; images are given twice as long.
    pub patience: Duration,
    /// What else the index knows of a pod in trouble: its warnings, and what changed.
    pub correlation: Correlation,
    /// Where findings go.
    pub intake: Intake,
    /// Where the list of states that hold goes.
    pub standing: watch::Sender<Standings>,
    /// The clock of the aggregator.
    pub clock: Arc<dyn Clock>,
    /// Its numbers.
    pub metrics: SurveyMetrics,
}

impl Survey {
    /// Looks until the token is cancelled or the writer has ended.
    pub async fn run(self, token: CancellationToken) {
        let started = self.clock.now();
        let mut memories: Vec<(ClusterIndex, Memory)> = self
            .clusters
            .all()
            .map(|index| (index.clone(), Memory::new(started, self.patience)))
            .collect();
        let mut looks = interval(LOOK);
        loop {
            tokio::select! {
                () = token.cancelled() => return,
                _ = looks.tick() => {}
            }
            for (index, memory) in &mut memories {
                let told = look(index, self.nodes.silent_in(index.name()), memory, self.clock.now());
                if self.tell(told).await.is_err() {
                    return;
                }
            }
            self.stand(&memories);
        }
    }

    async fn tell(&self, told: Vec<Told>) -> Result<(), Stopped> {
        for Told { node, mut finding } in told {
            self.metrics.told(&finding);
            let node = Arc::new(node);
            if !finding.subject.pod_uid.is_empty() && self.correlation.complete(&node, &mut finding).is_err() {
                continue;
            }
            self.intake.tell(node, finding).await?;
        }
        Ok(())
    }

    /// Said with every look: a finding that the writer took after the last list is in this one.
    fn stand(&self, memories: &[(ClusterIndex, Memory)]) {
        let known = memories.iter().filter_map(|(index, memory)| {
            let keys = memory.standing(self.clock.now())?;
            let silent = self
                .nodes
                .silent_in(index.name())
                .into_iter()
                .map(|agent| agent.node.name);
            // A node that was taken out of the cluster is not waited for.
            let blind = silent.filter(|name| index.node(name).is_some()).collect();
            Some((index.name().to_string(), Standing { keys, blind }))
        });
        self.standing.send_replace(known.collect());
        for (index, memory) in memories {
            self.metrics.holding(index.name(), memory);
        }
    }
}

/// One look at a cluster: what is to be told now.
fn look(index: &ClusterIndex, silent: Vec<NodeView>, memory: &mut Memory, now: UnixNanos) -> Vec<Told> {
    let view = View {
        index,
        troubled: index.pods_that(is_troubled),
        silent,
        restarted: memory.restarted(index.nodes()),
        now,
    };
    for (number, detector) in DETECTORS.iter().enumerate() {
        let sees = detector.needs.iter().all(|kind| index.live(*kind));
        if let Some(sights) = sees.then(|| (detector.look)(&view)).flatten() {
            memory.see(number, sights, now);
        }
    }
    memory.due(index.name(), now)
}

fn is_troubled(pod: &Pod) -> bool {
    let waits = |container: &Container| {
        container
            .trouble
            .as_ref()
            .is_some_and(|trouble| trouble.waiting.is_some())
    };
    matches!(pod.phase, Phase::Pending | Phase::Failed) || pod.containers.iter().any(waits)
}
