//! Everything that the demo started, so that all of it can be ended.

use std::{path::PathBuf, time::Duration};

use inquest_proto::ingest::v1::SourceStatus;
use tempfile::TempDir;

use super::{DemoError, ports::Ports, process::Program, ready, receiver::Receiver, setup::Folder, trigger::Means};
use crate::{
    client::Client,
    error::CliError,
    output::{nodes, talk},
    sandbox::{BareCgroup, Containerd},
};

const AGGREGATOR: &str = "inquest-aggregator";
const AGENT: &str = "inquest-agent";

/// How far the demo got, for when its time is up.
#[derive(Debug, Default)]
pub(super) struct Progress {
    /// What the agent can see.
    pub(super) sources: Vec<SourceStatus>,
    /// The incident that should be told, with the state of its notification.
    pub(super) incident: Option<String>,
}

impl Progress {
    /// What did not happen.
    pub(super) fn missing(&self) -> String {
        if self.sources.is_empty() {
            return "the programs did not start in time".to_owned();
        }
        let sources = nodes::sources(&self.sources, inquest_shared::text::Lang::En);
        match &self.incident {
            Some(incident) => incident.clone(),
            None => format!("no incident was opened; evidence: {sources}"),
        }
    }
}

/// What runs.
pub(super) struct Stage {
    pub(super) ports: Ports,
    pub(super) means: Means,
    pub(super) progress: Progress,
    pub(super) runtime: Option<Containerd>,
    pub(super) cgroup: Option<BareCgroup>,
    aggregator: Option<Program>,
    agent: Option<Program>,
    receiver: Option<Receiver>,
    folder: Folder,
    // Last, so that what lies in it is ended before it goes.
    dir: TempDir,
}

impl Stage {
    /// Makes the folder.
    pub(super) fn open() -> Result<Self, DemoError> {
        let base = std::env::temp_dir();
        let dir = tempfile::Builder::new().prefix("inquest-demo-").tempdir_in(&base);
        let dir = dir.map_err(DemoError::io("make a folder in", base))?;
        Ok(Self {
            ports: Ports::usual()?,
            means: Means::Nothing,
            progress: Progress::default(),
            runtime: None,
            cgroup: None,
            aggregator: None,
            agent: None,
            receiver: None,
            folder: Folder::new(dir.path()),
            dir,
        })
    }

    /// The database.
    pub(super) fn database(&self) -> PathBuf {
        self.folder.database()
    }

    /// Alerts that the receiver took.
    pub(super) fn alerts(&self) -> u64 {
        self.receiver.as_ref().map_or(0, Receiver::taken)
    }

    /// Starts receiver and aggregator and waits until it answers.
    pub(super) async fn start_aggregator(&mut self) -> Result<Client, CliError> {
        self.folder.write_secret()?;
        let receiver = self.receiver.insert(Receiver::start().await?);
        let url = receiver.url().to_owned();
        match self.launch_aggregator(&url).await {
            // Somebody else was faster with one of the usual ports.
            Err(CliError::Demo(DemoError::Exited { .. })) => {
                self.ports = Ports::free()?;
                self.launch_aggregator(&url).await
            }
            outcome => outcome,
        }
    }

    async fn launch_aggregator(&mut self, webhook: &str) -> Result<Client, CliError> {
        self.folder.write_aggregator(self.ports, webhook)?;
        let config = self.folder.aggregator_config();
        let program = Program::start(AGGREGATOR, &config, self.folder.log("aggregator"))?;
        ready::aggregator(self.aggregator.insert(program), self.ports.api).await
    }

    /// Starts a private container runtime when the means need one; where it does not come up, the next best remains.
    pub(super) async fn start_runtime(&mut self) {
        if self.means != Means::Container {
            return;
        }
        let dir = self.folder.runtime();
        let started = match std::fs::create_dir(&dir) {
            Ok(()) => Containerd::start(&dir).await.map_err(anyhow::Error::new),
            Err(error) => Err(anyhow::Error::new(error)),
        };
        match started {
            Ok(runtime) => self.runtime = Some(runtime),
            Err(error) => {
                self.means = Means::Cgroup {
                    why: format!("{error:#}"),
                }
            }
        }
    }

    /// Starts the agent and waits until the aggregator knows what it sees.
    pub(super) async fn start_agent(&mut self, client: &Client) -> Result<Vec<SourceStatus>, CliError> {
        let socket = self.runtime.as_ref().map(Containerd::socket);
        self.folder.write_agent(self.ports, socket.as_deref())?;
        let program = Program::start(AGENT, &self.folder.agent_config(), self.folder.log("agent"))?;
        ready::agent(self.agent.insert(program), client, socket.is_some()).await
    }

    /// Fails when one of the programs has ended.
    pub(super) fn check(&mut self) -> Result<(), DemoError> {
        self.aggregator
            .iter_mut()
            .chain(&mut self.agent)
            .try_for_each(Program::check)
    }

    /// Ends all in order. The agent goes first: the end of the victim's pod is not news.
    pub(super) async fn stop(&mut self) {
        if let Some(agent) = self.agent.take() {
            agent.stop().await;
        }
        if let Some(aggregator) = self.aggregator.take() {
            aggregator.stop().await;
        }
        self.receiver = None;
        if let Some(cgroup) = self.cgroup.take() {
            let removed = tokio::task::spawn_blocking(|| cgroup.remove()).await;
            if !matches!(removed, Ok(Ok(()))) {
                talk(&format!("a cgroup is left: {removed:?}"));
            }
        }
        if let Some(runtime) = self.runtime.take()
            && let Err(error) = runtime.stop().await
        {
            talk(&format!(
                "something of the private container runtime is left: {:#}",
                anyhow::Error::new(error)
            ));
        }
    }

    /// Removes the folder, or says where it is.
    pub(super) fn close(self, keep: bool) {
        let Self {
            runtime,
            cgroup,
            aggregator,
            agent,
            receiver,
            dir,
            ..
        } = self;
        // Of these there is something left only after a second signal.
        drop((agent, aggregator, receiver, cgroup, runtime));
        if keep {
            return talk(&format!("kept: {}", dir.keep().display()));
        }
        let path = dir.path().to_owned();
        if let Err(error) = dir.close() {
            talk(&format!("cannot remove {}: {error}", path.display()));
        }
    }
}

/// Time between two looks at something that is awaited.
pub(super) const POLL: Duration = Duration::from_millis(20);
