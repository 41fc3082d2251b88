//! What a pod costs in the cluster index, in a process of its own: all bytes that the program holds after a complete list,
//! divided by the pods. `INQUEST_TEST_PODS=150000` measures a large cluster.

#[cfg(test)]
mod memory {
    use std::{
        alloc::System,
        sync::Arc,
        time::{Duration, Instant},
    };

    use axum::{
        Router,
        body::Body,
        http::{Request, Response, StatusCode},
    };
    use inquest_aggregator::cluster::{ClusterMetrics, Clusters, Connection, Kind, keep_watching};
    use inquest_shared::{
        clock::{Clock, SystemClock},
        telemetry::Health,
        testkit::Crowd,
    };
    use serde_json::json;
    use stats_alloc::{INSTRUMENTED_SYSTEM, StatsAlloc};
    use tokio_util::sync::CancellationToken;

    #[global_allocator]
    static ALLOCATOR: &StatsAlloc<System> = &INSTRUMENTED_SYSTEM;

    /// The promise of the index, in bytes.
    const MOST: usize = 500;

    fn held() -> usize {
        let stats = ALLOCATOR.stats();
        stats.bytes_allocated - stats.bytes_deallocated
    }

    fn resident() -> usize {
        let text = std::fs::read_to_string("/proc/self/statm").unwrap_or_default();
        let pages: usize = text.split(' ').nth(1).and_then(|pages| pages.parse().ok()).unwrap_or(0);
        pages * 4_096
    }

    /// Pages of pods, and nothing of any other kind.
    async fn answer(crowd: Arc<Crowd>, pods: usize, request: Request<Body>) -> Response<Body> {
        let query = request.uri().query().unwrap_or_default();
        if query.contains("sendInitialEvents") {
            let mut refused = Response::new(Body::empty());
            *refused.status_mut() = StatusCode::UNPROCESSABLE_ENTITY;
            return refused;
        }
        if query.contains("watch=true") {
            return Response::new(Body::from_stream(tokio_stream::pending::<
                Result<bytes::Bytes, std::io::Error>,
            >()));
        }
        let from: usize = query
            .split("continue=")
            .nth(1)
            .and_then(|from| from.parse().ok())
            .unwrap_or(0);
        let pods = if request.uri().path().ends_with("/pods") {
            pods
        } else {
            0
        };
        let end = pods.min(from + 500);
        let token = if end < pods { end.to_string() } else { String::new() };
        let items: Vec<String> = (from..end).map(|number| crowd.pod(number)).collect();
        let (meta, items) = (json!({"resourceVersion": "100", "continue": token}), items.join(","));
        Response::new(Body::from(format!(r#"{{"metadata":{meta},"items":[{items}]}}"#)))
    }

    /// Lists so many pods and gives the bytes held and resident afterwards.
    async fn measure(pods: usize) -> (usize, usize, Duration) {
        let crowd = Arc::new(Crowd::new(pods / 30));
        let router = Router::new().fallback(move |request| answer(Arc::clone(&crowd), pods, request));
        let connection = Connection {
            name: "c1".to_owned(),
            client: kube::Client::new(router, "default"),
        };
        let clock: Arc<dyn Clock> = Arc::new(SystemClock);
        let clusters = Clusters::new(vec![connection], &clock, &ClusterMetrics::default());
        let token = CancellationToken::new();
        let started = Instant::now();
        let task = tokio::spawn(keep_watching(
            clusters.clone(),
            Vec::new(),
            Health::default(),
            token.clone(),
        ));
        let index = clusters.get("c1").unwrap();
        while !index.synced(Kind::Pods) {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        let figures = (held(), resident(), started.elapsed());
        token.cancel();
        task.await.unwrap().unwrap();
        figures
    }

    #[tokio::test]
    async fn a_pod_with_two_containers_costs_at_most_500_bytes() {
        let pods: usize = std::env::var("INQUEST_TEST_PODS")
            .ok()
            .and_then(|pods| pods.parse().ok())
            .unwrap_or(8_000);
        let (empty, _, _) = measure(0).await;
        let (full, resident, time) = measure(pods).await;
        let each = full.saturating_sub(empty) / pods;
        println!(
            "{pods} pods: {each} bytes each, {} MiB resident, {time:?} to list",
            resident >> 20
        );
        assert!(each <= MOST, "{each} bytes for each pod");
    }
}
