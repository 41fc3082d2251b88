//! The two events that tell who ended a process. Owns their names and fields; knows no container.
use super::format::{Fields, Format};

/// The event of a signal that was sent.
pub const SIGNAL: &str = "signal_generate";
/// The event of a victim that the kernel chose when memory ran out.
pub const VICTIM: &str = "mark_victim";

/// Who was running when the event happened: the sender of a signal, the process that asked for memory.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Task {
    /// Thread id in the initial pid namespace.
    pub pid: u32,
    /// Name, at most 15 bytes of anything; empty when the kernel had forgotten it.
    pub comm: Vec<u8>,
}

/// A signal.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct SignalEvent {
    /// Who sent it.
    pub sender: Task,
    /// Microseconds on `CLOCK_MONOTONIC`.
    pub at_us: u64,
    /// Its number.
    pub signal: u8,
    /// `si_code`: 0 and below by a process, above 0 by the kernel (sigaction(2)).
    pub code: i32,
    /// Who gets it.
    pub target: Task,
    /// Sent to the whole process and not to one thread.
    pub group: bool,
    /// `TRACE_SIGNAL_*` of the kernel: 0 delivered, 1 ignored, 2 already pending, 3 and 4 lost.
    pub result: u8,
}

/// A victim of the out-of-memory killer. Sizes are KiB; `None` on kernels that print the pid only (before 6.8).
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct VictimEvent {
    /// Who asked for memory.
    pub trigger: Task,
    /// Microseconds on `CLOCK_MONOTONIC`.
    pub at_us: u64,
    /// Pid in the initial pid namespace.
    pub pid: u32,
    /// Name; empty on kernels that do not print it.
    pub comm: Vec<u8>,
    /// User id.
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

/// One event.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum TraceEvent {
    /// A signal was sent.
    Signal(SignalEvent),
    /// A victim was chosen.
    Victim(VictimEvent),
}

/// How this kernel prints the two events.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Formats {
    /// Of [`SIGNAL`].
    pub signal: Format,
    /// Of [`VICTIM`]; `None` when the kernel lacks the event.
    pub victim: Option<Format>,
}

impl Formats {
    /// Reads the body of an event by its name; `None` when it is not one of ours or does not fit.
    pub(super) fn read(&self, name: &[u8], body: &[u8], task: Task, at_us: u64) -> Option<TraceEvent> {
        if name == SIGNAL.as_bytes() {
            return signal(&self.signal.read(body)?, task, at_us).map(TraceEvent::Signal);
        }
        if name == VICTIM.as_bytes() {
            return victim(&self.victim.as_ref()?.read(body)?, task, at_us).map(TraceEvent::Victim);
        }
        None
    }
}

fn signal(fields: &Fields<'_>, sender: Task, at_us: u64) -> Option<SignalEvent> {
    Some(SignalEvent {
        sender,
        at_us,
        signal: fields.number("sig")?,
        code: fields.number("code")?,
        target: Task {
            pid: fields.number("pid")?,
            comm: fields.text("comm").unwrap_or_default().to_vec(),
        },
        group: fields.number("group").unwrap_or(0_u8) != 0,
        result: fields.number("result")?,
    })
}

fn victim(fields: &Fields<'_>, trigger: Task, at_us: u64) -> Option<VictimEvent> {
    Some(VictimEvent {
        trigger,
        at_us,
        pid: fields.number("pid")?,
        comm: fields.text("comm").unwrap_or_default().to_vec(),
        uid: fields.number("uid"),
        total_vm_kb: fields.number("total_vm"),
        anon_kb: fields.number("anon_rss"),
        file_kb: fields.number("file_rss"),
        shmem_kb: fields.number("shmem_rss"),
        pgtables_kb: fields.number("pgtables"),
        oom_score_adj: fields.number("oom_score_adj"),
    })
}
