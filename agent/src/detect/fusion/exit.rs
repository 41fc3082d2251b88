//! Ends of containers: the runtime's record with everything that explains it.

use std::{collections::BTreeSet, time::Duration};

use inquest_shared::{
    clock::UnixNanos,
    model::{
        Evidence, EvidenceSet, EvidenceSource, Fact, Finding, FindingKind, Key, LogExcerpt, RuntimeRequest, Subject,
    },
};

use super::{Fusion, Moment};
use crate::observation::Exit;

/// The runtime's stamp may precede the kernel's by this much: both read the same clock, but not in order.
const CLOCK_SLACK: Duration = Duration::from_secs(1);

/// How runtimes report SIGKILL: 128 + 9.
const KILLED: i32 = 137;
/// How long such an end waits for the kernel's word. The kernel wakes readers of its log by deferred work, at the next tick
/// at the latest (`wake_up_klogd` in `kernel/printk/printk.c`; 10 ms at 100 Hz), so the runtime can be first.
const KERNEL_WAIT_US: u64 = 50_000;

impl Fusion {
    pub(super) fn on_exit(&mut self, exit: &Exit, now: Moment) -> Vec<Finding> {
        let at = exit.record.finished_at;
        self.containers.note_end(&exit.instance, at);
        let unnamed = || Subject {
            instance: exit.instance.clone(),
            ..Subject::default()
        };
        let subject = self
            .containers
            .get(&exit.instance)
            .map_or_else(unnamed, |c| c.subject.clone());
        let mut evidence = EvidenceSet::default();
        let position = position(&exit.instance, at);
        // An end that only the log tells lies beside the lines of the log.
        let of_log = if exit.source == EvidenceSource::Log {
            "#next"
        } else {
            ""
        };
        evidence.insert(
            exit.source,
            format!("{position}{of_log}"),
            Evidence {
                at,
                fact: Fact::RuntimeExit(exit.record.clone()),
            },
        );
        if let Some(excerpt) = self.containers.log(&exit.instance, at) {
            evidence.insert(
                EvidenceSource::Log,
                position,
                Evidence {
                    at,
                    fact: Fact::LogExcerpt(excerpt.clone()),
                },
            );
        }
        if let Some(oom_at) = self.containers.oom(&exit.instance) {
            insert_oom(&mut evidence, exit.source, &exit.instance, oom_at);
        }
        for asked in self.containers.requests(&exit.instance) {
            insert_request(&mut evidence, &exit.instance, *asked);
        }
        let finding = Finding {
            key: Key::exit(&exit.instance, at),
            kind: FindingKind::Exit,
            discovery: self.discovery(at, exit.live),
            observed_at: at,
            subject,
            evidence,
            cites: BTreeSet::new(),
            revision: 0,
        };
        let mut finding = finding;
        self.cite_kills(&mut finding);
        self.cite_signals(&mut finding);
        let may_be_a_kill = exit.record.exit_code == KILLED && finding.cites.is_empty();
        let wait = (may_be_a_kill && self.sees_kills()).then_some(now.mono_us.saturating_add(KERNEL_WAIT_US));
        self.admit(finding, 0, wait, now).into_iter().collect()
    }

    /// Adds the kills of the instance, with their evidence, to its exit.
    fn cite_kills(&self, exit: &mut Finding) {
        let until = exit.observed_at.saturating_add(CLOCK_SLACK);
        for recent in &self.recent {
            let kill = &recent.finding;
            let same = kill.kind == FindingKind::Kill && kill.subject.instance == exit.subject.instance;
            if same && kill.observed_at <= until {
                exit.cites.insert(kill.key);
                exit.evidence.merge(&kill.evidence);
            }
        }
    }

    /// A kill that was learned of after the exit that it explains.
    pub(super) fn explain_exit(&mut self, instance: &str) -> Option<Finding> {
        if instance.is_empty() {
            return None;
        }
        let mut exit = self.recent_exit(instance)?.finding.clone();
        self.cite_kills(&mut exit);
        let recent = self.recent_exit(instance)?;
        if recent.held_until.take().is_some() {
            recent.finding = exit;
            return Some(recent.finding.clone());
        }
        recent.change(|held| {
            held.merge(&exit);
        })
    }

    pub(super) fn on_log(&mut self, instance: &str, finished_at: UnixNanos, excerpt: LogExcerpt) -> Vec<Finding> {
        self.containers.note_log(instance, finished_at, excerpt.clone());
        let Some(recent) = self.recent_exit(instance) else {
            return Vec::new();
        };
        if recent.finding.observed_at != finished_at {
            return Vec::new();
        }
        let evidence = Evidence {
            at: finished_at,
            fact: Fact::LogExcerpt(excerpt),
        };
        let position = position(instance, finished_at);
        let changed = recent.change(|exit| {
            exit.evidence.insert(EvidenceSource::Log, position, evidence);
        });
        changed.into_iter().collect()
    }

    pub(super) fn on_runtime_oom(&mut self, instance: &str, at: UnixNanos, source: EvidenceSource) -> Vec<Finding> {
        self.containers.note_oom(instance, at);
        let Some(recent) = self.recent_exit(instance) else {
            return Vec::new();
        };
        let changed = recent.change(|exit| insert_oom(&mut exit.evidence, source, instance, at));
        changed.into_iter().collect()
    }
}

impl Fusion {
    /// What somebody asked of the runtime explains the end that follows, or one that was told a moment ago.
    pub(super) fn on_request(
        &mut self,
        instance: &str,
        asked: (EvidenceSource, RuntimeRequest, UnixNanos),
    ) -> Vec<Finding> {
        self.containers.note_request(instance, asked);
        let Some(recent) = self.recent_exit(instance) else {
            return Vec::new();
        };
        let changed = recent.change(|exit| insert_request(&mut exit.evidence, instance, asked));
        changed.into_iter().collect()
    }
}

/// Position of facts about one end: the instance and the recorded time.
fn position(instance: &str, at: UnixNanos) -> String {
    format!("{instance}@{}", at.0)
}

fn insert_oom(evidence: &mut EvidenceSet, source: EvidenceSource, instance: &str, at: UnixNanos) {
    evidence.insert(
        source,
        format!("{instance}@oom"),
        Evidence {
            at,
            fact: Fact::RuntimeOom,
        },
    );
}

fn insert_request(
    evidence: &mut EvidenceSet,
    instance: &str,
    (source, request, at): (EvidenceSource, RuntimeRequest, UnixNanos),
) {
    let position = format!("{instance}@{}-{}", request.kind, at.0);
    let fact = Fact::RuntimeRequest(request);
    evidence.insert(source, position, Evidence { at, fact });
}
