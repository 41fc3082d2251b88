//! The status server: `/metrics`, `/livez` and `/readyz` over plain HTTP/1.
//!
//! Owns the three pages and the limits that keep a slow or hostile client from costing anything.
//! Must not serve data of users: everything here is about the program itself.

use std::collections::VecDeque;
use std::convert::Infallible;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::header::{CONTENT_TYPE, HeaderValue};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::{TokioIo, TokioTimer};
use prometheus_client::metrics::counter::Counter;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::{AbortHandle, JoinSet};
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;

use super::{Health, Registry};

/// Connections served at once. A further one takes the place of the oldest, which has had far more time than an answer
/// needs: peers that only hold connections must not keep a probe waiting until it fails.
const MAX_CONNECTIONS: usize = 16;
/// Time for one connection from accept to close; there is one request on each.
const CONNECTION_TIME: Duration = Duration::from_secs(10);
/// Time for the request line and the headers.
const HEADER_TIME: Duration = Duration::from_secs(3);
/// Bytes of request line and headers. Source: the least that hyper accepts is 8192.
const HEADER_BYTES: usize = 8 * 1024;
/// Number of header lines.
const HEADER_COUNT: usize = 32;
/// Pause after a failed accept (out of descriptors), so that the loop does not spin.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

const TEXT: &str = "text/plain; charset=utf-8";
/// Source: OpenMetrics 1.0, "Overall Structure".
const OPEN_METRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// Serves until `stop` is cancelled; then open connections are closed.
pub async fn status_server(listener: TcpListener, registry: Registry, health: Health, stop: CancellationToken) {
    let help = "Connections to the status pages closed because newer ones needed their place";
    let mut open = Open {
        displaced: registry.register("status_connections_displaced", help, Counter::<u64>::default()),
        ..Open::default()
    };
    loop {
        // Both branches are cancel-safe: a connection that was not handed over is dropped.
        let accepted = tokio::select! {
            () = stop.cancelled() => return,
            accepted = listener.accept() => accepted,
        };
        match accepted {
            Ok((stream, _)) => open.add(serve(stream, registry.clone(), health.clone())),
            Err(error) => {
                tracing::warn!(%error, "status server cannot accept a connection");
                sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}

/// The connections that are served, the oldest first. Dropping it closes them.
#[derive(Default)]
struct Open {
    tasks: JoinSet<()>,
    order: VecDeque<AbortHandle>,
    displaced: Counter,
}

impl Open {
    fn add(&mut self, connection: impl Future<Output = ()> + Send + 'static) {
        while self.tasks.try_join_next().is_some() {}
        self.order.retain(|task| !task.is_finished());
        if self.order.len() >= MAX_CONNECTIONS
            && let Some(oldest) = self.order.pop_front()
        {
            oldest.abort();
            self.displaced.inc();
        }
        self.order.push_back(self.tasks.spawn(connection));
    }
}

async fn serve(stream: TcpStream, registry: Registry, health: Health) {
    let service = service_fn(move |request| {
        let response = answer(&request, &registry, &health);
        async move { Ok::<_, Infallible>(response) }
    });
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEADER_TIME)
        .max_headers(HEADER_COUNT)
        .max_buf_size(HEADER_BYTES)
        .keep_alive(false)
        .serve_connection(TokioIo::new(stream), service);
    match timeout(CONNECTION_TIME, connection).await {
        Ok(Ok(())) => {}
        Ok(Err(error)) => tracing::debug!(%error, "status connection failed"),
        Err(_) => tracing::debug!("status connection took too long"),
    }
}

fn answer(request: &Request<Incoming>, registry: &Registry, health: &Health) -> Response<Full<Bytes>> {
    if !matches!(*request.method(), Method::GET | Method::HEAD) {
        return page(StatusCode::METHOD_NOT_ALLOWED, TEXT, "only GET\n".to_owned());
    }
    match request.uri().path() {
        "/livez" => page(StatusCode::OK, TEXT, "ok\n".to_owned()),
        "/readyz" => {
            let ready = health.is_ready();
            let status = if ready {
                StatusCode::OK
            } else {
                StatusCode::SERVICE_UNAVAILABLE
            };
            page(status, TEXT, health.report())
        }
        "/metrics" => match registry.encode() {
            Ok(text) => page(StatusCode::OK, OPEN_METRICS, text),
            Err(error) => {
                tracing::error!(%error, "metrics cannot be written");
                page(
                    StatusCode::INTERNAL_SERVER_ERROR,
                    TEXT,
                    "metrics cannot be written\n".to_owned(),
                )
            }
        },
        _ => page(
            StatusCode::NOT_FOUND,
            TEXT,
            "try /metrics, /livez or /readyz\n".to_owned(),
        ),
    }
}

fn page(status: StatusCode, content_type: &'static str, body: String) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(Bytes::from(body)));
    *response.status_mut() = status;
    response
        .headers_mut()
        .insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
    response
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::telemetry::{Condition, Need};
    use std::net::SocketAddr;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    async fn start() -> (SocketAddr, Health, CancellationToken) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let registry = Registry::new("test", "0");
        let health = Health::new(&registry);
        let stop = CancellationToken::new();
        tokio::spawn(status_server(listener, registry, health.clone(), stop.clone()));
        (address, health, stop)
    }

    async fn send(address: SocketAddr, request: &[u8]) -> String {
        let mut stream = TcpStream::connect(address).await.unwrap();
        stream.write_all(request).await.unwrap();
        let mut reply = Vec::new();
        // A reset after the answer is an answer too: the server stopped reading on purpose.
        drop(stream.read_to_end(&mut reply).await);
        String::from_utf8(reply).unwrap()
    }

    async fn get(address: SocketAddr, path: &str) -> String {
        send(address, format!("GET {path} HTTP/1.1\r\nhost: x\r\n\r\n").as_bytes()).await
    }

    #[tokio::test]
    async fn readiness_names_the_failed_dependency() {
        let (address, health, _stop) = start().await;
        health.declare("store", Need::Required);
        health.set("store", Condition::degraded("disk full"));
        let reply = get(address, "/readyz").await;
        assert!(
            reply.starts_with("HTTP/1.1 503") && reply.ends_with("failed store: disk full\n"),
            "{reply}"
        );
        health.set("store", Condition::Ok);
        let reply = get(address, "/readyz").await;
        assert!(
            reply.starts_with("HTTP/1.1 200") && reply.ends_with("ok store\n"),
            "{reply}"
        );
    }

    #[tokio::test]
    async fn metrics_are_open_metrics_and_unknown_paths_say_what_exists() {
        let (address, health, _stop) = start().await;
        health.set("kmsg", Condition::Ok);
        let reply = get(address, "/metrics").await;
        assert!(reply.contains("application/openmetrics-text"), "{reply}");
        assert!(reply.contains(r#"inquest_condition_ok{condition="kmsg"} 1"#), "{reply}");
        assert!(get(address, "/livez").await.starts_with("HTTP/1.1 200"));
        assert!(get(address, "/secret").await.starts_with("HTTP/1.1 404"));
        assert!(
            send(address, b"POST /livez HTTP/1.1\r\nhost: x\r\n\r\n")
                .await
                .starts_with("HTTP/1.1 405")
        );
    }

    #[tokio::test]
    async fn oversized_requests_and_garbage_are_refused_and_service_goes_on() {
        let (address, _health, _stop) = start().await;
        let many = (0..200).map(|n| format!("x-{n}: y\r\n")).collect::<String>();
        let many = format!("GET /livez HTTP/1.1\r\nhost: x\r\n{many}\r\n");
        let long = format!("GET /livez HTTP/1.1\r\nhost: x\r\nx: {}\r\n\r\n", "y".repeat(100_000));
        for request in [
            many.as_bytes(),
            long.as_bytes(),
            b"\x16\x03\x01\x02\x00\x01garbage\r\n\r\n",
        ] {
            let reply = send(address, request).await;
            assert!(!reply.starts_with("HTTP/1.1 200"), "{reply}");
        }
        assert!(get(address, "/livez").await.starts_with("HTTP/1.1 200"));
    }

    #[tokio::test]
    async fn silent_connections_keep_no_probe_waiting() {
        let (address, _health, _stop) = start().await;
        let mut silent = Vec::new();
        for _ in 0..MAX_CONNECTIONS * 4 {
            silent.push(TcpStream::connect(address).await.unwrap());
        }
        // Far less than the time after which a silent connection ends by itself.
        let reply = timeout(HEADER_TIME / 2, get(address, "/metrics")).await.unwrap();
        assert!(reply.starts_with("HTTP/1.1 200"), "{reply}");
        assert!(
            reply.contains("inquest_status_connections_displaced_total 49"),
            "{reply}"
        );
    }
}
