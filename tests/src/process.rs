//! Programs under test as child processes.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::Duration;

use anyhow::{Context, Result};
use rustix::process::{Pid, Signal, kill_process};

use crate::wait::wait_for;

/// A running program whose output goes to files. Killed when dropped.
#[derive(Debug)]
pub struct Process {
    name: String,
    child: Child,
    stdout: PathBuf,
    stderr: PathBuf,
}

impl Process {
    /// Starts a program; its output is appended to `<name>.out` and `<name>.err` in `dir`.
    ///
    /// # Errors
    /// When the files or the process cannot be made.
    pub fn spawn(name: &str, mut command: Command, dir: &Path) -> Result<Self> {
        let stdout = dir.join(format!("{name}.out"));
        let stderr = dir.join(format!("{name}.err"));
        let open = |path: &Path| {
            let file = File::options().create(true).append(true).open(path);
            file.with_context(|| format!("cannot open {}", path.display()))
        };
        command
            .stdin(Stdio::null())
            .stdout(open(&stdout)?)
            .stderr(open(&stderr)?);
        let child = command
            .spawn()
            .with_context(|| format!("cannot start {name} as {command:?}"))?;
        Ok(Self {
            name: name.to_owned(),
            child,
            stdout,
            stderr,
        })
    }

    /// Pid of the program.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// What it wrote to its standard output so far, over all runs under this name.
    #[must_use]
    pub fn stdout(&self) -> String {
        read(&self.stdout)
    }

    /// What it wrote to its standard error so far, over all runs under this name.
    #[must_use]
    pub fn stderr(&self) -> String {
        read(&self.stderr)
    }

    /// Sends a signal.
    ///
    /// # Errors
    /// When the process has ended and was waited for.
    pub fn signal(&self, signal: Signal) -> Result<()> {
        let pid = i32::try_from(self.pid())
            .ok()
            .and_then(Pid::from_raw)
            .context("not a pid")?;
        kill_process(pid, signal).with_context(|| format!("cannot send {signal:?} to {}", self.name))
    }

    /// Stops the process where it is, without it noticing, and waits until every thread stands.
    ///
    /// # Errors
    /// As [`Process::signal`]; when a thread does not stop within 5 seconds.
    pub async fn freeze(&self) -> Result<()> {
        self.signal(Signal::STOP)?;
        // The call returns before the signal is taken, and one that is sent in between could overtake it.
        let what = format!("the stop of {}", self.name);
        let stopped = wait_for(&what, Duration::from_secs(5), async || {
            let states = thread_states(self.pid());
            if !states.is_empty() && states.iter().all(|state| state == "T") {
                Ok(())
            } else {
                Err(states.join(" "))
            }
        });
        stopped.await
    }

    /// Lets a frozen process go on.
    ///
    /// # Errors
    /// As [`Process::signal`].
    pub fn thaw(&self) -> Result<()> {
        self.signal(Signal::CONT)
    }

    /// Kills the process as the kernel would, and collects it.
    ///
    /// # Errors
    /// When it cannot be collected.
    pub fn kill9(&mut self) -> Result<ExitStatus> {
        self.child
            .kill()
            .with_context(|| format!("cannot kill {}", self.name))?;
        self.child
            .wait()
            .with_context(|| format!("cannot collect {}", self.name))
    }

    /// Asks the process to end and waits for it.
    ///
    /// # Errors
    /// As [`Process::wait_exit`].
    pub async fn terminate(&mut self, timeout: Duration) -> Result<ExitStatus> {
        self.signal(Signal::TERM)?;
        self.wait_exit(timeout).await
    }

    /// Waits until the process has ended.
    ///
    /// # Errors
    /// When it still runs after `timeout`, with the end of its standard error.
    pub async fn wait_exit(&mut self, timeout: Duration) -> Result<ExitStatus> {
        let what = format!("the end of {}", self.name);
        let stderr = self.stderr.clone();
        let child = &mut self.child;
        let ended = wait_for(&what, timeout, async || match child.try_wait() {
            Ok(Some(status)) => Ok(status),
            Ok(None) => Err("still running".to_owned()),
            Err(error) => Err(error.to_string()),
        });
        ended
            .await
            .with_context(|| format!("standard error ends with: {}", last_lines(&read(&stderr))))
    }

    /// Waits until the standard output contains `text`, and gives the output back.
    ///
    /// # Errors
    /// When it does not within `timeout`, with the end of both outputs.
    pub async fn wait_output(&mut self, text: &str, timeout: Duration) -> Result<String> {
        let what = format!("{text:?} from {}", self.name);
        let found = wait_for(&what, timeout, async || {
            let out = self.stdout();
            if out.contains(text) {
                return Ok(out);
            }
            let err = self.stderr();
            Err(format!("stdout: {}\nstderr: {}", last_lines(&out), last_lines(&err)))
        });
        found.await
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // Both fail only for a process that was collected before, and a test that ends has no use for the reason.
        self.child.kill().unwrap_or_default();
        self.child.wait().map(drop).unwrap_or_default();
    }
}

/// The state letters of proc_pid_stat(5), one per thread. The name before them may contain anything but ends the last
/// parenthesis.
fn thread_states(pid: u32) -> Vec<String> {
    let Ok(threads) = fs::read_dir(format!("/proc/{pid}/task")) else {
        return Vec::new();
    };
    let stats = threads
        .flatten()
        .filter_map(|thread| fs::read_to_string(thread.path().join("stat")).ok());
    let state = |stat: String| Some(stat.rsplit_once(") ")?.1.split(' ').next()?.to_owned());
    stats.filter_map(state).collect()
}

fn read(path: &Path) -> String {
    fs::read(path)
        .map(|bytes| String::from_utf8_lossy(&bytes).into_owned())
        .unwrap_or_default()
}

fn last_lines(text: &str) -> String {
    let lines: Vec<&str> = text.lines().collect();
    lines
        .get(lines.len().saturating_sub(20)..)
        .unwrap_or_default()
        .join("\n")
}

#[cfg(test)]
mod tests {
    use std::os::unix::process::ExitStatusExt;

    use super::*;
    use crate::folder::TestDir;

    const LONG: Duration = Duration::from_secs(20);

    fn shell(script: &str, dir: &TestDir) -> Process {
        let mut command = Command::new("/bin/sh");
        command.args(["-c", script]);
        Process::spawn("sh", command, dir.path()).unwrap()
    }

    #[tokio::test]
    async fn output_and_status_of_a_program_are_seen() {
        let dir = TestDir::new("process").unwrap();
        let mut process = shell("echo ready; echo trouble >&2; exit 64", &dir);
        assert_eq!(process.wait_output("ready", LONG).await.unwrap(), "ready\n");
        assert_eq!(process.wait_exit(LONG).await.unwrap().code(), Some(64));
        assert_eq!(process.stderr(), "trouble\n");
    }

    #[tokio::test]
    async fn a_frozen_program_does_nothing_until_thawed() {
        let dir = TestDir::new("freeze").unwrap();
        let mut process = shell("echo up; exec sleep 1000", &dir);
        process.wait_output("up", LONG).await.unwrap();
        process.freeze().await.unwrap();
        assert!(process.terminate(Duration::from_millis(50)).await.is_err());
        process.thaw().unwrap();
        assert_eq!(process.wait_exit(LONG).await.unwrap().signal(), Some(15));
    }

    #[tokio::test]
    async fn a_program_that_stays_is_an_error_with_its_last_words() {
        let dir = TestDir::new("stays").unwrap();
        let mut process = shell("echo stuck here >&2; exec sleep 1000", &dir);
        wait_for("words", LONG, async || {
            if process.stderr().is_empty() {
                Err("none")
            } else {
                Ok(())
            }
        })
        .await
        .unwrap();
        let error = process.wait_exit(Duration::from_millis(20)).await.unwrap_err();
        assert!(format!("{error:#}").contains("stuck here"), "{error:#}");
        assert_eq!(process.kill9().unwrap().signal(), Some(9));
    }
}
