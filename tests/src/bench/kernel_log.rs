//! A bare reader of the kernel log: the floor that no reporter can beat, and the beginning of every kill.
//!
//! Owns one thread that waits for records, stamps each kill when it has read it, and remembers what the bench asks for.
//! It is written without the agent's parser, so that one mistake cannot hide another. Record format:
//! `Documentation/ABI/testing/dev-kmsg`; report format: `mm/oom_kill.c` since Linux 4.19.

use std::{
    collections::BTreeMap,
    fs::File,
    io::{self, Read, Seek as _, SeekFrom, Write as _},
    os::unix::fs::OpenOptionsExt as _,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    thread::JoinHandle,
};

use anyhow::{Context as _, Result};
use rustix::{
    event::{PollFd, PollFlags, Timespec, poll},
    fs::OFlags,
};

use crate::wait::monotonic_nanos;

const DEVICE: &str = "/dev/kmsg";
/// Text of a marker before its number.
const MARKER: &str = "inquest-bench marker ";
/// `CONSOLE_EXT_LOG_MAX` of the kernel: no record is longer.
const RECORD_BYTES: usize = 8192;
/// How often the thread looks whether it should end.
const IDLE: Timespec = Timespec {
    tv_sec: 0,
    tv_nsec: 200_000_000,
};

/// One report of the out-of-memory killer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Kill {
    /// The kernel's stamp on the first record of the report, microseconds of its own clock.
    pub(super) first_us: u64,
    /// Its stamp on the record that names the victim.
    pub(super) last_us: u64,
    /// When this reader had read the first record, nanoseconds of `CLOCK_MONOTONIC`.
    pub(super) first_read_ns: u64,
    /// When it had read the one that names the victim.
    pub(super) read_ns: u64,
}

/// The begin of a report.
#[derive(Debug)]
struct Open {
    first_us: u64,
    first_read_ns: u64,
    /// Known from a later record.
    container: Option<String>,
}

/// What the reader remembers.
#[derive(Debug, Default)]
struct Seen {
    /// A report that is not complete.
    open: Option<Open>,
    /// By container id; the first kill of each.
    kills: BTreeMap<String, Kill>,
    /// The kernel's stamps on markers.
    markers: BTreeMap<u32, u64>,
    /// Processes that the killer took, wherever they ran.
    victims: usize,
    /// How often the kernel overwrote records before they were read.
    overruns: u64,
}

impl Seen {
    /// Takes one record as the device gives it, read at `read_ns`.
    fn take(&mut self, record: &str, read_ns: u64) {
        let Some((header, text)) = record.split_once(';') else {
            return;
        };
        let text = text.lines().next().unwrap_or_default();
        let mut fields = header.split(',');
        let priority: Option<u32> = fields.next().and_then(|field| field.parse().ok());
        let stamp: Option<u64> = fields.nth(1).and_then(|field| field.parse().ok());
        let (Some(priority), Some(stamp)) = (priority, stamp) else {
            return;
        };
        if let Some(number) = text.strip_prefix(MARKER).and_then(|number| number.parse().ok()) {
            self.markers.insert(number, stamp);
        } else if priority >> 3 == 0 {
            self.take_kernel(text, stamp, read_ns);
        }
    }

    fn take_kernel(&mut self, text: &str, stamp: u64, read_ns: u64) {
        if text.contains(" invoked oom-killer: ") {
            self.open = Some(Open {
                first_us: stamp,
                first_read_ns: read_ns,
                container: None,
            });
        } else if text.starts_with("oom-kill:constraint=") {
            if let Some(open) = &mut self.open {
                open.container = container_of(text);
            }
        } else if text.contains("Killed process ") {
            self.victims = self.victims.saturating_add(1);
            if let Some(Open {
                first_us,
                first_read_ns,
                container: Some(container),
            }) = self.open.take()
            {
                let kill = Kill {
                    first_us,
                    last_us: stamp,
                    first_read_ns,
                    read_ns,
                };
                self.kills.entry(container).or_insert(kill);
            }
        }
    }
}

/// Last part of the victim's cgroup, which for a container is its id. The victim's name comes after it in the line.
fn container_of(text: &str) -> Option<String> {
    let (_, rest) = text.split_once(",task_memcg=")?;
    let (path, _) = rest.split_once(",task=")?;
    path.rsplit('/').next().map(str::to_owned)
}

/// The reader. Its thread ends with it.
#[derive(Debug)]
pub(super) struct KernelLog {
    seen: Arc<Mutex<Seen>>,
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
    writer: File,
}

impl KernelLog {
    /// Reads from now on.
    ///
    /// # Errors
    /// Without the right to read or write the log.
    pub(super) fn open() -> Result<Self> {
        let flags = i32::try_from(OFlags::NONBLOCK.bits())?;
        let mut device = File::options()
            .read(true)
            .custom_flags(flags)
            .open(DEVICE)
            .context("cannot read /dev/kmsg")?;
        device
            .seek(SeekFrom::End(0))
            .context("cannot skip the old records of /dev/kmsg")?;
        let writer = File::options()
            .write(true)
            .open(DEVICE)
            .context("cannot write /dev/kmsg")?;
        let (seen, stop) = (Arc::<Mutex<Seen>>::default(), Arc::<AtomicBool>::default());
        let thread = std::thread::Builder::new().name("kernel log".to_owned()).spawn({
            let (seen, stop) = (Arc::clone(&seen), Arc::clone(&stop));
            move || {
                if let Err(error) = follow(device, &seen, &stop) {
                    super::say(&format!("the kernel log cannot be read any longer: {error}"));
                }
            }
        })?;
        Ok(Self {
            seen,
            stop,
            thread: Some(thread),
            writer,
        })
    }

    fn lock(&self) -> MutexGuard<'_, Seen> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The kill in a container, once it was read.
    pub(super) fn kill(&self, container: &str) -> Option<Kill> {
        self.lock().kills.get(container).copied()
    }

    /// How many processes were killed, ours and others.
    pub(super) fn victims(&self) -> usize {
        self.lock().victims
    }

    /// How often records were lost.
    pub(super) fn overruns(&self) -> u64 {
        self.lock().overruns
    }

    /// Writes a marker as user space may.
    ///
    /// # Errors
    /// When the kernel refuses it.
    pub(super) fn mark(&mut self, number: u32) -> Result<()> {
        // 14: facility user, level info; one call, since each is a record
        let record = format!("<14>{MARKER}{number}\n");
        self.writer
            .write_all(record.as_bytes())
            .context("cannot write a marker to /dev/kmsg")
    }

    /// The kernel's stamp on a marker, once it was read.
    pub(super) fn marked(&self, number: u32) -> Option<u64> {
        self.lock().markers.get(&number).copied()
    }
}

impl Drop for KernelLog {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            // The thread has said why, if it ended badly.
            thread.join().unwrap_or_default();
        }
    }
}

fn follow(mut device: File, seen: &Mutex<Seen>, stop: &AtomicBool) -> io::Result<()> {
    let mut buffer = [0; RECORD_BYTES];
    while !stop.load(Ordering::Relaxed) {
        match device.read(&mut buffer) {
            Ok(length) => {
                let read_ns = monotonic_nanos();
                let record = String::from_utf8_lossy(buffer.get(..length).unwrap_or_default());
                seen.lock()
                    .unwrap_or_else(PoisonError::into_inner)
                    .take(&record, read_ns);
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                poll(&mut [PollFd::new(&device, PollFlags::IN)], Some(&IDLE))?;
            }
            Err(error) if error.kind() == io::ErrorKind::BrokenPipe => {
                let mut seen = seen.lock().unwrap_or_else(PoisonError::into_inner);
                seen.overruns = seen.overruns.saturating_add(1);
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    const REPORT: [&str; 4] = [
        "4,100,5000001,-;tail invoked oom-killer: gfp_mask=0xcc0(GFP_KERNEL), order=0, oom_score_adj=999\n",
        "6,101,5000050,-;memory: usage 19532kB, limit 19532kB, failcnt 44\n",
        "6,102,5000100,-;oom-kill:constraint=CONSTRAINT_MEMCG,nodemask=(null),cpuset=abc,mems_allowed=0,oom_memcg=/i/kubepods/burstable/podu/abc,task_memcg=/i/kubepods/burstable/podu/abc,task=a,task=b,pid=7,uid=0\n",
        "3,103,5000120,-;Memory cgroup out of memory: Killed process 7 (a,task=b) total-vm:1kB\n",
    ];

    #[test]
    fn a_kill_begins_with_the_first_record_and_is_found_by_its_container() {
        let mut seen = Seen::default();
        for (at, record) in (900..).zip(REPORT) {
            seen.take(record, at);
        }
        let kill = Kill {
            first_us: 5_000_001,
            last_us: 5_000_120,
            first_read_ns: 900,
            read_ns: 903,
        };
        assert_eq!(seen.kills.get("abc"), Some(&kill));
    }

    #[test]
    fn a_second_kill_in_a_container_does_not_move_the_first() {
        let mut seen = Seen::default();
        for record in REPORT {
            seen.take(record, 1);
        }
        for record in REPORT {
            seen.take(record, 2);
        }
        assert_eq!(seen.kills["abc"].read_ns, 1);
        assert_eq!(seen.victims, 2);
    }

    #[test]
    fn a_kill_without_its_report_has_no_begin_but_is_counted() {
        let mut seen = Seen::default();
        seen.take(REPORT[3], 1);
        assert_eq!((seen.kills.len(), seen.victims), (0, 1));
    }

    #[test]
    fn what_user_space_writes_is_never_taken_for_a_kill() {
        let mut seen = Seen::default();
        for record in REPORT {
            let (_, rest) = record.split_once(',').unwrap();
            seen.take(&format!("12,{rest}"), 1);
        }
        assert!(seen.kills.is_empty());
    }

    #[test]
    fn markers_are_found_by_number_and_garbage_is_skipped() {
        let mut seen = Seen::default();
        seen.take("14,7,123456,-;inquest-bench marker 17\n", 1);
        seen.take("14,7,123456,-;inquest-bench marker x\n", 1);
        seen.take("garbage", 1);
        seen.take("a,b,c;d", 1);
        assert_eq!(seen.markers, BTreeMap::from([(17, 123_456)]));
    }
}
