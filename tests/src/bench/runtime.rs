//! The runtime that a bench plays with: containerd through CRI, or Docker. Owns what making, starting, asking and removing
//! a container means for each.

use std::{path::Path, time::Duration};

use anyhow::{Context as _, Result};
use inquest_cli::sandbox::{Container, ContainerSpec, Containerd, Cri, Pod, PodSpec};
use inquest_shared::clock::UnixNanos;
use rustix::process::Pid;

use crate::{Dockerd, dockerd};

/// How long a container may take to be recorded as ended.
const ENDED_WITHIN: Duration = Duration::from_secs(30);

/// A private runtime of the bench.
pub(super) enum Runtime {
    Containerd(Box<Containerd>),
    Docker(Dockerd),
}

/// A container that was made.
#[derive(Debug)]
pub(super) struct Made {
    pub(super) id: String,
    /// The same for CRI.
    container: Option<Container>,
}

impl Runtime {
    /// Starts one in a folder.
    ///
    /// # Errors
    /// What is missing or did not come up.
    pub(super) async fn start(dir: &Path, docker: bool) -> Result<Self> {
        let folder = dir.join("r");
        std::fs::create_dir_all(&folder)?;
        Ok(match docker {
            false => Self::Containerd(Box::new(
                Containerd::start(&folder).await.context("private containerd")?,
            )),
            true => {
                let parent = format!("/inquest-bench-{}", std::process::id());
                Self::Docker(
                    Dockerd::start(&folder, &parent, None)
                        .await
                        .context("private dockerd")?,
                )
            }
        })
    }

    /// The agent's sources for it, each with its socket. Docker has a containerd of its own, as on a host.
    pub(super) fn sockets(&self) -> Vec<(&'static str, String)> {
        let shown = |path: &Path| path.display().to_string();
        match self {
            Self::Containerd(runtime) => vec![("containerd", shown(&runtime.socket()))],
            Self::Docker(runtime) => vec![
                ("docker", shown(&runtime.socket())),
                ("containerd", shown(&runtime.containerd_socket())),
            ],
        }
    }

    /// The names of those sources.
    pub(super) fn sources(&self) -> Vec<&'static str> {
        self.sockets().into_iter().map(|(source, _)| source).collect()
    }

    /// The client of a containerd.
    ///
    /// # Errors
    /// For Docker.
    pub(super) fn cri(&self) -> Result<&Cri> {
        match self {
            Self::Containerd(runtime) => Ok(runtime.cri()),
            Self::Docker(_) => anyhow::bail!("this bench needs containerd"),
        }
    }

    /// Makes what holds the containers of a round: a pod, and nothing in Docker.
    ///
    /// # Errors
    /// When the runtime refuses.
    pub(super) async fn make_pod(&self, name: &str, round: u32) -> Result<Option<Pod>> {
        match self {
            Self::Containerd(runtime) => Ok(Some(runtime.cri().run_pod(&PodSpec::new(name, name, round)).await?)),
            Self::Docker(_) => Ok(None),
        }
    }

    /// Makes a container in the pod of its round.
    ///
    /// # Errors
    /// When the runtime refuses.
    pub(super) async fn create(&self, pod: Option<&Pod>, group: &str, spec: &ContainerSpec) -> Result<Made> {
        match self {
            Self::Containerd(runtime) => {
                let container = runtime.cri().create(pod.context("no pod")?, spec).await?;
                Ok(Made {
                    id: container.id.clone(),
                    container: Some(container),
                })
            }
            Self::Docker(runtime) => {
                // Namespaces of workloads are the projects of Compose, and their open incidents are capped.
                let project = format!("com.docker.compose.project={group}");
                let service = format!("com.docker.compose.service={}", spec.name);
                let mut args = vec!["create", "--network", "none", "--label", &project, "--label", &service];
                let limit = spec.memory_limit_bytes.map(|bytes| bytes.to_string());
                if let Some(limit) = &limit {
                    args.extend(["--memory", limit]);
                }
                args.push(dockerd::IMAGE);
                args.extend(spec.command.iter().map(String::as_str));
                let id = runtime.docker(&args)?.trim().to_owned();
                Ok(Made { id, container: None })
            }
        }
    }

    /// Starts a container.
    ///
    /// # Errors
    /// When the runtime refuses.
    pub(super) async fn run(&self, made: &Made) -> Result<()> {
        match (self, &made.container) {
            (Self::Containerd(runtime), Some(container)) => Ok(runtime.cri().start(container).await?),
            (Self::Docker(runtime), _) => runtime.docker(&["start", &made.id]).map(|_| ()),
            (Self::Containerd(_), None) => anyhow::bail!("a container of another runtime"),
        }
    }

    /// First process of a running container.
    ///
    /// # Errors
    /// When there is none.
    pub(super) async fn first_process(&self, made: &Made) -> Result<Pid> {
        let pid: i32 = match (self, &made.container) {
            (Self::Containerd(runtime), Some(container)) => {
                let info = runtime.cri().status(container).await?.info;
                let info = info.get("info").context("the runtime gives no details")?;
                let info: serde_json::Value = serde_json::from_str(info)?;
                i32::try_from(info["pid"].as_i64().unwrap_or_default())?
            }
            _ => self.ask(made, "{{.State.Pid}}")?.parse()?,
        };
        Pid::from_raw(pid).context("the runtime names no first process")
    }

    /// When a container ended, as the runtime recorded it; waits for the record.
    ///
    /// # Errors
    /// When it has none within 30 s.
    pub(super) async fn ended_at(&self, made: &Made) -> Result<Option<i64>> {
        let at = match (self, &made.container) {
            (Self::Containerd(runtime), Some(container)) => {
                runtime.cri().wait_exit(container, ENDED_WITHIN).await?.finished_at
            }
            (Self::Docker(runtime), _) => {
                runtime.docker(&["wait", &made.id])?;
                UnixNanos::parse(&self.ask(made, "{{.State.FinishedAt}}")?).map_or(0, UnixNanos::as_nanos)
            }
            (Self::Containerd(_), None) => 0,
        };
        Ok((at > 0).then_some(at))
    }

    fn ask(&self, made: &Made, format: &str) -> Result<String> {
        match self {
            Self::Docker(runtime) => {
                let answer = runtime.docker(&["inspect", "--format", format, &made.id])?;
                Ok(answer.trim().to_owned())
            }
            Self::Containerd(_) => anyhow::bail!("a container of another runtime"),
        }
    }

    /// Takes the containers of a round away.
    ///
    /// # Errors
    /// When the runtime refuses.
    pub(super) async fn remove<'a>(&self, pod: Option<&str>, made: impl Iterator<Item = &'a Made>) -> Result<()> {
        match (self, pod) {
            (Self::Containerd(runtime), Some(pod)) => Ok(runtime.cri().remove_pod(pod).await?),
            (Self::Containerd(_), None) => Ok(()),
            (Self::Docker(runtime), _) => {
                let mut args = vec!["rm", "--force"];
                args.extend(made.map(|made| made.id.as_str()));
                runtime.docker(&args).map(|_| ())
            }
        }
    }

    /// Ends it.
    ///
    /// # Errors
    /// What stayed behind.
    pub(super) async fn stop(self) -> Result<()> {
        match self {
            Self::Containerd(runtime) => Ok(runtime.stop().await?),
            Self::Docker(runtime) => {
                drop(runtime);
                Ok(())
            }
        }
    }
}
