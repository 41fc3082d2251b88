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

    fn digits(seed: usize, salt: u64) -> String {
        let mixed = |round: u64| (seed as u64 + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15 ^ salt.wrapping_add(round));
        (0..4).map(|round| format!("{:016x}", mixed(round))).collect()
    }

    fn uid(seed: usize, salt: u64) -> String {
        let hex = digits(seed, salt);
        let part = |from: usize, to: usize| hex.get(from..to).unwrap_or_default().to_owned();
        [part(0, 8), part(8, 12), part(12, 16), part(16, 20), part(20, 32)].join("-")
    }

    /// A pod with two containers, with marks where pods differ; some 6 kB of text, most of which nobody keeps.
    fn template() -> String {
        let container = |name: &str| {
            json!({
                "name": name, "image": format!("registry.example/@NS/{name}:@TAG"),
                "env": (0..12).map(|n| json!({"name": format!("SETTING_{n}"), "value": "x".repeat(40)})).collect::<Vec<_>>(),
                "resources": {"limits": {"memory": "512Mi"}, "requests": {"cpu": "100m"}},
                "livenessProbe": {"httpGet": {"path": "/livez", "port": 80}},
                "volumeMounts": [{"name": "token", "mountPath": "/var/run/secrets"}],
            })
        };
        let status = |name: &str, id: &str| {
            json!({
                "name": name, "ready": true, "restartCount": 0, "started": true,
                "image": "registry.example/image:1", "imageID": "registry.example/image@sha256:@DIGEST",
                "containerID": format!("containerd://{id}"),
                "state": {"running": {"startedAt": "2026-01-01T00:00:01Z"}}, "lastState": {},
            })
        };
        json!({
            "metadata": {
                "name": "@SET-@NUMBER", "namespace": "@NS", "uid": "@UID", "resourceVersion": "100",
                "creationTimestamp": "2026-01-01T00:00:00Z",
                "labels": {"app": "@SET", "pod-template-hash": "@HASH"},
                "ownerReferences": [{"apiVersion": "apps/v1", "kind": "ReplicaSet", "controller": true,
                    "name": "@SET", "uid": "@OWNER"}],
                "managedFields": [{"manager": "kubelet", "fieldsV1": {"f:status": "y".repeat(1_500)}}],
            },
            "spec": {
                "nodeName": "@NODE", "restartPolicy": "Always",
                "containers": [container("main"), container("proxy")],
            },
            "status": {
                "phase": "Running", "conditions": [{"type": "Ready", "status": "True"}],
                "containerStatuses": [status("main", "@FIRST"), status("proxy", "@SECOND")],
            },
        })
        .to_string()
    }

    /// One of `pods`: ten of each replica set, thirty on each node, five hundred in each namespace.
    fn pod(template: &str, number: usize, pods: usize) -> String {
        let (set, node, space) = (number / 10, number % (pods / 30 + 1), number / 500);
        let marks = [
            ("@SET", format!("service-{set}-6f7d9c8b5")),
            ("@NUMBER", format!("{number:05x}")),
            ("@NS", format!("team-{space}")),
            ("@TAG", format!("1.{}", set % 7)),
            ("@UID", uid(number, 1)),
            ("@OWNER", uid(set, 2)),
            ("@HASH", format!("{set:09x}")),
            ("@NODE", format!("ip-10-{}-{}.example.internal", node / 250, node % 250)),
            ("@DIGEST", digits(set % 2_000, 9)),
            ("@FIRST", digits(number, 3)),
            ("@SECOND", digits(number, 4)),
        ];
        let fill = |text: String, (mark, value): &(&str, String)| text.replace(mark, value);
        marks.iter().fold(template.to_owned(), fill)
    }

    /// Pages of pods, and nothing of any other kind.
    async fn answer(pods: usize, request: Request<Body>) -> Response<Body> {
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
        let template = template();
        let items: Vec<String> = (from..end).map(|number| pod(&template, number, pods)).collect();
        let (meta, items) = (json!({"resourceVersion": "100", "continue": token}), items.join(","));
        Response::new(Body::from(format!(r#"{{"metadata":{meta},"items":[{items}]}}"#)))
    }

    /// Lists so many pods and gives the bytes held and resident afterwards.
    async fn measure(pods: usize) -> (usize, usize, Duration) {
        let router = Router::new().fallback(move |request| answer(pods, request));
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
