//! The HTTP half of the receiver: reads, checks, records, answers.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Instant;

use axum::Router;
use axum::body::Body;
use axum::extract::{ConnectInfo, Request, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse as _, Response};
use axum::routing::post;
use tokio::net::TcpListener;
use tokio_stream::StreamExt as _;

use super::connection::{Fuse, Fused};
use super::record::{Answer, Received, Refusal};
use super::signature::{Signed, check};
use super::{Behaviour, MAX_BODY_BYTES, Shared};
use crate::wait::monotonic_nanos;

/// Serves until the runtime ends.
pub(super) async fn serve(listener: TcpListener, shared: Arc<Shared>) -> std::io::Result<()> {
    let app = Router::new().route("/hook", post(receive)).with_state(shared);
    axum::serve(Fused(listener), app.into_make_service_with_connect_info::<Fuse>()).await
}

/// A body with the moment of its first byte.
struct Read {
    at: Instant,
    monotonic_nanos: u64,
    bytes: Vec<u8>,
    refusal: Option<Refusal>,
}

async fn receive(
    State(shared): State<Arc<Shared>>,
    ConnectInfo(fuse): ConnectInfo<Fuse>,
    request: Request,
) -> Response {
    let (parts, body) = request.into_parts();
    let headers = texts(&parts.headers);
    let read = read(body).await;
    let (answer, value) = judge(&shared, &headers, &read);
    shared.keep(Received {
        at: read.at,
        monotonic_nanos: read.monotonic_nanos,
        path: parts.uri.path_and_query().map(ToString::to_string).unwrap_or_default(),
        headers,
        body: value,
        body_bytes: read.bytes.len(),
        answer: answer.0,
    });
    respond(answer, &fuse).await
}

/// What is recorded, and how many seconds the sender is asked to wait.
type Judged = (Answer, Option<u32>);

fn judge(shared: &Shared, headers: &BTreeMap<String, String>, read: &Read) -> (Judged, serde_json::Value) {
    let value = serde_json::from_slice(&read.bytes);
    let refusal = read.refusal.or_else(|| unsigned(shared, headers, &read.bytes));
    let refusal = refusal.or_else(|| value.is_err().then_some(Refusal::NotJson));
    let value = value.unwrap_or_default();
    if let Some(refusal) = refusal {
        return ((Answer::Refused(refusal), None), value);
    }
    let judged = match shared.next() {
        Behaviour::Accept => (Answer::Status(200), None),
        Behaviour::Status(status) => (Answer::Status(status), None),
        Behaviour::RetryAfter(seconds) => (Answer::Status(429), Some(seconds)),
        Behaviour::Hang => (Answer::Hung, None),
        Behaviour::Reset => (Answer::Reset, None),
    };
    (judged, value)
}

fn unsigned(shared: &Shared, headers: &BTreeMap<String, String>, body: &[u8]) -> Option<Refusal> {
    let secret = shared.secret.as_ref()?;
    let text = |name: &str| headers.get(name).map_or("", String::as_str);
    let (id, timestamp) = (text("webhook-id"), text("webhook-timestamp"));
    let signed = Signed {
        id,
        timestamp,
        signature: text("webhook-signature"),
    };
    check(secret, signed, body, shared.clock.now()).err()
}

async fn respond((answer, wait): Judged, fuse: &Fuse) -> Response {
    match answer {
        Answer::Status(status) => {
            let status = StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
            match wait {
                Some(seconds) => (status, [(header::RETRY_AFTER, seconds.to_string())]).into_response(),
                None => status.into_response(),
            }
        }
        Answer::Refused(Refusal::TooLarge) => StatusCode::PAYLOAD_TOO_LARGE.into_response(),
        Answer::Refused(Refusal::NotJson) => StatusCode::BAD_REQUEST.into_response(),
        Answer::Refused(_) => StatusCode::UNAUTHORIZED.into_response(),
        Answer::Hung => std::future::pending().await,
        Answer::Reset => {
            fuse.blow();
            StatusCode::OK.into_response()
        }
    }
}

async fn read(body: Body) -> Read {
    let mut chunks = body.into_data_stream();
    let mut bytes = Vec::new();
    let first = chunks.next().await;
    let (at, monotonic_nanos) = (Instant::now(), monotonic_nanos());
    let mut next = first;
    let mut refusal = None;
    while let Some(chunk) = next {
        match chunk {
            Ok(chunk) if bytes.len() + chunk.len() <= MAX_BODY_BYTES => bytes.extend_from_slice(&chunk),
            Ok(_) => refusal = Some(Refusal::TooLarge),
            Err(_) => refusal = Some(Refusal::NotJson),
        }
        if refusal.is_some() {
            break;
        }
        next = chunks.next().await;
    }
    Read {
        at,
        monotonic_nanos,
        bytes,
        refusal,
    }
}

fn texts(headers: &HeaderMap) -> BTreeMap<String, String> {
    let text = |value: &header::HeaderValue| String::from_utf8_lossy(value.as_bytes()).into_owned();
    headers
        .iter()
        .map(|(name, value)| (name.as_str().to_owned(), text(value)))
        .collect()
}
