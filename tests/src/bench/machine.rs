//! The machine that a figure belongs to, and whether it was quiet. Owns what is read for that; must not judge figures.

use std::{
    fs::{self, File},
    io::Write as _,
    path::Path,
    process::Command,
    time::Duration,
};

use anyhow::{Context as _, Result};
use serde::Serialize;
use tokio::time::{Instant, sleep};

use super::statistics::milliseconds;
use crate::wait::monotonic_nanos;

/// How often the disk is asked.
const SYNCS: usize = 200;

/// Load average above which a machine is not quiet.
const MAX_LOAD: f64 = 1.0;
/// How long a bench waits for the load to fall: building the programs raises it.
const QUIET_WITHIN: Duration = Duration::from_mins(3);
/// Share of the time that the hypervisor may take before a round is measured again.
pub(super) const MAX_STEAL_PERCENT: f64 = 5.0;

/// What is said about the machine in every line.
#[derive(Debug, Clone, Serialize)]
pub(super) struct Machine {
    /// The three load averages before anything was started.
    pub(super) load: String,
    /// Share of the time that the hypervisor took while it was measured, in percent.
    pub(super) steal_percent: f64,
    pub(super) kernel: String,
    pub(super) cpus: usize,
    pub(super) cpu: String,
    /// Kind of the file system that the database and the spool lay on.
    pub(super) disk: String,
    /// `release`, or `debug` for figures that mean nothing.
    pub(super) build: &'static str,
}

impl Machine {
    /// Looks at the machine before the bench starts anything, when it is quiet or will not become so.
    ///
    /// # Errors
    /// When `/proc` cannot be read.
    pub(super) async fn before(dir: &Path) -> Result<Self> {
        // Figures of a debug build mean nothing anyway.
        if !cfg!(debug_assertions) {
            wait_quiet().await?;
        }
        let cpuinfo = read("/proc/cpuinfo")?;
        let model = cpuinfo
            .lines()
            .find_map(|line| line.strip_prefix("model name")?.split_once(": "));
        Ok(Self {
            load: read("/proc/loadavg")?.split(' ').take(3).collect::<Vec<_>>().join(" "),
            steal_percent: 0.0,
            kernel: read("/proc/sys/kernel/osrelease")?.trim().to_owned(),
            cpus: std::thread::available_parallelism()?.get(),
            cpu: model.map_or_else(|| std::env::consts::ARCH.to_owned(), |(_, name)| name.to_owned()),
            disk: file_system(&read("/proc/self/mounts")?, dir),
            build: if cfg!(debug_assertions) { "debug" } else { "release" },
        })
    }

    /// What makes the figures doubtful from the start.
    pub(super) fn doubts(&self) -> Vec<String> {
        let busy = load(&self.load).is_none_or(|load| load > MAX_LOAD);
        busy.then(|| format!("the load was above {MAX_LOAD:.1} before the start"))
            .into_iter()
            .collect()
    }
}

async fn wait_quiet() -> Result<()> {
    let begin = Instant::now();
    while load(&read("/proc/loadavg")?).is_some_and(|load| load > MAX_LOAD) && begin.elapsed() < QUIET_WITHIN {
        sleep(Duration::from_secs(5)).await;
    }
    Ok(())
}

/// The average of the last minute (proc_loadavg(5)).
fn load(averages: &str) -> Option<f64> {
    averages.split(' ').next()?.parse().ok()
}

fn read(path: &str) -> Result<String> {
    fs::read_to_string(path).with_context(|| format!("cannot read {path}"))
}

/// What it costs to bring 4 KiB to the disk: below this no alert that waits for the disk can be.
///
/// # Errors
/// When the folder cannot be written.
pub(super) fn sync_cost(dir: &Path) -> Result<String> {
    let path = dir.join("sync");
    let mut file = File::create(&path)?;
    let mut nanos = Vec::new();
    for _ in 0..SYNCS {
        let before = monotonic_nanos();
        file.write_all(&[0; 4096])
            .and_then(|()| file.sync_data())
            .context("cannot sync a file")?;
        nanos.push(monotonic_nanos().saturating_sub(before));
    }
    fs::remove_file(&path)?;
    let figures = milliseconds(&nanos);
    let (p50, p99) = (figures.p50.unwrap_or_default(), figures.p99.unwrap_or_default());
    Ok(format!("fdatasync of 4 KiB appended: p50 {p50} ms, p99 {p99} ms"))
}

/// Kind of the file system with the longest mount point above a folder (proc_pid_mounts(5)); the last mount covers.
fn file_system(mounts: &str, dir: &Path) -> String {
    let above = mounts.lines().filter_map(|line| {
        let mut fields = line.split(' ').skip(1);
        let (point, kind) = (fields.next()?, fields.next()?);
        dir.starts_with(point).then_some((point.len(), kind))
    });
    above
        .max_by_key(|(length, _)| *length)
        .map_or_else(|| "unknown".to_owned(), |(_, kind)| kind.to_owned())
}

/// The commit of this source tree, marked when files differ from it.
pub(super) fn commit() -> String {
    let git = |args: &[&str]| {
        let output = Command::new("git")
            .arg("-C")
            .arg(env!("CARGO_MANIFEST_DIR"))
            .args(args)
            .output()
            .ok()?;
        let text = String::from_utf8(output.stdout).ok()?.trim().to_owned();
        output.status.success().then_some(text)
    };
    let Some(commit) = git(&["rev-parse", "--short=12", "HEAD"]) else {
        return "none".to_owned();
    };
    match git(&["status", "--porcelain"]) {
        Some(changes) if changes.is_empty() => commit,
        _ => format!("{commit}-changed"),
    }
}

/// Processor time of the whole machine since boot, in ticks (proc_stat(5)).
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Ticks {
    total: u64,
    steal: u64,
}

impl Ticks {
    /// Reads the counters.
    ///
    /// # Errors
    /// When `/proc/stat` cannot be read or has no such line.
    pub(super) fn now() -> Result<Self> {
        Self::parse(&read("/proc/stat")?).context("no line cpu in /proc/stat")
    }

    fn parse(stat: &str) -> Option<Self> {
        let line = stat.lines().find_map(|line| line.strip_prefix("cpu "))?;
        // user nice system idle iowait irq softirq steal; guest time is part of user time
        let fields: Vec<u64> = line
            .split_whitespace()
            .take(8)
            .map_while(|field| field.parse().ok())
            .collect();
        Some(Self {
            total: fields.iter().sum(),
            steal: *fields.get(7)?,
        })
    }

    /// Share of the time since `earlier` that the hypervisor took, in percent.
    pub(super) fn steal_percent_since(self, earlier: Self) -> f64 {
        let total = self.total.saturating_sub(earlier.total).max(1);
        let percent = self.steal.saturating_sub(earlier.steal) as f64 * 100.0 / total as f64;
        (percent * 100.0).round() / 100.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn steal_is_the_eighth_field_and_guest_time_counts_once() {
        let before = Ticks::parse("cpu  100 0 100 700 0 0 0 100 50 0\ncpu0 1 1 1 1 1 1 1 1 1 1\n").unwrap();
        let after = Ticks::parse("cpu  150 0 150 785 0 0 0 115 99 0\n").unwrap();
        assert_eq!(after.steal_percent_since(before), 7.5);
        assert_eq!(Ticks::parse("cpu 1 2 3\n"), None, "a kernel without steal time");
    }

    #[test]
    fn the_load_of_the_last_minute_counts() {
        assert_eq!(load("0.52 1.65 1.65 3/132 5993\n"), Some(0.52));
        assert_eq!(load(""), None);
    }

    #[test]
    fn the_nearest_mount_names_the_file_system() {
        let mounts = "/dev/vda / ext4 rw 0 0\ntmpfs /tmp tmpfs rw 0 0\nproc /proc proc rw 0 0\n";
        assert_eq!(file_system(mounts, Path::new("/tmp/x")), "tmpfs");
        assert_eq!(file_system(mounts, Path::new("/tmpx")), "ext4");
        assert_eq!(file_system("", Path::new("/tmp")), "unknown");
    }
}
