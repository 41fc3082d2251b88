//! Calls to Docker over its socket, each with a deadline.

use std::{
    io,
    path::{Path, PathBuf},
    time::Duration,
};

use bollard::{
    API_DEFAULT_VERSION, Docker,
    errors::Error,
    models::{ContainerInspectResponse, ContainerSummary},
    query_parameters::{InspectContainerOptions, ListContainersOptions},
};
use tokio::{net::UnixStream, time::timeout};

/// Longest wait for an answer; an engine that hangs longer is called unresponsive.
const DEADLINE: Duration = Duration::from_secs(5);
/// The same in the seconds that the client wants, for the head of an answer.
const CLIENT_DEADLINE_SECS: u64 = 5;

/// Why a call failed. Retrying helps unless a permission is missing.
#[derive(Debug, thiserror::Error)]
pub enum CallError {
    /// The socket does not accept.
    #[error("cannot connect to {path}: {reason}")]
    Connect {
        /// The socket.
        path: PathBuf,
        /// Why.
        reason: String,
        /// Whether the operating system refused.
        denied: bool,
    },
    /// No answer in time.
    #[error("{call} did not answer within 5 s")]
    Deadline {
        /// Which call.
        call: &'static str,
    },
    /// An answer that says no, or none that can be read.
    #[error("{call}: {source}")]
    Refused {
        /// Which call.
        call: &'static str,
        /// The answer.
        source: Box<Error>,
    },
}

impl CallError {
    /// What would help.
    #[must_use]
    pub const fn remedy(&self) -> &'static str {
        match self {
            Self::Connect { denied: true, .. } => "run as uid 0 or give the socket's group; the standard profile does",
            Self::Connect { .. } => "check that Docker runs and that the socket is mounted",
            Self::Deadline { .. } => "Docker hangs: see its log and the node's disk",
            Self::Refused { .. } => "check that the socket is Docker's own",
        }
    }

    /// Whether Docker says that the thing does not exist.
    #[must_use]
    pub fn is_not_found(&self) -> bool {
        matches!(self, Self::Refused { source, .. }
            if matches!(**source, Error::DockerResponseServerError { status_code: 404, .. }))
    }
}

/// Connects and agrees on a version of the API; returns "Docker <version>".
pub(super) async fn connect(path: &Path) -> Result<(Docker, String), CallError> {
    let refused = |error: &io::Error| CallError::Connect {
        path: path.to_owned(),
        reason: error.to_string(),
        denied: error.kind() == io::ErrorKind::PermissionDenied,
    };
    // The client connects with its first request and hides the reason of a refusal.
    UnixStream::connect(path).await.map_err(|error| refused(&error))?;
    let client = Docker::connect_with_unix(&path.to_string_lossy(), CLIENT_DEADLINE_SECS, API_DEFAULT_VERSION)
        .map_err(|error| fail("connect", error))?;
    let client = bounded("version", client.negotiate_version()).await?;
    let version = bounded("version", client.version()).await?;
    let version = version.version.unwrap_or_default();
    let printable = version.chars().filter(char::is_ascii_graphic).take(64);
    Ok((client, format!("Docker {}", printable.collect::<String>())))
}

/// All containers, also those that do not run.
pub(super) async fn list(client: Docker) -> Result<Vec<ContainerSummary>, CallError> {
    let options = ListContainersOptions {
        all: true,
        ..ListContainersOptions::default()
    };
    bounded("list", client.list_containers(Some(options))).await
}

/// Everything about one container.
pub(super) async fn inspect(client: Docker, id: String) -> Result<ContainerInspectResponse, CallError> {
    bounded(
        "inspect",
        client.inspect_container(&id, None::<InspectContainerOptions>),
    )
    .await
}

async fn bounded<T>(call: &'static str, answer: impl Future<Output = Result<T, Error>>) -> Result<T, CallError> {
    match timeout(DEADLINE, answer).await {
        Ok(Ok(answer)) => Ok(answer),
        Ok(Err(Error::RequestTimeoutError)) | Err(_) => Err(CallError::Deadline { call }),
        Ok(Err(error)) => Err(fail(call, error)),
    }
}

fn fail(call: &'static str, error: Error) -> CallError {
    CallError::Refused {
        call,
        source: Box::new(error),
    }
}
