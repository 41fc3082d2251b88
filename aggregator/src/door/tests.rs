use std::time::Duration;

use inquest_shared::telemetry::Registry;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpStream},
};

use super::*;

const LIMITS: Limits = Limits {
    connections: 3,
    pending: 3,
    pending_per_source: 3,
    failures: None,
    proof: Duration::from_secs(5),
    idle: Some(Duration::from_secs(60)),
};

async fn door() -> (Door, SocketAddr, Registry) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let registry = Registry::new("test", "0");
    let metrics = DoorMetrics::new(&registry, "test");
    (Door::new(listener, LIMITS, metrics), address, registry)
}

fn refused(registry: &Registry, reason: &str) -> bool {
    let line = format!("inquest_connections_refused_total{{listener=\"test\",reason=\"{reason}\"}} 1");
    registry.encode().unwrap().lines().any(|l| l == line)
}

#[tokio::test]
async fn a_connection_beyond_the_cap_is_closed_at_once_and_a_place_is_free_when_one_ends() {
    let (door, address, registry) = door().await;
    let mut held = Vec::new();
    for _ in 0..3 {
        let client = TcpStream::connect(address).await.unwrap();
        let (stream, _, pass) = door.admit().await;
        held.push((client, stream, pass));
    }
    let mut fourth = TcpStream::connect(address).await.unwrap();
    let admitting = tokio::spawn(async move { door.admit().await.1 });
    assert_eq!(fourth.read(&mut [0; 1]).await.unwrap_or(0), 0);
    assert!(refused(&registry, "connections_full"));
    held.pop();
    let fifth = TcpStream::connect(address).await.unwrap();
    assert_eq!(admitting.await.unwrap(), fifth.local_addr().unwrap());
}

#[tokio::test(start_paused = true)]
async fn a_peer_that_proves_nothing_is_dropped_and_one_that_did_may_be_silent_until_the_idle_limit() {
    for (proves, after, reason) in [(false, 5, "first_message_late"), (true, 60, "idle")] {
        let (door, address, registry) = door().await;
        let _client = TcpStream::connect(address).await.unwrap();
        let (stream, _, pass) = door.admit().await;
        if proves {
            pass.prove();
        }
        let since = Instant::now();
        let error = Guarded::new(stream, pass).read(&mut [0; 8]).await.unwrap_err();
        assert_eq!(error.to_string(), reason);
        assert_eq!(since.elapsed().as_secs(), after);
        assert!(refused(&registry, reason));
    }
}

#[tokio::test]
async fn a_flood_of_pings_ends_the_connection() {
    let (door, address, registry) = door().await;
    let mut client = TcpStream::connect(address).await.unwrap();
    let (stream, _, pass) = door.admit().await;
    let mut flood = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_vec();
    flood.extend(b"\0\0\x08\x06\0\0\0\0\0pingping".repeat(1_000));
    client.write_all(&flood).await.unwrap();
    let error = Guarded::new(stream, pass)
        .read_to_end(&mut Vec::new())
        .await
        .unwrap_err();
    assert_eq!(error.to_string(), "control_flood");
    assert!(refused(&registry, "control_flood"));
}
