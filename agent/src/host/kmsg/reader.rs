//! Reads the kernel log on a thread of its own. Owns the thread, the device and the back-off; the bytes go to the pump.
//!
//! Overflow policy: a full queue blocks the thread, so records wait in the kernel's own ring; what the ring then loses is
//! counted by sequence number.
use std::io;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use inquest_shared::clock::Clock;
use rustix::event::{EventfdFlags, PollFd, PollFlags, Timespec, eventfd, poll};
use rustix::fs::{Mode, OFlags, open};
use rustix::io::{Errno, read, write};
use rustix::time::{ClockId, clock_gettime};
use tokio::sync::{mpsc, watch};

use super::pump::Pump;
use super::{Batch, Filter, Now, ReaderStats};
use crate::host::cgroup::notice::Bell;

/// Longest record that the kernel hands out is about 1 KiB of text plus fields; a smaller buffer would lose records.
const BUFFER: usize = 8192;
/// Wait before the device is opened again after a fault; doubles up to [`BACKOFF_MAX`].
const BACKOFF_MIN: Duration = Duration::from_secs(1);
const BACKOFF_MAX: Duration = Duration::from_mins(1);
/// After the bell: a report is complete within a millisecond, and the slowest tick (100 Hz) wakes us after ten.
const LOOKS: u32 = 50;
const BETWEEN_LOOKS: Duration = Duration::from_micros(200);
/// Refused reads in a row after which the device counts as broken rather than one record as too long.
const MAX_REFUSED: u32 = 64;

/// What the reader needs.
pub struct ReaderConfig {
    /// The device.
    pub path: PathBuf,
    /// Last sequence number already dealt with **in this boot**; `None` reads everything that the ring holds.
    pub resume_after: Option<u64>,
    /// Which records to hand over.
    pub filter: Filter,
    /// Rings when a report of interest is about to be written.
    pub bell: Bell,
    /// Wall time.
    pub clock: Arc<dyn Clock>,
}

/// Whether the kernel log is being read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Status {
    /// Not tried yet.
    Opening,
    /// Reading.
    Live,
    /// Not reading; the reader tries again by itself.
    Blind(Blind),
}

/// Why the kernel log cannot be read. The reader retries with back-off; retrying helps only once the remedy is applied.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Blind {
    /// The container or the user may not open the device.
    #[error("not permitted to open {path}")]
    NotPermitted {
        /// The device.
        path: PathBuf,
    },
    /// There is no such device here.
    #[error("{path} does not exist")]
    Missing {
        /// The device.
        path: PathBuf,
    },
    /// Opening or reading failed otherwise.
    #[error("cannot read {path}: {errno}")]
    Failed {
        /// The device.
        path: PathBuf,
        /// What the kernel said.
        errno: Errno,
    },
    /// The file ended, so it is no kernel log.
    #[error("{path} ended; it is no kernel log")]
    Ended {
        /// The device.
        path: PathBuf,
    },
}

impl Blind {
    fn new(path: &Path, errno: Errno) -> Self {
        let path = path.to_owned();
        match errno {
            Errno::PERM | Errno::ACCESS => Self::NotPermitted { path },
            Errno::NOENT | Errno::NXIO | Errno::NODEV => Self::Missing { path },
            _ => Self::Failed { path, errno },
        }
    }

    /// What would open it.
    #[must_use]
    pub const fn remedy(&self) -> &'static str {
        match self {
            Self::NotPermitted { .. } => "use the privileged profile, or allow the device and add CAP_SYSLOG",
            Self::Missing { .. } => "use the privileged profile, or mount the kernel log device of the host",
            Self::Failed { .. } | Self::Ended { .. } => "check that the configured path is the kernel log device",
        }
    }
}

/// Why the reader could not be started. Retrying helps when threads or file descriptors had run out.
#[derive(Debug, thiserror::Error)]
pub enum SpawnError {
    /// No file descriptor for the stop signal.
    #[error("cannot create the stop signal of the kernel log reader")]
    Signal(#[source] Errno),
    /// No thread.
    #[error("cannot start the thread of the kernel log reader")]
    Thread(#[source] io::Error),
}

/// The thread of the reader panicked; records since its cursor are read again by a new one.
#[derive(Debug, thiserror::Error)]
#[error("the kernel log reader panicked")]
pub struct Panicked;

struct Stop {
    asked: AtomicBool,
    event: OwnedFd,
}

/// A running reader. Dropping it asks the thread to stop.
pub struct KmsgReader {
    /// Counters.
    pub stats: Arc<ReaderStats>,
    status: watch::Receiver<Status>,
    stop: Arc<Stop>,
    thread: Option<JoinHandle<()>>,
}

impl KmsgReader {
    /// Starts the thread. Batches go to `batches`; the reader ends when their receiver is gone.
    ///
    /// # Errors
    /// [`SpawnError`]; a device that cannot be opened is no error but a [`Status`].
    pub fn spawn(config: ReaderConfig, batches: mpsc::Sender<Batch>) -> Result<Self, SpawnError> {
        let event = eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK).map_err(SpawnError::Signal)?;
        let stop = Arc::new(Stop {
            asked: AtomicBool::new(false),
            event,
        });
        let stats = Arc::new(ReaderStats::default());
        let (status_tx, status) = watch::channel(Status::Opening);
        let thread = Thread {
            pump: Pump::new(config.filter, Arc::clone(&stats), config.resume_after),
            path: config.path,
            bell: config.bell,
            clock: config.clock,
            stats: Arc::clone(&stats),
            batches,
            status: status_tx,
            stop: Arc::clone(&stop),
        };
        let handle = std::thread::Builder::new()
            .name("kmsg".into())
            .spawn(move || thread.run())
            .map_err(SpawnError::Thread)?;
        Ok(Self {
            stats,
            status,
            stop,
            thread: Some(handle),
        })
    }

    /// Whether the log is being read, and changes of that.
    #[must_use]
    pub fn status(&self) -> watch::Receiver<Status> {
        self.status.clone()
    }

    /// Asks the thread to stop; returns at once.
    pub fn stop(&self) {
        self.stop.asked.store(true, Ordering::Release);
        if let Err(errno) = write(&self.stop.event, &1_u64.to_ne_bytes()) {
            tracing::debug!(%errno, "the stop signal of the kernel log reader was already set");
        }
    }

    /// Stops and waits for the thread. Blocks until a batch in hand was taken or the receiver was dropped.
    ///
    /// # Errors
    /// [`Panicked`].
    pub fn join(mut self) -> Result<(), Panicked> {
        self.stop();
        self.thread
            .take()
            .map_or(Ok(()), |thread| thread.join().map_err(|_| Panicked))
    }
}

impl Drop for KmsgReader {
    fn drop(&mut self) {
        self.stop();
    }
}

struct Thread {
    path: PathBuf,
    bell: Bell,
    pump: Pump,
    clock: Arc<dyn Clock>,
    stats: Arc<ReaderStats>,
    batches: mpsc::Sender<Batch>,
    status: watch::Sender<Status>,
    stop: Arc<Stop>,
}

/// Why following the device came to an end.
enum End {
    Stopped,
    Blind(Blind),
}

impl Thread {
    fn run(mut self) {
        let mut wait = BACKOFF_MIN;
        loop {
            let End::Blind(why) = self.follow(&mut wait) else {
                return;
            };
            tracing::warn!(reason = %why, remedy = why.remedy(), "kernel log: blind");
            self.status.send_replace(Status::Blind(why));
            if self.pause(wait) {
                return;
            }
            wait = (wait * 2).min(BACKOFF_MAX);
        }
    }

    fn follow(&mut self, wait: &mut Duration) -> End {
        let device = match open(
            &self.path,
            OFlags::RDONLY | OFlags::NONBLOCK | OFlags::CLOEXEC,
            Mode::empty(),
        ) {
            Ok(device) => device,
            Err(errno) => return End::Blind(Blind::new(&self.path, errno)),
        };
        self.pump.opened();
        self.status.send_replace(Status::Live);
        let mut buffer = vec![0; BUFFER];
        loop {
            if let Err(end) = self.drain(&device, &mut buffer) {
                return end;
            }
            *wait = BACKOFF_MIN;
            let rang = match self.sleep(&device) {
                Ok(rang) => rang,
                Err(end) => return end,
            };
            if rang && let Err(end) = self.look_closely(&device, &mut buffer) {
                return end;
            }
        }
    }

    /// Reads until the device is empty.
    fn drain(&mut self, device: &OwnedFd, buffer: &mut [u8]) -> Result<(), End> {
        let mut refused = 0;
        loop {
            if self.stop.asked.load(Ordering::Acquire) {
                return Err(End::Stopped);
            }
            match read(device, &mut *buffer) {
                Ok(0) => {
                    return Err(End::Blind(Blind::Ended {
                        path: self.path.clone(),
                    }));
                }
                Ok(length) => {
                    refused = 0;
                    let batch = self
                        .pump
                        .read(buffer.get(..length).unwrap_or_default(), || now(&*self.clock));
                    self.hand_over(batch)?;
                }
                Err(Errno::AGAIN) => {
                    let batch = self.pump.drained();
                    self.hand_over(batch)?;
                    return Ok(());
                }
                Err(Errno::INTR) => {}
                Err(Errno::PIPE) => ReaderStats::add(&self.stats.overruns, 1),
                Err(Errno::INVAL) if refused < MAX_REFUSED => {
                    refused += 1;
                    ReaderStats::add(&self.stats.oversize, 1);
                }
                Err(errno) => return Err(End::Blind(Blind::new(&self.path, errno))),
            }
        }
    }

    fn hand_over(&self, batch: Option<Batch>) -> Result<(), End> {
        batch.map_or(Ok(()), |batch| {
            self.batches.blocking_send(batch).map_err(|_| End::Stopped)
        })
    }

    /// Sleeps until the device, the bell or the stop signal wakes us; says whether the bell rang.
    fn sleep(&self, device: &OwnedFd) -> Result<bool, End> {
        let [event, files] = self.bell.descriptors();
        let mut set = [device, &self.stop.event, event, files].map(|fd| PollFd::new(fd, PollFlags::IN));
        match poll(&mut set, None) {
            Ok(_) | Err(Errno::INTR) => {}
            Err(errno) => return Err(End::Blind(Blind::new(&self.path, errno))),
        }
        self.stats
            .last_wake
            .store(self.clock.now().as_nanos(), Ordering::Relaxed);
        let [_, _, event, files] = set;
        let rang = !event.revents().is_empty() || !files.revents().is_empty();
        if rang {
            self.bell.answer();
        }
        Ok(rang)
    }

    /// The kernel is about to write a report and will wake us only at its next tick: looks for it instead of waiting.
    fn look_closely(&mut self, device: &OwnedFd, buffer: &mut [u8]) -> Result<(), End> {
        for _ in 0..LOOKS {
            self.drain(device, buffer)?;
            std::thread::sleep(BETWEEN_LOOKS);
        }
        Ok(())
    }

    /// Waits before the next try; true when asked to stop or when nobody listens any more.
    fn pause(&self, wait: Duration) -> bool {
        let timeout = Timespec {
            tv_sec: i64::try_from(wait.as_secs()).unwrap_or(i64::MAX),
            tv_nsec: wait.subsec_nanos().into(),
        };
        let mut set = [PollFd::new(&self.stop.event, PollFlags::IN)];
        if let Err(errno) = poll(&mut set, Some(&timeout)) {
            tracing::debug!(%errno, "the pause of the kernel log reader was cut short");
        }
        self.stop.asked.load(Ordering::Acquire) || self.batches.is_closed()
    }
}

fn now(clock: &dyn Clock) -> Now {
    let boot = clock_gettime(ClockId::Monotonic);
    let seconds = u64::try_from(boot.tv_sec).unwrap_or_default();
    let micros = u64::try_from(boot.tv_nsec / 1000).unwrap_or_default();
    Now {
        wall: clock.now(),
        boot_us: seconds.saturating_mul(1_000_000).saturating_add(micros),
    }
}

#[cfg(test)]
mod tests;
