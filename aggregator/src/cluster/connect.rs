//! Ways to reach an apiserver: the account of the pod, or a kubeconfig.
//!
//! Owns which clusters are reached and how. Must not know what is asked of them.

use std::time::Duration;

use inquest_shared::{
    config::{ClusterConfig, KubernetesEnabled},
    tls,
};
use kube::{
    Client, Config,
    config::{KubeConfigOptions, Kubeconfig},
};

/// Time for a connection, with its handshake.
const CONNECT: Duration = Duration::from_secs(10);
/// What tells that a process runs in a pod. Source: kubernetes.io, "Accessing the Kubernetes API from a Pod".
const IN_POD: &str = "KUBERNETES_SERVICE_HOST";

/// A cluster that can be asked.
pub struct Connection {
    /// Its name.
    pub name: String,
    /// The way to its apiserver. Nothing has been sent yet.
    pub client: Client,
}

/// A way that cannot work. Trying again does not help before the configuration or its files change.
#[derive(Debug, thiserror::Error)]
pub enum ConnectError {
    /// The account of the pod is asked for and is not there.
    #[error(
        "cluster {cluster}: kubernetes.enabled is true, but there is no service account of a pod; outside of a pod name a kubeconfig in clusters"
    )]
    NotInPod {
        /// The cluster.
        cluster: String,
        /// What is missing.
        #[source]
        source: kube::config::InClusterError,
    },
    /// A kubeconfig cannot be read, or does not have the context.
    #[error("cluster {cluster}: kubeconfig {path}")]
    Kubeconfig {
        /// The cluster.
        cluster: String,
        /// The file.
        path: String,
        /// Why.
        #[source]
        source: kube::config::KubeconfigError,
    },
    /// The credentials or certificates cannot be used.
    #[error("cluster {cluster}: credentials")]
    Client {
        /// The cluster.
        cluster: String,
        /// Why.
        #[source]
        source: kube::Error,
    },
}

/// The clusters of a configuration. Its own cluster is reached by an entry of its name, else by the account of the pod.
///
/// # Errors
/// [`ConnectError`] for an entry that cannot work. Whether the apiserver answers is not tried.
pub async fn connect_all(
    own: &str,
    enabled: KubernetesEnabled,
    clusters: &[ClusterConfig],
) -> Result<Vec<Connection>, ConnectError> {
    tls::install_provider();
    let mut connections = Vec::new();
    for cluster in clusters {
        let config = from_file(cluster).await?;
        connections.push(connect(&cluster.name, config)?);
    }
    let in_pod = std::env::var_os(IN_POD).is_some();
    let wanted = match enabled {
        KubernetesEnabled::True => true,
        KubernetesEnabled::Auto => in_pod,
        KubernetesEnabled::False => false,
    };
    if wanted && !connections.iter().any(|connection| connection.name == own) {
        match Config::incluster_env() {
            Ok(config) => connections.push(connect(own, config)?),
            Err(error) if enabled == KubernetesEnabled::Auto => {
                tracing::warn!(%error, "this pod has no account: the apiserver is not asked");
            }
            Err(source) => {
                let cluster = own.to_owned();
                return Err(ConnectError::NotInPod { cluster, source });
            }
        }
    }
    Ok(connections)
}

async fn from_file(cluster: &ClusterConfig) -> Result<Config, ConnectError> {
    let options = KubeConfigOptions {
        context: cluster.context.clone(),
        ..KubeConfigOptions::default()
    };
    let wrong = |source| ConnectError::Kubeconfig {
        cluster: cluster.name.clone(),
        path: cluster
            .kubeconfig
            .as_ref()
            .map_or_else(|| "of the environment".to_owned(), |path| path.display().to_string()),
        source,
    };
    match &cluster.kubeconfig {
        Some(path) => {
            let kubeconfig = Kubeconfig::read_from(path).map_err(wrong)?;
            Config::from_custom_kubeconfig(kubeconfig, &options)
                .await
                .map_err(wrong)
        }
        None => Config::from_kubeconfig(&options).await.map_err(wrong),
    }
}

fn connect(name: &str, mut config: Config) -> Result<Connection, ConnectError> {
    config.connect_timeout = Some(CONNECT);
    // Watches are quiet for long and have deadlines of their own; retries are paced by the watches.
    config.read_timeout = None;
    config.default_retry = false;
    let client = Client::try_from(config).map_err(|source| ConnectError::Client {
        cluster: name.to_owned(),
        source,
    })?;
    Ok(Connection {
        name: name.to_owned(),
        client,
    })
}
