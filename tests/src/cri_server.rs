//! A stand-in for runtimes that cannot be had: serves CRI on a unix socket as CRI-O and cri-dockerd document it. It keeps the
//! containers of one pod, tells their ends as events, and notes every call.
//!
//! It stands for what the public sources say (`server/container_events.go` of CRI-O; cri-dockerd has no event stream), and
//! proves nothing about the real programs.

use std::{
    collections::BTreeMap,
    path::Path,
    pin::Pin,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use anyhow::{Context as _, Result};
use inquest_proto::runtime::v1::{
    self as cri,
    runtime_service_server::{RuntimeService, RuntimeServiceServer},
};
use tokio::{net::UnixListener, sync::mpsc, task::JoinHandle};
use tokio_stream::wrappers::{ReceiverStream, UnixListenerStream};
use tonic::{Request, Response, Status, transport::Server};

/// Id of the one sandbox.
const SANDBOX: &str = "5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a";
/// Events that wait for one reader; CRI-O has room for 1,000 for all.
const EVENTS: usize = 1000;

/// How a runtime treats `GetContainerEvents`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Events {
    /// CRI-O with `enable_pod_events = true`.
    Sent,
    /// CRI-O without: the stream ends at once, without an error.
    EndAtOnce,
    /// cri-dockerd.
    Refused,
}

/// A running stand-in; it ends when it is dropped.
#[derive(Debug)]
pub struct CriServer {
    shared: Arc<Shared>,
    server: JoinHandle<()>,
}

#[derive(Debug)]
struct Shared {
    name: &'static str,
    version: &'static str,
    events: Events,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    containers: BTreeMap<String, cri::ContainerStatus>,
    readers: Vec<mpsc::Sender<Result<cri::ContainerEventResponse, Status>>>,
    calls: Vec<&'static str>,
}

/// What the service shares with its owner.
#[derive(Clone)]
struct Service(Arc<Shared>);

impl CriServer {
    /// Serves as the runtime `name` in `version` on `socket`.
    ///
    /// # Errors
    /// When the socket cannot be made.
    pub fn start(socket: &Path, name: &'static str, version: &'static str, events: Events) -> Result<Self> {
        let listener = UnixListener::bind(socket).with_context(|| format!("cannot listen on {}", socket.display()))?;
        let state = Mutex::default();
        let shared = Arc::new(Shared {
            name,
            version,
            events,
            state,
        });
        let service = RuntimeServiceServer::new(Service(Arc::clone(&shared)));
        let serving = Server::builder()
            .add_service(service)
            .serve_with_incoming(UnixListenerStream::new(listener));
        let server = tokio::spawn(async move {
            // Ends only with the task.
            serving.await.unwrap_or_default();
        });
        Ok(Self { shared, server })
    }

    /// A container runs.
    pub fn run(&self, id: &str, container: &str) {
        let label = |key: &str, value: &str| (key.to_owned(), value.to_owned());
        let status = cri::ContainerStatus {
            id: id.to_owned(),
            metadata: Some(cri::ContainerMetadata {
                name: container.to_owned(),
                attempt: 0,
            }),
            state: cri::ContainerState::ContainerRunning.into(),
            started_at: 1_767_225_600_000_000_000,
            labels: [
                label("io.kubernetes.pod.name", "web-7d4b9c-abcde"),
                label("io.kubernetes.pod.namespace", "shop"),
                label("io.kubernetes.pod.uid", "0b6f2d1e-4a57-4f0e-9a55-6c1f0a7d9e21"),
                label("io.kubernetes.container.name", container),
            ]
            .into(),
            ..cri::ContainerStatus::default()
        };
        self.shared.state().containers.insert(id.to_owned(), status);
        self.shared.send(id, cri::ContainerEventType::ContainerStartedEvent);
    }

    /// A container ends at `finished_at` nanoseconds.
    pub fn end(&self, id: &str, exit_code: i32, finished_at: i64) {
        if let Some(status) = self.shared.state().containers.get_mut(id) {
            status.state = cri::ContainerState::ContainerExited.into();
            status.exit_code = exit_code;
            status.finished_at = finished_at;
            "Error".clone_into(&mut status.reason);
        }
        self.shared.send(id, cri::ContainerEventType::ContainerStoppedEvent);
    }

    /// A container is forgotten.
    pub fn remove(&self, id: &str) {
        self.shared.state().containers.remove(id);
        self.shared.send(id, cri::ContainerEventType::ContainerDeletedEvent);
    }

    /// Names of all calls so far.
    #[must_use]
    pub fn calls(&self) -> Vec<&'static str> {
        self.shared.state().calls.clone()
    }

    /// How many readers the event stream has.
    #[must_use]
    pub fn readers(&self) -> usize {
        self.shared.state().readers.len()
    }
}

impl Drop for CriServer {
    fn drop(&mut self) {
        self.server.abort();
    }
}

impl Shared {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn note(&self, call: &'static str) {
        self.state().calls.push(call);
    }

    fn send(&self, id: &str, kind: cri::ContainerEventType) {
        let mut state = self.state();
        let event = cri::ContainerEventResponse {
            container_id: id.to_owned(),
            container_event_type: kind.into(),
            created_at: 1,
            pod_sandbox_status: Some(cri::PodSandboxStatus {
                id: SANDBOX.to_owned(),
                labels: sandbox().labels,
                ..cri::PodSandboxStatus::default()
            }),
            containers_statuses: state.containers.values().cloned().collect(),
        };
        state
            .readers
            .retain(|reader| reader.try_send(Ok(event.clone())).is_ok());
    }
}

fn sandbox() -> cri::PodSandbox {
    let label = |key: &str, value: &str| (key.to_owned(), value.to_owned());
    cri::PodSandbox {
        id: SANDBOX.to_owned(),
        labels: [
            label("io.kubernetes.pod.uid", "0b6f2d1e-4a57-4f0e-9a55-6c1f0a7d9e21"),
            label("pod-template-hash", "7d4b9c"),
        ]
        .into(),
        ..cri::PodSandbox::default()
    }
}

/// An answer as the generated trait wants it, for methods that a macro writes.
type Answer<'f, T> = Pin<Box<dyn Future<Output = Result<Response<T>, Status>> + Send + 'f>>;

/// Calls that an observer has no use for: an agent that makes one fails the test by its name in the list of calls.
macro_rules! refused {
    ($($call:ident($request:ident) -> $answer:ident;)+) => {
        $(fn $call<'s, 'f>(&'s self, _: Request<cri::$request>) -> Answer<'f, cri::$answer>
        where
            's: 'f,
            Self: 'f,
        {
            self.0.note(stringify!($call));
            Box::pin(std::future::ready(Err(Status::permission_denied("an observer changes nothing"))))
        })+
    };
}

#[tonic::async_trait]
impl RuntimeService for Service {
    type GetContainerEventsStream = ReceiverStream<Result<cri::ContainerEventResponse, Status>>;

    async fn version(&self, _: Request<cri::VersionRequest>) -> Result<Response<cri::VersionResponse>, Status> {
        self.0.note("version");
        Ok(Response::new(cri::VersionResponse {
            version: "0.1.0".to_owned(),
            runtime_name: self.0.name.to_owned(),
            runtime_version: self.0.version.to_owned(),
            runtime_api_version: "v1".to_owned(),
        }))
    }

    async fn list_containers(
        &self,
        _: Request<cri::ListContainersRequest>,
    ) -> Result<Response<cri::ListContainersResponse>, Status> {
        self.0.note("list_containers");
        let state = self.0.state();
        let containers = state.containers.values().map(|status| cri::Container {
            id: status.id.clone(),
            pod_sandbox_id: SANDBOX.to_owned(),
            state: status.state,
            ..cri::Container::default()
        });
        let containers = containers.collect();
        Ok(Response::new(cri::ListContainersResponse { containers }))
    }

    async fn list_pod_sandbox(
        &self,
        _: Request<cri::ListPodSandboxRequest>,
    ) -> Result<Response<cri::ListPodSandboxResponse>, Status> {
        self.0.note("list_pod_sandbox");
        let items = vec![sandbox()];
        Ok(Response::new(cri::ListPodSandboxResponse { items }))
    }

    async fn container_status(
        &self,
        request: Request<cri::ContainerStatusRequest>,
    ) -> Result<Response<cri::ContainerStatusResponse>, Status> {
        let id = request.into_inner().container_id;
        self.0.note("container_status");
        let status = self.0.state().containers.get(&id).cloned();
        let status = Some(status.ok_or_else(|| Status::not_found(id))?);
        let info = std::collections::HashMap::new();
        Ok(Response::new(cri::ContainerStatusResponse { status, info }))
    }

    async fn get_container_events(
        &self,
        _: Request<cri::GetEventsRequest>,
    ) -> Result<Response<Self::GetContainerEventsStream>, Status> {
        self.0.note("get_container_events");
        let mut state = self.0.state();
        let (reader, events) = mpsc::channel(EVENTS);
        match self.0.events {
            Events::Sent => state.readers.push(reader),
            Events::EndAtOnce => {}
            Events::Refused => return Err(Status::unimplemented("unknown method GetContainerEvents")),
        }
        Ok(Response::new(ReceiverStream::new(events)))
    }

    refused! {
        status(StatusRequest) -> StatusResponse;
        pod_sandbox_status(PodSandboxStatusRequest) -> PodSandboxStatusResponse;
        run_pod_sandbox(RunPodSandboxRequest) -> RunPodSandboxResponse;
        stop_pod_sandbox(StopPodSandboxRequest) -> StopPodSandboxResponse;
        remove_pod_sandbox(RemovePodSandboxRequest) -> RemovePodSandboxResponse;
        create_container(CreateContainerRequest) -> CreateContainerResponse;
        start_container(StartContainerRequest) -> StartContainerResponse;
        stop_container(StopContainerRequest) -> StopContainerResponse;
        remove_container(RemoveContainerRequest) -> RemoveContainerResponse;
        exec_sync(ExecSyncRequest) -> ExecSyncResponse;
    }
}
