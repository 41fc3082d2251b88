//! Taking away everything that a private containerd left on the host.
//!
//! Owns the search for its processes, mounts, cgroups and sockets, always by the sandbox's own folder, never by a
//! program's name alone. Works without the runtime, so it also clears what a killed run left. Blocks; call it outside
//! of async tasks.

use std::fmt;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal};

use super::cgroup;
use super::error::SandboxError;
use super::settings::Layout;

/// How long killed processes may take to vanish.
const GONE_WITHIN: Duration = Duration::from_secs(5);

/// How often that is looked at.
const POLL: Duration = Duration::from_millis(5);

/// What is still there of a sandbox.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Leftovers {
    /// Pids of its containerd and shims.
    pub processes: Vec<i32>,
    /// Mount points below its folder.
    pub mounts: Vec<PathBuf>,
    /// Cgroup folders.
    pub cgroups: Vec<PathBuf>,
}

impl Leftovers {
    /// Whether nothing is left.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.processes.is_empty() && self.mounts.is_empty() && self.cgroups.is_empty()
    }
}

impl fmt::Display for Leftovers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.is_empty() {
            return f.write_str("nothing");
        }
        let Self {
            processes,
            mounts,
            cgroups,
        } = self;
        write!(f, "processes {processes:?}, mounts {mounts:?}, cgroups {cgroups:?}")
    }
}

/// Says what is still there of the sandbox in `dir`.
///
/// # Errors
/// [`SandboxError::UnusableDir`] for a folder that never held one; [`SandboxError::Io`] when the system cannot be read.
pub fn leftovers(dir: &Path) -> Result<Leftovers, SandboxError> {
    let layout = Layout::new(dir)?;
    let processes = own_processes(&layout).into_iter().map(Pid::as_raw_pid).collect();
    let cgroups = cgroup::folders(&layout.cgroup_root())?;
    Ok(Leftovers {
        processes,
        mounts: mounts_below(dir)?,
        cgroups,
    })
}

/// Kills and removes everything of the sandbox in `dir` but the folder itself, whether its runtime still lives or not.
///
/// # Errors
/// [`SandboxError::LeftBehind`] when something stayed; repeating it may help.
pub fn clean_up(dir: &Path) -> Result<(), SandboxError> {
    let layout = Layout::new(dir)?;
    let sockets = shim_sockets(&layout.state());
    // The runtime first, so that nothing new starts; the containers before their shims, which collect them.
    containerd_pid(&layout).into_iter().for_each(kill);
    cgroup::remove(&layout.cgroup_root())?;
    let begin = Instant::now();
    loop {
        let alive = own_processes(&layout);
        alive.iter().copied().for_each(kill);
        if alive.is_empty() || begin.elapsed() >= GONE_WITHIN {
            break;
        }
        std::thread::sleep(POLL);
    }
    unmount(&mounts_below(dir)?)?;
    for socket in sockets {
        remove_file(&socket)?;
    }
    remove_file(&layout.pid_file())?;
    match leftovers(dir)? {
        left if left.is_empty() => Ok(()),
        left => Err(SandboxError::LeftBehind(left)),
    }
}

fn kill(pid: Pid) {
    // A process that has ended in between is what is wanted; one that stays is found by the last look.
    rustix::process::kill_process(pid, Signal::KILL).unwrap_or_default();
}

fn remove_file(path: &Path) -> Result<(), SandboxError> {
    match fs::remove_file(path) {
        Err(source) if source.kind() != std::io::ErrorKind::NotFound => Err(SandboxError::io("remove", path, source)),
        _ => Ok(()),
    }
}

/// The containerd of this sandbox and its shims. Zombies have no command line and are not among them.
fn own_processes(layout: &Layout) -> Vec<Pid> {
    let Ok(entries) = fs::read_dir("/proc") else {
        return Vec::new();
    };
    let pids = entries
        .flatten()
        .filter_map(|entry| entry.file_name().to_str()?.parse().ok());
    pids.filter_map(Pid::from_raw)
        .filter(|pid| is_ours(*pid, layout))
        .collect()
}

fn is_ours(pid: Pid, layout: &Layout) -> bool {
    let line = fs::read(format!("/proc/{}/cmdline", pid.as_raw_pid())).unwrap_or_default();
    let arguments: Vec<&[u8]> = line.split(|byte| *byte == 0).collect();
    names(&arguments, b"-address", &layout.socket()) || names(&arguments, b"--config", &layout.config_file())
}

/// Whether `flag` is followed by exactly `value`.
fn names(arguments: &[&[u8]], flag: &[u8], value: &Path) -> bool {
    let value = value.as_os_str().as_encoded_bytes();
    arguments
        .windows(2)
        .any(|pair| matches!(pair, [first, second] if *first == flag && *second == value))
}

/// The pid that was noted at the start, if it still belongs to our containerd.
fn containerd_pid(layout: &Layout) -> Option<Pid> {
    let noted = fs::read_to_string(layout.pid_file()).ok()?;
    let pid = Pid::from_raw(noted.trim().parse().ok()?)?;
    is_ours(pid, layout).then_some(pid)
}

/// Mount points below a folder, deepest first.
fn mounts_below(dir: &Path) -> Result<Vec<PathBuf>, SandboxError> {
    let path = Path::new("/proc/self/mountinfo");
    let text = fs::read_to_string(path).map_err(|source| SandboxError::io("read", path, source))?;
    let points = text
        .lines()
        .filter_map(|line| line.split(' ').nth(4))
        .map(PathBuf::from);
    let mut points: Vec<PathBuf> = points.filter(|point| point.starts_with(dir)).collect();
    points.sort_unstable_by(|a, b| b.cmp(a));
    Ok(points)
}

fn unmount(points: &[PathBuf]) -> Result<(), SandboxError> {
    if points.is_empty() {
        return Ok(());
    }
    let program = Path::new("umount");
    let output = Command::new(program).arg("-l").args(points).output();
    let output = output.map_err(|source| SandboxError::io("run", program, source))?;
    if !output.status.success() {
        // Some may have gone with their processes; the last look tells what stayed.
        tracing::debug!(status = %output.status, "umount complained");
    }
    Ok(())
}

/// Sockets of shims, which containerd keeps in a folder that all its instances share.
fn shim_sockets(state: &Path) -> Vec<PathBuf> {
    let tasks = state
        .join("io.containerd.runtime.v2.task")
        .join(super::settings::NAMESPACE);
    let Ok(entries) = fs::read_dir(tasks) else {
        return Vec::new();
    };
    let addresses = entries
        .flatten()
        .filter_map(|entry| fs::read_to_string(entry.path().join("address")).ok());
    addresses
        .filter_map(|address| address.trim().strip_prefix("unix://").map(PathBuf::from))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_is_ours_only_by_the_whole_path() {
        let shim: [&[u8]; 4] = [b"/usr/bin/containerd-shim-runc-v2", b"-address", b"/tmp/a/c.sock", b""];
        assert!(names(&shim, b"-address", Path::new("/tmp/a/c.sock")));
        assert!(!names(&shim, b"-address", Path::new("/tmp/a")));
        assert!(!names(&shim, b"-address", Path::new("/tmp/a/c.sock2")));
        assert!(!names(&shim, b"--config", Path::new("/tmp/a/c.sock")));
    }

    #[test]
    fn an_unused_folder_has_no_leftovers_and_can_be_cleaned() {
        let dir = tempfile::tempdir().unwrap();
        clean_up(dir.path()).unwrap();
        assert_eq!(leftovers(dir.path()).unwrap().to_string(), "nothing");
    }

    #[test]
    fn sockets_of_shims_are_found_through_their_bundles() {
        let dir = tempfile::tempdir().unwrap();
        let bundle = dir.path().join("io.containerd.runtime.v2.task/k8s.io/abc");
        fs::create_dir_all(&bundle).unwrap();
        fs::write(bundle.join("address"), "unix:///run/containerd/s/0a").unwrap();
        assert_eq!(shim_sockets(dir.path()), [PathBuf::from("/run/containerd/s/0a")]);
    }
}
