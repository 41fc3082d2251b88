//! The API over a real socket, on a real database.

mod delivery;
mod grpc;
mod json;
pub(super) mod sample;
mod stop;

use std::{net::SocketAddr, sync::Arc, time::Duration};

use inquest_shared::{
    clock::UnixNanos,
    model::Incident,
    telemetry::{Condition, Health, Need, Registry},
};
use tempfile::TempDir;
use tokio::{net::TcpListener, sync::broadcast, task::JoinHandle, time::timeout};
use tokio_util::sync::CancellationToken;
use tonic::transport::Channel;

use super::{Api, LIMITS, ServeError, ServerInfo, serve};
use crate::{
    door::{Door, DoorMetrics},
    ingest::Nodes,
    record::Commit,
    store::{SqliteStore, Store},
};

/// Longer than anything here may take.
const PATIENCE: Duration = Duration::from_secs(20);

/// A served API with what stands behind it.
struct Served {
    address: SocketAddr,
    store: Arc<SqliteStore>,
    changes: broadcast::Sender<Arc<Incident>>,
    nodes: Nodes,
    health: Health,
    stop: CancellationToken,
    task: JoinHandle<Result<(), ServeError>>,
    _folder: TempDir,
}

impl Served {
    async fn start() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let store = Arc::new(SqliteStore::open(&folder.path().join("inquest.db")).await.unwrap());
        let (changes, nodes, health) = (broadcast::Sender::new(4), Nodes::default(), Health::default());
        health.declare("store", Need::Required);
        health.set("store", Condition::Ok);
        let api = api(&store, &changes, &nodes, &health);
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let (address, stop) = (listener.local_addr().unwrap(), CancellationToken::new());
        let task = tokio::spawn(serve(door(listener), api, stop.clone()));
        Self {
            address,
            store,
            changes,
            nodes,
            health,
            stop,
            task,
            _folder: folder,
        }
    }

    /// With incidents 1 to `count`, the last one seen last.
    async fn with_incidents(count: u8) -> Self {
        let served = Self::start().await;
        let incidents = (1..=count).map(|n| sample::incident(n, i64::from(n))).collect();
        served
            .commit(Commit {
                incidents,
                ..Commit::default()
            })
            .await;
        served
    }

    async fn commit(&self, commit: Commit) {
        self.store.commit(&commit).await.unwrap();
    }

    async fn channel(&self) -> Channel {
        Channel::from_shared(format!("http://{}", self.address))
            .unwrap()
            .connect()
            .await
            .unwrap()
    }

    /// Stops the server and waits until it has returned.
    async fn end(self) {
        self.stop.cancel();
        timeout(PATIENCE, self.task).await.unwrap().unwrap().unwrap();
    }
}

fn door(listener: TcpListener) -> Door {
    Door::new(listener, LIMITS, DoorMetrics::new(&Registry::new("test", "0"), "api"))
}

fn api(store: &Arc<SqliteStore>, changes: &broadcast::Sender<Arc<Incident>>, nodes: &Nodes, health: &Health) -> Api {
    let changes = changes.clone();
    let server = ServerInfo {
        server_id: "s1".to_owned(),
        version: "0.1.0".to_owned(),
        started_at: UnixNanos(5),
        cluster: "c1".to_owned(),
    };
    Api {
        store: Arc::clone(store) as Arc<dyn Store>,
        changes: Arc::new(move || changes.subscribe()),
        nodes: nodes.clone(),
        health: health.clone(),
        server,
    }
}
