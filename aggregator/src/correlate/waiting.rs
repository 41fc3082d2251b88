//! Findings whose cause may still change, for a few seconds. Pure.

use std::{collections::VecDeque, sync::Arc, time::Duration};

use inquest_shared::{clock::UnixNanos, model::Finding};

use crate::{cluster::PodView, record::NodeIdentity};

/// Findings that wait at most; the oldest go first.
const MOST: usize = 1_024;
/// How long one waits: the time that an undecided death waits before people are told, and as much again for an index that
/// lags; later news correct the incident all the same.
const LONGEST: Duration = Duration::from_secs(10);

/// The findings, the oldest first.
#[derive(Debug, Default)]
pub(super) struct Waiting(VecDeque<Entry>);

#[derive(Debug)]
struct Entry {
    since: UnixNanos,
    node: Arc<NodeIdentity>,
    finding: Finding,
}

impl Waiting {
    /// Adds one and forgets what is old; returns how many younger ones had to go for want of room.
    pub(super) fn add(&mut self, node: &Arc<NodeIdentity>, finding: &Finding, now: UnixNanos) -> u64 {
        self.forget(now);
        let full = self.0.len() >= MOST;
        if full {
            self.0.pop_front();
        }
        self.0.push_back(Entry {
            since: now,
            node: Arc::clone(node),
            finding: finding.clone(),
        });
        u64::from(full)
    }

    /// Shows those about a pod of a cluster.
    pub(super) fn revisit(
        &mut self,
        cluster: &str,
        pod: &PodView,
        now: UnixNanos,
        mut look: impl FnMut(&Arc<NodeIdentity>, &mut Finding),
    ) {
        self.forget(now);
        if self.0.is_empty() {
            return;
        }
        let uid = pod.uid.to_string();
        let hash = pod.rare.as_deref().and_then(|rare| rare.static_hash.as_deref());
        for entry in &mut self.0 {
            let named = &entry.finding.subject.pod_uid;
            if entry.node.cluster == cluster && (*named == uid || hash == Some(named.as_str())) {
                look(&entry.node, &mut entry.finding);
            }
        }
    }

    fn forget(&mut self, now: UnixNanos) {
        while self.0.front().is_some_and(|entry| now.since(entry.since) > LONGEST) {
            self.0.pop_front();
        }
    }
}
