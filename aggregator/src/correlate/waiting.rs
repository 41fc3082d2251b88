//! Findings whose cause may still change, for a while. Pure.

use std::{collections::VecDeque, sync::Arc, time::Duration};

use inquest_shared::{clock::UnixNanos, model::Finding};

use crate::record::NodeIdentity;

/// Findings that wait at most; the oldest go first.
const MOST: usize = 1_024;

/// The findings, the oldest first.
#[derive(Debug, Default)]
pub(super) struct Waiting(VecDeque<Entry>);

#[derive(Debug)]
struct Entry {
    until: UnixNanos,
    node: Arc<NodeIdentity>,
    finding: Finding,
}

impl Waiting {
    /// Adds one for that long, and forgets whose time is over; returns how many had to go before theirs.
    pub(super) fn add(
        &mut self,
        node: &Arc<NodeIdentity>,
        finding: &Finding,
        (now, patience): (UnixNanos, Duration),
    ) -> u64 {
        self.forget(now);
        let full = self.0.len() >= MOST;
        if full {
            self.0.pop_front();
        }
        self.0.push_back(Entry {
            until: now.saturating_add(patience),
            node: Arc::clone(node),
            finding: finding.clone(),
        });
        u64::from(full)
    }

    /// Shows those of a cluster.
    pub(super) fn revisit(
        &mut self,
        cluster: &str,
        now: UnixNanos,
        mut look: impl FnMut(&Arc<NodeIdentity>, &mut Finding),
    ) {
        self.forget(now);
        for entry in self.0.iter_mut().filter(|entry| entry.node.cluster == cluster) {
            look(&entry.node, &mut entry.finding);
        }
    }

    fn forget(&mut self, now: UnixNanos) {
        self.0.retain(|entry| entry.until >= now);
    }
}
