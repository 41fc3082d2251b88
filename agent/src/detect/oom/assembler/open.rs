//! One report while its lines come in. Owns what was said so far and how it becomes a report.
use std::collections::BTreeMap;

use inquest_shared::clock::UnixNanos;

use crate::detect::oom::line::summary::Summary;
use crate::detect::oom::line::table::Header;
use crate::detect::oom::line::{Counter, OomLine, bounded};
use crate::detect::oom::report::{Constraint, OomReport, Process, Stage, TaskRow, Trigger, Usage};
use crate::host::kmsg::Stamped;

/// Rows kept to find the victim's own; a larger table keeps its largest.
const MAX_ROWS: usize = 512;
/// Rows in a report.
const TOP: usize = 5;
/// Group members named in a report.
const MAX_MEMBERS: usize = 32;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Phase {
    /// No kill line yet.
    Gathering,
    /// Killed; members and the reaper may follow.
    Grace,
}

#[derive(Debug)]
pub(super) struct Open {
    caller: Option<String>,
    first_seq: u64,
    identity: Option<(u64, u64, UnixNanos)>,
    /// Position of the newest line that names the victim, else of the first line.
    named: (u64, u64, UnixNanos),
    /// Time of the last line, boot microseconds.
    pub(super) last_us: u64,
    pub(super) deadline_us: u64,
    pub(super) grace_ends_us: u64,
    /// Pid that the kernel chose, from the summary or the old kill line.
    pub(super) chosen: Option<u32>,
    /// The victim as the summary names it.
    pub(super) announced: Option<Process>,
    /// Old kernels may kill a child of the chosen.
    pub(super) child_possible: bool,
    pub(super) kills: Vec<Process>,
    kill_count: u32,
    pub(super) group: bool,
    pub(super) reaped: bool,
    pub(super) partial: bool,
    pub(super) constraint: Option<Constraint>,
    trigger: Option<Trigger>,
    oom_memcg: Option<String>,
    task_memcg: Option<String>,
    cpuset: Option<String>,
    memory: Option<Usage>,
    swap: Option<Usage>,
    kmem: Option<Usage>,
    stats: BTreeMap<&'static str, u64>,
    header: Option<Header>,
    rows: Vec<TaskRow>,
}

impl Open {
    pub(super) fn new(at: &Stamped, deadline_us: u64, partial: bool) -> Self {
        let record = &at.record;
        Self {
            caller: record.caller.clone(),
            first_seq: record.seq,
            identity: None,
            named: (record.seq, record.at_us, at.wall),
            last_us: record.at_us,
            deadline_us,
            grace_ends_us: deadline_us,
            chosen: None,
            announced: None,
            child_possible: false,
            kills: Vec::new(),
            kill_count: 0,
            group: false,
            reaped: false,
            partial,
            constraint: None,
            trigger: None,
            oom_memcg: None,
            task_memcg: None,
            cpuset: None,
            memory: None,
            swap: None,
            kmem: None,
            stats: BTreeMap::new(),
            header: None,
            rows: Vec::new(),
        }
    }

    pub(super) const fn phase(&self) -> Phase {
        if self.kills.is_empty() {
            Phase::Gathering
        } else {
            Phase::Grace
        }
    }

    /// Whether a record comes from the same printer, as far as the kernel tells.
    pub(super) fn takes(&self, at: &Stamped) -> bool {
        self.caller.is_none() || at.record.caller.is_none() || self.caller == at.record.caller
    }

    pub(super) const fn is_near(&self, at: &Stamped, within_us: u64) -> bool {
        at.record.at_us.saturating_sub(self.last_us) <= within_us
    }

    pub(super) fn add(&mut self, line: OomLine<'_>, at: &Stamped, page_kb: u64) {
        self.last_us = at.record.at_us;
        match line {
            OomLine::Invoked { comm, order } => {
                self.trigger = Some(Trigger {
                    comm: bounded(comm),
                    pid: None,
                    order,
                })
            }
            OomLine::Trigger { pid, comm } => self.trigger_pid(pid, comm),
            OomLine::Cpuset(cpuset) => self.cpuset = Some(cpuset.to_owned()),
            OomLine::Summary(summary) => self.summary(&summary, at),
            OomLine::OldKill { pid, comm, memcg } => {
                self.announce(
                    Process {
                        pid,
                        comm: bounded(comm),
                        ..Process::default()
                    },
                    at,
                );
                self.child_possible = true;
                self.limit_kind(memcg);
            }
            OomLine::TaskIn { task, limit } => {
                self.task_memcg = task.map(str::to_owned);
                self.oom_memcg = Some(limit.to_owned());
                self.constraint = Some(Constraint::Memcg);
            }
            OomLine::Usage(counter, usage) => match counter {
                Counter::Memory => self.memory = Some(usage),
                Counter::Swap => self.swap = Some(usage),
                Counter::Kmem => self.kmem = Some(usage),
            },
            OomLine::GroupKill(path) => {
                self.group = true;
                self.oom_memcg.get_or_insert_with(|| path.to_owned());
            }
            OomLine::StatsFor { path, stats } => self.stats_for(path, &stats),
            OomLine::Stats(stats) => self.stats.extend(stats),
            OomLine::Header(header) => self.header = Some(header),
            OomLine::Row(row) => {
                if let Some(row) = self.header.as_ref().and_then(|header| row.read(header, page_kb)) {
                    self.row(row);
                }
            }
            OomLine::Kill { .. } | OomLine::Exiting(_) | OomLine::Reaped(_) | OomLine::NoKillable => {}
        }
    }

    /// The line names who runs on this CPU; only the trigger's own counts, other reports print such lines too.
    fn trigger_pid(&mut self, pid: u32, comm: &str) {
        if let Some(trigger) = &mut self.trigger
            && trigger.pid.is_none()
            && comm.starts_with(trigger.comm.as_str())
        {
            trigger.pid = Some(pid);
        }
    }

    fn announce(&mut self, victim: Process, at: &Stamped) {
        self.named = (at.record.seq, at.record.at_us, at.wall);
        self.chosen = Some(victim.pid);
        self.announced = Some(victim);
    }

    fn summary(&mut self, summary: &Summary<'_>, at: &Stamped) {
        self.constraint = Some(summary.constraint);
        self.cpuset = Some(summary.cpuset.to_owned());
        self.oom_memcg = summary.oom_memcg.map(str::to_owned);
        self.task_memcg = Some(summary.task_memcg.to_owned());
        self.announce(
            Process {
                pid: summary.pid,
                comm: bounded(summary.comm),
                uid: summary.uid,
                ..Process::default()
            },
            at,
        );
    }

    fn limit_kind(&mut self, memcg: Option<bool>) {
        let kind = memcg.map(|memcg| {
            if memcg {
                Constraint::Memcg
            } else {
                Constraint::Unspecified
            }
        });
        self.constraint = self.constraint.or(kind);
    }

    /// Old kernels print each child of the cgroup on a line of its own: the sum is the whole.
    fn stats_for(&mut self, path: &str, stats: &[(&'static str, u64)]) {
        self.oom_memcg.get_or_insert_with(|| path.to_owned());
        for (name, bytes) in stats {
            let sum = self.stats.entry(name).or_default();
            *sum = sum.saturating_add(*bytes);
        }
    }

    fn row(&mut self, row: TaskRow) {
        if self.rows.len() < MAX_ROWS {
            self.rows.push(row);
        } else if let Some(least) = self.rows.iter_mut().min_by_key(|kept| kept.memory_kb())
            && least.memory_kb() < row.memory_kb()
        {
            *least = row;
        }
    }

    pub(super) fn kill(&mut self, victim: Process, memcg: Option<bool>, at: &Stamped) {
        self.limit_kind(memcg);
        self.identity.get_or_insert((at.record.seq, at.record.at_us, at.wall));
        self.last_us = at.record.at_us;
        self.kill_count = self.kill_count.saturating_add(1);
        if self.kills.len() <= MAX_MEMBERS {
            let victim = self.complete(victim);
            self.kills.push(victim);
        }
    }

    /// Adds what an older kernel's kill line leaves out and another line told.
    fn complete(&self, mut victim: Process) -> Process {
        let row = self.rows.iter().find(|row| row.pid == victim.pid);
        let announced = self.announced.as_ref().filter(|announced| announced.pid == victim.pid);
        victim.uid = victim
            .uid
            .or_else(|| announced.and_then(|announced| announced.uid))
            .or_else(|| row.map(|row| row.uid));
        victim.total_vm_kb = victim.total_vm_kb.or_else(|| row.map(|row| row.total_vm_kb));
        victim.pgtables_kb = victim.pgtables_kb.or_else(|| row.map(|row| row.pgtables_kb));
        victim.oom_score_adj = victim.oom_score_adj.or_else(|| row.and_then(|row| row.oom_score_adj));
        victim
    }

    pub(super) fn report(&self, stage: Stage) -> OomReport {
        let announced = || self.announced.clone().map(|announced| self.complete(announced));
        let victim = self.kills.first().cloned().or_else(announced).unwrap_or_default();
        let (kill_seq, boot_us, wall) = self.identity.unwrap_or(self.named);
        let mut top = self.rows.clone();
        top.sort_by_key(|row| std::cmp::Reverse(row.memory_kb()));
        top.truncate(TOP);
        OomReport {
            stage,
            kill_seq,
            first_seq: self.first_seq,
            boot_us,
            wall,
            victim,
            members: self.kills.iter().skip(1).cloned().collect(),
            kills: self.kill_count,
            trigger: self.trigger.clone(),
            constraint: self.constraint,
            oom_memcg: self.oom_memcg.clone(),
            task_memcg: self.task_memcg.clone(),
            cpuset: self.cpuset.clone(),
            memory: self.memory,
            swap: self.swap,
            kmem: self.kmem,
            stats: self.stats.clone(),
            top,
            group: self.group,
            reaped: self.reaped,
            partial: self.partial,
        }
    }
}
