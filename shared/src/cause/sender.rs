//! Who sent the signal that a container died of, and what came before it. Pure; must not know any cause.

use std::time::Duration;

use super::exit_code::Signal;
use crate::{
    clock::UnixNanos,
    model::{EvidenceSet, SignalResult, SignalSent},
};

/// `SI_KERNEL` of sigaction(2) and every other number above 0 is the kernel's.
const LAST_OF_PROCESSES: i32 = 0;
/// A signal explains the end within this time: the kernel's trace and the runtime's record are milliseconds apart.
const NEAR: Duration = Duration::from_secs(2);
/// The runtime's stamp may precede the kernel's by this much.
const CLOCK_SLACK: Duration = Duration::from_secs(1);
/// Two signals closer than this are one request; the kubelet's shortest grace period is 2 s when it has to kill.
const LEAST_GRACE: Duration = Duration::from_secs(2);
/// Names of the processes through which runtimes send signals, as the kernel cuts them (15 bytes).
const RUNTIMES: [&str; 7] = ["runc", "crun", "youki", "conmon", "conmonrs", "dockerd", "containerd"];
/// The shims of containerd: `containerd-shim-runc-v2` and others.
const SHIM: &str = "containerd-shim";

/// What kind of sender.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Origin {
    /// The kernel by itself.
    Kernel,
    /// The process that died.
    Itself,
    /// A container runtime, which acts on somebody's order.
    Runtime,
    /// Any other process.
    Process,
}

/// The signal that ended a container.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Killer<'a> {
    /// The signal with its sender.
    pub sent: &'a SignalSent,
    /// The runtime's request to end, when it came first.
    pub asked: Option<Asked>,
}

/// The runtime asked the first process to end and waited.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Asked {
    /// How long it waited.
    pub grace: Duration,
    /// Whether the process ignores the signal.
    pub ignored: bool,
}

impl Killer<'_> {
    /// What kind of sender.
    pub fn origin(&self) -> Origin {
        origin(self.sent)
    }
}

/// What kind of process sent a signal. A process in a container that has a runtime's name is none.
pub(crate) fn origin(sent: &SignalSent) -> Origin {
    let comm = sent.sender_comm.raw();
    if sent.code > LAST_OF_PROCESSES {
        Origin::Kernel
    } else if sent.sender_pid == sent.target_pid {
        Origin::Itself
    } else if sent.sender_container.is_empty() && (RUNTIMES.contains(&comm) || comm.starts_with(SHIM)) {
        Origin::Runtime
    } else {
        Origin::Process
    }
}

/// The signal of this number that ended a container at `end`: one to the first process before one to another, one that was
/// delivered before one that found another waiting, the earlier before the later.
pub(crate) fn killer(evidence: &EvidenceSet, end: UnixNanos, signal: Signal) -> Option<Killer<'_>> {
    let near = |at: UnixNanos| end.since(at) <= NEAR && at <= end.saturating_add(CLOCK_SLACK);
    let fatal = |(at, sent): &(UnixNanos, &SignalSent)| {
        sent.signal == signal.number()
            && near(*at)
            && !matches!(sent.result, SignalResult::Ignored | SignalResult::Lost)
    };
    let rank = |(at, sent): &(UnixNanos, &SignalSent)| (sent.main_process != Some(true), sent.result, *at);
    let (at, sent) = evidence.signals().filter(fatal).min_by_key(rank)?;
    let asked = (origin(sent) == Origin::Runtime)
        .then(|| asked(evidence, at, sent))
        .flatten();
    Some(Killer { sent, asked })
}

/// The first request of a runtime to the same process, long enough before.
fn asked(evidence: &EvidenceSet, killed: UnixNanos, by: &SignalSent) -> Option<Asked> {
    let first = evidence.signals().filter(|(at, sent)| {
        let same = sent.target_pid == by.target_pid && sent.signal != by.signal;
        same && origin(sent) == Origin::Runtime && killed.since(*at) >= LEAST_GRACE
    });
    let (at, sent) = first.min_by_key(|(at, _)| *at)?;
    Some(Asked {
        grace: killed.since(at),
        ignored: sent.result == SignalResult::Ignored,
    })
}
