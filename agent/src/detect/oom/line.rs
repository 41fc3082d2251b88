//! Reads one line of a kernel out-of-memory report. Owns the wording of all generations; keeps no state.
//!
//! Process names hold anything, so what follows a name is searched from the right, where only the kernel writes. Paths hold
//! names that a container may choose, so the pair of paths in a summary is checked against each other.
pub mod summary;
pub mod table;

use super::report::{Process, Usage};
use super::words::STATS;
use summary::Summary;
use table::{Header, Row};

/// Names are 15 bytes in the kernel; some room for replaced bytes.
const MAX_COMM: usize = 64;
/// From here on a limit in KiB means "none": the kernel prints the largest page counter.
const NO_LIMIT_KB: u64 = 1 << 52;

/// Which counter a usage line is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Counter {
    /// `memory`.
    Memory,
    /// `swap` or `memory+swap`.
    Swap,
    /// `kmem`.
    Kmem,
}

/// One line of a report.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum OomLine<'a> {
    /// `P invoked oom-killer: …`: the trigger.
    Invoked {
        /// Name of the trigger.
        comm: &'a str,
        /// See [`super::Trigger::order`].
        order: Option<i32>,
    },
    /// `CPU: … PID: N Comm: P …`.
    Trigger {
        /// Pid of the trigger.
        pid: u32,
        /// What follows `Comm: `, the name first.
        comm: &'a str,
    },
    /// `… cpuset=CS mems_allowed=…` before Linux 4.19.
    Cpuset(&'a str),
    /// `oom-kill:constraint=…`.
    Summary(Summary<'a>),
    /// `Killed process …`.
    Kill {
        /// The killed.
        victim: Process,
        /// Whether a memory cgroup's limit was the reason; `None` when the line does not say.
        memcg: Option<bool>,
    },
    /// `Kill process N (P) score S or sacrifice child` before Linux 5.1.
    OldKill {
        /// The chosen; a child may be killed in its place.
        pid: u32,
        /// Its name.
        comm: &'a str,
        /// Whether a memory cgroup's limit was the reason; `None` when the line does not say.
        memcg: Option<bool>,
    },
    /// `Task in A killed as a result of limit of B` before Linux 5.0.
    TaskIn {
        /// The victim's cgroup.
        task: Option<&'a str>,
        /// The cgroup whose limit was met.
        limit: &'a str,
    },
    /// `memory: usage …`.
    Usage(Counter, Usage),
    /// `Tasks in PATH are going to be killed due to memory.oom.group set`.
    GroupKill(&'a str),
    /// `Memory cgroup stats for PATH:`, with counters on the same line before Linux 5.2.
    StatsFor {
        /// The cgroup.
        path: &'a str,
        /// Counters in bytes.
        stats: Vec<(&'static str, u64)>,
    },
    /// One or more `name value` lines, bytes.
    Stats(Vec<(&'static str, u64)>),
    /// Head of the task table.
    Header(Header),
    /// Row of the task table, to be read with its head.
    Row(Row<'a>),
    /// `OOM victim N (P) is already exiting. Skip killing the task`: nothing is killed.
    Exiting(u32),
    /// `oom_reaper: reaped process N (P) …`.
    Reaped(u32),
    /// `Out of memory and no killable processes...`.
    NoKillable,
}

impl<'a> OomLine<'a> {
    /// Reads a line; `None` when it belongs to no report.
    #[must_use]
    pub fn parse(text: &'a str) -> Option<Self> {
        let text = text.trim_end_matches('\n');
        match text.as_bytes().first()? {
            b'[' => table_line(text),
            b'o' if text.starts_with("oom-kill:") => Summary::parse(text).map(Self::Summary),
            b'o' if text.starts_with("oom_reaper: ") => reaped(text),
            _ => kill(text).or_else(|| old_kill(text)).or_else(|| context(text)),
        }
    }
}

fn table_line(text: &str) -> Option<OomLine<'_>> {
    Header::parse(text)
        .map(OomLine::Header)
        .or_else(|| Row::parse(text).map(OomLine::Row))
}

fn context(text: &str) -> Option<OomLine<'_>> {
    invoked(text)
        .or_else(|| usage(text))
        .or_else(|| stats_for(text))
        .or_else(|| task_in(text))
        .or_else(|| group_kill(text))
        .or_else(|| exiting(text))
        .or_else(|| {
            text.contains("ut of memory and no killable processes")
                .then_some(OomLine::NoKillable)
        })
        .or_else(|| trigger(text))
        .or_else(|| cpuset(text))
        .or_else(|| stats(text))
}

/// Cuts an untrusted name to its bound.
pub(crate) fn bounded(name: &str) -> String {
    name.chars().take(MAX_COMM).collect()
}

/// The reason in front of a kill line; the rest of the line follows.
fn reason(text: &str) -> (Option<bool>, &str) {
    if let Some(rest) = text.strip_prefix("Memory cgroup out of memory: ") {
        return (Some(true), rest);
    }
    match text
        .strip_prefix("Out of memory")
        .and_then(|rest| rest.split_once(": "))
    {
        Some((detail, rest)) if detail.is_empty() || detail == " (oom_kill_allocating_task)" => (Some(false), rest),
        _ => (None, text),
    }
}

/// `N (rest`
fn pid_then(text: &str) -> Option<(u32, &str)> {
    let (pid, rest) = text.split_once(" (")?;
    Some((pid.parse().ok()?, rest))
}

fn kill(text: &str) -> Option<OomLine<'_>> {
    let (memcg, rest) = reason(text);
    let (pid, rest) = pid_then(rest.strip_prefix("Killed process ")?)?;
    let (before, sizes) = rest.rsplit_once(" total-vm:")?;
    // some vendors' kernels print `(P), UID 1000, total-vm:`
    let (comm, uid) = match before.strip_suffix(')') {
        Some(comm) => (comm, None),
        None => before
            .rsplit_once("), UID ")
            .map(|(comm, uid)| (comm, uid.trim_end_matches(',').parse().ok()))?,
    };
    let mut victim = Process {
        pid,
        comm: bounded(comm),
        uid,
        ..Process::default()
    };
    victim.total_vm_kb = sizes.split([',', ' ']).next().and_then(kib);
    for (name, value) in sizes.split([',', ' ']).filter_map(|word| word.split_once(':')) {
        set(&mut victim, name, value);
    }
    repair_page_tables(&mut victim);
    Some(OomLine::Kill { victim, memcg })
}

fn set(victim: &mut Process, name: &str, value: &str) {
    match name {
        "anon-rss" => victim.anon_kb = kib(value),
        "file-rss" => victim.file_kb = kib(value),
        "shmem-rss" => victim.shmem_kb = kib(value),
        "pgtables" => victim.pgtables_kb = kib(value),
        "UID" => victim.uid = value.parse().ok(),
        "oom_score_adj" => victim.oom_score_adj = value.parse().ok(),
        _ => {}
    }
}

fn kib(value: &str) -> Option<u64> {
    value.strip_suffix("kB").unwrap_or(value).parse().ok()
}

/// The first releases of Linux 5.4 print bytes and still write `kB` (fixed by "mm, oom: fix pgtables units mismatch in Killed
/// process message"). Bytes are whole pages and about twice the resident KiB; true KiB are about a five-hundredth.
fn repair_page_tables(victim: &mut Process) {
    let resident = [victim.anon_kb, victim.file_kb, victim.shmem_kb]
        .into_iter()
        .flatten()
        .fold(0, u64::saturating_add);
    victim.pgtables_kb = victim.pgtables_kb.map(|size| {
        if size > 0 && size % 4096 == 0 && size > resident / 4 {
            size / 1024
        } else {
            size
        }
    });
}

fn old_kill(text: &str) -> Option<OomLine<'_>> {
    let (memcg, rest) = reason(text);
    let (pid, rest) = pid_then(rest.strip_prefix("Kill process ")?)?;
    rest.rsplit_once(") score ")
        .map(|(comm, _)| OomLine::OldKill { pid, comm, memcg })
}

fn invoked(text: &str) -> Option<OomLine<'_>> {
    let (comm, rest) = text.split_once(" invoked oom-killer: ")?;
    let order = rest
        .split(',')
        .find_map(|part| part.trim_start().strip_prefix("order=")?.parse().ok());
    Some(OomLine::Invoked { comm, order })
}

fn trigger(text: &str) -> Option<OomLine<'_>> {
    let (head, comm) = text.strip_prefix("CPU: ")?.split_once(" Comm: ")?;
    let pid = head.rsplit_once("PID: ")?.1.parse().ok()?;
    Some(OomLine::Trigger { pid, comm })
}

fn cpuset(text: &str) -> Option<OomLine<'_>> {
    let (head, _) = text.rsplit_once(" mems_allowed=")?;
    head.rsplit_once("cpuset=").map(|(_, cpuset)| OomLine::Cpuset(cpuset))
}

/// The victim's cgroup is the one whose limit was met, or below it: that tells the right cut from one inside a name.
fn task_in(text: &str) -> Option<OomLine<'_>> {
    const JOINT: &str = " killed as a result of limit of ";
    if let Some(limit) = text.strip_prefix("Memory limit reached of cgroup ") {
        return Some(OomLine::TaskIn { task: None, limit });
    }
    let rest = text.strip_prefix("Task in ")?;
    let cut = summary::cut_where(rest, JOINT, summary::is_within).or_else(|| rest.split_once(JOINT));
    cut.filter(|(_, limit)| !limit.is_empty())
        .map(|(task, limit)| OomLine::TaskIn {
            task: Some(task),
            limit,
        })
}

fn usage(text: &str) -> Option<OomLine<'_>> {
    let (name, rest) = text.split_once(": usage ")?;
    let counter = match name {
        "memory" => Counter::Memory,
        "memory+swap" | "swap" => Counter::Swap,
        "kmem" => Counter::Kmem,
        _ => return None,
    };
    let (usage, rest) = rest.split_once("kB, limit ")?;
    let (limit, failcnt) = rest.split_once("kB, failcnt ")?;
    let limit_kb = Some(limit.parse().ok()?).filter(|kb| *kb < NO_LIMIT_KB);
    Some(OomLine::Usage(
        counter,
        Usage {
            usage_kb: usage.parse().ok()?,
            limit_kb,
            failcnt: failcnt.trim().parse().ok()?,
        },
    ))
}

fn stats_for(text: &str) -> Option<OomLine<'_>> {
    let rest = text.strip_prefix("Memory cgroup stats for ")?;
    let (path, old) = rest
        .strip_suffix(':')
        .map_or_else(|| rest.rsplit_once(": ").unwrap_or((rest, "")), |path| (path, ""));
    let stats = old.split(' ').filter_map(|word| {
        let (name, value) = word.split_once(':')?;
        let kb: u64 = value.strip_suffix("KB")?.parse().ok()?;
        Some((known_stat(name)?, kb.saturating_mul(1024)))
    });
    Some(OomLine::StatsFor {
        path,
        stats: stats.take(STATS.len()).collect(),
    })
}

/// Linux 5.2 to 6.2 print all counters in one record with newlines inside.
fn stats(text: &str) -> Option<OomLine<'_>> {
    let found: Vec<_> = text
        .split('\n')
        .filter_map(|line| line.split_once(' '))
        .filter_map(|(name, value)| Some((known_stat(name)?, value.trim().parse().ok()?)))
        .take(STATS.len())
        .collect();
    (!found.is_empty()).then_some(OomLine::Stats(found))
}

fn known_stat(name: &str) -> Option<&'static str> {
    STATS.iter().copied().find(|known| *known == name)
}

fn group_kill(text: &str) -> Option<OomLine<'_>> {
    let path = text
        .strip_prefix("Tasks in ")?
        .strip_suffix(" are going to be killed due to memory.oom.group set")?;
    Some(OomLine::GroupKill(path))
}

fn exiting(text: &str) -> Option<OomLine<'_>> {
    let (_, rest) = reason(text);
    let (pid, rest) = pid_then(rest.strip_prefix("OOM victim ")?)?;
    rest.contains(") is already exiting").then_some(OomLine::Exiting(pid))
}

fn reaped(text: &str) -> Option<OomLine<'_>> {
    let (pid, _) = pid_then(text.strip_prefix("oom_reaper: reaped process ")?)?;
    Some(OomLine::Reaped(pid))
}

#[cfg(test)]
mod tests;
