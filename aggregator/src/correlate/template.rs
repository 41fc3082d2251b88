//! What differs between two revisions of a workload, asked of the apiserver when a crash began soon after the newer one.
//!
//! Owns the questions: which are asked, how often, and what becomes of the answers. Each pair of revisions is asked for once;
//! people are told of the crash before. Must not know the index.

mod diff;
mod fetch;

use std::{
    collections::{BTreeSet, HashMap, VecDeque},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use inquest_shared::{clock::UnixNanos, model::TemplateChange};
use tokio::{sync::Notify, time::timeout};

use super::{
    Told,
    asking::{Failure, Turns},
};

/// Questions that wait at most; further ones are not asked and counted.
const QUEUE: usize = 256;
/// Pairs of revisions that are remembered; the oldest go first.
const MOST: usize = 1_024;
/// Findings of one pair that wait for the answer; the newest stay.
const FINDINGS: usize = 4;
/// Time for both requests.
const LIMIT: Duration = Duration::from_secs(5);
/// How long a question that failed is not asked again.
const AGAIN: Duration = Duration::from_secs(60);
/// Questions at once.
pub(super) const AT_ONCE: usize = 2;

/// What keeps the revisions of a workload.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum Keeper {
    /// Replica sets of a deployment.
    ReplicaSets,
    /// Controller revisions of a stateful set or daemon set.
    ControllerRevisions,
}

/// Two revisions of one workload. Names are never used again for other templates: they carry a hash of them.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct Pair {
    pub(super) cluster: Arc<str>,
    pub(super) namespace: Arc<str>,
    pub(super) keeper: Keeper,
    /// Name of the object that keeps the older revision.
    pub(super) old: String,
    /// Name of the object that keeps the newer one.
    pub(super) new: String,
}

enum Answer {
    Awaited(VecDeque<Told>),
    Known(Arc<[TemplateChange]>),
    Failed(UnixNanos),
}

#[derive(Default)]
struct Desk {
    answers: HashMap<Pair, Answer>,
    order: VecDeque<Pair>,
    queue: VecDeque<Pair>,
    logged: BTreeSet<Failure>,
}

/// The questions and their answers.
#[derive(Default)]
pub(super) struct Templates {
    desk: Mutex<Desk>,
    turns: Turns,
    wake: Notify,
}

impl Templates {
    /// The differences, if they were asked for before.
    pub(super) fn known(&self, pair: &Pair) -> Option<Arc<[TemplateChange]>> {
        match self.desk().answers.get(pair)? {
            Answer::Known(changes) => Some(Arc::clone(changes)),
            Answer::Awaited(_) | Answer::Failed(_) => None,
        }
    }

    /// Asks, for a finding that is to get the answer. Returns how many findings will not get one for want of room.
    pub(super) fn ask(&self, pair: &Pair, told: impl FnOnce() -> Told, now: UnixNanos) -> u64 {
        let mut desk = self.desk();
        match desk.answers.get_mut(pair) {
            Some(Answer::Awaited(findings)) => {
                findings.push_back(told());
                let full = findings.len() > FINDINGS;
                return u64::from(full && findings.pop_front().is_some());
            }
            Some(Answer::Known(_)) => return 0,
            Some(Answer::Failed(at)) if now.abs_diff(*at) < AGAIN => return 0,
            Some(Answer::Failed(_)) | None => {}
        }
        if desk.queue.len() >= QUEUE {
            return 1;
        }
        let dropped = desk.remember(pair, Answer::Awaited([told()].into()));
        desk.queue.push_back(pair.clone());
        self.wake.notify_one();
        dropped
    }

    /// Waits for a question and for its share of the budget.
    pub(super) async fn next(&self) -> Pair {
        let pair = loop {
            let next = self.desk().queue.pop_front();
            match next {
                Some(pair) => break pair,
                None => self.wake.notified().await,
            }
        };
        // Two questions may have made one wake-up.
        self.wake.notify_one();
        for _ in [&pair.old, &pair.new] {
            self.turns.next().await;
        }
        pair
    }

    /// Asks the apiserver, for a limited time.
    pub(super) async fn fetch(client: &kube::Client, pair: &Pair) -> Result<Vec<TemplateChange>, Failure> {
        let answer = timeout(LIMIT, fetch::compare(client, pair)).await;
        answer.unwrap_or(Err(Failure::Away))
    }

    /// Takes the answer, and gives back the findings that waited for it with what is to be added.
    pub(super) fn answered(
        &self,
        pair: &Pair,
        answer: Result<Vec<TemplateChange>, Failure>,
        now: UnixNanos,
    ) -> (VecDeque<Told>, Arc<[TemplateChange]>) {
        let mut desk = self.desk();
        let changes: Arc<[TemplateChange]> = match &answer {
            Ok(changes) => changes.as_slice().into(),
            Err(failure) => {
                desk.complain(*failure, pair);
                Arc::default()
            }
        };
        let state = match answer {
            Ok(_) => Answer::Known(Arc::clone(&changes)),
            Err(_) => Answer::Failed(now),
        };
        // One that was forgotten meanwhile has nobody who waits.
        let waited = desk.answers.get_mut(pair).map(|old| std::mem::replace(old, state));
        match waited {
            Some(Answer::Awaited(findings)) => (findings, changes),
            _ => (VecDeque::new(), changes),
        }
    }

    fn desk(&self) -> MutexGuard<'_, Desk> {
        self.desk.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Desk {
    /// Returns how many findings waited for the pair that had to go.
    fn remember(&mut self, pair: &Pair, answer: Answer) -> u64 {
        if self.answers.insert(pair.clone(), answer).is_some() {
            return 0;
        }
        self.order.push_back(pair.clone());
        if self.order.len() <= MOST {
            return 0;
        }
        let oldest = self.order.pop_front();
        match oldest.and_then(|oldest| self.answers.remove(&oldest)) {
            Some(Answer::Awaited(findings)) => u64::try_from(findings.len()).unwrap_or(u64::MAX),
            _ => 0,
        }
    }

    /// Says each reason once: a crash loop would say it for ever.
    fn complain(&mut self, failure: Failure, pair: &Pair) {
        if self.logged.insert(failure) {
            let cluster = &*pair.cluster;
            tracing::warn!(cluster, reason = failure.code(), %failure, "what changed between two revisions is not known");
        }
    }
}

#[cfg(test)]
mod tests;
