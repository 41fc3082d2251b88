//! Agent and aggregator as processes of the host, at a node and an apiserver of a real cluster. Owns their configuration.

use std::{fs, path::Path, time::Duration};

use anyhow::{Context as _, Result, ensure};
use hyper_util::rt::TokioIo;
use inquest_proto::runtime::v1::{
    ContainerState, ContainerStatusRequest, runtime_service_client::RuntimeServiceClient,
};
use tokio::{net::UnixStream, time::Instant};
use tonic::transport::{Channel, Endpoint, Uri};
use tower::service_fn;

use crate::{
    Cluster, Process,
    bench::{
        aggregator::Aggregator,
        installation::{Programs, spawn},
    },
    free_port, http, wait_for,
};

const READY_WITHIN: Duration = Duration::from_mins(1);
const ENDED_WITHIN: Duration = Duration::from_secs(30);
const POLL: Duration = Duration::from_millis(50);

/// The running programs; they end with it.
pub(super) struct Stage {
    agent: Process,
    aggregator: Aggregator,
    containerd: RuntimeServiceClient<Channel>,
}

impl Stage {
    /// Starts both and waits until they see the node and the cluster.
    ///
    /// # Errors
    /// What did not come up, with its words.
    pub(super) async fn set(cluster: &Cluster, dir: &Path, webhook: &str) -> Result<Self> {
        let aggregator = Aggregator::start_watching(dir, webhook, cluster.kubeconfig()).await?;
        let node = cluster.node(1)?;
        let (socket, status) = (node.containerd(), free_port()?);
        let kubelet = fs::read_to_string(cluster.home()?.join("node1/kubelet.yaml"))?;
        let scope = kubelet.lines().find_map(|line| line.strip_prefix("cgroupRoot: "));
        let root = dir.display();
        let config = format!(
            "node: {{name: {}}}\n\
             aggregator: {{address: \"127.0.0.1:{}\", ca_file: {root}/data/ca/ca.crt}}\n\
             enrolment: {{bootstrap_secret_file: {root}/bootstrap}}\n\
             state_dir: {root}/agent\n\
             sources: {{containerd: {{socket: [{}]}}, cgroup: {{scope: {}}}}}\n\
             listen: {{status: \"127.0.0.1:{status}\"}}\n",
            node.name(),
            aggregator.ingest_port(),
            socket.display(),
            scope.context("the kubelet names no cgroup")?,
        );
        fs::write(dir.join("agent.yaml"), config)?;
        let agent = spawn("agent", &Programs::find()?.agent, dir)?;
        wait_for("agent and aggregator see the cluster", READY_WITHIN, async || {
            let (code, said) = http::get(status, "/readyz")?;
            ensure!(code == 200, "{said} {}", agent.stderr());
            let said = aggregator.readiness()?;
            ensure!(said.lines().any(|line| line == "ok kubernetes"), "{said}");
            anyhow::Ok(())
        })
        .await?;
        let connect = service_fn(move |_: Uri| {
            let socket = socket.clone();
            async move { UnixStream::connect(socket).await.map(TokioIo::new) }
        });
        let channel = Endpoint::from_static("http://localhost").connect_with_connector_lazy(connect);
        Ok(Self {
            agent,
            aggregator,
            containerd: RuntimeServiceClient::new(channel),
        })
    }

    /// When a container ended, as containerd recorded it, nanoseconds of wall time; waits for the record.
    ///
    /// # Errors
    /// When containerd does not answer.
    pub(super) async fn ended_at(&self, container: &str) -> Result<Option<i64>> {
        let begin = Instant::now();
        while begin.elapsed() < ENDED_WITHIN {
            let request = ContainerStatusRequest {
                container_id: container.to_owned(),
                verbose: false,
            };
            let answer = self.containerd.clone().container_status(request).await?.into_inner();
            let status = answer.status.unwrap_or_default();
            if status.state() == ContainerState::ContainerExited {
                return Ok((status.finished_at > 0).then_some(status.finished_at));
            }
            tokio::time::sleep(POLL).await;
        }
        Ok(None)
    }

    /// Hash of the aggregator's configuration.
    pub(super) fn config(&self) -> String {
        Aggregator::watching_config()
    }

    /// What the programs logged.
    pub(super) fn logs(&self) -> String {
        format!(
            "agent:\n{}\naggregator:\n{}",
            self.agent.stderr(),
            self.aggregator.log()
        )
    }
}
