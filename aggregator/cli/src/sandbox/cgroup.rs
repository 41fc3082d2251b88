//! Memory cgroups without a container runtime, and the removal of cgroups that a runtime leaves.
//!
//! Owns the knowledge of cgroup v1 and v2 file names (kernel documents `cgroup-v1/memory.rst` and `cgroup-v2.rst`).
//! Must not know containerd.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal};

use super::error::SandboxError;

/// How long ended processes may take to leave a cgroup.
const EMPTY_WITHIN: Duration = Duration::from_secs(5);

/// How often that is looked at.
const POLL: Duration = Duration::from_millis(5);

/// Where a hierarchy of cgroups is mounted.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Hierarchy {
    mount: PathBuf,
    v2: bool,
    memory: bool,
}

/// Reads the mounts of this process.
fn hierarchies() -> Result<Vec<Hierarchy>, SandboxError> {
    let path = Path::new("/proc/self/mountinfo");
    let text = fs::read_to_string(path).map_err(|source| SandboxError::io("read", path, source))?;
    Ok(text.lines().filter_map(parse_mount).collect())
}

/// One line of mountinfo (proc_pid_mountinfo(5)), if it is about cgroups.
fn parse_mount(line: &str) -> Option<Hierarchy> {
    let (left, right) = line.split_once(" - ")?;
    let mount = PathBuf::from(left.split(' ').nth(4)?);
    let mut right = right.split(' ');
    match right.next()? {
        "cgroup" => {
            let memory = right.nth(1)?.split(',').any(|option| option == "memory");
            Some(Hierarchy {
                mount,
                v2: false,
                memory,
            })
        }
        "cgroup2" => {
            let controllers = fs::read_to_string(mount.join("cgroup.controllers")).unwrap_or_default();
            let memory = controllers.split_whitespace().any(|controller| controller == "memory");
            Some(Hierarchy {
                mount,
                v2: true,
                memory,
            })
        }
        _ => None,
    }
}

fn memory_hierarchy() -> Result<Hierarchy, SandboxError> {
    hierarchies()?
        .into_iter()
        .find(|hierarchy| hierarchy.memory)
        .ok_or(SandboxError::NoMemoryController)
}

/// Whether the kernel can limit swap per cgroup; runtimes fail on a swap limit where it cannot.
pub(super) fn limits_swap() -> bool {
    // Since 5.8 v2 has swap limits whenever the kernel has swap; there a container's limit does not need ours.
    memory_hierarchy().is_ok_and(|found| !found.v2 && found.mount.join("memory.memsw.limit_in_bytes").exists())
}

/// All folders of a cgroup path, one per hierarchy.
pub(super) fn folders(path: &str) -> Result<Vec<PathBuf>, SandboxError> {
    let relative = path.trim_start_matches('/');
    let folders = hierarchies()?
        .into_iter()
        .map(|hierarchy| hierarchy.mount.join(relative));
    Ok(folders.filter(|folder| folder.is_dir()).collect())
}

/// Ends every process below a cgroup path and removes the path from all hierarchies.
///
/// Returns what could not be removed within 5 seconds.
pub(super) fn remove(path: &str) -> Result<Vec<PathBuf>, SandboxError> {
    let begin = Instant::now();
    loop {
        let left = folders(path)?;
        for folder in &left {
            kill_below(folder);
            remove_below(folder);
        }
        let left: Vec<PathBuf> = left.into_iter().filter(|folder| folder.exists()).collect();
        if left.is_empty() || begin.elapsed() >= EMPTY_WITHIN {
            return Ok(left);
        }
        std::thread::sleep(POLL);
    }
}

fn subfolders(folder: &Path) -> Vec<PathBuf> {
    let Ok(entries) = fs::read_dir(folder) else {
        return Vec::new();
    };
    let folders = entries
        .flatten()
        .filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir()));
    folders.map(|entry| entry.path()).collect()
}

fn kill_below(folder: &Path) {
    subfolders(folder).iter().for_each(|below| kill_below(below));
    for pid in processes(folder) {
        // A process that has ended in between is what is wanted; one that cannot be killed keeps its folder, which
        // the caller sees.
        rustix::process::kill_process(pid, Signal::KILL).unwrap_or_default();
    }
}

fn remove_below(folder: &Path) {
    subfolders(folder).iter().for_each(|below| remove_below(below));
    // A busy folder stays, which the caller sees.
    fs::remove_dir(folder).unwrap_or_default();
}

fn processes(folder: &Path) -> Vec<Pid> {
    let text = fs::read_to_string(folder.join("cgroup.procs")).unwrap_or_default();
    text.lines()
        .filter_map(|line| Pid::from_raw(line.trim().parse().ok()?))
        .collect()
}

/// A memory cgroup of our own, for deaths without a container runtime. Needs root. Removed on drop, with its processes.
#[derive(Debug)]
pub struct BareCgroup {
    path: String,
    folder: PathBuf,
}

impl BareCgroup {
    /// Makes a cgroup with a memory limit and, where the kernel can, no swap.
    ///
    /// # Errors
    /// [`SandboxError::NoMemoryController`]; [`SandboxError::Io`] without root.
    pub fn new(limit_bytes: u64) -> Result<Self, SandboxError> {
        Self::make("", Some(limit_bytes))
    }

    /// Makes a cgroup without a limit, to hold others: a node of its own on a kernel that several share.
    ///
    /// # Errors
    /// As [`BareCgroup::new`].
    pub fn scope() -> Result<Self, SandboxError> {
        Self::make("", None)
    }

    /// Makes a cgroup with a memory limit below this one.
    ///
    /// # Errors
    /// As [`BareCgroup::new`].
    pub fn child(&self, limit_bytes: u64) -> Result<Self, SandboxError> {
        Self::make(&self.path, Some(limit_bytes))
    }

    fn make(parent: &str, limit_bytes: Option<u64>) -> Result<Self, SandboxError> {
        static SERIAL: AtomicU32 = AtomicU32::new(0);
        let hierarchy = memory_hierarchy()?;
        let above = hierarchy.mount.join(parent.trim_start_matches('/'));
        if hierarchy.v2 {
            hand_down_memory(&above)?;
        }
        let serial = SERIAL.fetch_add(1, Ordering::Relaxed);
        let name = format!("inquest-bare-{}-{serial}", std::process::id());
        let (path, folder) = (format!("{parent}/{name}"), above.join(name));
        fs::create_dir(&folder).map_err(|source| SandboxError::io("make", &folder, source))?;
        let cgroup = Self { path, folder };
        if let Some(bytes) = limit_bytes {
            cgroup.limit(bytes, hierarchy.v2)?;
        }
        Ok(cgroup)
    }

    fn limit(&self, bytes: u64, v2: bool) -> Result<(), SandboxError> {
        let bytes = bytes.to_string();
        let (memory, swap) = if v2 {
            (("memory.max", bytes.as_str()), ("memory.swap.max", "0"))
        } else {
            (
                ("memory.limit_in_bytes", bytes.as_str()),
                ("memory.memsw.limit_in_bytes", bytes.as_str()),
            )
        };
        self.write(memory.0, memory.1)?;
        // The file is absent where swap is not accounted for; then there is nothing to limit.
        if self.folder.join(swap.0).exists() {
            self.write(swap.0, swap.1)
        } else {
            Ok(())
        }
    }

    fn write(&self, file: &str, value: &str) -> Result<(), SandboxError> {
        let path = self.folder.join(file);
        fs::write(&path, value).map_err(|source| SandboxError::io("write", &path, source))
    }

    /// The path as the kernel log shows it, for instance `/inquest-bare-71-0`.
    #[must_use]
    pub fn path(&self) -> &str {
        &self.path
    }

    /// The folder in the memory hierarchy.
    #[must_use]
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// A command that runs a program inside this cgroup; its pid is that of the program.
    ///
    /// A shell enters the cgroup and becomes the program, so no code runs between fork and exec in this process.
    #[must_use]
    pub fn command(&self, argv: &[&str]) -> Command {
        let mut command = Command::new("/bin/sh");
        command
            .args(["-c", r#"echo $$ > "$0" && exec "$@""#])
            .arg(self.folder.join("cgroup.procs"))
            .args(argv);
        command
    }

    /// A command that takes memory until the kernel ends it at the limit. Its name is `tail`.
    #[must_use]
    pub fn oom_hog(&self) -> Command {
        self.command(&["tail", "/dev/zero"])
    }

    /// Kills what runs in the cgroup and removes it.
    ///
    /// # Errors
    /// [`SandboxError::Io`] when a process did not end within 5 seconds; repeating it may help.
    pub fn remove(self) -> Result<(), SandboxError> {
        match remove(&self.path)?.into_iter().next() {
            None => Ok(()),
            Some(folder) => Err(SandboxError::io(
                "remove",
                &folder,
                io::Error::from(io::ErrorKind::ResourceBusy),
            )),
        }
    }
}

impl Drop for BareCgroup {
    fn drop(&mut self) {
        if let Err(error) = remove(&self.path) {
            tracing::warn!(cgroup = self.path, %error, "cgroup not removed");
        }
    }
}

/// On v2 a controller reaches a child only through its parent's `cgroup.subtree_control`.
fn hand_down_memory(mount: &Path) -> Result<(), SandboxError> {
    let path = mount.join("cgroup.subtree_control");
    let enabled = fs::read_to_string(&path).map_err(|source| SandboxError::io("read", &path, source))?;
    if enabled.split_whitespace().any(|controller| controller == "memory") {
        return Ok(());
    }
    fs::write(&path, "+memory").map_err(|source| SandboxError::io("write", &path, source))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_mounts_of_cgroups_are_taken() {
        let v1 = "36 29 0:30 / /sys/fs/cgroup/memory rw,nosuid shared:14 - cgroup cgroup rw,memory";
        let found = parse_mount(v1).unwrap();
        assert_eq!(
            found,
            Hierarchy {
                mount: PathBuf::from("/sys/fs/cgroup/memory"),
                v2: false,
                memory: true
            }
        );
        let systemd = "31 29 0:27 / /sys/fs/cgroup/systemd rw - cgroup cgroup rw,name=systemd";
        assert!(!parse_mount(systemd).unwrap().memory);
        let v2 = "30 29 0:26 / /nowhere/unified rw - cgroup2 cgroup2 rw";
        assert_eq!(
            parse_mount(v2).unwrap(),
            Hierarchy {
                mount: PathBuf::from("/nowhere/unified"),
                v2: true,
                memory: false
            }
        );
        assert_eq!(parse_mount("22 1 8:1 / / rw - ext4 /dev/vda rw"), None);
        assert_eq!(parse_mount("garbage - "), None);
    }
}
