//! What procfs and cgroups say about the processes of an event. The looks are best effort: whoever is gone leaves a blank.

use std::iter::successors;

use inquest_shared::{
    clock::UnixNanos,
    model::{KernelKill, SignalResult, SignalSent, Untrusted},
};

use crate::{
    host::{
        cgroup::{counters, mount::MemoryMount},
        paths::HostPaths,
        procfs,
        tracefs::{SignalEvent, Task, VictimEvent},
    },
    observation::{MemoryAt, SignalSeen, TraceKill},
    source::kill_counter::{Announced, Running},
};

/// A process name has at most 15 bytes in the kernel; bytes that are no text become longer.
const MAX_COMM: usize = 64;
/// `SI_KERNEL` of sigaction(2).
const SI_KERNEL: i32 = 128;
const SIGKILL: u8 = 9;
/// `TRACE_SIGNAL_IGNORED` of the kernel's `include/trace/events/signal.h`.
const IGNORED: u8 = 1;
/// Most cgroups above a victim; the kubelet's are at most 5 deep.
const MAX_DEPTH: usize = 16;

/// One event's surroundings.
pub(super) struct Look<'a> {
    pub(super) paths: &'a HostPaths,
    /// Wall time of the event.
    pub(super) at: UnixNanos,
    /// Whether it was in the ring before we came: then its pids may be other processes by now.
    pub(super) backlog: bool,
    /// Containers that run, with their cgroups as the host names them.
    pub(super) running: &'a Announced,
}

impl Look<'_> {
    /// A signal with its sender; `None` for what runc does in every start: its init hands over by a SIGKILL that nobody gets.
    pub(super) fn signal(&self, event: &SignalEvent) -> Option<SignalSeen> {
        let is_start_of_container = (event.signal, event.code, event.result) == (SIGKILL, SI_KERNEL, IGNORED);
        if is_start_of_container {
            return None;
        }
        let (comm, uid) = self.name(&event.sender);
        let sent = SignalSent {
            signal: event.signal,
            code: event.code,
            sender_pid: event.sender.pid,
            sender_comm: comm,
            sender_uid: uid,
            sender_cgroup: self.cgroup(event.sender.pid).unwrap_or_default(),
            sender_container: String::new(),
            target_pid: event.target.pid,
            target_comm: Untrusted::from_bytes(&event.target.comm, MAX_COMM),
            group: event.group,
            result: result(event.result),
            main_process: None,
        };
        Some(SignalSeen {
            position: format!("{}-{}-{}", event.at_us, event.target.pid, event.signal),
            at: self.at,
            backlog: self.backlog,
            target_cgroup: self.cgroup(event.target.pid),
            sent,
        })
    }

    /// A victim with its cgroup and the limits above it.
    pub(super) fn victim(&self, event: &VictimEvent) -> TraceKill {
        let bytes = |kb: Option<u64>| kb.unwrap_or_default().saturating_mul(1024);
        let cgroup = self.cgroup(event.pid);
        let kill = KernelKill {
            pid: event.pid,
            comm: Untrusted::from_bytes(&event.comm, MAX_COMM),
            uid: event.uid.unwrap_or_default(),
            total_vm_bytes: bytes(event.total_vm_kb),
            anon_bytes: bytes(event.anon_kb),
            file_bytes: bytes(event.file_kb),
            shmem_bytes: bytes(event.shmem_kb),
            pgtables_bytes: bytes(event.pgtables_kb),
            oom_score_adj: event.oom_score_adj.unwrap_or_default(),
            trigger_comm: self.name(&event.trigger).0,
            trigger_pid: event.trigger.pid,
            victim_cgroup: cgroup.clone().unwrap_or_default(),
            ..KernelKill::default()
        };
        TraceKill {
            position: format!("{}-{}", event.at_us, event.pid),
            at: self.at,
            backlog: self.backlog,
            limits: cgroup.as_deref().map(|path| self.limits(path)).unwrap_or_default(),
            trigger_cgroup: self.cgroup(event.trigger.pid),
            cgroup,
            kill,
        }
    }

    /// The kernel remembers the names of few processes, and not for long: the process itself knows better while it is there.
    fn name(&self, task: &Task) -> (Untrusted, Option<u32>) {
        let now = (!self.backlog)
            .then(|| procfs::comm_and_uid(self.paths, task.pid).ok())
            .flatten();
        let (comm, uid) = now.unwrap_or_else(|| (task.comm.clone(), None));
        (Untrusted::from_bytes(&comm, MAX_COMM), uid)
    }

    fn cgroup(&self, pid: u32) -> Option<String> {
        if self.backlog || pid == 0 {
            return None;
        }
        let path = procfs::memory_cgroup(self.paths, pid).ok().filter(|path| path != "/")?;
        Some(as_the_host_names(path, self.running))
    }

    /// The memory of a cgroup and of those above it, innermost first; empty unless every one could be read.
    fn limits(&self, cgroup: &str) -> Vec<MemoryAt> {
        let Ok(mount) = MemoryMount::find(self.paths) else {
            return Vec::new();
        };
        let paths = successors(Some(cgroup), |path| parent(path)).take(MAX_DEPTH);
        let read = |path: &str| {
            let memory = counters::read_path(&mount, path).ok()?;
            Some(MemoryAt {
                cgroup: path.to_owned(),
                memory,
            })
        };
        paths.map(read).collect::<Option<Vec<_>>>().unwrap_or_default()
    }
}

/// An agent in a cgroup namespace of its own (every container on the new hierarchy) sees the others' paths from its own
/// cgroup: `/../../pod…/…`. The runtime's word makes a whole path of it; without it the path stays as it is.
fn as_the_host_names(path: String, running: &Announced) -> String {
    let seen = path.trim_start_matches("/..");
    if seen.len() == path.len() || seen.is_empty() {
        return path;
    }
    let mut known = running.values().flat_map(Running::values);
    let known = known.find(|watched| watched.cgroup.ends_with(seen));
    known.map_or(path, |watched| watched.cgroup.clone())
}

/// The cgroup above; the root has no limit.
fn parent(cgroup: &str) -> Option<&str> {
    let (parent, _) = cgroup.rsplit_once('/')?;
    (!parent.is_empty()).then_some(parent)
}

/// `TRACE_SIGNAL_*` of the kernel's `include/trace/events/signal.h`; the last two differ in what was lost.
const fn result(number: u8) -> SignalResult {
    match number {
        0 => SignalResult::Delivered,
        1 => SignalResult::Ignored,
        2 => SignalResult::Pending,
        _ => SignalResult::Lost,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::source::kill_counter::Watched;

    fn look(backlog: bool, event: &SignalEvent) -> Option<SignalSeen> {
        let paths = HostPaths::default();
        let look = Look {
            paths: &paths,
            at: UnixNanos(7),
            backlog,
            running: &Announced::new(),
        };
        look.signal(event)
    }

    fn event() -> SignalEvent {
        SignalEvent {
            sender: Task {
                pid: std::process::id(),
                comm: b"older name".to_vec(),
            },
            at_us: 5,
            signal: 9,
            ..SignalEvent::default()
        }
    }

    #[test]
    fn a_sender_that_lives_is_named_by_itself_and_one_of_the_past_by_the_kernel() {
        let live = look(false, &event()).unwrap();
        assert!(live.sent.sender_uid.is_some() && live.sent.sender_comm.raw() != "older name");
        let past = look(true, &event()).unwrap();
        assert_eq!(
            (past.sent.sender_comm.raw(), past.sent.sender_uid),
            ("older name", None)
        );
        assert_eq!((past.sent.sender_cgroup.as_str(), past.target_cgroup), ("", None));
    }

    #[test]
    fn a_path_seen_from_another_cgroup_namespace_becomes_the_hosts() {
        let whole = "/kubepods.slice/pod1.slice/cri-containerd-0123.scope";
        let of_one = Running::from([(
            "0123".to_owned(),
            Watched {
                cgroup: whole.to_owned(),
                started: None,
            },
        )]);
        let running = Announced::from([("containerd", of_one)]);
        let named = |path: &str| as_the_host_names(path.to_owned(), &running);
        assert_eq!(named("/../../pod1.slice/cri-containerd-0123.scope"), whole);
        assert_eq!(named("/../../pod2.slice/other.scope"), "/../../pod2.slice/other.scope");
        assert_eq!(named("/system.slice"), "/system.slice");
        assert_eq!(named("/.."), "/..");
    }

    #[test]
    fn the_start_of_a_container_is_no_kill() {
        let start = SignalEvent {
            code: SI_KERNEL,
            result: IGNORED,
            ..event()
        };
        assert_eq!(look(false, &start), None);
        let kill = SignalEvent { result: 0, ..start };
        assert!(look(false, &kill).is_some(), "the kernel's own SIGKILL is one");
    }
}
