//! A cgroup that counts the processor time of one process, ended threads included, in nanoseconds.
//!
//! Owns the names of both versions (kernel documents `cgroup-v1/cpuacct.rst` and `cgroup-v2.rst`). It limits nothing.

use std::{
    fs,
    path::{Path, PathBuf},
    time::Duration,
};

use anyhow::{Context as _, Result};

/// Where processor time is counted.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Hierarchy {
    /// `cpuacct.usage`, nanoseconds.
    V1(PathBuf),
    /// `usage_usec` of `cpu.stat`, microseconds.
    V2(PathBuf),
}

impl Hierarchy {
    /// The hierarchy of these mounts that counts; version 1 where there are both, since version 2 then lacks processes.
    fn find(mounts: &str) -> Option<Self> {
        let of_kind = |wanted: &'static str| {
            mounts.lines().filter_map(move |line| {
                let mut fields = line.split(' ').skip(1);
                let (point, kind, options) = (fields.next()?, fields.next()?, fields.next()?);
                (kind == wanted).then_some((point, options))
            })
        };
        let counts = |(_, options): &(&str, &str)| options.split(',').any(|option| option == "cpuacct");
        let v1 = of_kind("cgroup")
            .find(counts)
            .map(|(point, _)| Self::V1(PathBuf::from(point)));
        v1.or_else(|| {
            of_kind("cgroup2")
                .next()
                .map(|(point, _)| Self::V2(PathBuf::from(point)))
        })
    }

    fn below(self, name: &str) -> Self {
        match self {
            Self::V1(folder) => Self::V1(folder.join(name)),
            Self::V2(folder) => Self::V2(folder.join(name)),
        }
    }

    fn folder(&self) -> &Path {
        let (Self::V1(folder) | Self::V2(folder)) = self;
        folder
    }

    fn used(&self) -> Result<Duration> {
        let read = |file: &str| {
            let path = self.folder().join(file);
            fs::read_to_string(&path).with_context(|| format!("cannot read {}", path.display()))
        };
        match self {
            Self::V1(_) => Ok(Duration::from_nanos(read("cpuacct.usage")?.trim().parse()?)),
            Self::V2(_) => usage(&read("cpu.stat")?).context("no usage_usec in cpu.stat"),
        }
    }
}

fn usage(stat: &str) -> Option<Duration> {
    let micros = stat.lines().find_map(|line| line.strip_prefix("usage_usec "))?;
    micros.parse().ok().map(Duration::from_micros)
}

/// The cgroup; removed on drop, by when the process must have ended.
#[derive(Debug)]
pub(super) struct CpuGroup(Hierarchy);

impl CpuGroup {
    /// Makes an empty one.
    ///
    /// # Errors
    /// Without root, or where no cgroups are mounted.
    pub(super) fn new() -> Result<Self> {
        let mounts = fs::read_to_string("/proc/self/mounts").context("cannot read the mounts")?;
        let found = Hierarchy::find(&mounts).context("no cgroup counts processor time here")?;
        let made = found.below(&format!("inquest-bench-{}", std::process::id()));
        fs::create_dir(made.folder()).with_context(|| format!("cannot make {}", made.folder().display()))?;
        Ok(Self(made))
    }

    /// Moves a process in; its time counts from now on.
    ///
    /// # Errors
    /// When it has ended.
    pub(super) fn add(&self, pid: u32) -> Result<()> {
        let path = self.0.folder().join("cgroup.procs");
        fs::write(&path, pid.to_string()).with_context(|| format!("cannot add {pid} to {}", path.display()))
    }

    /// Processor time used so far.
    ///
    /// # Errors
    /// When the counter cannot be read.
    pub(super) fn used(&self) -> Result<Duration> {
        self.0.used()
    }
}

impl Drop for CpuGroup {
    fn drop(&mut self) {
        if let Err(error) = fs::remove_dir(self.0.folder()) {
            super::say(&format!("{} stays behind: {error}", self.0.folder().display()));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_hierarchy_that_counts_is_found_in_either_version() {
        let v1 = "cgroup /sys/fs/cgroup/memory cgroup rw,memory 0 0\n\
                  cgroup /sys/fs/cgroup/cpu cgroup rw,cpu,cpuacct 0 0\n\
                  cgroup2 /sys/fs/cgroup/unified cgroup2 rw 0 0\n";
        assert_eq!(Hierarchy::find(v1), Some(Hierarchy::V1("/sys/fs/cgroup/cpu".into())));
        let v2 = "proc /proc proc rw 0 0\ncgroup2 /sys/fs/cgroup cgroup2 rw,nsdelegate 0 0\n";
        assert_eq!(Hierarchy::find(v2), Some(Hierarchy::V2("/sys/fs/cgroup".into())));
        assert_eq!(Hierarchy::find("proc /proc proc rw 0 0\n"), None);
    }

    #[test]
    fn version_2_counts_in_microseconds() {
        assert_eq!(
            usage("usage_usec 1500\nuser_usec 1000\n"),
            Some(Duration::from_micros(1500))
        );
        assert_eq!(usage("user_usec 1000\n"), None);
    }
}
