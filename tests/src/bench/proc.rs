//! Memory, threads and context switches of a process, from `/proc`. Owns the names of the fields.

use std::{collections::BTreeMap, fs, time::Duration};

use anyhow::{Context as _, Result};

/// Memory at one moment, bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Memory {
    /// Resident pages.
    pub(super) rss: u64,
    /// The same with shared pages divided among those who share them.
    pub(super) pss: u64,
}

/// Reads `smaps_rollup` (proc_pid_smaps(5)), which counts pages one by one, unlike the batched counters of `status`.
///
/// # Errors
/// When the process has ended.
pub(super) fn memory(pid: u32) -> Result<Memory> {
    let path = format!("/proc/{pid}/smaps_rollup");
    let text = fs::read_to_string(&path).with_context(|| format!("cannot read {path}"))?;
    parse_memory(&text).with_context(|| format!("no Rss and Pss in {path}"))
}

fn parse_memory(text: &str) -> Option<Memory> {
    Some(Memory {
        rss: kibibytes(text, "Rss")?,
        pss: kibibytes(text, "Pss")?,
    })
}

/// A field in kibibytes, as bytes.
fn kibibytes(text: &str, name: &str) -> Option<u64> {
    let line = text
        .lines()
        .find_map(|line| line.strip_prefix(name)?.strip_prefix(':'))?;
    let kibibytes: u64 = line.trim().strip_suffix(" kB")?.parse().ok()?;
    Some(kibibytes * 1024)
}

/// The most resident memory that a process ever had, bytes (`VmHWM` of proc_pid_status(5)).
///
/// # Errors
/// When the process has ended.
pub(super) fn peak(pid: u32) -> Result<u64> {
    let path = format!("/proc/{pid}/status");
    let text = fs::read_to_string(&path).with_context(|| format!("cannot read {path}"))?;
    kibibytes(&text, "VmHWM").with_context(|| format!("no VmHWM in {path}"))
}

/// Processor time of all threads of a process (proc_pid_stat(5)), to a hundredth of a second: Linux counts it for programs in
/// a hundred ticks a second on every machine that this runs on.
///
/// # Errors
/// When the process has ended.
pub(super) fn processor_time(pid: u32) -> Result<Duration> {
    let path = format!("/proc/{pid}/stat");
    let text = fs::read_to_string(&path).with_context(|| format!("cannot read {path}"))?;
    let ticks = parse_ticks(&text).with_context(|| format!("no times in {path}"))?;
    Ok(Duration::from_millis(ticks.saturating_mul(10)))
}

/// User and system time are the 14th and 15th field; the name before them may contain anything but ends the last parenthesis.
fn parse_ticks(stat: &str) -> Option<u64> {
    let mut fields = stat.rsplit_once(") ")?.1.split(' ').skip(11);
    let (user, system): (u64, u64) = (fields.next()?.parse().ok()?, fields.next()?.parse().ok()?);
    Some(user.saturating_add(system))
}

/// Context switches of a process, followed thread by thread: what a thread did before it was first seen does not count,
/// nor what it did after it was last seen.
#[derive(Debug, Default)]
pub(super) struct Switches {
    /// First and last count of each thread.
    threads: BTreeMap<u32, (u64, u64)>,
    begun: bool,
    most: usize,
}

impl Switches {
    /// Looks at all threads.
    ///
    /// # Errors
    /// When the process has ended.
    pub(super) fn look(&mut self, pid: u32) -> Result<()> {
        let path = format!("/proc/{pid}/task");
        let entries = fs::read_dir(&path).with_context(|| format!("cannot read {path}"))?;
        let counts = entries.flatten().filter_map(|entry| {
            let thread = entry.file_name().to_str()?.parse().ok()?;
            // A thread that ends in between has nothing more to say.
            Some((
                thread,
                parse_switches(&fs::read_to_string(entry.path().join("status")).ok()?),
            ))
        });
        self.take(&counts.collect::<Vec<_>>());
        Ok(())
    }

    fn take(&mut self, counts: &[(u32, u64)]) {
        for (thread, count) in counts {
            // A thread that is younger than the measurement counts from its beginning.
            let first = if self.begun { 0 } else { *count };
            self.threads.entry(*thread).or_insert((first, 0)).1 = *count;
        }
        self.begun = true;
        self.most = self.most.max(counts.len());
    }

    /// Switches since the first look.
    pub(super) fn total(&self) -> u64 {
        self.threads
            .values()
            .map(|(first, last)| last.saturating_sub(*first))
            .sum()
    }

    /// The most threads seen at once.
    pub(super) fn most_threads(&self) -> usize {
        self.most
    }
}

fn parse_switches(status: &str) -> u64 {
    let count = |line: &str| line.split_once("_ctxt_switches:")?.1.trim().parse::<u64>().ok();
    status.lines().filter_map(count).sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_is_read_by_name_and_not_by_prefix() {
        let text = "55d0-7ffd ---p 00000000 00:00 0 [rollup]\nRss:    5120 kB\nPss:    4096 kB\nPss_Dirty:  100 kB\n";
        assert_eq!(
            parse_memory(text),
            Some(Memory {
                rss: 5120 * 1024,
                pss: 4096 * 1024
            })
        );
        assert_eq!(parse_memory("Pss_Dirty:  100 kB\n"), None);
    }

    #[test]
    fn user_and_system_time_are_added_whatever_the_name_is() {
        let stat = "7 (a) b (c) S 1 7 7 0 -1 4194560 200 0 0 0 31 11 5 6 20 0 9 0 100 1000 30";
        assert_eq!(parse_ticks(stat), Some(42));
        assert_eq!(parse_ticks("7 (a) S 1"), None);
    }

    #[test]
    fn both_kinds_of_switches_count() {
        let status = "Threads:\t2\nvoluntary_ctxt_switches:\t40\nnonvoluntary_ctxt_switches:\t2\n";
        assert_eq!(parse_switches(status), 42);
    }

    #[test]
    fn threads_that_come_and_go_are_counted_while_they_are_seen() {
        let mut switches = Switches::default();
        switches.take(&[(1, 100), (2, 50)]);
        switches.take(&[(1, 110), (3, 7)]);
        switches.take(&[(1, 120)]);
        assert_eq!((switches.total(), switches.most_threads()), (27, 2));
    }

    #[test]
    fn this_process_has_memory_and_threads() {
        let own = std::process::id();
        let memory = memory(own).unwrap();
        assert!(memory.rss >= memory.pss && memory.pss > 0);
        assert!(peak(own).unwrap() > 0 && processor_time(own).is_ok());
        let mut switches = Switches::default();
        switches.look(own).unwrap();
        assert!(switches.most_threads() >= 1);
    }
}
