//! What one out-of-memory event was. Owns the types only.
use std::collections::BTreeMap;

use inquest_shared::clock::UnixNanos;

/// How much is known.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stage {
    /// Sent on the kill line; a revision follows.
    Provisional,
    /// Complete: nothing follows.
    Final,
    /// The kernel announced a victim, but its kill line never came; nothing follows. `kill_seq` is that of the announcement.
    Announced,
}

/// Which limit the allocation met.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Constraint {
    /// The whole node.
    None,
    /// The memory nodes of a cpuset.
    Cpuset,
    /// The memory nodes of a policy.
    MemoryPolicy,
    /// The limit of a memory cgroup.
    Memcg,
    /// Not a memory cgroup; which of the others the kernel did not say.
    Unspecified,
}

/// A process as the kernel's lines describe it; `None` where this kernel generation does not say. Sizes are KiB.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Process {
    /// Pid in the initial pid namespace.
    pub pid: u32,
    /// Name, at most 15 bytes in the kernel. Untrusted: may hold anything, control characters included.
    pub comm: String,
    /// User id in the initial user namespace.
    pub uid: Option<u32>,
    /// Address space.
    pub total_vm_kb: Option<u64>,
    /// Resident anonymous memory.
    pub anon_kb: Option<u64>,
    /// Resident file pages.
    pub file_kb: Option<u64>,
    /// Resident shared memory.
    pub shmem_kb: Option<u64>,
    /// Page tables.
    pub pgtables_kb: Option<u64>,
    /// The kernel's preference for killing it, -1000 to 1000.
    pub oom_score_adj: Option<i32>,
}

/// Who asked for memory when there was none.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Trigger {
    /// Name; untrusted.
    pub comm: String,
    /// Pid, when the kernel printed its line.
    pub pid: Option<u32>,
    /// 2^order pages were asked for; above 0 fragmentation may be the reason, -1 is a request by sysrq.
    pub order: Option<i32>,
}

/// One counter with a limit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Usage {
    /// KiB in use.
    pub usage_kb: u64,
    /// KiB allowed; `None` means no limit.
    pub limit_kb: Option<u64>,
    /// Times that the limit was met.
    pub failcnt: u64,
}

/// One row of the kernel's task table, in KiB.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct TaskRow {
    /// Pid in the initial pid namespace.
    pub pid: u32,
    /// User id.
    pub uid: u32,
    /// Name; untrusted.
    pub comm: String,
    /// Address space.
    pub total_vm_kb: u64,
    /// Resident.
    pub rss_kb: u64,
    /// Swapped out.
    pub swap_kb: u64,
    /// Page tables.
    pub pgtables_kb: u64,
    /// The kernel's preference for killing it.
    pub oom_score_adj: Option<i32>,
}

impl TaskRow {
    /// KiB that killing it would give back, as the kernel counts (`oom_badness`).
    #[must_use]
    pub const fn memory_kb(&self) -> u64 {
        self.rss_kb
            .saturating_add(self.swap_kb)
            .saturating_add(self.pgtables_kb)
    }
}

/// One out-of-memory event.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OomReport {
    /// How much is known.
    pub stage: Stage,
    /// Sequence of the first `Killed process` record: the identity of the event within this boot.
    pub kill_seq: u64,
    /// Sequence of the first record of the report.
    pub first_seq: u64,
    /// Microseconds since boot of the kill.
    pub boot_us: u64,
    /// Wall time of the kill.
    pub wall: UnixNanos,
    /// Who was killed.
    pub victim: Process,
    /// Others killed with it, in order; bounded, `kills` has the true number.
    pub members: Vec<Process>,
    /// Processes killed, the victim included; 0 when only announced.
    pub kills: u32,
    /// Who asked for memory.
    pub trigger: Option<Trigger>,
    /// Which limit was met.
    pub constraint: Option<Constraint>,
    /// The cgroup whose limit was met.
    pub oom_memcg: Option<String>,
    /// The cgroup of the victim.
    pub task_memcg: Option<String>,
    /// Last element of the **trigger's** cpuset cgroup, often a container id.
    pub cpuset: Option<String>,
    /// Memory of the cgroup whose limit was met.
    pub memory: Option<Usage>,
    /// Swap on the unified hierarchy, memory and swap together on the old one.
    pub swap: Option<Usage>,
    /// Kernel memory, old hierarchy only.
    pub kmem: Option<Usage>,
    /// What the memory was used for, bytes, names of [`super::words::STATS`].
    pub stats: BTreeMap<&'static str, u64>,
    /// The largest tasks of the table, at most five, largest first.
    pub top: Vec<TaskRow>,
    /// Whether the whole cgroup was killed on purpose (`memory.oom.group`).
    pub group: bool,
    /// Whether the kernel already took the victim's memory back.
    pub reaped: bool,
    /// Whether records were lost inside the report.
    pub partial: bool,
}
