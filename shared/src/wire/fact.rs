//! Evidence and verdicts.

use inquest_proto::ingest::v1 as pb;

use super::{WireError, at_most};
use crate::{
    clock::UnixNanos,
    model::{
        Cause, CounterStep, Evidence, EvidenceSet, EvidenceSource, Fact, KernelKill, LimitLevel, LogExcerpt, LogOrigin,
        MAX_EVIDENCE, MemoryConsumer, RequestKind, RuntimeExit, RuntimeRequest, Severity, SignalResult, SignalSent,
        Untrusted, Verdict, clean_name,
    },
};

/// Longest process name that the kernel keeps is 15 bytes (TASK_COMM_LEN − 1); escapes may lengthen it.
const MAX_COMM: usize = 64;
/// A container status message has at most 4096 bytes (kubelet terminationMessagePath).
const MAX_MESSAGE: usize = 4096;
/// Longest runtime reason kept.
const MAX_REASON: usize = 64;
/// Longest cgroup path kept (PATH_MAX is 4096; real ones stay far below).
const MAX_CGROUP: usize = 1024;
/// Most consumers of one report.
const MAX_CONSUMERS: usize = 5;
/// Most lines of one excerpt.
const MAX_LINES: usize = 200;
/// Longest position of a fact in its source.
const MAX_POSITION: usize = 512;

impl From<&Fact> for pb::evidence::Fact {
    fn from(fact: &Fact) -> Self {
        match fact {
            Fact::KernelKill(kill) => Self::KernelKill(kill.into()),
            Fact::CounterStep(step) => Self::CounterStep(pb::CounterStep {
                counter: step.counter.clone(),
                cgroup: step.cgroup.clone(),
                before: step.before,
                after: step.after,
                survived: step.survived,
            }),
            Fact::RuntimeExit(exit) => Self::RuntimeExit(pb::RuntimeExit {
                exit_code: exit.exit_code,
                started_at_ns: exit.started_at.map_or(0, |t| t.0),
                finished_at_ns: exit.finished_at.0,
                reason: exit.reason.raw().to_owned(),
                message: exit.message.raw().to_owned(),
                memory_limit_bytes: exit.memory_limit_bytes,
            }),
            Fact::RuntimeOom => Self::RuntimeOom(pb::RuntimeOom {}),
            Fact::LogExcerpt(log) => Self::LogExcerpt(pb::LogExcerpt {
                lines: log.lines.iter().map(|l| l.raw().to_owned()).collect(),
                redactions: log.redactions,
                truncated: log.truncated,
                origin: log.origin.map_or(0, LogOrigin::number),
            }),
            Fact::KernelLoss(records) => Self::KernelLoss(pb::KernelLoss { records: *records }),
            Fact::RuntimeRequest(request) => Self::RuntimeRequest(pb::RuntimeRequest {
                kind: request.kind.number(),
                signal: u32::from(request.signal),
            }),
            Fact::SignalSent(sent) => Self::SignalSent(sent.into()),
            Fact::PodContext(pod) => Self::PodContext(pod.into()),
            Fact::Report(report) => Self::Report(report.into()),
            Fact::RolloutContext(rollout) => Self::RolloutContext(rollout.into()),
        }
    }
}

impl From<&KernelKill> for pb::KernelKill {
    fn from(kill: &KernelKill) -> Self {
        Self {
            pid: kill.pid,
            comm: kill.comm.raw().to_owned(),
            uid: kill.uid,
            total_vm_bytes: kill.total_vm_bytes,
            anon_bytes: kill.anon_bytes,
            file_bytes: kill.file_bytes,
            shmem_bytes: kill.shmem_bytes,
            pgtables_bytes: kill.pgtables_bytes,
            oom_score_adj: kill.oom_score_adj,
            trigger_comm: kill.trigger_comm.raw().to_owned(),
            trigger_pid: kill.trigger_pid,
            level: kill.level.map_or(0, LimitLevel::number),
            limit_cgroup: kill.limit_cgroup.clone(),
            victim_cgroup: kill.victim_cgroup.clone(),
            usage_bytes: kill.usage_bytes,
            limit_bytes: kill.limit_bytes,
            consumers: kill
                .consumers
                .iter()
                .map(|c| pb::MemoryConsumer {
                    pid: c.pid,
                    comm: c.comm.raw().to_owned(),
                    bytes: c.bytes,
                })
                .collect(),
            group: kill.group,
            partial: kill.partial,
            main_process: kill.main_process,
        }
    }
}

impl From<&SignalSent> for pb::SignalSent {
    fn from(sent: &SignalSent) -> Self {
        Self {
            signal: u32::from(sent.signal),
            code: sent.code,
            sender_pid: sent.sender_pid,
            sender_comm: sent.sender_comm.raw().to_owned(),
            sender_uid: sent.sender_uid,
            sender_cgroup: sent.sender_cgroup.clone(),
            sender_container: sent.sender_container.clone(),
            target_pid: sent.target_pid,
            target_comm: sent.target_comm.raw().to_owned(),
            group: sent.group,
            result: sent.result.number(),
            main_process: sent.main_process,
        }
    }
}

impl TryFrom<pb::evidence::Fact> for Fact {
    type Error = WireError;

    fn try_from(fact: pb::evidence::Fact) -> Result<Self, WireError> {
        use pb::evidence::Fact as Wire;
        Ok(match fact {
            Wire::KernelKill(kill) => Self::KernelKill(kill.try_into()?),
            Wire::CounterStep(step) => Self::CounterStep(CounterStep {
                counter: clean_name(&step.counter),
                cgroup: bounded_path(&step.cgroup),
                before: step.before,
                after: step.after,
                survived: step.survived,
            }),
            Wire::RuntimeExit(exit) => Self::RuntimeExit(RuntimeExit {
                exit_code: exit.exit_code,
                started_at: (exit.started_at_ns != 0).then_some(UnixNanos(exit.started_at_ns)),
                finished_at: UnixNanos(exit.finished_at_ns),
                reason: Untrusted::bounded(&exit.reason, MAX_REASON),
                message: Untrusted::bounded(&exit.message, MAX_MESSAGE),
                memory_limit_bytes: exit.memory_limit_bytes,
            }),
            Wire::RuntimeOom(pb::RuntimeOom {}) => Self::RuntimeOom,
            Wire::LogExcerpt(log) => Self::LogExcerpt(log.try_into()?),
            Wire::KernelLoss(loss) => Self::KernelLoss(loss.records),
            Wire::RuntimeRequest(request) => Self::RuntimeRequest(request.try_into()?),
            Wire::SignalSent(sent) => Self::SignalSent(sent.try_into()?),
            Wire::PodContext(pod) => Self::PodContext(pod.try_into()?),
            Wire::Report(report) => Self::Report(report.try_into()?),
            Wire::RolloutContext(rollout) => Self::RolloutContext(rollout.try_into()?),
        })
    }
}

impl TryFrom<pb::KernelKill> for KernelKill {
    type Error = WireError;

    fn try_from(kill: pb::KernelKill) -> Result<Self, WireError> {
        at_most("kernel_kill.consumers", kill.consumers.len(), MAX_CONSUMERS)?;
        Ok(Self {
            pid: kill.pid,
            comm: Untrusted::bounded(&kill.comm, MAX_COMM),
            uid: kill.uid,
            total_vm_bytes: kill.total_vm_bytes,
            anon_bytes: kill.anon_bytes,
            file_bytes: kill.file_bytes,
            shmem_bytes: kill.shmem_bytes,
            pgtables_bytes: kill.pgtables_bytes,
            oom_score_adj: kill.oom_score_adj,
            trigger_comm: Untrusted::bounded(&kill.trigger_comm, MAX_COMM),
            trigger_pid: kill.trigger_pid,
            level: LimitLevel::from_number(kill.level),
            limit_cgroup: bounded_path(&kill.limit_cgroup),
            victim_cgroup: bounded_path(&kill.victim_cgroup),
            usage_bytes: kill.usage_bytes,
            limit_bytes: kill.limit_bytes,
            consumers: kill
                .consumers
                .into_iter()
                .map(|c| MemoryConsumer {
                    pid: c.pid,
                    comm: Untrusted::bounded(&c.comm, MAX_COMM),
                    bytes: c.bytes,
                })
                .collect(),
            group: kill.group,
            partial: kill.partial,
            main_process: kill.main_process,
        })
    }
}

impl TryFrom<pb::RuntimeRequest> for RuntimeRequest {
    type Error = WireError;

    fn try_from(request: pb::RuntimeRequest) -> Result<Self, WireError> {
        let kind = RequestKind::from_number(request.kind).ok_or(WireError::Number {
            field: "runtime_request.kind",
            number: request.kind,
        })?;
        // A number that is no signal of Linux says nothing about the end.
        let signal = u8::try_from(request.signal).unwrap_or_default();
        Ok(Self { kind, signal })
    }
}

impl TryFrom<pb::SignalSent> for SignalSent {
    type Error = WireError;

    fn try_from(sent: pb::SignalSent) -> Result<Self, WireError> {
        let result = SignalResult::from_number(sent.result).ok_or(WireError::Number {
            field: "signal_sent.result",
            number: sent.result,
        })?;
        Ok(Self {
            // A number that is no signal of Linux ended nobody.
            signal: u8::try_from(sent.signal).unwrap_or_default(),
            code: sent.code,
            sender_pid: sent.sender_pid,
            sender_comm: Untrusted::bounded(&sent.sender_comm, MAX_COMM),
            sender_uid: sent.sender_uid,
            sender_cgroup: bounded_path(&sent.sender_cgroup),
            sender_container: bounded_path(&sent.sender_container),
            target_pid: sent.target_pid,
            target_comm: Untrusted::bounded(&sent.target_comm, MAX_COMM),
            group: sent.group,
            result,
            main_process: sent.main_process,
        })
    }
}

impl TryFrom<pb::LogExcerpt> for LogExcerpt {
    type Error = WireError;

    fn try_from(log: pb::LogExcerpt) -> Result<Self, WireError> {
        at_most("log_excerpt.lines", log.lines.len(), MAX_LINES)?;
        Ok(Self {
            lines: log.lines.iter().map(|l| Untrusted::bounded(l, MAX_MESSAGE)).collect(),
            redactions: log.redactions,
            truncated: log.truncated,
            origin: LogOrigin::from_number(log.origin),
        })
    }
}

/// Evidence of a set as messages.
pub(super) fn evidence_to_wire(set: &EvidenceSet) -> Vec<pb::Evidence> {
    set.iter()
        .map(|(source, position, evidence)| pb::Evidence {
            source: source.number(),
            position: position.to_owned(),
            at_ns: evidence.at.0,
            fact: Some((&evidence.fact).into()),
        })
        .collect()
}

/// Messages as a set. Facts of a kind or source that this version does not know are left out, so that a newer agent can
/// still be heard.
pub(super) fn evidence_from_wire(evidence: Vec<pb::Evidence>) -> Result<EvidenceSet, WireError> {
    at_most("evidence", evidence.len(), MAX_EVIDENCE)?;
    let mut set = EvidenceSet::default();
    for item in evidence {
        at_most("evidence.position", item.position.len(), MAX_POSITION)?;
        if let (Some(source), Some(fact)) = (EvidenceSource::from_number(item.source), item.fact) {
            let fact = fact.try_into()?;
            set.insert(
                source,
                item.position,
                Evidence {
                    at: UnixNanos(item.at_ns),
                    fact,
                },
            );
        }
    }
    Ok(set)
}

impl From<&Verdict> for pb::Verdict {
    fn from(verdict: &Verdict) -> Self {
        Self {
            cause: verdict.cause.number(),
            confidence_percent: u32::from(verdict.confidence_percent),
            severity: verdict.severity.number(),
        }
    }
}

impl TryFrom<pb::Verdict> for Verdict {
    type Error = WireError;

    fn try_from(verdict: pb::Verdict) -> Result<Self, WireError> {
        Ok(Self {
            cause: cause(verdict.cause)?,
            confidence_percent: percent(verdict.confidence_percent),
            severity: severity(verdict.severity)?,
        })
    }
}

/// A cause by number.
pub(super) fn cause(number: i32) -> Result<Cause, WireError> {
    Cause::from_number(number).ok_or(WireError::Number { field: "cause", number })
}

/// A severity by number.
pub(super) fn severity(number: i32) -> Result<Severity, WireError> {
    Severity::from_number(number).ok_or(WireError::Number {
        field: "severity",
        number,
    })
}

/// Clamps to 0..=100.
pub(super) fn percent(number: u32) -> u8 {
    u8::try_from(number.min(100)).unwrap_or(100)
}

/// Keeps the printable part of a path.
pub(super) fn bounded_path(path: &str) -> String {
    path.chars()
        .take(MAX_CGROUP)
        .map(|c| if c.is_ascii_graphic() { c } else { '_' })
        .collect()
}
