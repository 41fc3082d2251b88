//! Quoted facts and the bounded set that keeps them.

use std::collections::{BTreeMap, btree_map};

use super::{PodContext, Report, RolloutContext, Untrusted, coded::coded_enum};
use crate::{clock::UnixNanos, wire};

/// Most facts that one finding keeps. Those that sort last are given up, whatever the order of arrival.
pub const MAX_EVIDENCE: usize = 32;

coded_enum! {
    /// Who witnessed a fact. The order is the order of worth when a set is full.
    EvidenceSource, "evidence source" {
        /// containerd's CRI or event stream.
        Containerd = 4, "containerd";
        /// Docker's API.
        Docker = 5, "docker";
        /// CRI-O.
        Crio = 6, "crio";
        /// The apiserver of the cluster.
        Kubernetes = 9, "kubernetes";
        /// The container's own log.
        Log = 8, "log";
        /// The kernel log.
        Kmsg = 1, "kmsg";
        /// Kernel trace events.
        Trace = 2, "trace";
        /// Counters of a cgroup.
        Cgroup = 3, "cgroup";
        /// Counters of the whole node under /proc.
        Procfs = 7, "procfs";
    }
}

coded_enum! {
    /// Which limit an out-of-memory kill enforced.
    LimitLevel, "limit level" {
        /// The container's own.
        Container = 1, "container";
        /// The pod's.
        Pod = 2, "pod";
        /// That of all burstable or best-effort pods.
        QosClass = 3, "qos_class";
        /// That of all pods of the node.
        NodeAllocatable = 4, "node_allocatable";
        /// That of a service of the host.
        HostService = 5, "host_service";
        /// None: the node ran out of memory.
        Node = 6, "node";
        /// A NUMA node or cpuset while memory was free elsewhere.
        Numa = 7, "numa";
    }
}

coded_enum! {
    /// How log lines were had that the node did not give, or why there are none.
    LogOrigin, "log origin" {
        /// The apiserver gave them, and their times are those of the run that ended.
        Apiserver = 1, "apiserver";
        /// The apiserver gave those of the attempt that followed; those of the run that ended are gone.
        NextAttempt = 2, "next_attempt";
        /// None: apiserver or kubelet did not answer.
        Away = 3, "away";
        /// None: not allowed.
        Forbidden = 4, "forbidden";
        /// None: the pod or its log is not kept any more.
        Gone = 5, "gone";
    }
}

coded_enum! {
    /// What somebody asked of a runtime.
    RequestKind, "runtime request" {
        /// To end by itself: the stop signal, or the runtime's own stop.
        Stop = 1, "stop";
        /// To be ended by a signal.
        Kill = 2, "kill";
        /// To be removed once it has ended.
        Remove = 3, "remove";
    }
}

/// What somebody asked of a runtime before the end. Runtimes do not say who.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RuntimeRequest {
    /// What.
    pub kind: RequestKind,
    /// Signal that the runtime sent; 0 when none.
    pub signal: u8,
}

coded_enum! {
    /// What became of a signal.
    SignalResult, "signal result" {
        /// The target got it.
        Delivered = 1, "delivered";
        /// The target ignores it, or is the first process of its pid namespace and has no handler.
        Ignored = 2, "ignored";
        /// One was waiting already.
        Pending = 3, "pending";
        /// The target's queue was full.
        Lost = 4, "lost";
    }
}

/// A signal as the kernel traced it. Pids are of the initial pid namespace.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SignalSent {
    /// Its number.
    pub signal: u8,
    /// `si_code` of sigaction(2): 0 and below from a process, above 0 from the kernel.
    pub code: i32,
    /// Who sent it.
    pub sender_pid: u32,
    /// The sender's name, at most 15 bytes in the kernel; empty when unknown.
    pub sender_comm: Untrusted,
    /// The sender's effective user; `None` when it had ended before it was looked at.
    pub sender_uid: Option<u32>,
    /// The sender's cgroup; empty when it had ended before it was looked at.
    pub sender_cgroup: String,
    /// `namespace/pod/container`, else the name or the id of the sender's container; empty outside containers.
    pub sender_container: String,
    /// Who got it.
    pub target_pid: u32,
    /// The target's name.
    pub target_comm: Untrusted,
    /// Whether the whole process and not one thread was meant.
    pub group: bool,
    /// What became of it.
    pub result: SignalResult,
    /// Whether the target was the container's first process; `None` when unknown.
    pub main_process: Option<bool>,
}

/// A process in the kernel's report, with its memory (resident + swapped + page tables).
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct MemoryConsumer {
    /// Process id in the initial pid namespace.
    pub pid: u32,
    /// Process name, at most 15 bytes.
    pub comm: Untrusted,
    /// Memory in bytes.
    pub bytes: u64,
}

/// The kernel's out-of-memory report about one victim.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct KernelKill {
    /// Victim's process id in the initial pid namespace.
    pub pid: u32,
    /// Victim's process name.
    pub comm: Untrusted,
    /// Victim's user id.
    pub uid: u32,
    /// Address space in bytes.
    pub total_vm_bytes: u64,
    /// Resident anonymous memory in bytes.
    pub anon_bytes: u64,
    /// Resident file-backed memory in bytes.
    pub file_bytes: u64,
    /// Resident shared memory in bytes.
    pub shmem_bytes: u64,
    /// Page tables in bytes.
    pub pgtables_bytes: u64,
    /// −1000 to 1000.
    pub oom_score_adj: i32,
    /// Process whose allocation failed; empty when the report's head is lost.
    pub trigger_comm: Untrusted,
    /// Its process id; 0 when unknown.
    pub trigger_pid: u32,
    /// Which limit was enforced, when the report says.
    pub level: Option<LimitLevel>,
    /// Cgroup whose limit was hit; empty for the node or when unknown.
    pub limit_cgroup: String,
    /// Victim's cgroup; empty when unknown.
    pub victim_cgroup: String,
    /// Memory charged to the limiting cgroup, in bytes.
    pub usage_bytes: Option<u64>,
    /// The limit in bytes; `None` also when there is no limit.
    pub limit_bytes: Option<u64>,
    /// Largest processes of the report, at most 5, largest first.
    pub consumers: Vec<MemoryConsumer>,
    /// Whether memory.oom.group killed the whole cgroup.
    pub group: bool,
    /// Whether records of the report were lost.
    pub partial: bool,
    /// Whether the victim was the container's first process; `None` when unknown.
    pub main_process: Option<bool>,
}

/// A counter that moved from `before` to `after`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CounterStep {
    /// Name of the counter, such as oom_kill.
    pub counter: String,
    /// Its cgroup; empty for the whole node.
    pub cgroup: String,
    /// Earlier value.
    pub before: u64,
    /// Later value.
    pub after: u64,
    /// The container still ran well after the step: its first process was not what was killed. False when not known.
    pub survived: bool,
}

/// How the runtime recorded the end of a container.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct RuntimeExit {
    /// 0 to 255; 128 + n is how runtimes report signal n; −1 when the runtime lost it.
    pub exit_code: i32,
    /// Start as the runtime recorded it; `None` when only the event was seen.
    pub started_at: Option<UnixNanos>,
    /// End as the runtime recorded it.
    pub finished_at: UnixNanos,
    /// Completed, Error, OOMKilled, StartError, Unknown; empty from an event.
    pub reason: Untrusted,
    /// The runtime's message, at most 4 KiB.
    pub message: Untrusted,
    /// The container's memory limit when known, in bytes.
    pub memory_limit_bytes: Option<u64>,
}

/// The last lines before the end, redacted where they were read; at most 4 KiB.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct LogExcerpt {
    /// Oldest first.
    pub lines: Vec<Untrusted>,
    /// How many secrets were taken out.
    pub redactions: u32,
    /// Whether older lines exist.
    pub truncated: bool,
    /// `None`: the node's own log.
    pub origin: Option<LogOrigin>,
}

/// What a witness says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Fact {
    /// Kernel report of a kill.
    KernelKill(KernelKill),
    /// A counter moved.
    CounterStep(CounterStep),
    /// A container ended.
    RuntimeExit(RuntimeExit),
    /// The runtime's out-of-memory notice; siblings of the victim get it too on cgroup v1.
    RuntimeOom,
    /// Last lines of the log.
    LogExcerpt(LogExcerpt),
    /// The kernel ring dropped this many records unread.
    KernelLoss(u64),
    /// The runtime was asked to end the container.
    RuntimeRequest(RuntimeRequest),
    /// A signal was sent to a process of the container.
    SignalSent(SignalSent),
    /// What the apiserver says about the pod.
    PodContext(PodContext),
    /// A state that the apiserver knows.
    Report(Report),
    /// What changed in the workload, and how its pods fare.
    RolloutContext(RolloutContext),
}

/// One fact with its time. Source and position, the key of the set, name it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Evidence {
    /// When, on the node's wall clock.
    pub at: UnixNanos,
    /// What.
    pub fact: Fact,
}

/// Facts by (source, position), at most [`MAX_EVIDENCE`]. Its union is commutative, associative and idempotent: any
/// order, any repetition and any poorer copy give the same set.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct EvidenceSet(BTreeMap<(EvidenceSource, String), Evidence>);

impl EvidenceSet {
    /// Adds one fact; of two versions of one fact the richer stays. Returns whether the set changed.
    pub fn insert(&mut self, source: EvidenceSource, position: impl Into<String>, evidence: Evidence) -> bool {
        match self.0.entry((source, position.into())) {
            btree_map::Entry::Vacant(vacant) => {
                let key = vacant.key().clone();
                vacant.insert(evidence);
                self.cap(&key)
            }
            btree_map::Entry::Occupied(mut held) => {
                let richer = richness(&evidence) > richness(held.get());
                if richer {
                    held.insert(evidence);
                }
                richer
            }
        }
    }

    /// Gives up what sorts last beyond the cap; returns whether `added` survived.
    fn cap(&mut self, added: &(EvidenceSource, String)) -> bool {
        while self.0.len() > MAX_EVIDENCE {
            self.0.pop_last();
        }
        self.0.contains_key(added)
    }

    /// Unites with another set; returns whether this one changed.
    pub fn merge(&mut self, other: &Self) -> bool {
        let mut changed = false;
        for ((source, position), evidence) in &other.0 {
            changed |= self.insert(*source, position.clone(), evidence.clone());
        }
        changed
    }

    /// Facts in order of worth.
    pub fn iter(&self) -> impl Iterator<Item = (EvidenceSource, &str, &Evidence)> {
        self.0
            .iter()
            .map(|((source, position), evidence)| (*source, position.as_str(), evidence))
    }

    /// Number of facts.
    #[must_use]
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Kernel kill reports.
    pub fn kills(&self) -> impl Iterator<Item = &KernelKill> {
        self.iter().filter_map(|(_, _, e)| match &e.fact {
            Fact::KernelKill(kill) => Some(kill),
            _ => None,
        })
    }

    /// The runtime's record of the end, the first in order of worth.
    #[must_use]
    pub fn exit(&self) -> Option<&RuntimeExit> {
        self.iter().find_map(|(_, _, e)| match &e.fact {
            Fact::RuntimeExit(exit) => Some(exit),
            _ => None,
        })
    }

    /// The last lines of the log.
    #[must_use]
    pub fn log(&self) -> Option<&LogExcerpt> {
        let logs = self.iter().filter_map(|(_, _, e)| match &e.fact {
            Fact::LogExcerpt(log) => Some(log),
            _ => None,
        });
        // The node's word comes before the apiserver's.
        logs.min_by_key(|log| log.origin.map_or(0, LogOrigin::number))
    }

    /// Whether the runtime sent an out-of-memory notice.
    #[must_use]
    pub fn has_runtime_oom(&self) -> bool {
        self.0.values().any(|e| e.fact == Fact::RuntimeOom)
    }

    /// What was asked of the runtime before the end.
    pub fn requests(&self) -> impl Iterator<Item = RuntimeRequest> {
        self.iter().filter_map(|(_, _, e)| match e.fact {
            Fact::RuntimeRequest(request) => Some(request),
            _ => None,
        })
    }

    /// Signals that were sent, with their time, in the order of their positions.
    pub fn signals(&self) -> impl Iterator<Item = (UnixNanos, &SignalSent)> {
        self.iter().filter_map(|(_, _, e)| match &e.fact {
            Fact::SignalSent(sent) => Some((e.at, sent)),
            _ => None,
        })
    }

    /// What the apiserver says about the pod.
    #[must_use]
    pub fn pod(&self) -> Option<&PodContext> {
        self.iter().find_map(|(_, _, e)| match &e.fact {
            Fact::PodContext(pod) => Some(pod),
            _ => None,
        })
    }

    /// The state that the apiserver reports.
    #[must_use]
    pub fn report(&self) -> Option<&Report> {
        self.iter().find_map(|(_, _, e)| match &e.fact {
            Fact::Report(report) => Some(report),
            _ => None,
        })
    }

    /// What changed in the workload, and how its pods fare.
    #[must_use]
    pub fn rollout(&self) -> Option<&RolloutContext> {
        self.iter().find_map(|(_, _, e)| match &e.fact {
            Fact::RolloutContext(rollout) => Some(rollout),
            _ => None,
        })
    }

    /// Counters named `counter` that rose, with how far.
    pub fn steps<'a>(&'a self, counter: &'a str) -> impl Iterator<Item = &'a CounterStep> {
        self.iter().filter_map(move |(_, _, e)| match &e.fact {
            Fact::CounterStep(step) if step.counter == counter && step.after > step.before => Some(step),
            _ => None,
        })
    }
}

/// Total order of two versions of one fact: the longer encoding says more; equal lengths are told apart by content.
fn richness(evidence: &Evidence) -> (usize, Vec<u8>) {
    let bytes = wire::encode_fact(evidence);
    (bytes.len(), bytes)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn exit(code: i32, reason: &str) -> Evidence {
        let exit = RuntimeExit {
            exit_code: code,
            reason: Untrusted::bounded(reason, 64),
            ..RuntimeExit::default()
        };
        Evidence {
            at: UnixNanos(7),
            fact: Fact::RuntimeExit(exit),
        }
    }

    fn arbitrary_fact() -> impl Strategy<Value = (EvidenceSource, String, Evidence)> {
        let sources = prop::sample::select(EvidenceSource::ALL.to_vec());
        let fact = prop_oneof![
            (0..255i32, "[a-zA-Z]{0,12}").prop_map(|(code, reason)| exit(code, &reason)),
            (0..9u64).prop_map(|n| Evidence {
                at: UnixNanos(1),
                fact: Fact::KernelLoss(n)
            }),
        ];
        (sources, "[0-9]{1,2}", fact)
    }

    fn union(facts: &[(EvidenceSource, String, Evidence)]) -> EvidenceSet {
        let mut set = EvidenceSet::default();
        for (source, position, evidence) in facts {
            set.insert(*source, position.clone(), evidence.clone());
        }
        set
    }

    proptest! {
        /// A re-ordered or repeated report must not change what people are told.
        #[test]
        fn union_ignores_order_repetition_and_grouping(facts in prop::collection::vec(arbitrary_fact(), 0..80), cut in 0..80usize) {
            let forward = union(&facts);
            let mut reversed = facts.clone();
            reversed.reverse();
            reversed.extend(facts.iter().cloned());
            prop_assert_eq!(&forward, &union(&reversed));
            let (left, right) = facts.split_at(cut.min(facts.len()));
            let mut merged = union(right);
            merged.merge(&union(left));
            prop_assert_eq!(&forward, &merged);
            prop_assert!(forward.len() <= MAX_EVIDENCE);
        }
    }

    #[test]
    fn a_poorer_copy_after_a_restart_changes_nothing() {
        let mut set = EvidenceSet::default();
        assert!(set.insert(EvidenceSource::Containerd, "x", exit(1, "OOMKilled")));
        assert!(!set.insert(EvidenceSource::Containerd, "x", exit(1, "")));
        assert_eq!(set.exit().map(|e| e.reason.raw()), Some("OOMKilled"));
    }
}
