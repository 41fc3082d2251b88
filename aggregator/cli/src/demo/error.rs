//! Everything that keeps the demo from showing an alert.

use std::{io, path::PathBuf, process::ExitStatus, time::Duration};

use inquest_shared::text::{Lang, duration};
use thiserror::Error;

use crate::{error::Status, sandbox::SandboxError};

/// Why the demo ended without success.
#[derive(Debug, Error)]
pub(crate) enum DemoError {
    /// A program is not there; build or install it.
    #[error("{name} is not in {}", dir.display())]
    ProgramMissing {
        /// Its file name.
        name: &'static str,
        /// Where it was looked for.
        dir: PathBuf,
    },
    /// A file operation failed; retrying helps once the disk or the rights are repaired.
    #[error("cannot {action} {}", path.display())]
    Io {
        /// What was tried, as a verb.
        action: &'static str,
        /// The file or folder.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// No port of the loopback interface is free.
    #[error("no free port on 127.0.0.1")]
    NoPort(#[source] io::Error),
    /// The system gives no random numbers.
    #[error("cannot make a secret")]
    Random,
    /// The system gives no signals.
    #[error("cannot listen for signals")]
    Signals(#[source] io::Error),
    /// A program ended by itself; its own words tell why.
    #[error("{program} ended with {status}; it said:\n{said}")]
    Exited {
        /// Its name.
        program: &'static str,
        /// How it ended.
        status: ExitStatus,
        /// The end of its log.
        said: String,
    },
    /// A program runs and does not do its work; retrying may help on a busy machine.
    #[error("{program} was not ready within {}; it said:\n{said}", duration(*waited, Lang::En))]
    NotReady {
        /// Its name.
        program: &'static str,
        /// How long.
        waited: Duration,
        /// The end of its log.
        said: String,
    },
    /// The victim could not be made.
    #[error("cannot make a victim")]
    Sandbox(#[from] SandboxError),
    /// Nothing that this host allows can die in sight of a witness.
    #[error("nothing on this host can die visibly: {why}")]
    Invisible {
        /// Why not.
        why: String,
    },
    /// Time is up.
    #[error("no alert within {}: {missing}", duration(*waited, Lang::En))]
    NoAlert {
        /// How long.
        waited: Duration,
        /// What did not happen.
        missing: String,
    },
    /// Stopped before the first alert.
    #[error("stopped before the first alert")]
    Interrupted,
}

impl DemoError {
    pub(super) fn io(action: &'static str, path: impl Into<PathBuf>) -> impl FnOnce(io::Error) -> Self {
        let path = path.into();
        move |source| Self::Io { action, path, source }
    }

    /// The exit status.
    pub(crate) const fn status(&self) -> Status {
        Status::Failure
    }

    /// What to do about it, when there is something to do.
    pub(crate) fn advice(&self) -> Option<String> {
        match self {
            Self::ProgramMissing { .. } => Some(
                "build it (cargo build -p inquest-agent -p inquest-aggregator), or name its folder with INQUEST_BIN_DIR"
                    .to_owned(),
            ),
            Self::Exited { .. } | Self::NotReady { .. } | Self::NoAlert { .. } => {
                Some("run it again with --keep to look into configuration and logs".to_owned())
            }
            Self::Invisible { .. } => {
                Some("run it as root, with containerd, runc and busybox-static installed".to_owned())
            }
            _ => None,
        }
    }
}
