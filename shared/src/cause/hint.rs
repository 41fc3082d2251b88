//! Hints: what the log and the figures add to a cause. Typed, so that the text catalogue words them; never a cause.

use std::time::Duration;

use super::facts::Facts;
use crate::model::{EvidenceSet, KernelKill, MemoryConsumer, Untrusted};

mod log;
pub use log::LogSign;

/// Most hints of one set; the first in the order of [`hints`] stay.
pub const MAX_HINTS: usize = 4;
/// Share of the limit from which shared memory is worth a word, in percent.
const SHARED_PERCENT: u64 = 30;
/// A container that runs out of memory this soon needs more than its limit to start at all.
const AT_START: Duration = Duration::from_secs(5);
/// Shown bytes of a quoted log line.
const MAX_QUOTE: usize = 240;

/// Something worth knowing beside the cause.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Hint {
    /// The apiserver could not be asked about the pod: whose it is, and whether somebody wanted this, may be missing.
    ClusterUnknown,
    /// A sign in the log, with the line that says most.
    Log {
        /// What it is a sign of.
        sign: LogSign,
        /// The line, at most 240 bytes.
        line: Untrusted,
    },
    /// Much of the killed memory was shared: tmpfs, a memory-backed volume, /dev/shm.
    SharedMemory {
        /// Shared memory of the victim in bytes.
        bytes: u64,
        /// The limit in bytes.
        limit_bytes: u64,
    },
    /// The kernel killed every process of the cgroup since one hit the limit.
    WholeGroup,
    /// Another process used far more memory than the victim.
    Collateral {
        /// The largest process of the kernel's report.
        consumer: MemoryConsumer,
    },
    /// Out of memory right after the start.
    OomAtStart {
        /// How long the container ran.
        ran: Duration,
    },
}

/// Hints of a set, at most [`MAX_HINTS`], what is missing first, figures before log signs. A pure function of the set.
#[must_use]
pub fn hints(evidence: &EvidenceSet) -> Vec<Hint> {
    let facts = Facts::of(evidence);
    let mut all = Vec::new();
    all.extend(facts.pod.filter(|pod| !pod.current).map(|_| Hint::ClusterUnknown));
    all.extend(shared_memory(evidence));
    all.extend(evidence.kills().any(|k| k.group).then_some(Hint::WholeGroup));
    all.extend(facts.kill.and_then(|kill| collateral(kill.record)));
    all.extend(oom_at_start(&facts));
    if let Some(excerpt) = evidence.log() {
        all.extend(log::signs(&excerpt.lines).map(|(sign, line)| Hint::Log {
            sign,
            line: Untrusted::bounded(line.raw(), MAX_QUOTE),
        }));
    }
    all.truncate(MAX_HINTS);
    all
}

fn shared_memory(evidence: &EvidenceSet) -> Option<Hint> {
    evidence.kills().find_map(|kill| {
        let limit_bytes = kill.limit_bytes.filter(|limit| *limit > 0)?;
        let much = u128::from(kill.shmem_bytes) * 100 >= u128::from(limit_bytes) * u128::from(SHARED_PERCENT);
        much.then_some(Hint::SharedMemory {
            bytes: kill.shmem_bytes,
            limit_bytes,
        })
    })
}

/// The kernel weighs by oom_score_adj: a small process may die for a large one.
fn collateral(kill: &KernelKill) -> Option<Hint> {
    let largest = kill.consumers.iter().max_by_key(|c| (c.bytes, c.pid))?;
    let own = kill
        .anon_bytes
        .saturating_add(kill.file_bytes)
        .saturating_add(kill.shmem_bytes);
    (largest.pid != kill.pid && largest.bytes / 2 > own).then(|| Hint::Collateral {
        consumer: largest.clone(),
    })
}

fn oom_at_start(facts: &Facts<'_>) -> Option<Hint> {
    let exit = facts.exit.filter(|_| facts.proves_oom() && facts.died_of_sigkill())?;
    let ran = exit.record.finished_at.since(exit.record.started_at?);
    (ran <= AT_START).then_some(Hint::OomAtStart { ran })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        clock::UnixNanos,
        model::{Evidence, EvidenceSource, Fact, LogExcerpt, RuntimeExit},
    };

    fn log(lines: &[&str]) -> EvidenceSet {
        let lines = lines.iter().map(|l| Untrusted::bounded(l, 4096)).collect();
        let fact = Fact::LogExcerpt(LogExcerpt {
            lines,
            redactions: 0,
            truncated: false,
            origin: None,
        });
        let mut set = EvidenceSet::default();
        set.insert(EvidenceSource::Log, "x", Evidence { at: UnixNanos(1), fact });
        set
    }

    fn only_sign(lines: &[&str]) -> Option<(LogSign, String)> {
        match hints(&log(lines)).into_iter().next() {
            Some(Hint::Log { sign, line }) => Some((sign, line.raw().to_owned())),
            _ => None,
        }
    }

    #[test]
    fn the_line_that_says_most_is_quoted() {
        let table: &[(&[&str], LogSign, &str)] = &[
            (
                &["up", "panic: assignment to entry in nil map", "goroutine 1 [running]:"],
                LogSign::GoPanic,
                "panic: assignment to entry in nil map",
            ),
            (
                &[
                    "Traceback (most recent call last):",
                    "  File \"a.py\", line 1",
                    "KeyError: 'db'",
                ],
                LogSign::PythonException,
                "KeyError: 'db'",
            ),
            (
                &[
                    "Traceback (most recent call last):",
                    "  File \"a.py\"",
                    "ModuleNotFoundError: No module named 'x'",
                ],
                LogSign::MissingModule,
                "ModuleNotFoundError: No module named 'x'",
            ),
            (
                &["Exception in thread \"main\" java.lang.OutOfMemoryError: Java heap space"],
                LogSign::JvmOutOfMemory,
                "Exception in thread \"main\" java.lang.OutOfMemoryError: Java heap space",
            ),
            (
                &["thread 'main' panicked at src/main.rs:3:5:", "boom"],
                LogSign::RustPanic,
                "thread 'main' panicked at src/main.rs:3:5:",
            ),
            (
                &["FATAL ERROR: Reached heap limit Allocation failed - JavaScript heap out of memory"],
                LogSign::NodeHeap,
                "FATAL ERROR: Reached heap limit Allocation failed - JavaScript heap out of memory",
            ),
            (
                &["exec /app: exec format error"],
                LogSign::ExecFormat,
                "exec /app: exec format error",
            ),
            (
                &["write: No space left on device"],
                LogSign::NoSpace,
                "write: No space left on device",
            ),
        ];
        for (lines, sign, quote) in table {
            assert_eq!(only_sign(lines), Some((*sign, (*quote).to_owned())));
        }
    }

    #[test]
    fn the_last_of_several_panics_is_the_one_that_killed() {
        let lines = [
            "panic: first [recovered]",
            "went on",
            "panic: second",
            "goroutine 7 [running]:",
        ];
        assert_eq!(only_sign(&lines), Some((LogSign::GoPanic, "panic: second".to_owned())));
    }

    #[test]
    fn ordinary_lines_give_no_hint() {
        assert_eq!(hints(&log(&["listening on :80", "bye"])), Vec::new());
        assert_eq!(hints(&EvidenceSet::default()), Vec::new());
    }

    #[test]
    fn a_victim_that_died_for_another_is_told_so() {
        let consumer = MemoryConsumer {
            pid: 3,
            comm: Untrusted::bounded("java", 15),
            bytes: 900,
        };
        let kill = KernelKill {
            pid: 9,
            anon_bytes: 100,
            shmem_bytes: 40,
            limit_bytes: Some(100),
            group: true,
            consumers: vec![consumer.clone()],
            ..KernelKill::default()
        };
        let exit = RuntimeExit {
            exit_code: 137,
            started_at: Some(UnixNanos::from_secs(1)),
            finished_at: UnixNanos::from_secs(3),
            ..RuntimeExit::default()
        };
        let mut set = EvidenceSet::default();
        set.insert(
            EvidenceSource::Kmsg,
            "1",
            Evidence {
                at: UnixNanos(1),
                fact: Fact::KernelKill(kill),
            },
        );
        set.insert(
            EvidenceSource::Containerd,
            "1",
            Evidence {
                at: UnixNanos(1),
                fact: Fact::RuntimeExit(exit),
            },
        );
        assert_eq!(
            hints(&set),
            [
                Hint::SharedMemory {
                    bytes: 40,
                    limit_bytes: 100
                },
                Hint::WholeGroup,
                Hint::Collateral { consumer },
                Hint::OomAtStart {
                    ran: Duration::from_secs(2)
                },
            ]
        );
    }
}
