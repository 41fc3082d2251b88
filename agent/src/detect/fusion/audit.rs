//! Counters against kills that were seen: what the kernel counted and nobody told is said, with a number.

use std::collections::{BTreeSet, HashMap};

use inquest_shared::model::{
    CounterStep, Evidence, EvidenceSet, EvidenceSource, Fact, Finding, FindingKind, Key, Subject,
};

use super::{Fusion, Moment};
use crate::observation::KillCounter;

/// How long the other witnesses have before a counter speaks for itself.
const WAIT_US: u64 = 2_000_000;

/// Most steps that wait, and most containers whose told value is kept. A step beyond it is not lost: the node's counter
/// tells its kill.
const MAX_STEPS: usize = 4096;
const MAX_TOLD: usize = 8192;

/// Running totals. They only rise, so a late comparison errs on the quiet side.
#[derive(Debug, Default)]
pub(super) struct Audit {
    /// Kills that the kernel log told.
    seen: u64,
    /// Kills that counters of containers told and the log did not.
    told_by_containers: u64,
    /// Kills that were reported as unexplained for the node.
    reported: u64,
    /// First value of the node's counter.
    node_base: Option<u64>,
    due: Vec<(u64, KillCounter)>,
    /// Per container: value up to which everything is told.
    told: HashMap<String, u64>,
    forgotten: u64,
}

impl Audit {
    pub(super) fn kernel_kill(&mut self, kills: u64) {
        self.seen = self.seen.saturating_add(kills);
    }

    /// Containers that are gone need no told value.
    pub(super) fn forget(&mut self, gone: &[String]) {
        for instance in gone {
            self.told.remove(instance);
        }
    }

    /// Steps and values forgotten before their time since the last call.
    pub(super) fn take_forgotten(&mut self) -> u64 {
        std::mem::take(&mut self.forgotten)
    }

    fn wait(&mut self, until: u64, step: KillCounter) {
        if self.due.len() >= MAX_STEPS {
            self.forgotten += 1;
            self.due.remove(0);
        }
        self.due.push((until, step));
    }

    fn note_told(&mut self, instance: &str, value: u64) {
        if self.told.len() >= MAX_TOLD && !self.told.contains_key(instance) {
            self.forgotten += 1;
            return;
        }
        self.told.insert(instance.to_owned(), value);
    }

    pub(super) fn next_deadline(&self) -> Option<u64> {
        self.due.iter().map(|(at, _)| *at).min()
    }

    /// Kills of the node up to a value of its counter that no witness explains and nobody was told of.
    fn node_unexplained(&mut self, step: &KillCounter) -> u64 {
        let base = *self.node_base.get_or_insert(step.before);
        let counted = step.after.saturating_sub(base);
        let told = self
            .seen
            .saturating_add(self.told_by_containers)
            .saturating_add(self.reported);
        let unexplained = counted.saturating_sub(told);
        self.reported = self.reported.saturating_add(unexplained);
        unexplained
    }
}

impl Fusion {
    /// A counter moved: it speaks at once where kernel log and trace are blind, else when the log stays silent.
    pub(super) fn on_counter(&mut self, step: KillCounter, now: Moment) -> Vec<Finding> {
        if step.instance.is_empty() {
            self.audit.node_base.get_or_insert(step.before);
        }
        if !self.sees_kills() && !step.instance.is_empty() {
            return self.unexplained_of_container(&step, now).into_iter().collect();
        }
        self.audit.wait(now.mono_us.saturating_add(WAIT_US), step);
        self.place_victim(now)
    }

    /// The one waiting step of a container by exactly one kill that nothing explains yet.
    pub(super) fn only_unexplained_kill(&self) -> Option<&KillCounter> {
        let of_containers = self.audit.due.iter().map(|(_, step)| step);
        let mut unexplained = of_containers.filter(|s| !s.instance.is_empty() && self.told_before(s) < s.after);
        let only = unexplained.next()?;
        let by_one = self.told_before(only) + 1 == only.after;
        (by_one && unexplained.next().is_none()).then_some(only)
    }

    /// The value of a container's counter up to which kills are told, by the counter or by a witness of the kill itself.
    fn told_before(&self, step: &KillCounter) -> u64 {
        let told = self.audit.told.get(&step.instance).copied().unwrap_or(step.before);
        let of_instance = |r: &&super::Recent| {
            let f = &r.finding;
            f.kind == FindingKind::Kill && f.subject.instance == step.instance && f.evidence.kills().next().is_some()
        };
        let seen = u64::try_from(self.recent.iter().filter(of_instance).count()).unwrap_or(u64::MAX);
        told.saturating_add(seen).max(step.before).min(step.after)
    }

    pub(super) fn on_audit_due(&mut self, now: Moment) -> Vec<Finding> {
        let (due, later): (Vec<_>, Vec<_>) = self.audit.due.drain(..).partition(|(at, _)| *at <= now.mono_us);
        self.audit.due = later;
        let (of_containers, of_node): (Vec<_>, Vec<_>) = due.into_iter().partition(|(_, s)| !s.instance.is_empty());
        let mut out: Vec<Finding> = Vec::new();
        for (_, step) in of_containers {
            out.extend(self.unexplained_of_container(&step, now));
        }
        for (_, step) in of_node {
            out.extend(self.unexplained_of_node(&step, now));
        }
        out
    }

    fn unexplained_of_container(&mut self, step: &KillCounter, now: Moment) -> Option<Finding> {
        let before = self.told_before(step);
        self.audit.note_told(&step.instance, step.after);
        (before < step.after).then_some(())?;
        self.audit.told_by_containers = self.audit.told_by_containers.saturating_add(step.after - before);
        let subject = self
            .containers
            .get(&step.instance)
            .map_or_else(Subject::default, |c| c.subject.clone());
        let key = Key::kill(&self.boot_id, "cgroup", &format!("{}#{}", step.cgroup, step.after));
        let finding = self.counted(key, FindingKind::Kill, subject, step, before);
        let instance = step.instance.clone();
        let sent = self.admit(finding, 0, None, now);
        self.explain_exit(&instance).or(sent)
    }

    fn unexplained_of_node(&mut self, step: &KillCounter, now: Moment) -> Option<Finding> {
        let count = self.audit.node_unexplained(step);
        (count > 0).then_some(())?;
        let key = Key::unexplained(&self.boot_id, "", step.after);
        let finding = self.counted(
            key,
            FindingKind::UnexplainedKills,
            Subject::default(),
            step,
            step.after - count,
        );
        self.admit(finding, 0, None, now)
    }

    fn counted(&self, key: Key, kind: FindingKind, subject: Subject, step: &KillCounter, before: u64) -> Finding {
        let source = if step.instance.is_empty() {
            EvidenceSource::Procfs
        } else {
            EvidenceSource::Cgroup
        };
        let fact = CounterStep {
            counter: "oom_kill".to_owned(),
            cgroup: step.cgroup.clone(),
            before,
            after: step.after,
            // The runtime tells an end within milliseconds: who waited and heard of none knows that it goes on.
            survived: self.sees_kills() && self.containers.runs(&step.instance),
        };
        let mut evidence = EvidenceSet::default();
        let position = format!("{}#{}", step.cgroup, step.after);
        evidence.insert(
            source,
            position,
            Evidence {
                at: step.at,
                fact: Fact::CounterStep(fact),
            },
        );
        Finding {
            key,
            kind,
            discovery: self.discovery(step.at, true),
            observed_at: step.at,
            subject,
            evidence,
            cites: BTreeSet::new(),
            revision: 0,
        }
    }
}
