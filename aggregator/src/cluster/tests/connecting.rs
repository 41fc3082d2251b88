//! Clusters of a configuration, over real sockets.

use std::{path::PathBuf, sync::Arc};

use inquest_shared::{
    clock::{Clock, SystemClock},
    config::{ClusterConfig, KubernetesEnabled},
    telemetry::{Condition, Health},
};
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use super::{
    fake::Fake,
    sample::{pod, uid},
};
use crate::cluster::{ClusterMetrics, Clusters, Kind, connect_all, keep_watching};

/// A kubeconfig with one context for a server without TLS.
async fn serve(folder: &std::path::Path, name: &str, pods: &[u32]) -> ClusterConfig {
    let fake = Fake::new();
    pods.iter().for_each(|number| fake.put("pods", pod(*number)));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move { axum::serve(listener, fake.router()).await });
    let path = folder.join(name);
    let text = format!(
        "apiVersion: v1\nkind: Config\nclusters: [{{name: k, cluster: {{server: 'http://{address}'}}}}]\n\
         users: [{{name: u, user: {{}}}}]\ncontexts: [{{name: here, context: {{cluster: k, user: u}}}}]\n"
    );
    std::fs::write(&path, text).unwrap();
    entry(name, Some(path), "here")
}

fn entry(name: &str, kubeconfig: Option<PathBuf>, context: &str) -> ClusterConfig {
    ClusterConfig {
        name: name.to_owned(),
        kubeconfig,
        context: Some(context.to_owned()),
    }
}

#[tokio::test]
async fn two_clusters_with_the_same_names_are_watched_side_by_side() {
    let folder = tempfile::tempdir().unwrap();
    let entries = [
        serve(folder.path(), "left", &[1]).await,
        serve(folder.path(), "right", &[2]).await,
    ];
    let connections = connect_all("left", KubernetesEnabled::False, &entries).await.unwrap();
    let clock: Arc<dyn Clock> = Arc::new(SystemClock);
    let clusters = Clusters::new(connections, &clock, &ClusterMetrics::default());
    let (health, token) = (Health::default(), CancellationToken::new());
    let task = tokio::spawn(keep_watching(
        clusters.clone(),
        Vec::new(),
        health.clone(),
        token.clone(),
    ));
    let (left, right) = (clusters.get("left").unwrap(), clusters.get("right").unwrap());
    let synced = async {
        while !Kind::ALL.iter().all(|kind| left.synced(*kind) && right.synced(*kind)) {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(std::time::Duration::from_secs(60), synced)
        .await
        .unwrap();
    assert!(left.pod(&uid(1)).is_some() && left.pod(&uid(2)).is_none());
    assert!(right.pod(&uid(2)).is_some() && right.pod(&uid(1)).is_none());
    assert!(clusters.get("third").is_none());
    token.cancel();
    task.await.unwrap().unwrap();
}

#[tokio::test]
async fn an_apiserver_that_is_away_is_named_and_does_not_make_the_aggregator_unready() {
    let folder = tempfile::tempdir().unwrap();
    let away = serve(folder.path(), "away", &[]).await;
    let path = away.kubeconfig.clone().unwrap();
    // Nothing listens on port 1.
    let text = std::fs::read_to_string(&path).unwrap();
    let port = text.split("127.0.0.1:").nth(1).unwrap().split('\'').next().unwrap();
    std::fs::write(&path, text.replace(port, "1")).unwrap();
    let connections = connect_all("own", KubernetesEnabled::False, &[away]).await.unwrap();
    let clock: Arc<dyn Clock> = Arc::new(SystemClock);
    let clusters = Clusters::new(connections, &clock, &ClusterMetrics::default());
    let (health, token) = (Health::default(), CancellationToken::new());
    let task = tokio::spawn(keep_watching(
        clusters.clone(),
        Vec::new(),
        health.clone(),
        token.clone(),
    ));
    let named = async {
        while !matches!(health.get("kubernetes"), Some(Condition::Degraded { reason }) if reason.starts_with("away: "))
        {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(std::time::Duration::from_secs(60), named)
        .await
        .unwrap();
    assert!(health.is_ready());
    token.cancel();
    task.await.unwrap().unwrap();
}

#[tokio::test]
async fn an_entry_that_cannot_work_stops_the_start_with_its_name() {
    let folder = tempfile::tempdir().unwrap();
    let missing = entry("eu", Some(folder.path().join("none")), "here");
    let Err(error) = connect_all("own", KubernetesEnabled::False, &[missing]).await else {
        panic!("a kubeconfig that is not there was read")
    };
    assert!(error.to_string().starts_with("cluster eu: kubeconfig "), "{error}");
    let mut other = serve(folder.path(), "us", &[]).await;
    other.context = Some("elsewhere".to_owned());
    assert!(connect_all("own", KubernetesEnabled::False, &[other]).await.is_err());
}

#[tokio::test]
async fn hosts_without_kubernetes_need_no_setting() {
    let connections = connect_all("own", KubernetesEnabled::False, &[]).await.unwrap();
    let clock: Arc<dyn Clock> = Arc::new(SystemClock);
    let clusters = Clusters::new(connections, &clock, &ClusterMetrics::default());
    assert_eq!(clusters.all().count(), 0);
    let health = Health::default();
    keep_watching(clusters, Vec::new(), health.clone(), CancellationToken::new())
        .await
        .unwrap();
    assert!(health.get("kubernetes").is_none());
}
