//! Aggregator, agent and a private containerd with the shipped defaults. Owns their configuration and their start.
//!
//! Set are only addresses, paths and names, without which nothing runs; no key that changes how fast something is.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
    time::Duration,
};

use anyhow::{Context as _, Result, bail, ensure};
use inquest_proto::{
    ingest::v1::{Finding, SourceState},
    query::v1::{ListFindingsRequest, ListNodesRequest, query_service_client::QueryServiceClient},
};
use sha2::{Digest as _, Sha256};

use super::{receiver::SECRET, runtime::Runtime};
use crate::{Process, free_port, http, kernel_lines::ReaderCounters, wait_for};

/// How long the programs may take to come up on a busy machine.
const READY_WITHIN: Duration = Duration::from_secs(60);
/// What the agent must see before a bench begins, beside the runtime.
const SOURCES: [&str; 2] = ["kernel log", "cgroups"];

/// The running programs; they end with it.
pub(super) struct Installation {
    pub(super) agent: Process,
    aggregator: Process,
    runtime: Runtime,
    config: String,
    ports: [u16; 4],
}

impl Installation {
    /// Starts everything in a folder and waits until every source of the agent is live.
    ///
    /// # Errors
    /// What did not come up, with the logs.
    pub(super) async fn start(dir: &Path, webhook: &str, docker: bool) -> Result<Self> {
        let programs = Programs::find()?;
        let runtime = Runtime::start(dir, docker).await?;
        let places = Places {
            root: dir.display().to_string(),
            sockets: runtime.sockets(),
            webhook: webhook.to_owned(),
            ports: [free_port()?, free_port()?, free_port()?, free_port()?],
            kubeconfig: None,
        };
        fs::write(dir.join("bootstrap"), "a bootstrap secret of this bench")?;
        fs::write(dir.join("webhook-secret"), SECRET)?;
        fs::write(dir.join("aggregator.yaml"), places.aggregator())?;
        fs::write(dir.join("agent.yaml"), places.agent())?;
        let aggregator = spawn("aggregator", &programs.aggregator, dir)?;
        let agent = spawn("agent", &programs.agent, dir)?;
        let installation = Self {
            agent,
            aggregator,
            config: Places {
                sockets: runtime
                    .sockets()
                    .into_iter()
                    .map(|(source, _)| (source, String::new()))
                    .collect(),
                ..Places::default()
            }
            .hash(),
            runtime,
            ports: places.ports,
        };
        installation.wait_ready(places.ports[1]).await?;
        Ok(installation)
    }

    /// The runtime.
    pub(super) const fn runtime(&self) -> &Runtime {
        &self.runtime
    }

    /// Hash of both configuration files without ports and paths.
    pub(super) fn config(&self) -> &str {
        &self.config
    }

    /// What the agent's reader of the kernel log has counted.
    ///
    /// # Errors
    /// When the agent does not answer.
    pub(super) fn reader(&self) -> Result<ReaderCounters> {
        ReaderCounters::parse(&http::get(self.ports[3], "/metrics")?.1)
    }

    /// All stored findings.
    ///
    /// # Errors
    /// When the aggregator does not answer.
    pub(super) async fn findings(&self) -> Result<Vec<Finding>> {
        let mut client = QueryServiceClient::connect(format!("http://127.0.0.1:{}", self.ports[1])).await?;
        let (mut all, mut page_token) = (Vec::new(), String::new());
        loop {
            let request = ListFindingsRequest {
                page_size: 1000,
                page_token,
                ..ListFindingsRequest::default()
            };
            let page = client.list_findings(request).await?.into_inner();
            all.extend(page.findings.into_iter().filter_map(|stored| stored.finding));
            page_token = page.next_page_token;
            if page_token.is_empty() {
                return Ok(all);
            }
        }
    }

    /// What both programs logged.
    pub(super) fn logs(&self) -> String {
        format!(
            "agent:\n{}\naggregator:\n{}",
            self.agent.stderr(),
            self.aggregator.stderr()
        )
    }

    async fn wait_ready(&self, api: u16) -> Result<()> {
        let ready = wait_for("the agent with all its sources", READY_WITHIN, async || {
            let mut client = QueryServiceClient::connect(format!("http://127.0.0.1:{api}")).await?;
            let nodes = client.list_nodes(ListNodesRequest::default()).await?.into_inner().nodes;
            let node = nodes
                .into_iter()
                .find(|node| node.connected)
                .context("no connected node")?;
            let sources = node.status.unwrap_or_default().sources;
            let live = |name: &str| sources.iter().any(|s| s.name == name && s.state() == SourceState::Live);
            if !SOURCES.into_iter().chain(self.runtime.sources()).all(live) {
                bail!("sources are {sources:?}");
            }
            Ok(())
        });
        ready.await.with_context(|| self.logs())
    }

    /// Ends the programs in their order and takes the pods away.
    ///
    /// # Errors
    /// What stayed behind.
    pub(super) async fn stop(self) -> Result<()> {
        drop(self.agent);
        drop(self.aggregator);
        self.runtime.stop().await
    }
}

pub(super) fn spawn(name: &str, program: &Path, dir: &Path) -> Result<Process> {
    let mut command = Command::new(program);
    command
        .arg("--config")
        .arg(dir.join(format!("{name}.yaml")))
        .current_dir(dir);
    // A variable of the caller could override a shipped default.
    for (name, _) in std::env::vars_os().filter(|(name, _)| name.to_string_lossy().starts_with("INQUEST_")) {
        command.env_remove(name);
    }
    Process::spawn(name, command, dir)
}

/// Where the programs are.
pub(super) struct Programs {
    pub(super) agent: PathBuf,
    pub(super) aggregator: PathBuf,
}

impl Programs {
    /// The programs of the profiles that ship, which `tests/bench` built: the aggregator beside this program, the agent
    /// in the folder of its own profile. A debug build has both beside it.
    pub(super) fn find() -> Result<Self> {
        let own = std::env::current_exe()?;
        let folder = own.parent().context("no folder of programs")?;
        let agents = match cfg!(debug_assertions) {
            true => folder.to_owned(),
            false => folder.parent().context("no target folder")?.join("agent"),
        };
        let found = Self {
            agent: agents.join("inquest-agent"),
            aggregator: folder.join("inquest-aggregator"),
        };
        for program in [&found.agent, &found.aggregator] {
            ensure!(
                program.is_file(),
                "{} is not built; start benches through tests/bench",
                program.display()
            );
        }
        Ok(found)
    }
}

/// What differs between two runs of the same configuration.
#[derive(Debug, Default)]
pub(super) struct Places {
    pub(super) root: String,
    /// Sources of the runtime, each with its socket.
    pub(super) sockets: Vec<(&'static str, String)>,
    pub(super) webhook: String,
    /// Ingest, API, and the status pages of aggregator and agent.
    pub(super) ports: [u16; 4],
    /// The cluster that the aggregator watches.
    pub(super) kubeconfig: Option<String>,
}

impl Places {
    pub(super) fn aggregator(&self) -> String {
        let cluster = |path| format!("clusters: [{{name: bench, kubeconfig: \"{path}\"}}]\n");
        let clusters = self.kubeconfig.as_ref().map(cluster).unwrap_or_default();
        let Self {
            root,
            webhook,
            ports: [ingest, api, status, _],
            ..
        } = self;
        format!(
            "cluster: {{name: bench}}\n\
             listen: {{ingest: \"127.0.0.1:{ingest}\", api: \"127.0.0.1:{api}\", status: \"127.0.0.1:{status}\"}}\n\
             data_dir: {root}/data\n\
             enrolment: {{bootstrap_secret_file: {root}/bootstrap}}\n\
             route: {{receiver: hook}}\n\
             receivers:\n  - name: hook\n    webhook: {{url: \"{webhook}\", secret_file: {root}/webhook-secret}}\n\
             {clusters}"
        )
    }

    fn agent(&self) -> String {
        let Self {
            root,
            sockets,
            ports: [ingest, _, _, status],
            ..
        } = self;
        let sockets = sockets
            .iter()
            .map(|(source, socket)| format!("{source}: {{socket: [{socket}]}}"));
        let sources = sockets.collect::<Vec<_>>().join(", ");
        format!(
            "node: {{name: bench}}\n\
             aggregator: {{address: \"127.0.0.1:{ingest}\", ca_file: {root}/data/ca/ca.crt}}\n\
             enrolment: {{bootstrap_secret_file: {root}/bootstrap}}\n\
             state_dir: {root}/agent\n\
             sources: {{{sources}}}\n\
             listen: {{status: \"127.0.0.1:{status}\"}}\n"
        )
    }

    pub(super) fn hash(&self) -> String {
        let digest = Sha256::digest(format!("{}{}", self.aggregator(), self.agent()));
        digest.iter().take(6).map(|byte| format!("{byte:02x}")).collect()
    }
}

#[cfg(test)]
mod tests {
    use inquest_shared::config::{AgentConfig, AggregatorConfig, Inputs, Schema, load};

    use super::*;

    fn check<T: Schema>(dir: &Path, text: &str) {
        let file = dir.join("config.yaml");
        fs::write(&file, text).unwrap();
        let inputs = Inputs {
            file: Some(file),
            ..Inputs::default()
        };
        assert!(load::<T>(&inputs).is_ok(), "{:?}", load::<T>(&inputs).map(|_| ()));
    }

    #[test]
    fn the_programs_accept_what_is_written_for_them() {
        let dir = tempfile::tempdir().unwrap();
        let places = Places {
            root: dir.path().display().to_string(),
            sockets: ["docker", "containerd"]
                .map(|source| (source, format!("/run/{source}.sock")))
                .into(),
            webhook: "http://127.0.0.1:5/hook".to_owned(),
            ports: [1, 2, 3, 4],
            kubeconfig: Some("/run/kubeconfig".to_owned()),
        };
        fs::write(dir.path().join("bootstrap"), "secret").unwrap();
        fs::write(dir.path().join("webhook-secret"), SECRET).unwrap();
        check::<AggregatorConfig>(dir.path(), &places.aggregator());
        check::<AgentConfig>(dir.path(), &places.agent());
    }

    #[test]
    fn a_configuration_has_one_hash_wherever_it_runs() {
        assert_eq!(Places::default().hash(), Places::default().hash());
        assert_eq!(Places::default().hash().len(), 12);
    }
}
