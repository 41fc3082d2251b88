//! The two programs as children, and the signals of this one.
//!
//! Owns starting and ending. Must not know what the programs do.

use std::{
    ffi::OsString,
    fs::{self, File},
    io,
    path::{Path, PathBuf},
    process::{ExitStatus, Stdio},
    time::Duration,
};

use inquest_shared::model::Untrusted;
use rustix::process::{Pid, Signal, kill_process};
use tokio::{
    process::{Child, Command},
    signal::unix::{Signal as Stream, SignalKind, signal},
};

use super::DemoError;
use crate::output::talk;

/// How long a program gets to end by itself; its own grace is 10 s.
const STOPPED_WITHIN: Duration = Duration::from_secs(12);
/// Lines of a log that are quoted.
const QUOTED_LINES: usize = 12;
/// Bytes of a quoted line.
const QUOTED_BYTES: usize = 400;

/// The folder of the programs: `INQUEST_BIN_DIR`, else that of this one.
fn folder() -> Result<PathBuf, DemoError> {
    if let Some(dir) = std::env::var_os("INQUEST_BIN_DIR").filter(|dir| !dir.is_empty()) {
        return Ok(dir.into());
    }
    let own = std::env::current_exe().map_err(DemoError::io("find", "this program"))?;
    Ok(own.parent().map(Path::to_owned).unwrap_or_default())
}

/// A running program. Dropping it kills it.
#[derive(Debug)]
pub(super) struct Program {
    name: &'static str,
    child: Child,
    log: PathBuf,
}

impl Program {
    /// Starts `name --config FILE` with its words in `log`.
    pub(super) fn start(name: &'static str, config: &Path, log: PathBuf) -> Result<Self, DemoError> {
        let dir = folder()?;
        let path = dir.join(name);
        if !path.is_file() {
            return Err(DemoError::ProgramMissing { name, dir });
        }
        let open = || File::options().create(true).append(true).open(&log);
        let (out, err) = open()
            .and_then(|out| Ok((out, open()?)))
            .map_err(DemoError::io("open", &log))?;
        let mut command = Command::new(&path);
        command.arg("--config").arg(config);
        // The files say all; what is set for this program must not change the others.
        for variable in own_variables() {
            command.env_remove(variable);
        }
        // A group of its own, so that Ctrl-C in a terminal reaches only the demo, which stops all in order.
        command
            .process_group(0)
            .stdin(Stdio::null())
            .stdout(out)
            .stderr(err)
            .kill_on_drop(true);
        let child = command.spawn().map_err(DemoError::io("run", &path))?;
        Ok(Self { name, child, log })
    }

    /// Fails when the program has ended.
    pub(super) fn check(&mut self) -> Result<(), DemoError> {
        match self.child.try_wait() {
            Ok(None) => Ok(()),
            Ok(Some(status)) => Err(self.exited(status)),
            Err(source) => Err(DemoError::io("wait for", self.name)(source)),
        }
    }

    fn exited(&self, status: ExitStatus) -> DemoError {
        DemoError::Exited {
            program: self.name,
            status,
            said: self.said(),
        }
    }

    /// The program did not become ready.
    pub(super) fn not_ready(&self, waited: Duration) -> DemoError {
        DemoError::NotReady {
            program: self.name,
            waited,
            said: self.said(),
        }
    }

    fn said(&self) -> String {
        last_lines(&fs::read(&self.log).unwrap_or_default())
    }

    /// Asks it to end; kills it when it does not.
    pub(super) async fn stop(mut self) {
        let pid = self
            .child
            .id()
            .and_then(|pid| i32::try_from(pid).ok())
            .and_then(Pid::from_raw);
        if let Some(pid) = pid {
            // Fails only for a process that has ended already.
            kill_process(pid, Signal::TERM).unwrap_or_default();
        }
        match tokio::time::timeout(STOPPED_WITHIN, self.child.wait()).await {
            Ok(Ok(_)) => {}
            Ok(Err(error)) => talk(&format!("{} cannot be waited for: {error}", self.name)),
            Err(_) => {
                talk(&format!("{} did not end by itself and is killed", self.name));
                if let Err(error) = self.child.kill().await {
                    talk(&format!("{} cannot be killed: {error}", self.name));
                }
            }
        }
    }
}

fn own_variables() -> impl Iterator<Item = OsString> {
    let names = std::env::vars_os().map(|(name, _)| name);
    names.filter(|name| name.as_encoded_bytes().starts_with(b"INQUEST_"))
}

/// The end of a log, each line bounded, escaped and indented.
fn last_lines(log: &[u8]) -> String {
    let text = String::from_utf8_lossy(log);
    let lines: Vec<&str> = text.lines().collect();
    let last = lines.iter().skip(lines.len().saturating_sub(QUOTED_LINES));
    let quoted: Vec<String> = last
        .map(|line| format!("  {}", Untrusted::bounded(line, QUOTED_BYTES).escaped()))
        .collect();
    match quoted.is_empty() {
        true => "  (nothing)".to_owned(),
        false => quoted.join("\n"),
    }
}

/// Signals that end the demo.
pub(super) struct Signals([Stream; 3]);

impl Signals {
    pub(super) fn install() -> Result<Self, DemoError> {
        let install = || -> io::Result<_> {
            Ok([
                signal(SignalKind::interrupt())?,
                signal(SignalKind::terminate())?,
                signal(SignalKind::hangup())?,
            ])
        };
        install().map(Self).map_err(DemoError::Signals)
    }

    /// Waits for one of them. Cancel-safe.
    pub(super) async fn any(&mut self) {
        let [interrupt, terminate, hangup] = &mut self.0;
        tokio::select! {
            _ = interrupt.recv() => {}
            _ = terminate.recv() => {}
            _ = hangup.recv() => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_end_of_a_log_is_quoted_and_nothing_in_it_acts() {
        let log: String = (0..99).map(|n| format!("line {n}\u{1b}[31m\n")).collect();
        let quoted = last_lines(log.as_bytes());
        assert_eq!(quoted.lines().count(), QUOTED_LINES);
        assert!(quoted.ends_with("  line 98\\u{1b}[31m"), "{quoted}");
        assert_eq!(last_lines(b""), "  (nothing)");
    }
}
