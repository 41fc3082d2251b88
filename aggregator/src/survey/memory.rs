//! What was seen, since when, and what was told of it. Pure.

use std::{
    collections::{BTreeSet, HashMap, HashSet},
    sync::Arc,
    time::Duration,
};

use inquest_shared::{
    clock::UnixNanos,
    model::{Discovery, Key, ReportKind, Subject},
};

use super::{
    DETECTORS,
    culprit::{Culprit, MANY},
    sight::{Sight, Told},
};
use crate::{
    cluster::{Node, Uid},
    engine::standing_key,
};

/// States kept of one cluster; further ones are not told and counted.
const MOST: usize = 10_000;
/// A state that is not seen for this long has ended. The kubelet leaves some for a moment while it tries again.
const LINGER: Duration = Duration::from_secs(20);
/// After a start, what cannot be seen counts as not there only this late.
const BLIND: Duration = Duration::from_secs(300);
/// What is over and was seen by the first look is news only if it happened this shortly before.
const FRESH: Duration = Duration::from_secs(120);

/// The states of one cluster.
#[derive(Debug)]
pub(super) struct Memory {
    started: UnixNanos,
    patience: Duration,
    seen: HashMap<Key, Seen>,
    /// Which detectors have looked at least once.
    looked: BTreeSet<usize>,
    /// States that found no room in the last look of each detector.
    left_out: HashMap<usize, u64>,
    /// Boot id of each node.
    boots: HashMap<Uid, Box<str>>,
}

#[derive(Debug)]
struct Seen {
    detector: usize,
    sight: Sight,
    /// What others may wait for as well. The kubelet says it with every try, and not in between.
    culprit: Option<Culprit>,
    first: UnixNanos,
    last: UnixNanos,
    /// Seen by the first look of its detector.
    old: bool,
    /// What people were told it is about.
    told_as: Option<Subject>,
}

impl Memory {
    /// Nothing was seen yet.
    pub(super) fn new(started: UnixNanos, patience: Duration) -> Self {
        Self {
            started,
            patience,
            seen: HashMap::new(),
            looked: BTreeSet::new(),
            left_out: HashMap::new(),
            boots: HashMap::new(),
        }
    }

    /// Takes the nodes as they are now; returns those with another boot id than before.
    pub(super) fn restarted(&mut self, nodes: Vec<Arc<Node>>) -> Vec<Arc<Node>> {
        let known = nodes.iter().map(|node| (node.uid.clone(), node.boot_id.clone()));
        let before = std::mem::replace(&mut self.boots, known.collect());
        let is_other = |node: &Arc<Node>| before.get(&node.uid).is_some_and(|boot| *boot != node.boot_id);
        nodes.into_iter().filter(is_other).collect()
    }

    /// Takes what a detector sees now: all of it.
    pub(super) fn see(&mut self, detector: usize, sights: Vec<Sight>, now: UnixNanos) {
        let old = self.looked.insert(detector);
        let mut left_out = 0_u64;
        for sight in sights {
            let key = sight.key();
            if let Some(seen) = self.seen.get_mut(&key) {
                seen.again(sight, now);
            } else if self.seen.len() < MOST {
                let first = now;
                let seen = Seen {
                    detector,
                    culprit: Culprit::of(&sight.subject, &sight.report),
                    sight,
                    first,
                    last: now,
                    old,
                    told_as: None,
                };
                self.seen.insert(key, seen);
            } else {
                left_out = left_out.saturating_add(1);
            }
        }
        self.left_out.insert(detector, left_out);
        self.seen
            .retain(|_, seen| seen.detector != detector || now.since(seen.last) < LINGER);
    }

    /// What has lasted for long enough and was not told yet.
    pub(super) fn due(&mut self, cluster: &str, now: UnixNanos) -> Vec<Told> {
        let (patience, shared) = (self.patience, self.shared());
        let due = self.seen.values_mut().filter(|seen| {
            let waits = hold(seen.sight.report.kind, patience);
            seen.told_as.is_none() && seen.last == now && now.since(seen.first) >= waits
        });
        due.map(|seen| {
            let discovery = seen.discovery();
            seen.tell(&shared).told(cluster, discovery, seen.first)
        })
        .collect()
    }

    /// What many workloads wait for, with how many.
    fn shared(&self) -> HashMap<Culprit, usize> {
        let mut workloads: HashMap<&Culprit, HashSet<_>> = HashMap::new();
        for seen in self.seen.values() {
            if let Some(culprit) = &seen.culprit {
                let subject = &seen.sight.subject;
                let workload = (&subject.namespace, &subject.owner);
                workloads.entry(culprit).or_default().insert(workload);
            }
        }
        let counted = workloads.into_iter().map(|(culprit, of)| (culprit.clone(), of.len()));
        counted.filter(|(_, count)| *count >= MANY).collect()
    }

    /// Names of the states that hold; `None` as long as that cannot be known.
    pub(super) fn standing(&self, now: UnixNanos) -> Option<BTreeSet<Key>> {
        let known = self.looked.len() == DETECTORS.len() || now.since(self.started) > BLIND;
        (known && self.left_out() == 0).then(|| self.seen.values().filter_map(|seen| seen.standing()).collect())
    }

    /// How many states are there.
    pub(super) fn len(&self) -> usize {
        self.seen.len()
    }

    /// How many found no room.
    pub(super) fn left_out(&self) -> u64 {
        self.left_out.values().sum()
    }
}

impl Seen {
    /// Takes it as it is now.
    fn again(&mut self, sight: Sight, now: UnixNanos) {
        self.last = now;
        if sight.report.message != self.sight.report.message {
            self.culprit = Culprit::of(&sight.subject, &sight.report).or(self.culprit.take());
        }
        self.sight = sight;
    }

    /// What is told now, under what many workloads wait for if this is one of them.
    fn tell(&mut self, shared: &HashMap<Culprit, usize>) -> Sight {
        let mut sight = self.sight.clone();
        let many = self.culprit.as_ref().and_then(|culprit| shared.get_key_value(culprit));
        if let Some((culprit, count)) = many {
            sight.subject = culprit.subject(&sight.subject);
            sight.report.affected = u32::try_from(*count).unwrap_or(u32::MAX);
        }
        self.told_as = Some(sight.subject.clone());
        sight
    }

    /// Names the state, if it is one that lasts. Who was blamed stays so: the incident that was opened goes on until the state ends.
    fn standing(&self) -> Option<Key> {
        let subject = self.told_as.as_ref().unwrap_or(&self.sight.subject);
        self.sight
            .report
            .kind
            .lasts()
            .then(|| standing_key(subject, self.sight.report.kind))
    }

    /// A job that failed last week is no news to whoever installs this today; an image that is missing since then is.
    fn discovery(&self) -> Discovery {
        let recent = self.sight.report.since.is_some_and(|at| self.first.since(at) < FRESH);
        match (self.old, self.sight.report.kind.lasts() || recent) {
            (true, true) => Discovery::Recovered,
            (true, false) => Discovery::Lookback,
            (false, _) => Discovery::Live,
        }
    }
}

/// How long a state must last. Pulls of images often fail for a moment; what a deadline or a controller has judged needs no
/// further wait, but that the evicted container's own end comes first.
fn hold(kind: ReportKind, patience: Duration) -> Duration {
    match kind {
        ReportKind::Image => patience.saturating_mul(2),
        ReportKind::Config
        | ReportKind::Start
        | ReportKind::Unscheduled
        | ReportKind::Mount
        | ReportKind::Creation
        | ReportKind::NodeCondition
        | ReportKind::AgentSilent => patience,
        ReportKind::NodeSilent | ReportKind::Eviction => Duration::from_secs(5),
        ReportKind::Hook | ReportKind::Rollout | ReportKind::Job | ReportKind::NodeReboot => Duration::ZERO,
    }
}
