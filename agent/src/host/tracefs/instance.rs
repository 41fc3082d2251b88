//! An instance of tracefs: a ring and settings of our own, so that nobody else's tracing is touched. Owns its folder from
//! making to removal, and why it cannot be had.
//!
//! An instance that a dead agent left is taken over with what it still holds. Whose it is tells a lock on its pipe, which
//! the kernel frees with the process.
use std::{
    fs,
    io::{self, ErrorKind},
    os::fd::OwnedFd,
    path::{Path, PathBuf},
    thread::sleep,
    time::Duration,
};

use rustix::{
    fs::{FlockOperation, Mode, OFlags, flock, open},
    io::Errno,
};

use super::{
    event::{Formats, SIGNAL, VICTIM},
    format::{Format, FormatError},
};
use crate::host::file::read_text;

/// KiB of ring for each processor: about 900 events.
const RING_KB: u32 = 64;
/// Signals that end a process, by a fault, a person or a program: INT, QUIT, ILL, TRAP, ABRT, BUS, FPE, KILL, SEGV, TERM and
/// SYS (signal(7)). The rest stays in the kernel.
const SIGNALS: [u8; 11] = [2, 3, 4, 5, 6, 7, 8, 9, 11, 15, 31];
/// Tries at removing the folder: the kernel lets go of a closed pipe a moment later.
const REMOVALS: u32 = 20;
const BETWEEN_REMOVALS: Duration = Duration::from_millis(5);

/// Where and under which name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct InstanceConfig {
    /// Where tracefs is mounted; of it only `instances` is used.
    pub root: PathBuf,
    /// Name of the folder below `instances`; two agents on one kernel need two.
    pub name: String,
}

/// Why there are no trace events. Retrying helps only once the remedy is applied.
#[derive(Debug, thiserror::Error)]
pub enum Blind {
    /// There is no tracefs at the path.
    #[error("tracefs is not mounted at {path}")]
    NotMounted {
        /// The configured path.
        path: PathBuf,
    },
    /// The kernel or the mount refuses.
    #[error("not permitted to use {path}")]
    NotPermitted {
        /// What was refused.
        path: PathBuf,
    },
    /// Another agent that runs has the instance.
    #[error("another agent uses {path}")]
    InUse {
        /// The instance.
        path: PathBuf,
    },
    /// The kernel prints the event in a way that this version cannot read.
    #[error("cannot read the format of {event}")]
    Format {
        /// The event.
        event: &'static str,
        /// Why.
        #[source]
        source: FormatError,
    },
    /// The pids of the events are those of the initial namespace, and procfs shows another one.
    #[error("{path} is not the procfs of the host")]
    ForeignProc {
        /// The configured procfs.
        path: PathBuf,
    },
    /// Anything else.
    #[error("cannot use {path}: {source}")]
    Failed {
        /// The file.
        path: PathBuf,
        /// What the kernel said.
        source: io::Error,
    },
}

impl Blind {
    fn new(path: &Path, source: io::Error) -> Self {
        let path = path.to_owned();
        match source.kind() {
            ErrorKind::PermissionDenied | ErrorKind::ReadOnlyFilesystem => Self::NotPermitted { path },
            ErrorKind::ResourceBusy | ErrorKind::WouldBlock => Self::InUse { path },
            _ => Self::Failed { path, source },
        }
    }

    /// What would open it.
    #[must_use]
    pub const fn remedy(&self) -> &'static str {
        match self {
            Self::NotMounted { .. } => {
                "mount tracefs on the host (mount -t tracefs tracefs /sys/kernel/tracing), give the agent its instances folder and name the folder above it in sources.trace.path"
            }
            Self::NotPermitted { .. } => {
                "run as uid 0 with tracefs' instances folder mounted read-write; a kernel in lockdown keeps it closed"
            }
            Self::InUse { .. } => "give each agent of this kernel a name of its own in sources.trace.instance",
            Self::ForeignProc { .. } => "mount the host's procfs and name it in host.proc",
            Self::Format { .. } | Self::Failed { .. } => {
                "check that the configured path is tracefs and that the kernel has the events signal_generate and mark_victim"
            }
        }
    }
}

/// A live instance. It stays after a drop, for the next agent to take over; [`Instance::remove`] ends it.
#[derive(Debug)]
pub struct Instance {
    folder: PathBuf,
    pipe: OwnedFd,
    /// How this kernel prints the events.
    pub formats: Formats,
    /// Whether a dead agent left it: then it may hold events of the time in between.
    pub taken_over: bool,
}

impl Instance {
    /// Makes or takes over the instance and switches the events on. Blocks for some milliseconds.
    ///
    /// # Errors
    /// [`Blind`].
    pub fn open(config: &InstanceConfig) -> Result<Self, Blind> {
        let instances = config.root.join("instances");
        if !instances.is_dir() {
            return Err(match fs::symlink_metadata(&instances) {
                Err(error) if error.kind() == ErrorKind::PermissionDenied => Blind::new(&instances, error),
                _ => Blind::NotMounted {
                    path: config.root.clone(),
                },
            });
        }
        let folder = instances.join(&config.name);
        let taken_over = match fs::create_dir(&folder) {
            Ok(()) => false,
            Err(error) if error.kind() == ErrorKind::AlreadyExists => true,
            Err(error) => return Err(Blind::new(&folder, error)),
        };
        Self::set_up_in(folder.clone(), taken_over).inspect_err(|_| {
            // Nothing half made stays behind; what another agent uses is busy and stays.
            if !taken_over && let Err(error) = fs::remove_dir(&folder) {
                tracing::debug!(%error, "a trace instance stays behind");
            }
        })
    }

    fn set_up_in(folder: PathBuf, taken_over: bool) -> Result<Self, Blind> {
        let pipe = lock_pipe(&folder)?;
        let instance = Self {
            formats: formats(&folder)?,
            folder,
            pipe,
            taken_over,
        };
        instance.set_up()?;
        Ok(instance)
    }

    /// The pipe: pollable, one line for each event, and what is read is gone.
    #[must_use]
    pub const fn pipe(&self) -> &OwnedFd {
        &self.pipe
    }

    /// Events that the ring overwrote or dropped since the instance was made.
    ///
    /// # Errors
    /// What the kernel said; retrying may help.
    pub fn lost(&self) -> io::Result<u64> {
        let mut lost = 0;
        for cpu in fs::read_dir(self.folder.join("per_cpu"))? {
            let stats = read_text(&cpu?.path().join("stats")).map_err(io::Error::other)?;
            lost += lost_in(&stats);
        }
        Ok(lost)
    }

    /// Switches the events off and removes the instance. Blocks for some milliseconds.
    ///
    /// # Errors
    /// What the kernel said; then the next agent takes it over.
    pub fn remove(self) -> io::Result<()> {
        let Self { folder, pipe, .. } = self;
        for event in [events_of(SIGNAL), events_of(VICTIM)] {
            if let Err(error) = fs::write(folder.join(event).join("enable"), "0") {
                tracing::debug!(%error, "a trace event stays on until its instance is gone");
            }
        }
        drop(pipe);
        let mut last = Ok(());
        for _ in 0..REMOVALS {
            last = fs::remove_dir(&folder);
            match &last {
                Err(error) if error.kind() == ErrorKind::ResourceBusy => sleep(BETWEEN_REMOVALS),
                _ => break,
            }
        }
        last
    }

    fn set_up(&self) -> Result<(), Blind> {
        let write = |file: &str, text: &str| {
            let path = self.folder.join(file);
            fs::write(&path, text).map_err(|error| Blind::new(&path, error))
        };
        let clock = read_text(&self.folder.join("trace_clock")).unwrap_or_default();
        // Setting the clock empties the ring, even when it is the same one.
        if !clock.contains("[mono]") {
            write("trace_clock", "mono")?;
        }
        write("buffer_size_kb", &RING_KB.to_string())?;
        let filter = SIGNALS.map(|signal| format!("sig == {signal}")).join(" || ");
        write(&format!("{}/filter", events_of(SIGNAL)), &filter)?;
        write(&format!("{}/enable", events_of(SIGNAL)), "1")?;
        if self.formats.victim.is_some() {
            write(&format!("{}/enable", events_of(VICTIM)), "1")?;
        }
        write("tracing_on", "1")
    }
}

fn events_of(event: &str) -> String {
    let system = if event == SIGNAL { "signal" } else { "oom" };
    format!("events/{system}/{event}")
}

fn lock_pipe(folder: &Path) -> Result<OwnedFd, Blind> {
    let path = folder.join("trace_pipe");
    let blind = |errno: Errno| Blind::new(folder, errno.into());
    let pipe = open(
        &path,
        OFlags::RDONLY | OFlags::NONBLOCK | OFlags::CLOEXEC,
        Mode::empty(),
    )
    .map_err(blind)?;
    flock(&pipe, FlockOperation::NonBlockingLockExclusive).map_err(blind)?;
    Ok(pipe)
}

fn formats(folder: &Path) -> Result<Formats, Blind> {
    let read = |event: &'static str| {
        let path = folder.join(events_of(event)).join("format");
        match fs::read_to_string(&path) {
            Ok(text) => Format::parse(&text)
                .map(Some)
                .map_err(|source| Blind::Format { event, source }),
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
            Err(error) => Err(Blind::new(&path, error)),
        }
    };
    let signal = read(SIGNAL)?.ok_or(Blind::Format {
        event: SIGNAL,
        source: FormatError::NoPrint,
    })?;
    Ok(Formats {
        signal,
        victim: read(VICTIM)?,
    })
}

/// `overrun` and `dropped events` of `per_cpu/cpu*/stats`.
fn lost_in(stats: &str) -> u64 {
    let value = |name: &str| {
        let line = stats
            .lines()
            .find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
        line.and_then(|value| value.trim().parse::<u64>().ok())
            .unwrap_or_default()
    };
    value("overrun").saturating_add(value("dropped events"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config(root: &Path) -> InstanceConfig {
        InstanceConfig {
            root: root.to_owned(),
            name: "inquest-unit".to_owned(),
        }
    }

    /// SX-45: a node that is not set up says what would open the source.
    #[test]
    fn a_host_without_tracefs_says_how_to_mount_it() {
        let folder = tempfile::tempdir().unwrap();
        let blind = Instance::open(&config(folder.path())).unwrap_err();
        assert!(matches!(blind, Blind::NotMounted { .. }), "{blind}");
        assert!(blind.remedy().contains("mount -t tracefs"));
    }

    #[test]
    fn a_folder_that_is_no_tracefs_is_no_source() {
        let folder = tempfile::tempdir().unwrap();
        fs::create_dir(folder.path().join("instances")).unwrap();
        let blind = Instance::open(&config(folder.path())).unwrap_err();
        assert!(matches!(blind, Blind::Failed { .. }), "{blind}");
    }

    #[test]
    fn overwritten_and_dropped_events_are_both_lost() {
        let stats = "entries: 1\noverrun: 14267\ncommit overrun: 9\nbytes: 0\ndropped events: 3\nread events: 1324\n";
        assert_eq!(lost_in(stats), 14_270);
        assert_eq!(lost_in("overrun: x"), 0);
    }
}
