//! The indexes of all clusters, and the task that fills them.
//!
//! Owns the map from names to indexes and the life of the watches. Must not know connections beyond their client.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use inquest_shared::{
    clock::Clock,
    telemetry::{Condition, Health, Need},
};
use tokio::{task::JoinSet, time::interval};
use tokio_util::sync::CancellationToken;

use super::{
    ClusterIndex, ClusterMetrics,
    connect::Connection,
    kind::Kind,
    watch::{Lane, Watch},
};

/// How often old records are forgotten and metrics are set.
const TIDY: Duration = Duration::from_secs(30);
/// How often the condition in `/readyz` is set.
const REPORT: Duration = Duration::from_secs(5);
/// The condition in `/readyz`. It never makes the aggregator unready: without the apiserver it still tells of deaths.
const CONDITION: &str = "kubernetes";

/// The indexes by the name of their cluster. The same namespace in two clusters is two namespaces.
#[derive(Clone, Default)]
pub struct Clusters(pub(super) Arc<BTreeMap<Arc<str>, (ClusterIndex, kube::Client)>>);

impl Clusters {
    /// An empty index for each connection.
    #[must_use]
    pub fn new(connections: Vec<Connection>, clock: &Arc<dyn Clock>, metrics: &ClusterMetrics) -> Self {
        let index = |connection: Connection| {
            let index = ClusterIndex::new(&connection.name, Arc::clone(clock), metrics.clone());
            (Arc::clone(index.name()), (index, connection.client))
        };
        Self(Arc::new(connections.into_iter().map(index).collect()))
    }

    /// The index of a cluster; `None` if no apiserver is configured for it, as for hosts outside of Kubernetes.
    #[must_use]
    pub fn get(&self, cluster: &str) -> Option<&ClusterIndex> {
        self.0.get(cluster).map(|(index, _)| index)
    }

    /// The client of a cluster, for questions that the index does not answer.
    #[must_use]
    pub fn client(&self, cluster: &str) -> Option<&kube::Client> {
        self.0.get(cluster).map(|(_, client)| client)
    }

    /// Every index.
    pub fn all(&self) -> impl Iterator<Item = &ClusterIndex> {
        self.0.values().map(|(index, _)| index)
    }

    /// What cannot be seen at present.
    fn condition(&self) -> Condition {
        let complaint = |index: &ClusterIndex| Some(format!("{}: {}", index.name(), index.complaint()?));
        let complaints: Vec<String> = self.all().filter_map(complaint).collect();
        if complaints.is_empty() {
            return Condition::Ok;
        }
        Condition::degraded(complaints.join("; "))
    }
}

/// Watches all clusters until the token is cancelled. `namespaces` limits what is watched; empty means all.
///
/// # Errors
/// Only if a watch panicked; the supervisor starts all of them again.
pub async fn keep_watching(
    clusters: Clusters,
    namespaces: Vec<String>,
    health: Health,
    token: CancellationToken,
) -> anyhow::Result<()> {
    if clusters.0.is_empty() {
        return Ok(());
    }
    health.declare(CONDITION, Need::Informational);
    let mut watches = JoinSet::new();
    for (index, client) in clusters.0.values() {
        start(&mut watches, index, client, &namespaces, &token);
    }
    let (mut tidy, mut report) = (interval(TIDY), interval(REPORT));
    loop {
        tokio::select! {
            () = token.cancelled() => break,
            ended = watches.join_next() => if let Some(ended) = ended { ended? },
            _ = tidy.tick() => clusters.all().for_each(ClusterIndex::tidy),
            _ = report.tick() => health.set(CONDITION, clusters.condition()),
        }
    }
    watches.shutdown().await;
    Ok(())
}

/// Starts the watches of one cluster.
pub(super) fn start(
    watches: &mut JoinSet<()>,
    index: &ClusterIndex,
    client: &kube::Client,
    namespaces: &[String],
    token: &CancellationToken,
) {
    let lane = Arc::new(Lane::default());
    index.forget_watches();
    for kind in Kind::ALL {
        let places: Vec<Option<Arc<str>>> = match namespaces {
            [] => vec![None],
            _ if !kind.namespaced() => vec![None],
            names => names.iter().map(|name| Some(name.as_str().into())).collect(),
        };
        for place in places {
            let watch = Watch::new(index, client, kind, place, &lane);
            watches.spawn(watch.run(token.clone()));
        }
    }
}
