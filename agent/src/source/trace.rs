//! Trace events of the kernel as a source: who sent a signal, and whom the kernel killed for memory.
//!
//! Owns one instance of tracefs while it runs, and the looks into procfs and cgroups that must follow an event at once,
//! since sender and target may be gone a millisecond later. Must not know what a signal means for a container.

pub mod counters;
mod look;

use std::{io, os::fd::OwnedFd, path::PathBuf, sync::Arc, time::Duration};

use inquest_shared::clock::{Clock, UnixNanos};
use rustix::{
    io::{Errno, read},
    time::{ClockId, clock_gettime},
};
use tokio::{
    io::unix::AsyncFd,
    sync::{mpsc, watch},
    task::spawn_blocking,
    time::{MissedTickBehavior, interval, sleep},
};
use tokio_util::sync::CancellationToken;

use super::{SourceHealth, SourceState, Statuses, kill_counter::Announced};
use crate::{
    host::{
        paths::HostPaths,
        procfs,
        tracefs::{Blind, Instance, InstanceConfig, Item, Lines, TraceEvent},
    },
    observation::Observation,
};
use counters::TraceStats;
use look::Look;

/// Name of the source in statuses and metrics.
pub const NAME: &str = "trace events";
/// Wait before a closed tracefs is tried again; a mount or a restarted agent opens it.
const RETRY: Duration = Duration::from_secs(30);
/// How often the kernel is asked what its ring lost.
const LOSS_EVERY: Duration = Duration::from_secs(10);
/// Bytes taken at once: about 30 events, and what the kernel gives in one read at most.
const BUFFER: usize = 4096;

/// What the source needs.
#[derive(Clone)]
pub struct Trace {
    /// Where tracefs is and how our instance is called.
    pub instance: InstanceConfig,
    /// Where the host's files are.
    pub paths: HostPaths,
    /// Wall time.
    pub clock: Arc<dyn Clock>,
    /// Containers that run.
    pub running: watch::Receiver<Announced>,
    /// Who is told what is live.
    pub statuses: Statuses,
    /// Counters.
    pub stats: Arc<TraceStats>,
}

/// Why following came to an end.
enum End {
    /// The token, or nobody listens any more.
    Stopped,
    Blind(Blind),
}

impl Trace {
    /// Follows the events until the token ends, and then removes the instance. Overflow policy: a full observation queue
    /// lets events wait in the kernel's ring; what the ring then loses is counted.
    pub async fn run(self, out: mpsc::Sender<Observation>, token: CancellationToken) {
        loop {
            let why = match self.open().await {
                Ok(instance) => match self.follow(instance, &out, &token).await {
                    End::Stopped => return,
                    End::Blind(why) => why,
                },
                Err(why) => why,
            };
            let health = SourceHealth::not(SourceState::Blind, why.to_string(), why.remedy());
            self.statuses.set(
                NAME,
                SourceHealth {
                    lost: self.stats.lost(),
                    ..health
                },
            );
            if out.send(Observation::TraceEvents { live: false }).await.is_err() {
                return;
            }
            tokio::select! {
                () = token.cancelled() => return,
                () = sleep(RETRY) => {}
            }
        }
    }

    async fn open(&self) -> Result<Instance, Blind> {
        let failed = |path: PathBuf, source: io::Error| Blind::Failed { path, source };
        match procfs::is_of_the_host(&self.paths) {
            Ok(true) => {}
            Ok(false) => {
                return Err(Blind::ForeignProc {
                    path: self.paths.proc.clone(),
                });
            }
            Err(error) => return Err(failed(self.paths.proc.clone(), io::Error::other(error))),
        }
        let config = self.instance.clone();
        let opened = spawn_blocking(move || Instance::open(&config)).await;
        opened.unwrap_or_else(|error| Err(failed(self.instance.root.clone(), io::Error::other(error))))
    }

    /// Reads until the end. A failure of the pipe leaves the instance for the next try.
    async fn follow(&self, instance: Instance, out: &mpsc::Sender<Observation>, token: &CancellationToken) -> End {
        let health = if instance.formats.victim.is_some() {
            SourceHealth::live("signals and out-of-memory victims")
        } else {
            let remedy = "a kernel of 4.13 or later has the event mark_victim";
            SourceHealth::not(SourceState::Degraded, "signals, no out-of-memory victims", remedy)
        };
        let live = instance.formats.victim.is_some();
        self.publish(&health, &instance);
        if out.send(Observation::TraceEvents { live }).await.is_err() {
            return remove(instance, End::Stopped).await;
        }
        let pipe = match instance.pipe().try_clone().and_then(pollable) {
            Ok(pipe) => pipe,
            Err(source) => return self.broken(source),
        };
        let mut reading = Reading {
            lines: Lines::new(instance.formats.clone()),
            // What the ring held before we came is past: its processes are gone, their pids may be others.
            backlog_until_us: if instance.taken_over { monotonic_us() } else { 0 },
        };
        let mut ticks = interval(LOSS_EVERY);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                () = token.cancelled() => break,
                // Also a look at the pipe, should a wake-up ever be missed.
                _ = ticks.tick() => self.publish(&health, &instance),
                ready = pipe.readable() => match ready {
                    Ok(mut ready) => ready.clear_ready(),
                    Err(source) => return self.broken(source),
                },
            }
            match self.drain(&pipe, &mut reading, out).await {
                Ok(true) => {}
                Ok(false) => break,
                Err(errno) => return self.broken(errno.into()),
            }
        }
        drop(pipe);
        remove(instance, End::Stopped).await
    }

    /// Reads until the pipe is empty; false when nobody listens any more.
    async fn drain(
        &self,
        pipe: &AsyncFd<OwnedFd>,
        reading: &mut Reading,
        out: &mpsc::Sender<Observation>,
    ) -> Result<bool, Errno> {
        let mut buffer = [0; BUFFER];
        loop {
            let length = match read(pipe.get_ref(), &mut buffer) {
                Ok(0) | Err(Errno::AGAIN) => return Ok(true),
                Ok(length) => length,
                Err(Errno::INTR) => continue,
                Err(errno) => return Err(errno),
            };
            // First all looks, then the queue: what waits there must not make a process vanish unseen.
            let mut observations = Vec::new();
            for item in reading.lines.push(buffer.get(..length).unwrap_or_default()) {
                if let Item::Event(event) = item {
                    self.stats.event();
                    observations.extend(self.observe(event, reading.backlog_until_us));
                }
            }
            self.stats.unreadable(reading.lines.take_unreadable());
            for observation in observations {
                if out.send(observation).await.is_err() {
                    return Ok(false);
                }
            }
        }
    }

    fn observe(&self, event: TraceEvent, backlog_until_us: u64) -> Option<Observation> {
        let now_us = monotonic_us();
        let running = self.running.borrow();
        let look = |at_us: u64| Look {
            paths: &self.paths,
            at: self.wall_of(at_us, now_us),
            backlog: at_us < backlog_until_us,
            running: &running,
        };
        match event {
            TraceEvent::Signal(signal) => look(signal.at_us).signal(&signal).map(Observation::Signal),
            TraceEvent::Victim(victim) => Some(Observation::TraceKill(look(victim.at_us).victim(&victim))),
        }
    }

    fn wall_of(&self, at_us: u64, now_us: u64) -> UnixNanos {
        let age = Duration::from_micros(now_us.saturating_sub(at_us));
        self.clock.now().saturating_sub(age)
    }

    fn publish(&self, health: &SourceHealth, instance: &Instance) {
        match instance.lost() {
            Ok(lost) => self.stats.lose(lost),
            Err(error) => tracing::debug!(%error, "what the trace ring lost is not known"),
        }
        let lost = self.stats.lost();
        self.statuses.set(NAME, SourceHealth { lost, ..health.clone() });
    }

    fn broken(&self, source: io::Error) -> End {
        let path = self
            .instance
            .root
            .join("instances")
            .join(&self.instance.name)
            .join("trace_pipe");
        End::Blind(Blind::Failed { path, source })
    }
}

/// The state between two reads.
struct Reading {
    lines: Lines,
    backlog_until_us: u64,
}

fn pollable(pipe: OwnedFd) -> io::Result<AsyncFd<OwnedFd>> {
    #[expect(
        deprecated,
        reason = "its successor is unsafe; an OwnedFd that nobody closes meets what it asks for"
    )]
    AsyncFd::new(pipe)
}

/// The instance costs the kernel memory and time, so a clean stop takes it away.
async fn remove(instance: Instance, end: End) -> End {
    let removed = spawn_blocking(move || instance.remove()).await;
    if let Err(error) = removed.map_err(io::Error::other).flatten() {
        tracing::warn!(%error, "the trace instance stays until the next start");
    }
    end
}

fn monotonic_us() -> u64 {
    let now = clock_gettime(ClockId::Monotonic);
    let seconds = u64::try_from(now.tv_sec).unwrap_or_default();
    let micros = u64::try_from(now.tv_nsec / 1000).unwrap_or_default();
    seconds.saturating_mul(1_000_000).saturating_add(micros)
}
