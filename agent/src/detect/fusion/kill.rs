//! From a kernel report to a finding: whose process it was, which limit, and whether it was the container's first.

use std::collections::BTreeSet;

use inquest_shared::{
    clock::UnixNanos,
    model::{
        Evidence, EvidenceSet, EvidenceSource, Fact, Finding, FindingKind, KernelKill, Key, LimitLevel, MemoryConsumer,
        Subject, Untrusted, clean_name,
    },
};

use super::{Fusion, Moment, NAME_WAIT_US, Witness};
use crate::{
    detect::oom::{Constraint, OomReport},
    host::cgroup::path::{CgroupPath, Level, Located},
};

/// A process name has at most 15 bytes in the kernel; escapes may lengthen it.
const MAX_COMM: usize = 64;
/// Limits that differ by less than this are one limit: the kernel rounds down to pages, of 64 KiB at most here.
const ROUNDING: u64 = 64 * 1024;

impl Fusion {
    /// A report, or a revised one, as finding; held for a moment when the runtime has not named the container yet.
    pub(super) fn on_report(&mut self, report: OomReport, witness: &Witness, now: Moment) -> Vec<Finding> {
        let position = report.kill_seq.to_string();
        let path = report
            .task_memcg
            .clone()
            .or_else(|| witness.cgroup.clone())
            .or_else(|| self.cgroup_of(&position));
        let located = CgroupPath::parse(path.as_deref().unwrap_or_default());
        let (subject, named) = self.locate(&located, path.as_deref().unwrap_or_default(), report.wall);
        let (key, told) = self.key_of_kill(&position, &subject.instance, (report.victim.pid, report.wall));
        if !told {
            self.audit.kernel_kill(u64::from(report.kills.max(1)));
        }
        let traced = self.take_trace_of(report.victim.pid, report.wall);
        if !self.is_ours(path.as_deref()) {
            return Vec::new();
        }
        let kill = self.kernel_kill(&report, &subject);
        let mut evidence = EvidenceSet::default();
        evidence.insert(
            EvidenceSource::Kmsg,
            position,
            Evidence {
                at: report.wall,
                fact: Fact::KernelKill(kill),
            },
        );
        if let Some((position, traced)) = traced {
            evidence.insert(EvidenceSource::Trace, position, traced);
        }
        let finding = Finding {
            key,
            kind: FindingKind::Kill,
            discovery: self.discovery(report.wall, !witness.backlog),
            observed_at: report.wall,
            subject,
            evidence,
            cites: BTreeSet::new(),
            revision: 0,
        };
        let wait = (!named && located.container_id.is_some() && !witness.backlog).then_some(now.mono_us + NAME_WAIT_US);
        let instance = finding.subject.instance.clone();
        let sent = self.admit(finding, report.victim.pid, wait, now);
        sent.into_iter().chain(self.explain_exit(&instance)).collect()
    }

    /// Cgroup that an earlier version of a report was given.
    fn cgroup_of(&self, position: &str) -> Option<String> {
        let held = self.recent.iter().find(|r| is_of_record(&r.finding, position))?;
        Some(held.finding.subject.cgroup.clone()).filter(|path| !path.is_empty())
    }

    /// Whether a victim's cgroup lies in this node's scope: nodes that share a kernel read each other's records. A record
    /// without a cgroup can be told only by a node that has the kernel to itself.
    pub(super) fn is_ours(&self, cgroup: Option<&str>) -> bool {
        let below = |path: &str| {
            path.strip_prefix(&self.scope)
                .is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
        };
        self.scope.is_empty() || cgroup.is_some_and(below)
    }

    /// Key of a report, and whether its kill is known already: from an earlier version of the report, or from the trace or
    /// a counter that spoke first while the kernel log was blind.
    fn key_of_kill(&self, position: &str, instance: &str, (pid, at): (u32, UnixNanos)) -> (Key, bool) {
        let traced = |evidence: &EvidenceSet| {
            let mut facts = evidence.iter();
            facts.all(|(source, _, _)| source != EvidenceSource::Kmsg)
        };
        let same = |finding: &Finding| {
            let by_counter = finding.subject.instance == instance && finding.evidence.kills().next().is_none();
            finding.kind == FindingKind::Kill && (by_counter || is_of_record(finding, position))
        };
        let known = self
            .recent
            .iter()
            .find(|r| same(&r.finding))
            .map(|known| known.finding.key);
        let by_trace = || self.kill_of_victim(pid, at, traced);
        match known.or_else(by_trace) {
            Some(key) => (key, true),
            None => (Key::kill(&self.boot_id, "kmsg", position), false),
        }
    }

    /// The runtime named a container: held kills of it can go.
    pub(super) fn on_named(&mut self, instance: &str) -> Vec<Finding> {
        let Some(container) = self.containers.get(instance).cloned() else {
            return Vec::new();
        };
        let id = instance.split('@').next().unwrap_or(instance);
        let mut out = Vec::new();
        for recent in &mut self.recent {
            let kill = &recent.finding;
            // A kill that came before the runtime named the run has only the container's id.
            let bare = kill.subject.instance == id
                && (self.containers.run_at(id, kill.observed_at)).is_some_and(|run| run.subject.instance == instance);
            let ours = kill.kind == FindingKind::Kill && (kill.subject.instance == instance || bare);
            if !ours {
                continue;
            }
            let held = recent.held_until.take().is_some();
            let pid = recent.pid;
            let changed = recent.change(|finding| {
                finding.subject.merge(&container.subject);
                set_main_process(finding, pid, container.pid);
            });
            out.extend(changed.or_else(|| held.then(|| recent.finding.clone())));
        }
        out
    }

    /// Subject of a cgroup path, and whether the runtime knows it.
    pub(super) fn locate(&self, located: &Located, path: &str, at: UnixNanos) -> (Subject, bool) {
        let chosen = located
            .choose(|id| self.containers.knows_id(id))
            .map(|(candidate, _)| candidate);
        let id = chosen.and_then(|c| c.container_id.clone()).unwrap_or_default();
        if let Some(container) = self.containers.run_at(&id, at) {
            let mut subject = container.subject.clone();
            path.clone_into(&mut subject.cgroup);
            return (subject, true);
        }
        let pod_uid = chosen
            .and_then(|c| c.pod_uid.as_ref())
            .map(|uid| uid.as_str().to_owned())
            .unwrap_or_default();
        let subject = Subject {
            pod_uid,
            instance: clean_name(&id),
            cgroup: path.to_owned(),
            ..Subject::default()
        };
        (subject, false)
    }

    fn kernel_kill(&self, report: &OomReport, subject: &Subject) -> KernelKill {
        let bytes = |kb: Option<u64>| kb.unwrap_or_default().saturating_mul(1024);
        let comm = |text: &str| Untrusted::bounded(text, MAX_COMM);
        let victim = &report.victim;
        let limit_bytes = report.memory.and_then(|m| m.limit_kb).map(|kb| kb.saturating_mul(1024));
        let first = self.containers.get(&subject.instance).and_then(|c| c.pid);
        KernelKill {
            pid: victim.pid,
            comm: comm(&victim.comm),
            uid: victim.uid.unwrap_or_default(),
            total_vm_bytes: bytes(victim.total_vm_kb),
            anon_bytes: bytes(victim.anon_kb),
            file_bytes: bytes(victim.file_kb),
            shmem_bytes: bytes(victim.shmem_kb),
            pgtables_bytes: bytes(victim.pgtables_kb),
            oom_score_adj: victim.oom_score_adj.unwrap_or_default(),
            trigger_comm: comm(report.trigger.as_ref().map_or("", |t| t.comm.as_str())),
            trigger_pid: report.trigger.as_ref().and_then(|t| t.pid).unwrap_or_default(),
            level: self.limit_level(report, subject, limit_bytes),
            limit_cgroup: report.oom_memcg.clone().unwrap_or_default(),
            victim_cgroup: report.task_memcg.clone().unwrap_or_default(),
            usage_bytes: report.memory.map(|m| m.usage_kb.saturating_mul(1024)),
            limit_bytes,
            consumers: report
                .top
                .iter()
                .map(|row| MemoryConsumer {
                    pid: row.pid,
                    comm: comm(&row.comm),
                    bytes: row.memory_kb().saturating_mul(1024),
                })
                .collect(),
            group: report.group,
            partial: report.partial,
            main_process: first.map(|pid| pid == victim.pid),
        }
    }

    /// Which limit was enforced. A pod of one container hits the pod's limit, which is the container's own: on cgroup v1
    /// the pause process makes that the usual shape.
    fn limit_level(&self, report: &OomReport, subject: &Subject, limit: Option<u64>) -> Option<LimitLevel> {
        match report.constraint? {
            Constraint::None | Constraint::Unspecified => return Some(LimitLevel::Node),
            Constraint::Cpuset | Constraint::MemoryPolicy => return Some(LimitLevel::Numa),
            Constraint::Memcg => {}
        }
        Some(self.level_of(report.oom_memcg.as_deref()?, subject, limit))
    }

    /// What the limit of a cgroup is to a container.
    pub(super) fn level_of(&self, limit_cgroup: &str, subject: &Subject, limit: Option<u64>) -> LimitLevel {
        match CgroupPath::parse(limit_cgroup).level {
            Level::Container => LimitLevel::Container,
            Level::Pod if self.only_container_has(&subject.pod_uid, limit) => LimitLevel::Container,
            Level::Pod => LimitLevel::Pod,
            Level::QosClass => LimitLevel::QosClass,
            Level::NodeAllocatable => LimitLevel::NodeAllocatable,
            Level::HostService(_) | Level::Other => LimitLevel::HostService,
            Level::Node => LimitLevel::Node,
        }
    }

    fn only_container_has(&self, pod_uid: &str, limit: Option<u64>) -> bool {
        let mut of_pod = self.containers.of_pod(pod_uid);
        let (Some(only), None, Some(limit)) = (of_pod.next(), of_pod.next(), limit) else {
            return false;
        };
        only.memory_limit.is_some_and(|own| own.abs_diff(limit) < ROUNDING)
    }
}

/// Whether a finding rests on the kernel record at a position.
fn is_of_record(finding: &Finding, position: &str) -> bool {
    finding
        .evidence
        .iter()
        .any(|(source, at, _)| source == EvidenceSource::Kmsg && at == position)
}

/// Tells in a kill's evidence whether the victim was the container's first process.
fn set_main_process(finding: &mut Finding, pid: u32, first: Option<u32>) {
    let Some(first) = first else { return };
    let known = finding
        .evidence
        .iter()
        .find_map(|(source, position, evidence)| match &evidence.fact {
            Fact::KernelKill(kill) if kill.pid == pid && kill.main_process.is_none() => {
                let kill = KernelKill {
                    main_process: Some(pid == first),
                    ..kill.clone()
                };
                Some((
                    source,
                    position.to_owned(),
                    Evidence {
                        at: evidence.at,
                        fact: Fact::KernelKill(kill),
                    },
                ))
            }
            _ => None,
        });
    if let Some((source, position, evidence)) = known {
        finding.evidence.insert(source, position, evidence);
    }
}
