//! The connections of port 7441: HTTP/1 and HTTP/2 without TLS, each under its limits.
//!
//! Owns the time limits of the protocols and the end of open connections. Must not know what is asked.

use std::{convert::Infallible, pin::pin, sync::Arc, time::Duration};

use axum::{Router, body::Body, http::Request};
use hyper::body::Incoming;
use hyper_util::{
    rt::{TokioExecutor, TokioIo, TokioTimer},
    server::conn::auto,
};
use tokio::net::TcpStream;
use tokio_util::{sync::CancellationToken, task::TaskTracker};
use tower::ServiceExt as _;

use crate::door::{Door, Guarded, Limits, Pass};

/// Limits of the listener. All callers are on this host, so one of them is not told from another.
pub const LIMITS: Limits = Limits {
    connections: 512,
    pending: 256,
    pending_per_source: 256,
    failures: None,
    proof: Duration::from_secs(5),
    idle: Some(Duration::from_secs(120)),
};
/// Time for request line and headers, also of the next request on the same connection.
const HEADER_TIME: Duration = Duration::from_secs(5);
/// Bytes of request line and headers: a page token and a filter fit.
const HEADER_BYTES: usize = 32 * 1024;
const HEADER_BYTES_HTTP2: u32 = 32 * 1024;
/// Streams at once on one connection; the next ones wait for their turn anyway.
const MAX_STREAMS: u32 = 64;
/// A silent connection is asked after this long whether it still lives, and closed when it does not answer.
const KEEP_ALIVE: (Duration, Duration) = (Duration::from_secs(20), Duration::from_secs(10));

/// Serves connections until `stop` is cancelled and all of them have ended.
pub(super) async fn serve(door: Door, router: Router, stop: CancellationToken) {
    let connections = TaskTracker::new();
    while let Some((stream, _, pass)) = stop.run_until_cancelled(door.admit()).await {
        connections.spawn(converse(stream, pass, router.clone(), stop.clone()));
    }
    connections.close();
    connections.wait().await;
}

async fn converse(stream: TcpStream, pass: Arc<Pass>, router: Router, stop: CancellationToken) {
    let io = TokioIo::new(Guarded::new(stream, Arc::clone(&pass)));
    let service = hyper::service::service_fn(move |request: Request<Incoming>| {
        // The headers are complete: that is all that a caller has to prove here.
        pass.prove();
        let router = router.clone();
        async move {
            Ok::<_, Infallible>(
                router
                    .oneshot(request.map(Body::new))
                    .await
                    .unwrap_or_else(|no| match no {}),
            )
        }
    });
    let builder = builder();
    let mut connection = pin!(builder.serve_connection(io, service));
    let ended = tokio::select! {
        ended = connection.as_mut() => ended,
        () = stop.cancelled() => {
            connection.as_mut().graceful_shutdown();
            connection.await
        }
    };
    if let Err(error) = ended {
        tracing::debug!(%error, "a connection to the API broke");
    }
}

fn builder() -> auto::Builder<TokioExecutor> {
    let mut builder = auto::Builder::new(TokioExecutor::new());
    builder
        .http1()
        .timer(TokioTimer::new())
        .header_read_timeout(HEADER_TIME)
        .max_buf_size(HEADER_BYTES);
    builder
        .http2()
        .timer(TokioTimer::new())
        .max_concurrent_streams(MAX_STREAMS)
        .max_header_list_size(HEADER_BYTES_HTTP2)
        .keep_alive_interval(KEEP_ALIVE.0)
        .keep_alive_timeout(KEEP_ALIVE.1);
    builder
}
