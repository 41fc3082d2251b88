//! Containers that wait to die. Owns how they are made, how they are told to die, and how they are taken away.

use std::{fs, time::Duration};

use anyhow::{Context as _, Result, ensure};
use inquest_cli::sandbox::{ContainerSpec, Pod};
use rustix::process::{Pid, Signal, kill_process};

use super::runtime::{Made, Runtime};
use crate::wait_for;

/// How long a container may take until it waits for its end.
const WAITS_WITHIN: Duration = Duration::from_secs(30);
/// Memory limit of containers that die of it: enough for a shell, reached within milliseconds.
const LIMIT_BYTES: u64 = 20_000_000;

/// How containers die.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Death {
    /// Their first process takes memory until the kernel kills it at the limit.
    OutOfMemory,
    /// Their first process exits with status 1.
    Exit,
}

impl Death {
    /// What the first process does at the end, as shell.
    const fn last_words(self) -> &'static str {
        match self {
            Self::OutOfMemory => "exec tail /dev/zero",
            Self::Exit => "exit 1",
        }
    }

    /// What the cause that an alert named is worth.
    pub(super) fn judge(self, cause: &str) -> Told {
        match (self, cause) {
            (Self::OutOfMemory, "CAUSE_OOM_LIMIT") | (Self::Exit, "CAUSE_APP_ERROR") => Told::Right,
            // The runtime's notice came before the kernel's report.
            (Self::OutOfMemory, "CAUSE_OOM_REPORTED") => Told::Unproved,
            _ => Told::Wrong,
        }
    }

    fn container(self, name: &str, newborn: bool) -> ContainerSpec {
        let last = self.last_words();
        let script = match newborn {
            true => last.to_owned(),
            false => format!("trap '{last}' USR1; while true; do sleep 86400 & wait $!; done"),
        };
        let spec = ContainerSpec::shell(name, &script);
        match self {
            Self::OutOfMemory => spec.memory_limit(LIMIT_BYTES),
            Self::Exit => spec,
        }
    }
}

/// What an opening alert said about a death.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Told {
    /// The true cause.
    Right,
    /// True, but without the kernel's proof.
    Unproved,
    /// Another cause.
    Wrong,
}

/// A container that waits for its end, in a pod of its round.
#[derive(Debug)]
pub(super) struct Victim {
    /// Unlike that of any other container of the bench, so that every death opens an incident of its own.
    pub(super) name: String,
    pub(super) container: Made,
    /// First process; none if the container dies as soon as it is started.
    pid: Option<Pid>,
}

/// The victims of one round.
#[derive(Debug)]
pub(super) struct Group {
    pod: Option<Pod>,
    pub(super) victims: Vec<Victim>,
}

impl Group {
    /// Makes a pod with containers; all of them run and wait, except newborn ones, which are not started yet.
    ///
    /// # Errors
    /// When the runtime refuses, or a container does not come to wait.
    pub(super) async fn make(runtime: &Runtime, death: Death, newborn: bool, round: u32, size: usize) -> Result<Self> {
        // A namespace of its own, since the incidents of one namespace are capped.
        let name = format!("bench-{round:03}");
        let mut group = Self {
            pod: runtime.make_pod(&name, round).await?,
            victims: Vec::new(),
        };
        for index in 0..size {
            let victim = format!("r{round:03}-{index:02}");
            let spec = death.container(&victim, newborn);
            let container = runtime.create(group.pod.as_ref(), &name, &spec).await?;
            let pid = match newborn {
                true => None,
                false => Some(start_and_wait(runtime, &container).await?),
            };
            let name = victim;
            group.victims.push(Victim { name, container, pid });
        }
        Ok(group)
    }

    /// Takes pod and containers away.
    ///
    /// # Errors
    /// When the runtime refuses.
    pub(super) async fn remove(self, runtime: &Runtime) -> Result<()> {
        let pod = self.pod.as_ref().map(|pod| pod.id.as_str());
        runtime
            .remove(pod, self.victims.iter().map(|victim| &victim.container))
            .await
    }
}

impl Victim {
    /// Lets the container die.
    ///
    /// # Errors
    /// When it has died before, or cannot be started.
    pub(super) async fn fire(&self, runtime: &Runtime) -> Result<()> {
        match self.pid {
            Some(pid) => kill_process(pid, Signal::USR1).with_context(|| format!("container {} is gone", self.name)),
            None => runtime.run(&self.container).await,
        }
    }
}

/// Starts a container; gives its first process once that would take the signal.
async fn start_and_wait(runtime: &Runtime, container: &Made) -> Result<Pid> {
    runtime.run(container).await?;
    let pid = runtime.first_process(container).await?;
    wait_for("a container that waits for its end", WAITS_WITHIN, async || {
        let status = fs::read_to_string(format!("/proc/{}/status", pid.as_raw_nonzero()))?;
        ensure!(catches_usr1(&status), "the first process does not take the signal yet");
        Ok(pid)
    })
    .await
}

/// Whether the process has a handler for `SIGUSR1`, number 10, bit 9 of `SigCgt` (proc_pid_status(5)).
pub(super) fn catches_usr1(status: &str) -> bool {
    let mask = status.lines().find_map(|line| line.strip_prefix("SigCgt:"));
    let mask = mask.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok());
    mask.is_some_and(|mask| mask & (1 << 9) != 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_without_a_handler_is_not_signalled() {
        assert!(catches_usr1("Name:\tsh\nSigCgt:\t0000000000000200\nSeccomp:\t0\n"));
        assert!(!catches_usr1("SigIgn:\t0000000000000200\nSigCgt:\t0000000000000002\n"));
        assert!(!catches_usr1(""));
    }

    #[test]
    fn a_cause_is_right_unproved_or_wrong() {
        assert_eq!(Death::OutOfMemory.judge("CAUSE_OOM_LIMIT"), Told::Right);
        assert_eq!(Death::OutOfMemory.judge("CAUSE_OOM_REPORTED"), Told::Unproved);
        assert_eq!(Death::OutOfMemory.judge("CAUSE_KILLED_UNKNOWN"), Told::Wrong);
        assert_eq!(Death::Exit.judge("CAUSE_APP_ERROR"), Told::Right);
        assert_eq!(Death::Exit.judge("CAUSE_OOM_REPORTED"), Told::Wrong);
    }

    #[test]
    fn a_newborn_dies_without_being_told() {
        let of = |death: Death, newborn| death.container("a", newborn).command[2].clone();
        assert_eq!(of(Death::Exit, true), "exit 1");
        assert!(of(Death::OutOfMemory, false).starts_with("trap 'exec tail /dev/zero' USR1;"));
        assert_eq!(
            Death::OutOfMemory.container("a", true).memory_limit_bytes,
            Some(LIMIT_BYTES)
        );
        assert_eq!(Death::Exit.container("a", true).memory_limit_bytes, None);
    }
}
