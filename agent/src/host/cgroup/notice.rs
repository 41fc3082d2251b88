//! The kernel's own notice that a memory cgroup ran out of memory, as a descriptor to wait for. It comes before the kernel
//! writes its report, while readers of the kernel log are woken by deferred work, at the next tick at the latest
//! (`wake_up_klogd` in `kernel/printk/printk.c`). So it says when to look, never what happened.
//!
//! v1: an eventfd registered through `cgroup.event_control` (kernel document `cgroup-v1/memory.rst`, section 10), which needs
//! write access. v2: inotify on `memory.events` (`cgroup-v2.rst`), which needs none.

use std::{
    collections::BTreeSet,
    io,
    os::fd::{AsRawFd as _, OwnedFd},
    path::Path,
    sync::Arc,
};

use rustix::{
    event::{EventfdFlags, eventfd},
    fs::{Mode, OFlags, inotify, open},
    io::{Errno, read, write},
};

use super::mount::Version;

/// What waits for notices; clones are the same descriptors.
#[derive(Debug, Clone)]
pub struct Bell {
    event: Arc<OwnedFd>,
    files: Arc<OwnedFd>,
}

impl Bell {
    /// A bell that nothing rings yet.
    ///
    /// # Errors
    /// Out of descriptors; trying again later may help.
    pub fn new() -> io::Result<Self> {
        let event = eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?;
        let files = inotify::init(inotify::CreateFlags::CLOEXEC | inotify::CreateFlags::NONBLOCK)?;
        Ok(Self {
            event: Arc::new(event),
            files: Arc::new(files),
        })
    }

    /// The descriptors to wait for.
    #[must_use]
    pub fn descriptors(&self) -> [&OwnedFd; 2] {
        [&self.event, &self.files]
    }

    /// Takes what has rung, so that the next wait waits again.
    pub fn answer(&self) {
        let mut buffer = [0; 4096];
        for descriptor in self.descriptors() {
            // Empty is the usual end; anything else leaves the bell ringing, which costs a look and no record.
            while matches!(read(descriptor, &mut buffer), Ok(1..)) {
                if std::ptr::eq(descriptor, &*self.event) {
                    break;
                }
            }
        }
    }
}

/// Cgroups that ring a bell.
#[derive(Debug, Clone)]
pub struct Ringers {
    bell: Bell,
    known: BTreeSet<String>,
}

impl Ringers {
    /// Nothing rings yet.
    #[must_use]
    pub fn new(bell: Bell) -> Self {
        Self {
            bell,
            known: BTreeSet::new(),
        }
    }

    /// Forgets containers that are gone; the kernel has dropped their notices with their cgroups.
    pub fn keep(&mut self, still: impl Fn(&str) -> bool) {
        self.known.retain(|instance| still(instance));
    }

    /// Lets the cgroup of a container ring. What cannot be registered (no write access on v1, a cgroup that is gone) is
    /// told by the kernel log all the same, a moment later.
    pub fn add(&mut self, instance: &str, version: Version, folder: &Path) {
        if !self.known.insert(instance.to_owned()) {
            return;
        }
        let registered = match version {
            Version::V1 => register_v1(&self.bell.event, folder),
            Version::V2 => inotify::add_watch(
                &*self.bell.files,
                folder.join("memory.events"),
                inotify::WatchFlags::MODIFY,
            )
            .map(drop),
        };
        if let Err(errno) = registered {
            tracing::debug!(%errno, folder = %folder.display(), "no out-of-memory notice from this cgroup");
        }
    }
}

/// Writes "<eventfd> <fd of memory.oom_control>"; the kernel keeps what it needs of both.
fn register_v1(event: &OwnedFd, folder: &Path) -> Result<(), Errno> {
    let control = open(
        folder.join("memory.oom_control"),
        OFlags::RDONLY | OFlags::CLOEXEC,
        Mode::empty(),
    )?;
    let door = open(
        folder.join("cgroup.event_control"),
        OFlags::WRONLY | OFlags::CLOEXEC,
        Mode::empty(),
    )?;
    let line = format!("{} {}", event.as_raw_fd(), control.as_raw_fd());
    write(&door, line.as_bytes()).map(drop)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use rustix::event::{PollFd, PollFlags, Timespec, poll};

    use super::*;

    fn rings(bell: &Bell) -> bool {
        let mut set = bell.descriptors().map(|fd| PollFd::new(fd, PollFlags::IN));
        let timeout = Timespec {
            tv_sec: 0,
            tv_nsec: i64::from(Duration::from_millis(1).subsec_nanos()),
        };
        poll(&mut set, Some(&timeout)).unwrap() > 0
    }

    #[test]
    fn a_change_of_the_events_file_rings_once_until_it_is_answered() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("memory.events");
        std::fs::write(&file, "oom 0\n").unwrap();
        let bell = Bell::new().unwrap();
        let mut ringers = Ringers::new(bell.clone());
        ringers.add("a", Version::V2, dir.path());
        assert!(!rings(&bell));
        std::fs::write(&file, "oom 1\n").unwrap();
        assert!(rings(&bell));
        bell.answer();
        assert!(!rings(&bell));
    }

    #[test]
    fn a_cgroup_that_cannot_ring_is_no_error() {
        let bell = Bell::new().unwrap();
        let mut ringers = Ringers::new(bell.clone());
        for version in [Version::V1, Version::V2] {
            ringers.add("gone", version, Path::new("/nonexistent"));
        }
        assert!(!rings(&bell));
    }
}
