//! What sources tell detection: raw facts, not yet conclusions. Plain data; knows the model only.

use std::path::PathBuf;

use inquest_shared::{
    clock::UnixNanos,
    model::{EvidenceSource, KernelKill, LogExcerpt, RuntimeExit, RuntimeRequest, SignalSent, Subject},
};

use crate::host::{
    cgroup::counters::Memory,
    kmsg::{Gap, Stamped},
};

/// One raw fact.
#[derive(Debug, Clone)]
pub enum Observation {
    /// A record of the kernel log that may belong to an out-of-memory report.
    Kernel {
        /// The record.
        record: Stamped,
        /// Memory cgroup of the process that it says was killed, looked up while the process was still there.
        victim_cgroup: Option<String>,
    },
    /// Everything up to this sequence number was told before.
    KernelThrough(u64),
    /// Records that the kernel's ring lost before they were read.
    KernelGap(Gap),
    /// Whether the kernel log is being read; decides whether counters are the first witness.
    KernelLog {
        /// True while the reader is live.
        live: bool,
    },
    /// Whether the kernel's out-of-memory victims are being traced.
    TraceEvents {
        /// True while the events are read.
        live: bool,
    },
    /// A signal was sent to some process of the node.
    Signal(SignalSeen),
    /// The kernel chose a process to kill for memory.
    TraceKill(TraceKill),
    /// A container that exists; later tellings replace earlier ones.
    Container(Container),
    /// The runtime no longer knows the instance. Its facts are kept for a while, since the kernel may speak of it later.
    Removed(String),
    /// A container ended.
    Exit(Exit),
    /// The runtime's out-of-memory notice.
    RuntimeOom {
        /// Which container.
        instance: String,
        /// When the runtime says it was.
        at: UnixNanos,
        /// Which runtime says so.
        source: EvidenceSource,
    },
    /// Somebody asked the runtime to end a container.
    RuntimeRequest {
        /// Which instance.
        instance: String,
        /// What was asked.
        request: RuntimeRequest,
        /// When the runtime says it was.
        at: UnixNanos,
        /// Which runtime says so.
        source: EvidenceSource,
    },
    /// A kill counter of a container or, with an empty instance, of the whole node.
    KillCounter(KillCounter),
    /// The last lines of a container that ended.
    Log {
        /// Which container.
        instance: String,
        /// End of the run that the lines belong to.
        finished_at: UnixNanos,
        /// The lines.
        excerpt: LogExcerpt,
    },
}

/// What the runtime knows of a container.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Container {
    /// Names, image and instance.
    pub subject: Subject,
    /// First process, in the initial pid namespace; `None` before the start and on runtimes that do not say.
    pub pid: Option<u32>,
    /// Log file on this host.
    pub log_path: Option<PathBuf>,
    /// Memory limit in bytes.
    pub memory_limit: Option<u64>,
    /// When its first process began; `None` before the start and where nobody says.
    pub started: Option<UnixNanos>,
}

/// The end of one instance as one witness tells it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Exit {
    /// Which instance.
    pub instance: String,
    /// The runtime's record.
    pub record: RuntimeExit,
    /// Which runtime.
    pub source: EvidenceSource,
    /// False when it was found on the first look after a start or a reconnection.
    pub live: bool,
}

/// A signal as it was traced.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SignalSeen {
    /// Microseconds since boot, target and number: names the event within this boot.
    pub position: String,
    /// When.
    pub at: UnixNanos,
    /// It was in the ring before the agent came.
    pub backlog: bool,
    /// Memory cgroup of the target, looked up while it was still there.
    pub target_cgroup: Option<String>,
    /// What was sent; the sender's container is not named yet.
    pub sent: SignalSent,
}

/// A victim of the out-of-memory killer as it was traced.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TraceKill {
    /// Microseconds since boot and pid: names the event within this boot.
    pub position: String,
    /// When.
    pub at: UnixNanos,
    /// It was in the ring before the agent came.
    pub backlog: bool,
    /// What the event says; the limit is not known yet.
    pub kill: KernelKill,
    /// Memory cgroup of the victim, looked up while it was still there.
    pub cgroup: Option<String>,
    /// Memory cgroup of the process that asked for memory.
    pub trigger_cgroup: Option<String>,
    /// The victim's cgroup and those above it, innermost first; empty when they could not be read.
    pub limits: Vec<MemoryAt>,
}

/// What the memory controller said of one cgroup.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MemoryAt {
    /// Its path.
    pub cgroup: String,
    /// Its counters.
    pub memory: Memory,
}

/// A kill counter with its value before and now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KillCounter {
    /// Container instance; empty for the node-wide counter of /proc/vmstat.
    pub instance: String,
    /// Cgroup path; empty for the node.
    pub cgroup: String,
    /// Value at the last look.
    pub before: u64,
    /// Value now.
    pub after: u64,
    /// When it was read.
    pub at: UnixNanos,
}
