//! Kills that trace events tell: the second witness beside the kernel log, and the first where the log is blind.

use std::{collections::BTreeSet, time::Duration};

use inquest_shared::{
    clock::UnixNanos,
    model::{Evidence, EvidenceSet, EvidenceSource, Fact, Finding, FindingKind, KernelKill, Key, LimitLevel},
};

use super::{Fusion, Moment, NAME_WAIT_US};
use crate::{
    host::cgroup::path::CgroupPath,
    observation::{MemoryAt, TraceKill},
};

/// How long the record of the kernel log is waited for, and how far apart two witnesses of one kill may be. A pid is not
/// used again that soon.
const JOIN_US: u64 = 2_000_000;
const JOIN: Duration = Duration::from_micros(JOIN_US);
/// Victims that wait for their record. One beyond it is told at once, by the trace alone.
const MAX_WAITING: usize = 256;
/// The kernel takes memory in batches of 64 pages (`MEMCG_CHARGE_BATCH` in `include/linux/memcontrol.h`), so the most that
/// was ever used may stay that much below a limit that was hit.
const BATCH: u64 = 64 * 4096;

/// A victim whose record in the kernel log, or whose container, is still to come.
#[derive(Debug)]
pub(super) struct Waiting {
    until: u64,
    seen: TraceKill,
}

impl Fusion {
    /// A victim: evidence for a kill that is known; else it waits for the log where that is read, or for the counter that
    /// says where it died; else it is the kill.
    pub(super) fn on_trace_kill(&mut self, seen: TraceKill, now: Moment) -> Vec<Finding> {
        if let Some(key) = self.kill_of_victim(seen.kill.pid, seen.at, |_| true) {
            return self.add_trace(key, &seen);
        }
        let waits = self.kernel_live || self.path_of(&seen).is_none();
        if waits && !seen.backlog && self.waiting.len() < MAX_WAITING {
            let until = now.mono_us.saturating_add(JOIN_US);
            self.waiting.push(Waiting { until, seen });
            return self.place_victim(now);
        }
        self.tell_trace(seen, now)
    }

    /// A victim that was gone before its cgroup could be read died where a counter rose and no other kill explains it. With
    /// two of either nobody can tell which is whose.
    pub(super) fn place_victim(&mut self, now: Moment) -> Vec<Finding> {
        let nowhere = |waiting: &Waiting| self.path_of(&waiting.seen).is_none();
        let mut lost = (0..self.waiting.len()).filter(|index| nowhere(&self.waiting[*index]));
        let (Some(index), None) = (lost.next(), lost.next()) else {
            return Vec::new();
        };
        let (at, cgroup) = match self.only_unexplained_kill() {
            Some(step) => (step.at, step.cgroup.clone()),
            None => return Vec::new(),
        };
        if !near(self.waiting[index].seen.at, at) {
            return Vec::new();
        }
        self.waiting[index].seen.cgroup = Some(cgroup);
        if self.kernel_live {
            return Vec::new();
        }
        let seen = self.waiting.swap_remove(index).seen;
        self.tell_trace(seen, now)
    }

    /// Victims whose record did not come.
    pub(super) fn on_trace_due(&mut self, now: Moment) -> Vec<Finding> {
        let (due, later): (Vec<_>, Vec<_>) = self.waiting.drain(..).partition(|waiting| waiting.until <= now.mono_us);
        self.waiting = later;
        due.into_iter()
            .flat_map(|waiting| self.tell_trace(waiting.seen, now))
            .collect()
    }

    /// When the next victim stops waiting.
    pub(super) fn trace_deadline(&self) -> Option<u64> {
        self.waiting.iter().map(|waiting| waiting.until).min()
    }

    /// The trace of a victim that the kernel log told now.
    pub(super) fn take_trace_of(&mut self, pid: u32, at: UnixNanos) -> Option<(String, Evidence)> {
        let of = |waiting: &Waiting| waiting.seen.kill.pid == pid && near(waiting.seen.at, at);
        let index = self.waiting.iter().position(of)?;
        let seen = self.waiting.swap_remove(index).seen;
        Some((seen.position.clone(), self.evidence_of(&seen)))
    }

    /// The kill that a victim died of, when another witness told it already.
    pub(super) fn kill_of_victim(&self, pid: u32, at: UnixNanos, of: impl Fn(&EvidenceSet) -> bool) -> Option<Key> {
        let same = |finding: &Finding| {
            let mut kills = finding.evidence.iter().filter_map(|(_, _, e)| match &e.fact {
                Fact::KernelKill(kill) => Some((e.at, kill.pid)),
                _ => None,
            });
            let victim = kills.any(|(told, victim)| victim == pid && near(told, at));
            victim && finding.kind == FindingKind::Kill && of(&finding.evidence)
        };
        self.recent
            .iter()
            .find(|recent| same(&recent.finding))
            .map(|recent| recent.finding.key)
    }

    fn add_trace(&mut self, key: Key, seen: &TraceKill) -> Vec<Finding> {
        let evidence = self.evidence_of(seen);
        let Some(recent) = self.recent.iter_mut().find(|recent| recent.finding.key == key) else {
            return Vec::new();
        };
        let instance = recent.finding.subject.instance.clone();
        let changed = recent.change(|finding| {
            finding
                .evidence
                .insert(EvidenceSource::Trace, seen.position.clone(), evidence);
        });
        changed.into_iter().chain(self.explain_exit(&instance)).collect()
    }

    /// A kill that only the trace tells, or that it tells after a counter did.
    fn tell_trace(&mut self, seen: TraceKill, now: Moment) -> Vec<Finding> {
        let path = self.path_of(&seen);
        let located = CgroupPath::parse(path.as_deref().unwrap_or_default());
        let (subject, named) = self.locate(&located, path.as_deref().unwrap_or_default(), seen.at);
        let counted = |finding: &Finding| {
            let same = finding.kind == FindingKind::Kill && finding.subject.instance == subject.instance;
            same && !subject.instance.is_empty() && finding.evidence.kills().next().is_none()
        };
        let told = self
            .recent
            .iter()
            .find(|recent| counted(&recent.finding))
            .map(|recent| recent.finding.key);
        let ours = self.is_ours(path.as_deref());
        // A kill of another node on this kernel was counted by its record, where the log is read.
        if told.is_none() && (ours || !self.kernel_live) {
            self.audit.kernel_kill(1);
        }
        if !ours {
            return Vec::new();
        }
        let mut evidence = EvidenceSet::default();
        evidence.insert(EvidenceSource::Trace, seen.position.clone(), self.evidence_of(&seen));
        let finding = Finding {
            key: told.unwrap_or_else(|| Key::kill(&self.boot_id, "trace", &seen.position)),
            kind: FindingKind::Kill,
            discovery: self.discovery(seen.at, !seen.backlog),
            observed_at: seen.at,
            subject,
            evidence,
            cites: BTreeSet::new(),
            revision: 0,
        };
        let wait = (!named && located.container_id.is_some() && !seen.backlog).then_some(now.mono_us + NAME_WAIT_US);
        let instance = finding.subject.instance.clone();
        let sent = self.admit(finding, seen.kill.pid, wait, now);
        sent.into_iter().chain(self.explain_exit(&instance)).collect()
    }

    /// The victim's cgroup: its own, else that of the container whose first process it was.
    fn path_of(&self, seen: &TraceKill) -> Option<String> {
        let of_container = || {
            self.containers
                .run_of_pid(seen.kill.pid, seen.at)
                .map(|c| c.subject.cgroup.clone())
        };
        seen.cgroup
            .clone()
            .or_else(of_container)
            .filter(|path| !path.is_empty())
    }

    fn evidence_of(&self, seen: &TraceKill) -> Evidence {
        let path = self.path_of(seen).unwrap_or_default();
        let (subject, _) = self.locate(&CgroupPath::parse(&path), &path, seen.at);
        let first = self.containers.get(&subject.instance).and_then(|c| c.pid);
        let hit = hit_limit(&seen.limits, seen.trigger_cgroup.as_deref());
        let (level, limit) = match hit {
            Hit::Unknown => (None, None),
            Hit::Node => (Some(LimitLevel::Node), None),
            Hit::Cgroup(at) => (Some(self.level_of(&at.cgroup, &subject, at.memory.limit)), Some(at)),
        };
        let kill = KernelKill {
            level,
            limit_cgroup: limit.map(|at| at.cgroup.clone()).unwrap_or_default(),
            limit_bytes: limit.and_then(|at| at.memory.limit),
            main_process: first.map(|pid| pid == seen.kill.pid),
            ..seen.kill.clone()
        };
        Evidence {
            at: seen.at,
            fact: Fact::KernelKill(kill),
        }
    }
}

/// Whose memory ran out.
#[derive(Debug, PartialEq, Eq)]
enum Hit<'a> {
    Unknown,
    Node,
    Cgroup(&'a MemoryAt),
}

/// The event does not name the limit. It is the innermost one that was hit and that counts the process which asked for
/// memory: a process elsewhere cannot run into it. No such limit means that the node itself was short.
fn hit_limit<'a>(limits: &'a [MemoryAt], trigger: Option<&str>) -> Hit<'a> {
    if limits.is_empty() {
        return Hit::Unknown;
    }
    let counts = |at: &&MemoryAt| trigger.is_none_or(|path| is_below(path, &at.cgroup));
    limits
        .iter()
        .filter(counts)
        .find(|at| was_hit(at))
        .map_or(Hit::Node, Hit::Cgroup)
}

fn is_below(path: &str, cgroup: &str) -> bool {
    path.strip_prefix(cgroup)
        .is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}

/// The new hierarchy counts how often the limit was hit; of the old one we know how much was used at most.
fn was_hit(at: &MemoryAt) -> bool {
    let Some(limit) = at.memory.limit else { return false };
    match (at.memory.oom_local, at.memory.peak) {
        (Some(times), _) => times > 0,
        (None, Some(peak)) => peak.saturating_add(BATCH) >= limit,
        (None, None) => at.memory.usage.saturating_add(BATCH) >= limit,
    }
}

fn near(a: UnixNanos, b: UnixNanos) -> bool {
    a.since(b) <= JOIN && b.since(a) <= JOIN
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::host::cgroup::counters::Memory;

    const MIB: u64 = 1 << 20;

    fn at(cgroup: &str, limit: Option<u64>, peak: u64) -> MemoryAt {
        let memory = Memory {
            limit,
            peak: Some(peak),
            ..Memory::default()
        };
        MemoryAt {
            cgroup: cgroup.to_owned(),
            memory,
        }
    }

    /// Without the kernel log nobody says which limit it was; a node that is short of memory must not be put on a container.
    #[test]
    fn the_limit_that_was_hit_is_the_innermost_full_one_above_the_process_that_asked() {
        let chain = |container: u64, pod: u64| {
            vec![
                at("/k/pod1/c1", Some(20 * MIB), container),
                at("/k/pod1", Some(50 * MIB), pod),
                at("/k", None, 900 * MIB),
            ]
        };
        let hit = |limits: &[MemoryAt], trigger| match hit_limit(limits, trigger) {
            Hit::Cgroup(at) => at.cgroup.clone(),
            other => format!("{other:?}"),
        };
        assert_eq!(hit(&chain(20 * MIB, 30 * MIB), Some("/k/pod1/c1")), "/k/pod1/c1");
        assert_eq!(hit(&chain(10 * MIB, 50 * MIB), Some("/k/pod1/c2")), "/k/pod1");
        assert_eq!(hit(&chain(20 * MIB, 30 * MIB), Some("/k/pod2/c9")), "Node");
        assert_eq!(hit(&chain(20 * MIB, 30 * MIB), Some("/k/pod10/c9")), "Node");
        assert_eq!(hit(&chain(10 * MIB, 30 * MIB), Some("/k/pod1/c1")), "Node");
        assert_eq!(hit(&chain(20 * MIB, 30 * MIB), None), "/k/pod1/c1");
        assert_eq!(hit(&[], Some("/k/pod1/c1")), "Unknown");
    }

    #[test]
    fn the_new_hierarchy_counts_what_the_old_one_only_suggests() {
        let counted = |times| MemoryAt {
            memory: Memory {
                oom_local: Some(times),
                ..at("/c", Some(MIB), MIB).memory
            },
            ..at("/c", None, 0)
        };
        assert!(
            was_hit(&counted(1)) && !was_hit(&counted(0)),
            "page cache fills a limit without a kill"
        );
    }
}
