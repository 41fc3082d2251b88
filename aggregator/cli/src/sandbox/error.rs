//! Everything that can go wrong with a private runtime.

use std::io;
use std::path::{Path, PathBuf};
use std::process::ExitStatus;
use std::time::Duration;

use super::requirements::Missing;
use super::sweep::Leftovers;

/// Why the sandbox could not do what it was asked.
#[derive(Debug, thiserror::Error)]
pub enum SandboxError {
    /// The host lacks something. Retrying helps only after it was installed.
    #[error("cannot run a container runtime here")]
    Missing(#[from] Missing),
    /// The folder cannot hold a runtime. Another folder helps, retrying does not.
    #[error("{path} cannot hold a container runtime: {reason}", path = .path.display())]
    UnusableDir {
        /// The folder that was given.
        path: PathBuf,
        /// What is wrong with it.
        reason: &'static str,
    },
    /// A file operation failed. Retrying rarely helps.
    #[error("cannot {action} {path}", path = .path.display())]
    Io {
        /// What was tried, as a verb.
        action: &'static str,
        /// The file or folder.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// A program ended with a failure. Its own words tell whether retrying helps.
    #[error("{program} failed with {status}: {stderr}")]
    Program {
        /// Name of the program.
        program: &'static str,
        /// How it ended.
        status: ExitStatus,
        /// What it wrote to its standard error, at most the last 2 KiB.
        stderr: String,
    },
    /// Something did not happen in time. Retrying may help on a busy machine.
    #[error("{what} not seen within {waited:?}; last state: {last}")]
    Timeout {
        /// What was waited for.
        what: &'static str,
        /// How long.
        waited: Duration,
        /// What was seen instead, or the end of the runtime's log.
        last: String,
    },
    /// The runtime refused a call. `UNAVAILABLE` may be retried.
    #[error("the runtime refused {call}")]
    Call {
        /// Name of the CRI call.
        call: &'static str,
        /// The answer.
        #[source]
        source: Box<tonic::Status>,
    },
    /// The runtime's answer lacks a part that the protocol promises. Retrying does not help.
    #[error("the answer to {call} has no {part}")]
    Incomplete {
        /// Name of the CRI call.
        call: &'static str,
        /// The missing part.
        part: &'static str,
    },
    /// No memory controller is mounted, or it may not be used here. Retrying does not help.
    #[error("no usable memory cgroup controller on this host")]
    NoMemoryController,
    /// Cleaning up did not take everything away. Repeating it may help.
    #[error("left behind: {0}")]
    LeftBehind(Leftovers),
}

impl SandboxError {
    /// Wraps an error of a file operation.
    pub(super) fn io(action: &'static str, path: &Path, source: io::Error) -> Self {
        Self::Io {
            action,
            path: path.to_owned(),
            source,
        }
    }
}
