//! The HTTP half of the receiver: reads, checks, records, answers.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::sync::Arc;
use std::time::Instant;

use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::{ConnectInfo, Request, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse as _, Response};
use axum::routing::post;
use inquest_shared::clock::UnixNanos;
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

/// What goes with a status.
enum Extra {
    Nothing,
    RetryAfter(String),
    EndlessBody,
}

/// What is recorded, and what goes with it.
type Judged = (Answer, Extra);

fn judge(shared: &Shared, headers: &BTreeMap<String, String>, read: &Read) -> (Judged, serde_json::Value) {
    let value = serde_json::from_slice(&read.bytes);
    let refusal = read.refusal.or_else(|| unsigned(shared, headers, &read.bytes));
    let refusal = refusal.or_else(|| value.is_err().then_some(Refusal::NotJson));
    let value = value.unwrap_or_default();
    if let Some(refusal) = refusal {
        return ((Answer::Refused(refusal), Extra::Nothing), value);
    }
    let judged = match shared.next() {
        Behaviour::Accept => (Answer::Status(200), Extra::Nothing),
        Behaviour::Status(status) => (Answer::Status(status), Extra::Nothing),
        Behaviour::RetryAfter(seconds) => throttled(seconds.to_string()),
        Behaviour::RetryAfterFraction(millis) => throttled(format!("{}.{:03}", millis / 1000, millis % 1000)),
        Behaviour::RetryAfterDate(seconds) => throttled(http_date(shared.clock.now(), seconds)),
        Behaviour::Hang => (Answer::Hung, Extra::Nothing),
        Behaviour::Reset => (Answer::Reset, Extra::Nothing),
        Behaviour::TakeThenReset => (Answer::TakenThenReset, Extra::Nothing),
        Behaviour::Late(time) => (Answer::TakenLate(time), Extra::Nothing),
        Behaviour::EndlessBody => (Answer::Status(200), Extra::EndlessBody),
    };
    (judged, value)
}

const fn throttled(retry_after: String) -> Judged {
    (Answer::Status(429), Extra::RetryAfter(retry_after))
}

/// The IMF-fixdate (RFC 9110, section 5.6.7) of a moment to come.
fn http_date(now: UnixNanos, seconds: u32) -> String {
    let at = jiff::Timestamp::from_second(now.as_secs().saturating_add(i64::from(seconds))).unwrap_or_default();
    at.strftime("%a, %d %b %Y %H:%M:%S GMT").to_string()
}

/// 2 GiB in pieces of 64 KiB, as fast as they are taken.
fn endless() -> Body {
    let piece = Bytes::from_static(&[b'x'; 65_536]);
    Body::from_stream(tokio_stream::iter(std::iter::repeat_n(
        Ok::<_, Infallible>(piece),
        32_768,
    )))
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

async fn respond((answer, extra): Judged, fuse: &Fuse) -> Response {
    match answer {
        Answer::Status(status) => {
            let status = StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
            match extra {
                Extra::RetryAfter(time) => (status, [(header::RETRY_AFTER, time)]).into_response(),
                Extra::EndlessBody => (status, endless()).into_response(),
                Extra::Nothing => status.into_response(),
            }
        }
        Answer::Refused(Refusal::TooLarge) => StatusCode::PAYLOAD_TOO_LARGE.into_response(),
        Answer::Refused(Refusal::NotJson) => StatusCode::BAD_REQUEST.into_response(),
        Answer::Refused(_) => StatusCode::UNAUTHORIZED.into_response(),
        Answer::Hung => std::future::pending().await,
        Answer::TakenLate(time) => {
            tokio::time::sleep(time).await;
            StatusCode::OK.into_response()
        }
        Answer::Reset | Answer::TakenThenReset => {
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
