//! A client of the container runtime interface, as far as making and ending pods needs it.
//!
//! Owns the connection and the order of calls. Must not know which runtime answers or how it was started.

use std::path::Path;
use std::time::{Duration, Instant};

use hyper_util::rt::TokioIo;
use inquest_proto::runtime::v1 as wire;
use inquest_proto::runtime::v1::image_service_client::ImageServiceClient;
use inquest_proto::runtime::v1::runtime_service_client::RuntimeServiceClient;
use tokio::net::UnixStream;
use tonic::transport::{Channel, Endpoint, Uri};
use tower::service_fn;

use super::error::SandboxError;
use super::pod::{Container, ContainerSpec, Node, Pod, PodSpec};

/// Making a sandbox is the slowest call; two minutes are the kubelet's own limit (`--runtime-request-timeout`).
const CALL_TIMEOUT: Duration = Duration::from_secs(120);

/// How often a state is asked for while waiting for it.
const POLL: Duration = Duration::from_millis(10);

/// What a command inside a container said.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ExecOutput {
    /// Exit code of the command.
    pub exit_code: i32,
    /// Standard output; the runtime caps it at 16 MiB.
    pub stdout: Vec<u8>,
    /// Standard error; the runtime caps it at 16 MiB.
    pub stderr: Vec<u8>,
}

/// A connection to the runtime of one sandbox. Cheap to clone; survives a restart of the runtime.
#[derive(Debug, Clone)]
pub struct Cri {
    runtime: RuntimeServiceClient<Channel>,
    images: ImageServiceClient<Channel>,
    node: Node,
}

fn refused(call: &'static str) -> impl FnOnce(tonic::Status) -> SandboxError {
    move |source| SandboxError::Call {
        call,
        source: Box::new(source),
    }
}

impl Cri {
    /// Prepares a connection; it is opened by the first call and again after every loss.
    pub(super) fn new(socket: &Path, node: Node) -> Self {
        let socket = socket.to_owned();
        let connect = service_fn(move |_: Uri| {
            let socket = socket.clone();
            async move { UnixStream::connect(socket).await.map(TokioIo::new) }
        });
        // The address only fills the HTTP authority header, which Go's server wants to be well-formed.
        let endpoint = Endpoint::from_static("http://localhost").timeout(CALL_TIMEOUT);
        let channel = endpoint.connect_with_connector_lazy(connect);
        Self {
            runtime: RuntimeServiceClient::new(channel.clone()),
            images: ImageServiceClient::new(channel),
            node,
        }
    }

    /// Asks the runtime who it is.
    ///
    /// # Errors
    /// [`SandboxError::Call`] while the runtime does not answer; retrying helps.
    pub async fn version(&self) -> Result<wire::VersionResponse, SandboxError> {
        let request = wire::VersionRequest {
            version: "v1".to_owned(),
        };
        let answer = self
            .runtime
            .clone()
            .version(request)
            .await
            .map_err(refused("Version"))?;
        Ok(answer.into_inner())
    }

    /// Whether the runtime can make containers of an image.
    ///
    /// # Errors
    /// [`SandboxError::Call`] when the runtime does not answer; retrying helps.
    pub async fn has_image(&self, name: &str) -> Result<bool, SandboxError> {
        let image = wire::ImageSpec {
            image: name.to_owned(),
            ..Default::default()
        };
        let request = wire::ImageStatusRequest { image: Some(image) };
        let answer = self
            .images
            .clone()
            .image_status(request)
            .await
            .map_err(refused("ImageStatus"))?;
        Ok(answer.into_inner().image.is_some())
    }

    /// Makes a pod and starts its containers in their order.
    ///
    /// # Errors
    /// [`SandboxError::Call`] when the runtime refuses; what was made until then stays and ends with the sandbox.
    pub async fn run_pod(&self, spec: &PodSpec) -> Result<Pod, SandboxError> {
        let config = self.node.pod_config(spec);
        let request = wire::RunPodSandboxRequest {
            config: Some(config.clone()),
            runtime_handler: String::new(),
        };
        let answer = self
            .runtime
            .clone()
            .run_pod_sandbox(request)
            .await
            .map_err(refused("RunPodSandbox"))?;
        let id = answer.into_inner().pod_sandbox_id;
        let mut pod = Pod {
            id,
            spec: spec.clone(),
            containers: Vec::new(),
            config,
        };
        for container in &spec.containers {
            let container = self.create(&pod, container).await?;
            self.start(&container).await?;
            pod.containers.push(container);
        }
        Ok(pod)
    }

    /// Makes a container in a pod without starting it.
    ///
    /// # Errors
    /// [`SandboxError::Call`], for instance `NOT_FOUND` for an image that was not imported.
    pub async fn create(&self, pod: &Pod, spec: &ContainerSpec) -> Result<Container, SandboxError> {
        let request = wire::CreateContainerRequest {
            pod_sandbox_id: pod.id.clone(),
            config: Some(self.node.container_config(&pod.spec, spec)),
            sandbox_config: Some(pod.config.clone()),
        };
        let answer = self
            .runtime
            .clone()
            .create_container(request)
            .await
            .map_err(refused("CreateContainer"))?;
        Ok(self.node.container(&pod.spec, spec, answer.into_inner().container_id))
    }

    /// Starts a container that was created.
    ///
    /// # Errors
    /// [`SandboxError::Call`], for instance when the program does not exist in the image.
    pub async fn start(&self, container: &Container) -> Result<(), SandboxError> {
        let request = wire::StartContainerRequest {
            container_id: container.id.clone(),
        };
        self.runtime
            .clone()
            .start_container(request)
            .await
            .map_err(refused("StartContainer"))?;
        Ok(())
    }

    /// Asks a container to end, and has it killed after `grace` (whole seconds).
    ///
    /// # Errors
    /// [`SandboxError::Call`]; repeating it is harmless.
    pub async fn stop(&self, container: &Container, grace: Duration) -> Result<(), SandboxError> {
        let timeout = i64::try_from(grace.as_secs()).unwrap_or(i64::MAX);
        let request = wire::StopContainerRequest {
            container_id: container.id.clone(),
            timeout,
        };
        self.runtime
            .clone()
            .stop_container(request)
            .await
            .map_err(refused("StopContainer"))?;
        Ok(())
    }

    /// Forgets a container, ending it first if it runs.
    ///
    /// # Errors
    /// [`SandboxError::Call`]; repeating it is harmless.
    pub async fn remove(&self, container: &Container) -> Result<(), SandboxError> {
        let request = wire::RemoveContainerRequest {
            container_id: container.id.clone(),
        };
        self.runtime
            .clone()
            .remove_container(request)
            .await
            .map_err(refused("RemoveContainer"))?;
        Ok(())
    }

    /// Runs a command inside a running container and waits for its end, at most `timeout` (whole seconds, 0 is no limit).
    ///
    /// # Errors
    /// [`SandboxError::Call`], for instance `DEADLINE_EXCEEDED` after the timeout.
    pub async fn exec(
        &self,
        container: &Container,
        command: &[&str],
        timeout: Duration,
    ) -> Result<ExecOutput, SandboxError> {
        let request = wire::ExecSyncRequest {
            container_id: container.id.clone(),
            cmd: command.iter().map(ToString::to_string).collect(),
            timeout: i64::try_from(timeout.as_secs()).unwrap_or(i64::MAX),
        };
        let answer = self
            .runtime
            .clone()
            .exec_sync(request)
            .await
            .map_err(refused("ExecSync"))?
            .into_inner();
        Ok(ExecOutput {
            exit_code: answer.exit_code,
            stdout: answer.stdout,
            stderr: answer.stderr,
        })
    }

    /// What the runtime says about a container, with the verbose `info`.
    ///
    /// # Errors
    /// [`SandboxError::Call`], `NOT_FOUND` for a removed container.
    pub async fn status(&self, container: &Container) -> Result<wire::ContainerStatusResponse, SandboxError> {
        let request = wire::ContainerStatusRequest {
            container_id: container.id.clone(),
            verbose: true,
        };
        let answer = self
            .runtime
            .clone()
            .container_status(request)
            .await
            .map_err(refused("ContainerStatus"))?;
        Ok(answer.into_inner())
    }

    /// Waits until a container has ended.
    ///
    /// # Errors
    /// [`SandboxError::Timeout`] when it still runs after `timeout`; [`SandboxError::Call`].
    pub async fn wait_exit(
        &self,
        container: &Container,
        timeout: Duration,
    ) -> Result<wire::ContainerStatus, SandboxError> {
        let begin = Instant::now();
        loop {
            let status = self.status(container).await?.status;
            let status = status.ok_or(SandboxError::Incomplete {
                call: "ContainerStatus",
                part: "status",
            })?;
            if status.state() == wire::ContainerState::ContainerExited {
                return Ok(status);
            }
            if begin.elapsed() >= timeout {
                let last = format!("{:?}", status.state());
                return Err(SandboxError::Timeout {
                    what: "the end of a container",
                    waited: timeout,
                    last,
                });
            }
            tokio::time::sleep(POLL).await;
        }
    }

    /// Ends a pod with everything in it and forgets it.
    ///
    /// # Errors
    /// [`SandboxError::Call`]; repeating it is harmless.
    pub async fn remove_pod(&self, pod_id: &str) -> Result<(), SandboxError> {
        let mut runtime = self.runtime.clone();
        let request = wire::StopPodSandboxRequest {
            pod_sandbox_id: pod_id.to_owned(),
        };
        runtime
            .stop_pod_sandbox(request)
            .await
            .map_err(refused("StopPodSandbox"))?;
        let request = wire::RemovePodSandboxRequest {
            pod_sandbox_id: pod_id.to_owned(),
        };
        runtime
            .remove_pod_sandbox(request)
            .await
            .map_err(refused("RemovePodSandbox"))?;
        Ok(())
    }

    /// Ids of all pods.
    ///
    /// # Errors
    /// [`SandboxError::Call`]; retrying helps.
    pub async fn pods(&self) -> Result<Vec<String>, SandboxError> {
        let request = wire::ListPodSandboxRequest { filter: None };
        let answer = self
            .runtime
            .clone()
            .list_pod_sandbox(request)
            .await
            .map_err(refused("ListPodSandbox"))?;
        Ok(answer.into_inner().items.into_iter().map(|pod| pod.id).collect())
    }
}
