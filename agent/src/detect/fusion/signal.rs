//! Signals: which container they were sent to, and from which they came.

use std::time::Duration;

use inquest_shared::{
    clock::UnixNanos,
    model::{Evidence, EvidenceSource, Fact, Finding, SignalResult, SignalSent, Subject},
};

use super::{Fusion, Moment};
use crate::{
    host::cgroup::path::{CgroupPath, Level},
    observation::{Container, SignalSeen},
};

/// How long a signal waits for the runtime to name the container; it is of no use later.
const NAME_WAIT_US: u64 = 2_000_000;
/// Signals that wait; the oldest goes first.
const MAX_UNNAMED: usize = 64;
/// A signal explains the end of a container within this time.
const BEFORE_END: Duration = Duration::from_secs(2);
/// One that asked the first process to end explains it for longer: it is how a grace period begins. Nobody gives more
/// than an hour.
const GRACE: Duration = Duration::from_hours(1);
/// The runtime's stamp may precede the kernel's by this much.
const CLOCK_SLACK: Duration = Duration::from_secs(1);
/// `SI_KERNEL` of sigaction(2).
const SI_KERNEL: i32 = 128;
const SIGKILL: u8 = 9;
/// Digits of a container's id that people use.
const SHORT_ID: usize = 12;

/// A signal whose container the runtime has not named.
#[derive(Debug)]
pub(super) struct Unnamed {
    until: u64,
    seen: SignalSeen,
}

impl Fusion {
    /// A signal that reached a container is kept for its end, or explains one that was told a moment ago.
    pub(super) fn on_signal(&mut self, seen: SignalSeen, now: Moment) -> Vec<Finding> {
        let Some(instance) = self.target_of(&seen) else {
            self.let_wait(seen, now);
            return Vec::new();
        };
        self.attach(&instance, seen).into_iter().collect()
    }

    /// Signals of containers that have just been named.
    pub(super) fn on_named_signals(&mut self, now: Moment) -> Vec<Finding> {
        self.unnamed.retain(|unnamed| unnamed.until > now.mono_us);
        let mut out = Vec::new();
        for unnamed in std::mem::take(&mut self.unnamed) {
            match self.target_of(&unnamed.seen) {
                Some(instance) => out.extend(self.attach(&instance, unnamed.seen)),
                None => self.unnamed.push_back(unnamed),
            }
        }
        out
    }

    /// Adds the signals that explain an end.
    pub(super) fn cite_signals(&self, exit: &mut Finding) {
        let end = exit.observed_at;
        for (position, at, sent) in self.containers.signals(&exit.subject.instance) {
            if explains(sent, *at, end) {
                insert(exit, position, *at, sent.clone());
            }
        }
    }

    /// Only what may be a container's is worth waiting for.
    fn let_wait(&mut self, seen: SignalSeen, now: Moment) {
        let of_host = seen
            .target_cgroup
            .as_deref()
            .is_some_and(|path| CgroupPath::parse(path).container_id.is_none());
        if of_host || seen.backlog {
            return;
        }
        if self.unnamed.len() >= MAX_UNNAMED {
            self.unnamed.pop_front();
        }
        let until = now.mono_us.saturating_add(NAME_WAIT_US);
        self.unnamed.push_back(Unnamed { until, seen });
    }

    /// The run whose process got it: by the cgroup of the process, else as the first process of a run.
    fn target_of(&self, seen: &SignalSeen) -> Option<String> {
        let by_cgroup = || {
            let located = CgroupPath::parse(seen.target_cgroup.as_deref()?);
            let (candidate, _) = located.choose(|id| self.containers.knows_id(id))?;
            self.containers.run_at(candidate.container_id.as_deref()?, seen.at)
        };
        let by_pid = || self.containers.run_of_pid(seen.sent.target_pid, seen.at);
        by_cgroup()
            .or_else(by_pid)
            .map(|container| container.subject.instance.clone())
    }

    fn attach(&mut self, instance: &str, seen: SignalSeen) -> Option<Finding> {
        let first = self.containers.get(instance).and_then(|c| c.pid);
        let sender = self.container_of(&seen.sent.sender_cgroup, seen.at);
        let sent = SignalSent {
            main_process: first.map(|pid| pid == seen.sent.target_pid),
            sender_container: sender,
            ..seen.sent
        };
        // When a first process dies, the kernel ends the rest of its pid namespace: that follows from the end.
        if sent.code == SI_KERNEL && sent.signal == SIGKILL && sent.main_process == Some(false) {
            return None;
        }
        self.containers
            .note_signal(instance, (seen.position.clone(), seen.at, sent.clone()));
        let exit = self.recent_exit(instance)?;
        if !explains(&sent, seen.at, exit.finding.observed_at) {
            return None;
        }
        exit.change(|exit| insert(exit, &seen.position, seen.at, sent))
    }

    /// The container that a cgroup belongs to, as people call it; empty for a process of the host.
    fn container_of(&self, cgroup: &str, at: UnixNanos) -> String {
        let located = CgroupPath::parse(cgroup);
        if located.level != Level::Container {
            return String::new();
        }
        let chosen = located.choose(|id| self.containers.knows_id(id));
        let id = chosen
            .and_then(|(candidate, _)| candidate.container_id.clone())
            .unwrap_or_default();
        let named = self
            .containers
            .run_at(&id, at)
            .map(|container: &Container| name_of(&container.subject));
        named
            .filter(|name| !name.is_empty())
            .unwrap_or_else(|| id.chars().take(SHORT_ID).collect())
    }
}

fn name_of(subject: &Subject) -> String {
    let parts = [&subject.namespace, &subject.pod, &subject.container];
    parts
        .into_iter()
        .filter(|part| !part.is_empty())
        .map(String::as_str)
        .collect::<Vec<_>>()
        .join("/")
}

/// Whether a signal at `at` has to do with an end at `end`.
fn explains(sent: &SignalSent, at: UnixNanos, end: UnixNanos) -> bool {
    let reach = match sent.main_process {
        Some(false) => BEFORE_END,
        _ if sent.result == SignalResult::Lost => BEFORE_END,
        _ => GRACE,
    };
    end.since(at) <= reach && at <= end.saturating_add(CLOCK_SLACK)
}

fn insert(exit: &mut Finding, position: &str, at: UnixNanos, sent: SignalSent) {
    let fact = Fact::SignalSent(sent);
    exit.evidence
        .insert(EvidenceSource::Trace, position, Evidence { at, fact });
}
