//! Many processes that die at memory limits at once: 30 cgroups with ten processes each, let go together.
//!
//! Owns the gate that they wait at and the list of their pids. Everything is removed on drop.

use std::{
    collections::BTreeMap,
    fs::{self, File},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, ensure};
use inquest_cli::sandbox::BareCgroup;
use rustix::fs::{CWD, FileType, Mode, mknodat};

use crate::world::hold_kills;

/// Limit of each cgroup: room for ten waiting shells, quickly filled by one that does not wait.
const LIMIT: u64 = 12 << 20;
/// The kernel counts heads of reports in windows of 5 s (`mm/oom_kill.c`); others may kill again after that.
const HEADS_WINDOW: Duration = Duration::from_secs(5);

/// Processes that wait to die.
pub struct Burst {
    gate: PathBuf,
    cgroups: Vec<BareCgroup>,
    waiting: Vec<(Child, usize)>,
}

/// What died.
#[derive(Debug)]
pub struct Fallen {
    /// Each victim's pid with the path of its cgroup.
    pub victims: BTreeMap<u32, String>,
    /// From the opening of the gate to the last death.
    pub took: Duration,
}

impl Burst {
    /// Makes the cgroups and starts `each` processes in each; they wait at a gate that lies in `dir`.
    ///
    /// # Errors
    /// Without root.
    pub fn prepare(dir: &Path, cgroups: usize, each: usize) -> Result<Self> {
        let gate = dir.join("gate");
        mknodat(CWD, &gate, FileType::Fifo, Mode::RUSR | Mode::WUSR, 0).context("cannot make the gate")?;
        let mut burst = Self {
            gate,
            cgroups: Vec::new(),
            waiting: Vec::new(),
        };
        for place in 0..cgroups {
            let cgroup = BareCgroup::new(LIMIT)?;
            for _ in 0..each {
                burst.waiting.push((waiter(&cgroup, &burst.gate).spawn()?, place));
            }
            burst.cgroups.push(cgroup);
        }
        Ok(burst)
    }

    /// Opens the gate and waits until all are dead. No other test on this machine kills meanwhile, nor before the kernel
    /// prints heads of reports again.
    ///
    /// # Errors
    /// When one of them ended otherwise than by the kernel.
    pub async fn fire(&mut self) -> Result<Fallen> {
        let held = hold_kills()?;
        // Opens only when somebody waits, and lets everybody in who comes before it closes.
        let gate = File::options().write(true).open(&self.gate).context("the gate")?;
        self.wait_at_gate().await?;
        let begun = Instant::now();
        drop(gate);
        let mut victims = BTreeMap::new();
        for (mut child, place) in self.waiting.drain(..) {
            let pid = child.id();
            let status = tokio::task::spawn_blocking(move || child.wait()).await??;
            ensure!(!status.success(), "process {pid} was not killed");
            let cgroup = self.cgroups.get(place).context("no such cgroup")?;
            victims.insert(pid, cgroup.path().to_owned());
        }
        let took = begun.elapsed();
        // Not in a task of its own: that would end with the test, and the next test's kills would have no head.
        tokio::time::sleep(HEADS_WINDOW).await;
        drop(held);
        Ok(Fallen { victims, took })
    }

    /// All of them have the gate open, so that none is left in front of it when it closes.
    async fn wait_at_gate(&self) -> Result<()> {
        crate::wait_for("all victims at the gate", Duration::from_secs(60), async || {
            let outside = self
                .waiting
                .iter()
                .filter(|(child, _)| !is_at(child.id(), &self.gate))
                .count();
            ensure!(outside == 0, "{outside} are not there yet");
            anyhow::Ok(())
        })
        .await
    }

    /// Kills that the kernel counted in each cgroup, by path.
    ///
    /// # Errors
    /// When a counter cannot be read.
    pub fn counted(&self) -> Result<BTreeMap<String, u64>> {
        let of = |cgroup: &BareCgroup| anyhow::Ok((cgroup.path().to_owned(), oom_kills(cgroup.folder())?));
        self.cgroups.iter().map(of).collect()
    }
}

impl Drop for Burst {
    fn drop(&mut self) {
        for (child, _) in &mut self.waiting {
            // One that has ended is what is wanted.
            child.kill().unwrap_or_default();
            child.wait().map(drop).unwrap_or_default();
        }
    }
}

/// A shell that waits for the gate to close and then takes memory until it dies; its pid stays the same.
fn waiter(cgroup: &BareCgroup, gate: &Path) -> Command {
    let gate = gate.display().to_string();
    let mut command = cgroup.command(&["/bin/sh", "-c", r#"read -r x < "$0"; exec tail /dev/zero"#, &gate]);
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    command
}

fn is_at(pid: u32, gate: &Path) -> bool {
    let Ok(descriptors) = fs::read_dir(format!("/proc/{pid}/fd")) else {
        return false;
    };
    let at_gate = |entry: fs::DirEntry| fs::read_link(entry.path()).is_ok_and(|target| target == gate);
    descriptors.flatten().any(at_gate)
}

/// `oom_kill` of a cgroup, under the name of either version.
fn oom_kills(folder: &Path) -> Result<u64> {
    let read = |file: &str| fs::read_to_string(folder.join(file));
    let text = read("memory.events").or_else(|_| read("memory.oom_control"))?;
    let value = text.lines().find_map(|line| line.strip_prefix("oom_kill "));
    Ok(value.context("no oom_kill")?.trim().parse()?)
}
