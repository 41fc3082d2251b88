//! What changed before a crash, as evidence of its finding.
//!
//! Owns when that is looked for: never before it is clear that people are told of the crash, and never in its way. Must not
//! know how it is found out.

use std::sync::Arc;

use inquest_shared::{
    cause,
    model::{Evidence, EvidenceSource, Fact, Finding, RolloutContext, TemplateChange},
};

use super::{
    Correlation, Told,
    metrics::Reason,
    rollout::{self, Crash},
    template::Templates,
};
use crate::{
    cluster::{ClusterIndex, Owner, PodView, Uid},
    record::NodeIdentity,
};

impl Correlation {
    /// Adds how the pods of the workload fare and what changed, and asks for what the index does not know of it.
    pub(super) fn add_rollout(
        &self,
        index: &ClusterIndex,
        node: &Arc<NodeIdentity>,
        finding: &mut Finding,
        (pod, owner): (&PodView, &Owner),
    ) {
        if !cause::alerts(cause::judge(&finding.evidence).cause) {
            return;
        }
        let (at, now) = (finding.observed_at, self.clock.now());
        let crash = Crash {
            index,
            pod,
            owner,
            at,
            now,
        };
        let known = |pair: &_| self.templates.known(pair);
        let snapshot = self.rollouts().snapshot(&crash, known);
        let Some(snapshot) = snapshot else { return };
        note_rollout(finding, &owner.uid, snapshot.context);
        if let Some(pair) = snapshot.pair {
            let told = || (Arc::clone(node), finding.clone());
            self.metrics
                .templates_dropped
                .inc_by(self.templates.ask(&pair, told, now));
        }
    }

    /// Waits for two revisions that are to be compared, and gives back the findings that the answer adds to.
    pub(super) async fn compared(&self) -> Vec<Told> {
        let pair = self.templates.next().await;
        let Some(client) = self.clusters.client(&pair.cluster) else {
            return Vec::new();
        };
        let answer = Templates::fetch(client, &pair).await;
        match &answer {
            Ok(_) => self.metrics.templates.inc(),
            Err(failure) => {
                let reason = failure.code();
                self.metrics.templates_failed.get_or_create(&Reason { reason }).inc()
            }
        };
        let (findings, changes) = self.templates.answered(&pair, answer, self.clock.now());
        let completed = findings.into_iter().filter_map(|(node, mut finding)| {
            let changed = add_changes(&mut finding, &changes);
            changed.then_some((node, finding))
        });
        completed.collect()
    }
}

/// One fact for each workload.
fn note_rollout(finding: &mut Finding, workload: &Uid, context: RolloutContext) {
    let at = context.started_at.unwrap_or(finding.observed_at);
    let fact = Fact::RolloutContext(context);
    let position = format!("{workload}/rollout");
    finding
        .evidence
        .insert(EvidenceSource::Kubernetes, position, Evidence { at, fact });
}

/// Adds what differs between the two revisions; returns whether that says more.
fn add_changes(finding: &mut Finding, changes: &[TemplateChange]) -> bool {
    let mut rollouts = finding
        .evidence
        .iter()
        .filter_map(|(source, position, evidence)| match &evidence.fact {
            Fact::RolloutContext(rollout) => Some((source, position.to_owned(), evidence.at, rollout.clone())),
            _ => None,
        });
    let Some((source, position, at, mut rollout)) = rollouts.next() else {
        return false;
    };
    drop(rollouts);
    rollout::unite(&mut rollout.changes, changes);
    let fact = Fact::RolloutContext(rollout);
    finding.evidence.insert(source, position, Evidence { at, fact })
}
