//! Calls to containerd over its socket, each with a deadline.

use std::{
    io,
    path::{Path, PathBuf},
    time::Duration,
};

use hyper_util::rt::TokioIo;
use inquest_proto::runtime::v1::{
    Container, ContainerStatusRequest, ContainerStatusResponse, ListContainersRequest, ListPodSandboxRequest,
    PodSandbox, PodSandboxFilter, VersionRequest, VersionResponse, runtime_service_client::RuntimeServiceClient,
};
use inquest_shared::model::clean_name;
use tokio::{net::UnixStream, time::timeout};
use tonic::{
    Code, Status,
    transport::{Channel, Endpoint, Uri},
};
use tower::service_fn;

use crate::source::cri::Dialect;

/// Longest wait for an answer; a runtime that hangs longer is called unresponsive.
const DEADLINE: Duration = Duration::from_secs(5);
/// A list of 500 containers is about 1 MB; the CRI's own client allows 16 MiB.
const MAX_ANSWER: usize = 16 * 1024 * 1024;

/// Why a call failed. Retrying helps unless a permission is missing.
#[derive(Debug, thiserror::Error)]
pub enum CallError {
    /// The socket does not accept.
    #[error("cannot connect to {path}: {reason}")]
    Connect {
        /// The socket.
        path: PathBuf,
        /// Innermost cause.
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
    /// An answer that says no.
    #[error("{call}: {status}")]
    Refused {
        /// Which call.
        call: &'static str,
        /// The answer.
        status: Box<Status>,
    },
    /// A runtime whose answers nobody has tried.
    #[error("{name} is not a runtime that Inquest knows")]
    Unknown {
        /// What it calls itself.
        name: String,
    },
}

impl CallError {
    /// What would help.
    #[must_use]
    pub fn remedy(&self) -> &'static str {
        match self {
            Self::Connect { denied: true, .. } => "run as uid 0 or give the socket's group; the standard profile does",
            Self::Connect { .. } => "check that the runtime runs and that its socket is mounted",
            Self::Deadline { .. } => "the runtime is unresponsive: see its log and the node's disk",
            Self::Refused { .. } => "check that the runtime serves CRI v1; containerd's CRI plugin can be switched off",
            Self::Unknown { .. } => "containerd, CRI-O and cri-dockerd are known",
        }
    }

    /// Whether something else than CRI v1 answers.
    #[must_use]
    pub fn is_without_cri(&self) -> bool {
        matches!(self, Self::Refused { status, .. } if status.code() == Code::Unimplemented)
    }

    /// Whether the runtime says that the thing does not exist.
    #[must_use]
    pub fn is_not_found(&self) -> bool {
        // cri-dockerd hands dockerd's words on without a code of their own.
        let gone = |status: &Status| status.code() == Code::NotFound || status.message().contains("No such container");
        matches!(self, Self::Refused { status, .. } if gone(status))
    }
}

/// Connects.
pub(super) async fn connect(path: &Path) -> Result<Channel, CallError> {
    let target = path.to_owned();
    let connector = service_fn(move |_: Uri| {
        let target = target.clone();
        async move { UnixStream::connect(target).await.map(TokioIo::new) }
    });
    // The authority is required by HTTP/2 and means nothing on a socket.
    let endpoint = Endpoint::from_static("http://localhost").connect_timeout(DEADLINE);
    endpoint
        .connect_with_connector(connector)
        .await
        .map_err(|error| connect_error(path, &error))
}

/// Asks who answers.
pub(super) async fn identify(channel: Channel) -> Result<Dialect, CallError> {
    let version = version(channel).await?;
    Dialect::of(&version).ok_or_else(|| CallError::Unknown {
        name: clean_name(&version.runtime_name),
    })
}

/// Who answers; the cheapest call there is.
pub(super) async fn version(channel: Channel) -> Result<VersionResponse, CallError> {
    bounded("Version", client(channel).version(VersionRequest::default())).await
}

fn connect_error(path: &Path, error: &tonic::transport::Error) -> CallError {
    let mut source: &dyn std::error::Error = error;
    while let Some(inner) = source.source() {
        source = inner;
    }
    let denied = source
        .downcast_ref::<io::Error>()
        .is_some_and(|e| e.kind() == io::ErrorKind::PermissionDenied);
    CallError::Connect {
        path: path.to_owned(),
        reason: source.to_string(),
        denied,
    }
}

/// All containers and all sandboxes.
pub(super) async fn list(channel: Channel) -> Result<(Vec<Container>, Vec<PodSandbox>), CallError> {
    let mut client = client(channel);
    let containers = bounded(
        "ListContainers",
        client.list_containers(ListContainersRequest::default()),
    )
    .await?;
    let sandboxes = bounded(
        "ListPodSandbox",
        client.list_pod_sandbox(ListPodSandboxRequest::default()),
    )
    .await?;
    Ok((containers.containers, sandboxes.items))
}

/// Label of containers and sandboxes that joins them.
const POD_UID: &str = "io.kubernetes.pod.uid";

/// Everything about one container: its status with host pid and runtime configuration, and its sandbox, which carries the
/// pod's labels.
pub(super) async fn inspect(
    channel: Channel,
    id: String,
) -> Result<(ContainerStatusResponse, Option<PodSandbox>), CallError> {
    let request = ContainerStatusRequest {
        container_id: id,
        verbose: true,
    };
    let mut client = client(channel);
    let answer = bounded("ContainerStatus", client.container_status(request)).await?;
    let Some(uid) = answer.status.as_ref().and_then(|s| s.labels.get(POD_UID)) else {
        return Ok((answer, None));
    };
    let label_selector = [(POD_UID.to_owned(), uid.clone())].into();
    let filter = PodSandboxFilter {
        label_selector,
        ..PodSandboxFilter::default()
    };
    let request = ListPodSandboxRequest { filter: Some(filter) };
    let sandboxes = bounded("ListPodSandbox", client.list_pod_sandbox(request)).await?;
    Ok((answer, sandboxes.items.into_iter().next()))
}

/// Status of one container.
pub(super) async fn status(channel: Channel, id: String) -> Result<ContainerStatusResponse, CallError> {
    let request = ContainerStatusRequest {
        container_id: id,
        verbose: false,
    };
    bounded("ContainerStatus", client(channel).container_status(request)).await
}

fn client(channel: Channel) -> RuntimeServiceClient<Channel> {
    RuntimeServiceClient::new(channel).max_decoding_message_size(MAX_ANSWER)
}

async fn bounded<T>(
    call: &'static str,
    answer: impl Future<Output = Result<tonic::Response<T>, Status>>,
) -> Result<T, CallError> {
    match timeout(DEADLINE, answer).await {
        Ok(Ok(response)) => Ok(response.into_inner()),
        Ok(Err(status)) => Err(CallError::Refused {
            call,
            status: Box::new(status),
        }),
        Err(_elapsed) => Err(CallError::Deadline { call }),
    }
}
