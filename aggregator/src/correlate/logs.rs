//! The last lines of containers whose node gave none, asked of the apiserver.
//!
//! Owns which logs are asked for, how often, and what is told of an answer. People are told of the end before. Must not know the
//! index.

mod fetch;

use std::{
    collections::{HashSet, VecDeque},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use inquest_shared::{
    cause,
    model::{Evidence, EvidenceSource, Fact, Finding, FindingKind, Key, LogExcerpt, LogOrigin},
    redact::Redactor,
    tail::Tail,
};
use tokio::{
    sync::Notify,
    task::JoinSet,
    time::{sleep, timeout},
};

use super::{
    Correlation, Told,
    asking::{Failure, Turns},
    metrics::Reason,
};
use crate::record::NodeIdentity;
use fetch::{Found, Run};

/// Logs that wait at most; further ones are not asked for and counted.
const QUEUE: usize = 256;
/// Ends whose log was asked for that are remembered: each is told several times.
const REMEMBERED: usize = 4_096;
/// Before the second try; each further one waits twice as long, up to [`LONGEST`].
const FIRST_PAUSE: Duration = Duration::from_millis(250);
const LONGEST: Duration = Duration::from_secs(5);

/// How logs are asked for.
#[derive(Debug, Clone)]
pub struct LogSettings {
    /// How many of the last lines.
    pub lines: u32,
    /// How often one that does not answer is asked.
    pub attempts: u32,
    /// How many at once.
    pub parallel: usize,
    /// Time for each answer.
    pub timeout: Duration,
    /// What is blanked.
    pub redactor: Arc<Redactor>,
}

#[derive(Default)]
struct Desk {
    queue: VecDeque<Told>,
    asked: HashSet<Key>,
    order: VecDeque<Key>,
}

/// The ends that wait for their log.
pub(super) struct Logs {
    settings: LogSettings,
    desk: Mutex<Desk>,
    turns: Turns,
    wake: Notify,
}

impl Logs {
    pub(super) fn new(settings: LogSettings) -> Self {
        Self {
            settings,
            desk: Mutex::default(),
            turns: Turns::default(),
            wake: Notify::new(),
        }
    }

    /// Asks once for each end. Returns how many will not get an answer for want of room.
    fn ask(&self, node: &Arc<NodeIdentity>, finding: &Finding) -> u64 {
        let mut desk = self.desk();
        if desk.asked.contains(&finding.key) {
            return 0;
        }
        if desk.queue.len() >= QUEUE {
            return 1;
        }
        desk.remember(finding.key);
        desk.queue.push_back((Arc::clone(node), finding.clone()));
        self.wake.notify_one();
        0
    }

    /// Waits for the next answer; asks for further logs meanwhile, several at once. Overflow policy: ends beyond that wait in
    /// their bounded queue. `running` keeps what was asked for.
    pub(super) async fn answer(&self, correlation: &Correlation, running: &mut JoinSet<Option<Told>>) -> Told {
        loop {
            tokio::select! {
                told = self.next(), if running.len() < self.settings.parallel => {
                    running.spawn(correlation.clone().with_log(told));
                }
                Some(answer) = running.join_next(), if !running.is_empty() => {
                    if let Ok(Some(told)) = answer {
                        return told;
                    }
                }
            }
        }
    }

    /// Waits for an end whose log is to be asked for.
    async fn next(&self) -> Told {
        loop {
            let next = self.desk().queue.pop_front();
            match next {
                Some(told) => return told,
                None => self.wake.notified().await,
            }
        }
    }

    /// Asks until there is an answer, an error that stays, or the last try.
    async fn fetch(&self, client: &kube::Client, run: &Run<'_>) -> Result<Found, Failure> {
        let mut pause = FIRST_PAUSE;
        for left in (0..self.settings.attempts).rev() {
            // One for what the kubelet takes for the run before, one for what it takes for the present one.
            for _ in 0..2 {
                self.turns.next().await;
            }
            let answer = timeout(self.settings.timeout, fetch::lines_of(client, run)).await;
            match answer.unwrap_or(Err(Failure::Away)) {
                Err(Failure::Away) if left > 0 => sleep(pause).await,
                answer => return answer,
            }
            pause = (pause * 2).min(LONGEST);
        }
        Err(Failure::Away)
    }

    fn excerpt(&self, answer: Result<Found, Failure>) -> LogExcerpt {
        let gap = |origin| LogExcerpt {
            origin: Some(origin),
            ..LogExcerpt::default()
        };
        match answer {
            Ok(found) => {
                let most = usize::try_from(self.settings.lines).unwrap_or(usize::MAX);
                let tail = Tail::of_lines(found.lines, found.truncated, most, &self.settings.redactor);
                LogExcerpt {
                    origin: Some(found.origin),
                    ..tail.excerpt()
                }
            }
            Err(Failure::Away) => gap(LogOrigin::Away),
            Err(Failure::Forbidden) => gap(LogOrigin::Forbidden),
            Err(Failure::Gone | Failure::Odd) => gap(LogOrigin::Gone),
        }
    }

    fn desk(&self) -> MutexGuard<'_, Desk> {
        self.desk.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Desk {
    fn remember(&mut self, key: Key) {
        self.asked.insert(key);
        self.order.push_back(key);
        if self.order.len() > REMEMBERED
            && let Some(oldest) = self.order.pop_front()
        {
            self.asked.remove(&oldest);
        }
    }
}

impl Correlation {
    /// Asks for the log of an end that people are told of and whose node gave no line.
    pub(super) fn ask_for_log(&self, node: &Arc<NodeIdentity>, finding: &Finding) {
        let Some(logs) = &self.logs else { return };
        let told = cause::alerts(cause::judge(&finding.evidence).cause);
        let ended = finding.kind == FindingKind::Exit && finding.evidence.exit().is_some();
        if told && ended && finding.evidence.log().is_none() {
            self.metrics.logs_dropped.inc_by(logs.ask(node, finding));
        }
    }

    /// An end with its log, or with why there is none. Nothing when the container wrote nothing.
    async fn with_log(self, (node, mut finding): Told) -> Option<Told> {
        let (logs, client) = (self.logs.as_ref()?, self.clusters.client(&node.cluster)?);
        let exit = finding.evidence.exit()?;
        let (started, finished) = (exit.started_at, exit.finished_at);
        let run = Run {
            subject: &finding.subject,
            started,
            finished,
            lines: logs.settings.lines,
        };
        let answer = logs.fetch(client, &run).await;
        match &answer {
            Ok(_) => self.metrics.logs.inc(),
            Err(failure) => {
                let reason = failure.code();
                self.metrics.logs_failed.get_or_create(&Reason { reason }).inc()
            }
        };
        if answer.as_ref().is_ok_and(|found| found.lines.is_empty()) {
            return None;
        }
        let fact = Fact::LogExcerpt(logs.excerpt(answer));
        let position = format!("{}/log", finding.subject.instance);
        finding
            .evidence
            .insert(EvidenceSource::Kubernetes, position, Evidence { at: finished, fact });
        Some((node, finding))
    }
}

#[cfg(test)]
mod tests;
