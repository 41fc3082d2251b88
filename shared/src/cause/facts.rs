//! What a set of evidence says, as the rows of the table ask it. Pure; must not know any cause.

use std::collections::BTreeSet;

use super::{
    exit_code::{Signal, meaning},
    sender::{self, Killer, Origin},
};
use crate::{
    clock::UnixNanos,
    model::{
        EvidenceSet, EvidenceSource, Fact, KernelKill, LimitLevel, PodContext, Report, ReportKind, RequestKind,
        RuntimeExit,
    },
};

/// Counter of processes that the kernel killed for memory (`memory.events`, `memory.oom_control`, `/proc/vmstat`).
pub(crate) const OOM_KILL: &str = "oom_kill";
/// Most lines from the end of the log that may decide a cause.
const DECISIVE_LINES: usize = 3;

/// The kernel's kill that matters most, united from all its witnesses.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Kill<'a> {
    /// The witness that knows the most.
    pub record: &'a KernelKill,
    /// When, on the node's wall clock, by the earliest witness.
    pub at: UnixNanos,
    /// Which limit, when any witness says.
    pub level: Option<LimitLevel>,
    /// Whether the victim was the container's first process, when any witness says.
    pub main_process: Option<bool>,
    /// Whether the whole cgroup was killed.
    pub group: bool,
    /// The limit in bytes, when any witness says.
    pub limit_bytes: Option<u64>,
}

/// The end of the container, the best of what runtimes recorded.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Exit<'a> {
    /// Which runtime.
    pub source: EvidenceSource,
    /// When it was recorded, on the node's wall clock.
    pub at: UnixNanos,
    /// What it recorded.
    pub record: &'a RuntimeExit,
}

/// Answers about one set.
#[derive(Debug)]
pub(crate) struct Facts<'a> {
    /// The set itself.
    pub evidence: &'a EvidenceSet,
    /// The kill that matters most.
    pub kill: Option<Kill<'a>>,
    /// The end.
    pub exit: Option<Exit<'a>>,
    /// A kill counter of a cgroup rose.
    pub cgroup_step: bool,
    /// The kill counter of the whole node rose.
    pub node_step: bool,
    /// The runtime sent an out-of-memory notice.
    pub runtime_oom: bool,
    /// What the apiserver says about the pod.
    pub pod: Option<&'a PodContext>,
    /// The state that the apiserver reports.
    pub report: Option<&'a Report>,
}

impl<'a> Facts<'a> {
    /// Reads a set.
    pub fn of(evidence: &'a EvidenceSet) -> Self {
        Self {
            evidence,
            kill: decisive_kill(evidence),
            exit: best_exit(evidence),
            cgroup_step: evidence.steps(OOM_KILL).any(|s| !s.cgroup.is_empty()),
            node_step: evidence.steps(OOM_KILL).any(|s| s.cgroup.is_empty()),
            runtime_oom: evidence.has_runtime_oom(),
            pod: evidence.pod(),
            report: evidence.report(),
        }
    }

    /// The exit code, unless the runtime lost it.
    pub fn code(&self) -> Option<i32> {
        self.exit.and_then(Exit::code)
    }

    /// Whether the container ended by SIGKILL.
    pub fn died_of_sigkill(&self) -> bool {
        self.signal() == Some(Signal::KILL)
    }

    /// Whether the container is known to have gone on after its kill counter rose.
    pub fn survived_step(&self) -> bool {
        self.exit.is_none() && self.evidence.steps(OOM_KILL).any(|step| step.survived)
    }

    /// Whether the container is known to have ended in any other way than by SIGKILL.
    pub fn ended_otherwise(&self) -> bool {
        self.code().is_some() && !self.died_of_sigkill()
    }

    /// Whether the runtime was asked for this before the end.
    pub fn was_asked_to(&self, kind: RequestKind) -> bool {
        self.exit.is_some() && self.evidence.requests().any(|request| request.kind == kind)
    }

    /// Whether the container died of the very signal that the runtime was asked to send.
    pub fn died_of_request(&self) -> bool {
        let sent = |signal: Signal| {
            let mut asked = self.evidence.requests();
            asked.any(|request| request.kind == RequestKind::Kill && request.signal == signal.number())
        };
        self.signal().is_some_and(sent)
    }

    /// The signal that the container died of, as the kernel traced it, with its sender.
    pub fn killer(&self) -> Option<Killer<'a>> {
        sender::killer(self.evidence, self.exit?.at, self.signal()?)
    }

    /// Whether the signal that the container died of came from such a sender.
    pub fn died_by(&self, origins: &[Origin]) -> bool {
        self.killer().is_some_and(|killer| origins.contains(&killer.origin()))
    }

    /// The signal that the code names.
    pub fn signal(&self) -> Option<Signal> {
        self.code().and_then(|code| meaning(code).signal)
    }

    /// Whether the runtime gave one of these reasons.
    pub fn reason_is(&self, reasons: &[&str]) -> bool {
        self.exit.is_some_and(|e| reasons.contains(&e.record.reason.raw()))
    }

    /// Whether the runtime's message contains one of these, whatever the case.
    pub fn message_has(&self, needles: &[&str]) -> bool {
        self.exit.is_some_and(|e| contains_any(e.record.message.raw(), needles))
    }

    /// Whether one of the last lines of the log contains one of these, whatever the case. Earlier lines may be about
    /// something that the program survived.
    pub fn log_ends_with(&self, needles: &[&str]) -> bool {
        let lines = self.evidence.log().map_or(&[][..], |log| &log.lines);
        lines
            .iter()
            .rev()
            .take(DECISIVE_LINES)
            .any(|line| contains_any(line.raw(), needles))
    }

    /// The memory limit in bytes that the kernel or the runtime names.
    pub fn limit_bytes(&self) -> Option<u64> {
        let by_kernel = self.kill.and_then(|k| k.limit_bytes);
        by_kernel.or_else(|| self.exit.and_then(|e| e.record.memory_limit_bytes))
    }

    /// How many processes the kernel's records say were killed.
    pub fn killed_processes(&self) -> usize {
        self.evidence
            .kills()
            .map(|kill| kill.pid)
            .collect::<BTreeSet<_>>()
            .len()
    }

    /// Whether the apiserver reports a state of one of these kinds.
    pub fn reports(&self, kinds: &[ReportKind]) -> bool {
        self.report.is_some_and(|report| kinds.contains(&report.kind))
    }

    /// Kernel records that were lost unread.
    pub fn lost_records(&self) -> u64 {
        let losses = self.evidence.iter().map(|(_, _, e)| match e.fact {
            Fact::KernelLoss(records) => records,
            _ => 0,
        });
        losses.fold(0, u64::saturating_add)
    }

    /// Whether the kernel's records or the container's own counter prove a kill for memory.
    pub fn proves_oom(&self) -> bool {
        self.kill.is_some() || self.cgroup_step
    }

    /// Whether anything speaks of a memory limit.
    pub fn has_memory_limit(&self) -> bool {
        self.limit_bytes().is_some()
    }
}

impl Exit<'_> {
    /// Whether the runtime lost the code.
    pub fn is_lost(self) -> bool {
        self.code().is_none()
    }

    /// The code; `None` when the runtime lost it: −1, or 255 and a reason that says so.
    pub fn code(self) -> Option<i32> {
        let lost = lost_reason(self.record) && self.record.exit_code == 255;
        (self.record.exit_code >= 0 && !lost).then_some(self.record.exit_code)
    }
}

/// containerd and CRI-O say "Unknown" with 255 when the status is gone; the kubelet says "ContainerStatusUnknown".
pub(super) const LOST_REASONS: &[&str] = &["Unknown", "ContainerStatusUnknown"];

fn lost_reason(exit: &RuntimeExit) -> bool {
    LOST_REASONS.contains(&exit.reason.raw())
}

/// A record that knows the code wins, then one that gives a reason, then the set's order of worth.
fn best_exit(evidence: &EvidenceSet) -> Option<Exit<'_>> {
    let exits = evidence.iter().filter_map(|(source, _, e)| match &e.fact {
        Fact::RuntimeExit(record) => Some(Exit {
            source,
            at: e.at,
            record,
        }),
        _ => None,
    });
    exits.min_by_key(|e| (e.code().is_none(), e.record.reason.is_empty()))
}

/// The first process's kill wins, then one of unknown rank, then the latest; all witnesses of that pid are united.
fn decisive_kill(evidence: &EvidenceSet) -> Option<Kill<'_>> {
    let of_pid = |pid: u32| kills(evidence).filter(move |(_, kill)| kill.pid == pid);
    let main_of = |pid: u32| of_pid(pid).find_map(|(_, kill)| kill.main_process);
    let rank = |&(at, kill): &(UnixNanos, &KernelKill)| {
        let main = main_of(kill.pid);
        (main == Some(true), main.is_none(), at, kill.pid)
    };
    let pid = kills(evidence).max_by_key(rank)?.1.pid;
    let record = of_pid(pid)
        .map(|(_, k)| k)
        .max_by_key(|k| (k.level.is_some(), k.anon_bytes, !k.comm.is_empty()))?;
    Some(Kill {
        record,
        at: of_pid(pid).map(|(at, _)| at).min()?,
        level: of_pid(pid).find_map(|(_, k)| k.level),
        main_process: main_of(pid),
        group: of_pid(pid).any(|(_, k)| k.group),
        limit_bytes: of_pid(pid).find_map(|(_, k)| k.limit_bytes),
    })
}

/// Kills with their time, in the set's order.
fn kills(evidence: &EvidenceSet) -> impl Iterator<Item = (UnixNanos, &KernelKill)> {
    evidence.iter().filter_map(|(_, _, e)| match &e.fact {
        Fact::KernelKill(kill) => Some((e.at, kill)),
        _ => None,
    })
}

fn contains_any(text: &str, needles: &[&str]) -> bool {
    let text = text.to_ascii_lowercase();
    needles.iter().any(|needle| text.contains(needle))
}
