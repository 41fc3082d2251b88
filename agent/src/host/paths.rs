//! Where the node's files are. Owns nothing but paths, so that a test or a container with the host mounted elsewhere can move them.
use std::path::PathBuf;

/// Places that the readers look at.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HostPaths {
    /// The kernel log device.
    pub kmsg: PathBuf,
    /// The procfs of the host.
    pub proc: PathBuf,
    /// The folder under which the cgroup hierarchies are mounted.
    pub cgroup: PathBuf,
}

impl Default for HostPaths {
    fn default() -> Self {
        Self {
            kmsg: "/dev/kmsg".into(),
            proc: "/proc".into(),
            cgroup: "/sys/fs/cgroup".into(),
        }
    }
}

impl HostPaths {
    /// The file that names this boot; sequence numbers of the kernel log are comparable only within one boot.
    #[must_use]
    pub fn boot_id(&self) -> PathBuf {
        self.proc.join("sys/kernel/random/boot_id")
    }

    /// The node-wide memory counters.
    #[must_use]
    pub fn vmstat(&self) -> PathBuf {
        self.proc.join("vmstat")
    }

    /// A file of one process, for example `cgroup` or `status`.
    #[must_use]
    pub fn process(&self, pid: u32, file: &str) -> PathBuf {
        self.proc.join(pid.to_string()).join(file)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_follow_a_moved_proc() {
        let paths = HostPaths {
            proc: "/host/proc".into(),
            ..HostPaths::default()
        };
        assert_eq!(paths.boot_id(), PathBuf::from("/host/proc/sys/kernel/random/boot_id"));
        assert_eq!(paths.process(7, "cgroup"), PathBuf::from("/host/proc/7/cgroup"));
        assert_eq!(paths.vmstat(), PathBuf::from("/host/proc/vmstat"));
    }
}
