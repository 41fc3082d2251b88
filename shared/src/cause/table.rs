//! The rows of the cause table, first match wins.
//!
//! What the kernel proves comes first: memory is told even of a pod that is being deleted. Then comes what somebody wanted,
//! which explains an end whatever its code, and only then the code itself. Confidence is in percent: 95 and more is proof by the kernel or the runtime, 80 a witness that is
//! sometimes wrong, 60 and less an honest guess.

use super::{
    facts::{Exit, Facts, Kill, LOST_REASONS},
    sender::Origin,
};
use crate::model::{
    Cause, LimitLevel,
    ReportKind::{
        AgentSilent, Config, Creation, Eviction, Hook, Image, Job, Mount, NodeCondition, NodeReboot, NodeSilent,
        Rollout, Start, Unscheduled,
    },
    RequestKind, Severity, Verdict,
};

/// One row.
struct Row {
    when: fn(&Facts<'_>) -> bool,
    cause: Cause,
    confidence: u8,
    severity: Severity,
}

const fn row(cause: Cause, confidence: u8, severity: Severity, when: fn(&Facts<'_>) -> bool) -> Row {
    Row {
        when,
        cause,
        confidence,
        severity,
    }
}

/// Start reasons of containerd, CRI-O and Docker.
const START_REASONS: &[&str] = &["StartError", "ContainerCannotRun"];
/// What runtimes and shells say when a command cannot run (`runc`, `exec(3)`); lower case.
const START_MESSAGES: &[&str] = &[
    "exec format error",
    "executable file not found in $path",
    "error while loading shared libraries",
];

/// The table.
static ROWS: &[Row] = &[
    // The kernel killed for memory: the level of the limit decides whose memory it was. `NodeAllocatable` is the limit
    // of all pods together, so the node, not the container, is short.
    row(Cause::OomNode, 97, Severity::High, |f| {
        kill(f, |k| level_in(k, NODE_LEVELS) && hit_container(f, k))
    }),
    row(Cause::OomChild, 97, Severity::High, |f| {
        kill(f, |k| child_only(f, k) && f.exit.is_some())
    }),
    row(Cause::OomChild, 97, Severity::Medium, |f| kill(f, |k| child_only(f, k))),
    row(Cause::OomLimit, 99, Severity::High, |f| {
        kill(f, |k| k.level == Some(LimitLevel::Container) && f.died_of_sigkill())
    }),
    row(Cause::OomLimit, 97, Severity::High, |f| {
        kill(f, |k| k.level.is_some() && known_victim(f, k))
    }),
    row(Cause::OomLimit, 95, Severity::High, |f| {
        kill(f, |_| f.cgroup_step || f.has_memory_limit())
    }),
    row(Cause::OomLimit, 90, Severity::High, |f| kill(f, |k| k.level.is_some())),
    // A kill was seen without its report: a limit is far more frequent than a node without memory.
    row(Cause::OomLimit, 75, Severity::High, |f| f.kill.is_some()),
    // A counter of the container's cgroup rose and the kernel's own words are lost.
    row(Cause::OomLimit, 95, Severity::High, |f| {
        f.cgroup_step && f.died_of_sigkill()
    }),
    row(Cause::OomChild, 90, Severity::High, |f| {
        f.cgroup_step && f.ended_otherwise()
    }),
    row(Cause::OomChild, 85, Severity::Medium, |f| f.survived_step()),
    row(Cause::OomLimit, 70, Severity::High, |f| f.cgroup_step),
    // The node's counter alone names neither victim nor limit: stored and told as a guess, never pinned on an exit.
    row(Cause::OomLimit, 50, Severity::Medium, |f| {
        f.node_step && f.exit.is_none()
    }),
    // The apiserver's word: taken off the node, deleted, or restarted for a probe.
    row(Cause::Evicted, 95, Severity::Medium, |f| f.pod_was_evicted()),
    row(Cause::PlannedStop, 95, Severity::Info, |f| f.pod_was_deleted()),
    row(Cause::PlannedStop, 90, Severity::Info, |f| f.node_was_shut_down()),
    row(Cause::ExpectedExit, 95, Severity::Info, |f| f.end_was_provided_for()),
    row(Cause::ProbeKilled, 90, Severity::High, |f| f.deadly_probe().is_some()),
    // The runtime was asked for the end. Who asked is not known to the node, but that somebody wanted it is. A removal
    // that follows a kill says that the container was not to come back.
    row(Cause::PlannedStop, 90, Severity::Info, |f| {
        f.was_asked_to(RequestKind::Stop)
    }),
    row(Cause::PlannedStop, 85, Severity::Info, |f| {
        f.died_of_request() && f.was_asked_to(RequestKind::Remove)
    }),
    row(Cause::KilledBy, 95, Severity::High, |f| f.died_of_request()),
    // The kernel traced the signal. A runtime kills on somebody's order, so its name is no answer yet.
    row(Cause::KilledBy, 95, Severity::High, |f| {
        f.died_of_sigkill() && f.died_by(CULPRITS)
    }),
    // The runtime's word. On cgroup v1 siblings of the victim get the notice too.
    row(Cause::OomReported, 90, Severity::High, |f| {
        f.message_has(&["oom-killed"])
    }),
    row(Cause::OomReported, 80, Severity::High, |f| {
        f.reason_is(&["OOMKilled"]) && f.died_of_sigkill()
    }),
    row(Cause::OomReported, 70, Severity::High, |f| {
        f.runtime_oom && (f.died_of_sigkill() || f.exit.is_none())
    }),
    row(Cause::OomReported, 60, Severity::High, |f| f.reason_is(&["OOMKilled"])),
    // Start refused.
    row(Cause::CannotStart, 98, Severity::High, |f| f.reason_is(START_REASONS)),
    row(Cause::CannotStart, 98, Severity::High, |f| {
        failed_by_itself(f) && f.message_has(START_MESSAGES)
    }),
    row(Cause::CannotStart, 95, Severity::High, |f| {
        failed_by_itself(f) && f.log_ends_with(START_MESSAGES)
    }),
    row(Cause::CannotStart, 90, Severity::High, |f| {
        matches!(f.code(), Some(126 | 127))
    }),
    row(Cause::CannotStart, 60, Severity::High, |f| f.code() == Some(128)),
    // The code speaks.
    row(Cause::Unknown, 90, Severity::Medium, |f| {
        f.reason_is(LOST_REASONS) || lost(f)
    }),
    row(Cause::FaultSignal, 95, Severity::High, |f| {
        f.signal().is_some_and(|s| s.is_fault())
    }),
    row(Cause::OomReported, 40, Severity::Medium, |f| {
        f.runtime_oom && failed_by_itself(f)
    }),
    row(Cause::KilledUnknown, 80, Severity::High, |f| {
        f.died_of_sigkill() && f.died_by(&[Origin::Runtime])
    }),
    row(Cause::KilledUnknown, 60, Severity::High, |f| f.died_of_sigkill()),
    row(Cause::StoppedBy, 90, Severity::Low, |f| {
        matches!(f.code(), Some(143 | 130)) && f.killer().is_some()
    }),
    row(Cause::StoppedBy, 60, Severity::Low, |f| {
        matches!(f.code(), Some(143 | 130))
    }),
    row(Cause::CleanExitLoop, 90, Severity::Medium, |f| f.clean_loop().is_some()),
    row(Cause::ExpectedExit, 90, Severity::Info, |f| f.code() == Some(0)),
    // 255 without a reason may still turn out to be a lost status.
    row(Cause::AppError, 50, Severity::Medium, |f| {
        f.code() == Some(255) && !f.reason_is(&["Error"])
    }),
    row(Cause::AppError, 90, Severity::Medium, |f| f.exit.is_some()),
    // No end, but a state that the apiserver knows. A rollout that is stuck matters less than what it is stuck on, and the
    // old pods serve; a silent node matters more than a condition of one that talks.
    row(Cause::ImageError, 98, Severity::High, |f| f.reports(&[Image])),
    row(Cause::ConfigError, 98, Severity::High, |f| f.reports(&[Config])),
    row(Cause::CannotStart, 95, Severity::High, |f| f.reports(&[Start])),
    row(Cause::HookFailed, 95, Severity::High, |f| f.reports(&[Hook])),
    row(Cause::Unschedulable, 98, Severity::High, |f| f.reports(&[Unscheduled])),
    row(Cause::MountFailed, 95, Severity::High, |f| f.reports(&[Mount])),
    row(Cause::CreationRefused, 95, Severity::High, |f| f.reports(&[Creation])),
    row(Cause::RolloutStuck, 95, Severity::Medium, |f| f.reports(&[Rollout])),
    row(Cause::JobFailed, 98, Severity::Medium, |f| f.reports(&[Job])),
    row(Cause::Evicted, 95, Severity::Medium, |f| f.reports(&[Eviction])),
    row(Cause::NodeLost, 90, Severity::Critical, |f| f.reports(&[NodeSilent])),
    row(Cause::NodeLost, 98, Severity::Medium, |f| f.reports(&[NodeReboot])),
    row(Cause::NodeCondition, 98, Severity::Medium, |f| {
        f.reports(&[NodeCondition, AgentSilent])
    }),
];

/// The verdict of the first row that fits; nothing known when none does.
pub(super) fn first_match(facts: &Facts<'_>) -> Verdict {
    ROWS.iter().find(|row| (row.when)(facts)).map_or(
        Verdict {
            cause: Cause::Unknown,
            confidence_percent: 0,
            severity: Severity::Medium,
        },
        |row| Verdict {
            cause: row.cause,
            confidence_percent: row.confidence,
            severity: row.severity,
        },
    )
}

/// Senders that answer the question who did it.
const CULPRITS: &[Origin] = &[Origin::Process, Origin::Itself];

/// Levels at which the node, not the container, is out of memory.
const NODE_LEVELS: &[LimitLevel] = &[LimitLevel::Node, LimitLevel::Numa, LimitLevel::NodeAllocatable];

fn kill(facts: &Facts<'_>, when: impl Fn(Kill<'_>) -> bool) -> bool {
    facts.kill.is_some_and(when)
}

fn level_in(kill: Kill<'_>, levels: &[LimitLevel]) -> bool {
    kill.level.is_some_and(|level| levels.contains(&level))
}

/// The kill ended the container, or nobody saw it end otherwise.
fn hit_container(facts: &Facts<'_>, kill: Kill<'_>) -> bool {
    !facts.ended_otherwise() || kill.main_process == Some(true)
}

/// The victim was not the container's first process: the report says so and the container lives or lost its status, or
/// the container ended in another way than a SIGKILL.
fn child_only(facts: &Facts<'_>, kill: Kill<'_>) -> bool {
    match kill.main_process {
        Some(true) => false,
        Some(false) => !kill.group && !facts.died_of_sigkill(),
        None => facts.ended_otherwise(),
    }
}

/// The report says who was hit, or the container's end does.
fn known_victim(facts: &Facts<'_>, kill: Kill<'_>) -> bool {
    kill.main_process == Some(true) || kill.group || facts.died_of_sigkill()
}

/// Ended with a failure status that is not a signal.
fn failed_by_itself(facts: &Facts<'_>) -> bool {
    facts.signal().is_none() && facts.code().is_some_and(|code| code != 0)
}

/// There was an end and its status is gone.
fn lost(facts: &Facts<'_>) -> bool {
    facts.exit.is_some_and(Exit::is_lost)
}
