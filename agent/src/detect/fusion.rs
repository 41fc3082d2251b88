//! Joins what several witnesses say about one death into findings: the kernel's report, the runtime's record, the counters
//! and the log. One key for one event; every later witness only adds evidence under it.

mod audit;
mod containers;
mod exit;
mod kill;
mod signal;
mod trace;

use std::collections::VecDeque;

use inquest_shared::{
    clock::UnixNanos,
    model::{Discovery, Finding, FindingKind},
};

use super::oom::{Assembler, OomReport};
use crate::observation::Observation;
use audit::Audit;
use containers::Containers;
use signal::Unnamed;
use trace::Waiting;

/// Findings of the recent past that later evidence may still change.
const MAX_RECENT: usize = 512;
/// How long later evidence is joined: a log, a reason, a revised report all come within seconds.
const JOIN_US: u64 = 60_000_000;
/// How long a kill waits for the runtime to name its container.
const NAME_WAIT_US: u64 = 250_000;

/// The present on both clocks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Moment {
    /// Wall time.
    pub wall: UnixNanos,
    /// Microseconds on a clock that only moves forward.
    pub mono_us: u64,
}

/// What is known of a kernel report besides its lines.
#[derive(Debug, Default)]
struct Witness {
    /// It was in the ring before the agent came.
    backlog: bool,
    /// Cgroup of the victim, looked up while it was still there.
    cgroup: Option<String>,
}

/// A finding that was made, and until when it may change.
#[derive(Debug, Clone)]
struct Recent {
    finding: Finding,
    /// Victims of the event, for the audit of counters.
    pid: u32,
    /// When it was made.
    made_us: u64,
    /// Not sent yet: waits for the runtime to name the container, until then.
    held_until: Option<u64>,
}

/// The joining state of one node. Bounded: containers with tombstones of ten minutes, findings of the last minute.
#[derive(Debug)]
pub struct Fusion {
    boot_id: String,
    /// Begin of the agent's record on this node; what is older is look-back.
    since: UnixNanos,
    /// Cgroup path of this node, without a slash at the end; empty takes everything.
    scope: String,
    /// The kernel log is being read, or nothing says that it is not.
    kernel_live: bool,
    /// Trace events tell victims.
    trace_live: bool,
    /// Traced victims whose record in the kernel log, or whose container, is still to come.
    waiting: Vec<Waiting>,
    /// Signals to containers that the runtime has not named.
    unnamed: VecDeque<Unnamed>,
    assembler: Assembler,
    containers: Containers,
    recent: VecDeque<Recent>,
    audit: Audit,
    /// Findings forgotten before their time.
    forgotten: u64,
    /// Of those, the ones that were not sent yet; the next tick sends them.
    pushed_out: Vec<Finding>,
}

impl Fusion {
    /// A fresh state. `since` is when the agent first started on this node; `scope` the cgroup below which its containers
    /// live ("/" for a node that has the kernel to itself); `page_bytes` the page size of the kernel.
    #[must_use]
    pub fn new(boot_id: String, since: UnixNanos, scope: &str, page_bytes: u64) -> Self {
        Self {
            scope: scope.trim_end_matches('/').to_owned(),
            boot_id,
            since,
            kernel_live: true,
            trace_live: false,
            waiting: Vec::new(),
            unnamed: VecDeque::new(),
            assembler: Assembler::new(page_bytes),
            containers: Containers::default(),
            recent: VecDeque::new(),
            audit: Audit::default(),
            forgotten: 0,
            pushed_out: Vec::new(),
        }
    }

    /// Takes one observation; gives the findings that it makes or changes.
    pub fn observe(&mut self, observation: Observation, now: Moment) -> Vec<Finding> {
        match observation {
            Observation::Kernel { record, victim_cgroup } => {
                self.kernel_live = true;
                let reports = self.assembler.push(&record, now.mono_us);
                let (seq, backlog) = (record.record.seq, record.backlog);
                // The record may also close reports of other victims, of which its cgroup says nothing.
                let witness = |report: &OomReport| Witness {
                    backlog,
                    cgroup: victim_cgroup.clone().filter(|_| report.kill_seq == seq),
                };
                reports
                    .into_iter()
                    .flat_map(|report| {
                        let witness = witness(&report);
                        self.on_report(report, &witness, now)
                    })
                    .collect()
            }
            Observation::KernelGap(_) => {
                self.assembler.gap();
                Vec::new()
            }
            Observation::KernelThrough(_) => Vec::new(),
            Observation::KernelLog { live } => {
                self.kernel_live = live;
                Vec::new()
            }
            Observation::TraceEvents { live } => {
                self.trace_live = live;
                Vec::new()
            }
            Observation::Signal(seen) => self.on_signal(seen, now),
            Observation::TraceKill(seen) => self.on_trace_kill(seen, now),
            Observation::Container(container) => {
                let instance = container.subject.instance.clone();
                self.containers.put(container);
                let mut out = self.on_named(&instance);
                out.extend(self.on_named_signals(now));
                out
            }
            Observation::Removed(instance) => {
                self.containers.bury(&instance, now.mono_us);
                Vec::new()
            }
            Observation::Exit(exit) => self.on_exit(&exit, now),
            Observation::RuntimeOom { instance, at, source } => self.on_runtime_oom(&instance, at, source),
            Observation::RuntimeRequest {
                instance,
                request,
                at,
                source,
            } => self.on_request(&instance, (source, request, at)),
            Observation::KillCounter(step) => self.on_counter(step, now),
            Observation::Log {
                instance,
                finished_at,
                excerpt,
            } => self.on_log(&instance, finished_at, excerpt),
        }
    }

    /// Gives what falls due: revised reports, held kills, unexplained counters. Forgets what is old.
    pub fn tick(&mut self, now: Moment) -> Vec<Finding> {
        let reports = self.assembler.flush(now.mono_us);
        let mut out: Vec<Finding> = reports
            .into_iter()
            .flat_map(|r| self.on_report(r, &Witness::default(), now))
            .collect();
        out.extend(self.on_trace_due(now));
        out.append(&mut self.pushed_out);
        for recent in &mut self.recent {
            if recent.held_until.is_some_and(|until| until <= now.mono_us) {
                recent.held_until = None;
                out.push(recent.finding.clone());
            }
        }
        out.extend(self.on_audit_due(now));
        while self
            .recent
            .front()
            .is_some_and(|r| r.made_us.saturating_add(JOIN_US) < now.mono_us)
        {
            self.recent.pop_front();
        }
        let gone = self.containers.expire(now.mono_us);
        self.audit.forget(&gone);
        out
    }

    /// What was forgotten before its time since the last call, because a table was full: containers, findings that later
    /// evidence may still change, counters.
    pub fn take_forgotten(&mut self) -> u64 {
        let tables = self.containers.take_forgotten() + self.audit.take_forgotten();
        std::mem::take(&mut self.forgotten) + tables
    }

    /// When [`Self::tick`] has something to do, on the clock of `mono_us`.
    #[must_use]
    pub fn next_deadline(&self) -> Option<u64> {
        let held = self.recent.iter().filter_map(|r| r.held_until).min();
        let deadlines = [
            self.assembler.next_deadline(),
            held,
            self.trace_deadline(),
            self.audit.next_deadline(),
        ];
        deadlines.into_iter().flatten().min()
    }

    /// Whether some witness tells kills by the process, so that counters can wait for it.
    const fn sees_kills(&self) -> bool {
        self.kernel_live || self.trace_live
    }

    /// Whether a report or a counter is still open; the kernel cursor must not move past it.
    #[must_use]
    pub fn is_idle(&self) -> bool {
        self.next_deadline().is_none()
    }

    fn discovery(&self, at: UnixNanos, live: bool) -> Discovery {
        match (at < self.since, live) {
            (true, _) => Discovery::Lookback,
            (false, true) => Discovery::Live,
            (false, false) => Discovery::Recovered,
        }
    }

    /// Unites a finding with its earlier version; gives it when it is new or changed.
    fn admit(&mut self, finding: Finding, pid: u32, held_until: Option<u64>, now: Moment) -> Option<Finding> {
        if let Some(held) = self.recent.iter_mut().find(|r| r.finding.key == finding.key) {
            return held.change(|f| {
                f.merge(&finding);
            });
        }
        if self.recent.len() >= MAX_RECENT {
            self.forgotten += 1;
            let gone = self.recent.pop_front().filter(|gone| gone.held_until.is_some());
            self.pushed_out.extend(gone.map(|gone| gone.finding));
        }
        let sent = held_until.is_none().then(|| finding.clone());
        self.recent.push_back(Recent {
            finding,
            pid,
            made_us: now.mono_us,
            held_until,
        });
        sent
    }

    /// The recent exit of an instance.
    fn recent_exit(&mut self, instance: &str) -> Option<&mut Recent> {
        let of = |r: &&mut Recent| r.finding.kind == FindingKind::Exit && r.finding.subject.instance == instance;
        self.recent.iter_mut().rev().find(of)
    }
}

impl Recent {
    /// Changes a finding; gives the new version when something changed and it is not held.
    fn change(&mut self, change: impl FnOnce(&mut Finding)) -> Option<Finding> {
        let before = self.finding.clone();
        change(&mut self.finding);
        if self.finding == before || self.held_until.is_some() {
            return None;
        }
        self.finding.revision = before.revision.saturating_add(1);
        Some(self.finding.clone())
    }
}

#[cfg(test)]
mod tests;
