//! The aggregator alone, with the shipped defaults and agents that the bench plays. Owns its start and restart.

use std::{
    fs,
    path::{Path, PathBuf},
    time::Duration,
};

use anyhow::{Result, ensure};

use super::{
    installation::{Places, Programs, spawn},
    receiver::SECRET,
};
use crate::{Process, free_port, http, wait_for};

const READY_WITHIN: Duration = Duration::from_secs(60);
/// The secret that its agents enrol with.
pub(super) const BOOTSTRAP: &str = "a bootstrap secret of this bench";

/// A running aggregator; it ends when this is dropped.
pub(super) struct Aggregator {
    process: Process,
    program: PathBuf,
    dir: PathBuf,
    ports: [u16; 4],
}

impl Aggregator {
    /// Starts it in a folder and waits until it is ready.
    ///
    /// # Errors
    /// When it does not come up, with its log.
    pub(super) async fn start(dir: &Path, webhook: &str) -> Result<Self> {
        Self::start_with(dir, webhook, None).await
    }

    /// The same, watching the cluster of a kubeconfig.
    ///
    /// # Errors
    /// As [`Aggregator::start`].
    pub(super) async fn start_watching(dir: &Path, webhook: &str, kubeconfig: &Path) -> Result<Self> {
        Self::start_with(dir, webhook, Some(kubeconfig.display().to_string())).await
    }

    async fn start_with(dir: &Path, webhook: &str, kubeconfig: Option<String>) -> Result<Self> {
        let program = Programs::find()?.aggregator;
        let ports = [free_port()?, free_port()?, free_port()?, free_port()?];
        let places = Places {
            root: dir.display().to_string(),
            webhook: webhook.to_owned(),
            ports,
            kubeconfig,
            ..Places::default()
        };
        fs::write(dir.join("bootstrap"), BOOTSTRAP)?;
        fs::write(dir.join("webhook-secret"), SECRET)?;
        fs::write(dir.join("aggregator.yaml"), places.aggregator())?;
        let process = spawn("aggregator", &program, dir)?;
        let aggregator = Self {
            process,
            program,
            dir: dir.to_owned(),
            ports,
        };
        aggregator.wait_ready().await?;
        Ok(aggregator)
    }

    /// Kills it and starts it again on its data.
    ///
    /// # Errors
    /// As [`Aggregator::start`].
    pub(super) async fn restart(&mut self) -> Result<()> {
        self.process.kill9()?;
        self.process = spawn("aggregator", &self.program, &self.dir)?;
        self.wait_ready().await
    }

    async fn wait_ready(&self) -> Result<()> {
        wait_for("the aggregator", READY_WITHIN, async || {
            let (status, body) = http::get(self.ports[2], "/readyz")?;
            ensure!(status == 200, "{body} {}", self.process.stderr());
            anyhow::Ok(())
        })
        .await
    }

    pub(super) fn pid(&self) -> u32 {
        self.process.pid()
    }

    pub(super) fn ingest_port(&self) -> u16 {
        self.ports[0]
    }

    /// The certificate that agents trust.
    ///
    /// # Errors
    /// When it is not there.
    pub(super) fn ca(&self) -> Result<String> {
        Ok(fs::read_to_string(self.dir.join("data/ca/ca.crt"))?)
    }

    /// A counter of its page of metrics.
    ///
    /// # Errors
    /// When it is not there.
    pub(super) fn counter(&self, name: &str) -> Result<usize> {
        let (_, page) = http::get(self.ports[2], "/metrics")?;
        let value = page.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
        Ok(value.unwrap_or("0").trim().parse()?)
    }

    /// What it logged.
    pub(super) fn log(&self) -> String {
        self.process.stderr()
    }

    /// What it says about its conditions, one line for each.
    ///
    /// # Errors
    /// When it does not answer.
    pub(super) fn readiness(&self) -> Result<String> {
        Ok(http::get(self.ports[2], "/readyz")?.1)
    }

    /// Hash of the configuration of one that watches a cluster.
    pub(super) fn watching_config() -> String {
        let places = Places {
            kubeconfig: Some(String::new()),
            ..Places::default()
        };
        places.hash()
    }

    /// Hash of its configuration without ports and paths.
    pub(super) fn config() -> String {
        Places::default().hash()
    }
}
