use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::time::Instant;

use axum::Router;
use axum::body::Bytes;
use axum::extract::State;
use axum::http::{HeaderMap, Method, StatusCode};
use axum::response::{IntoResponse, Response};
use base64::Engine as _;
use hmac::{KeyInit as _, Mac as _};
use inquest_shared::clock::{FakeClock, UnixNanos};
use inquest_shared::config::{AggregatorConfig, Inputs, ReceiverKind, load};
use inquest_shared::model::TransitionKind;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;

use super::*;
use crate::alert::sample::{AT, row};

const KEY: &[u8] = b"0123456789abcdef0123456789abcdef";

type Seen = Arc<Mutex<Vec<(HeaderMap, Bytes, SocketAddr)>>>;

/// A receiver on a real socket.
struct Hook {
    url: String,
    seen: Seen,
}

impl Hook {
    async fn answering<F, R>(answer: F) -> Self
    where
        F: Fn(usize) -> R + Clone + Send + Sync + 'static,
        R: IntoResponse,
    {
        let seen = Seen::default();
        let handler = move |State(seen): State<Seen>,
                            peer: axum::extract::ConnectInfo<SocketAddr>,
                            method: Method,
                            headers: HeaderMap,
                            body: Bytes| {
            let answer = answer.clone();
            async move {
                if method == Method::OPTIONS {
                    return StatusCode::NOT_IMPLEMENTED.into_response();
                }
                let call = {
                    let mut seen = seen.lock().unwrap();
                    seen.push((headers, body, peer.0));
                    seen.len()
                };
                answer(call).into_response()
            }
        };
        let app = Router::new().fallback(handler).with_state(Arc::clone(&seen));
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/hook/token-in-path", listener.local_addr().unwrap());
        tokio::spawn(async move {
            axum::serve(listener, app.into_make_service_with_connect_info::<SocketAddr>())
                .await
                .unwrap();
        });
        Self { url, seen }
    }

    /// A receiver that writes raw bytes to every connection, over and over if `repeat`, after the request began.
    async fn raw(head: &'static [u8], repeat: &'static [u8]) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/", listener.local_addr().unwrap());
        tokio::spawn(async move {
            while let Ok((mut stream, _)) = listener.accept().await {
                tokio::spawn(async move {
                    let mut request = [0; 1024];
                    let read = stream.read(&mut request).await.unwrap_or(0);
                    if read == 0 || stream.write_all(head).await.is_err() || head.is_empty() {
                        return;
                    }
                    while !repeat.is_empty() && stream.write_all(repeat).await.is_ok() {}
                    std::future::pending::<()>().await;
                });
            }
        });
        Self {
            url,
            seen: Seen::default(),
        }
    }

    /// A receiver that answers with endless headers, a byte each 50 ms.
    async fn dripping() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/", listener.local_addr().unwrap());
        tokio::spawn(async move {
            while let Ok((mut stream, _)) = listener.accept().await {
                tokio::spawn(async move {
                    // Bytes before the request would not be an answer to it.
                    let asked = stream.read(&mut [0; 1024]).await.is_ok_and(|read| read > 0);
                    let answer = b"HTTP/1.1 200 OK\r\nx-slow: ".iter().chain(std::iter::repeat(&b'x'));
                    for byte in answer {
                        if !asked || stream.write_all(std::slice::from_ref(byte)).await.is_err() {
                            return;
                        }
                        tokio::time::sleep(Duration::from_millis(50)).await;
                    }
                });
            }
        });
        Self {
            url,
            seen: Seen::default(),
        }
    }

    fn calls(&self) -> Vec<(HeaderMap, Bytes, SocketAddr)> {
        self.seen.lock().unwrap().clone()
    }
}

fn config(url: &str, more: &str) -> config::Webhook {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("aggregator.yaml");
    std::fs::write(
        &file,
        format!("receivers:\n- name: hook\n  webhook:\n    url: {url}\n{more}"),
    )
    .unwrap();
    let inputs = Inputs {
        file: Some(file),
        ..Inputs::default()
    };
    let loaded = load::<AggregatorConfig>(&inputs).unwrap();
    match loaded.value.receivers.into_iter().next().unwrap().kind {
        ReceiverKind::Webhook(webhook) => webhook,
        ReceiverKind::Stdout => panic!("not a webhook"),
    }
}

fn webhook(url: &str, more: &str) -> Webhook {
    Webhook::new(
        &config(url, more),
        Arc::new(FakeClock::at(UnixNanos::from_secs(1_700_000_100))),
    )
    .unwrap()
}

fn message() -> Message {
    Message {
        notice: row(1, "hook", 7, TransitionKind::Opened).notice,
        brief: false,
    }
}

fn header<'a>(headers: &'a HeaderMap, name: &str) -> &'a str {
    headers.get(name).map_or("", |value| value.to_str().unwrap())
}

#[tokio::test]
async fn a_receiver_gets_a_cloud_event_with_the_incident_and_words_for_people() {
    let hook = Hook::answering(|_| StatusCode::NO_CONTENT).await;
    assert_eq!(webhook(&hook.url, "").deliver(&message()).await, Outcome::Delivered);
    let (headers, body, _) = hook.calls().remove(0);
    let event: serde_json::Value = serde_json::from_slice(&body).unwrap();
    let key = message().key();
    assert_eq!(event["specversion"], "1.0");
    assert_eq!(event["id"], key);
    assert_eq!(event["source"], "inquest/prod");
    assert_eq!(event["type"], "io.inquest.incident.opened");
    assert_eq!(event["time"], AT.to_string());
    assert_eq!(event["subject"], "shop/Deployment/web/app");
    assert_eq!(event["datacontenttype"], "application/json");
    assert_eq!(event["data"]["cause"], "CAUSE_OOM_LIMIT");
    assert_eq!(event["data"]["workload"]["name"], "web");
    assert!(
        event["data"]["text"]["headline"]
            .as_str()
            .is_some_and(|text| !text.is_empty()),
        "{event}"
    );
    assert!(
        event["data"].get("counted").is_none(),
        "the engine's own state stays inside"
    );
    assert_eq!(
        header(&headers, "content-type"),
        "application/cloudevents+json; charset=utf-8"
    );
    assert_eq!(
        (header(&headers, "webhook-id"), header(&headers, "idempotency-key")),
        (key.as_str(), key.as_str())
    );
    assert_eq!(header(&headers, "webhook-signature"), "", "no secret, no signature");
}

#[tokio::test]
async fn a_receiver_can_verify_who_sent_it_and_when() {
    let folder = tempfile::tempdir().unwrap();
    let secret: PathBuf = folder.path().join("secret");
    let encoded = base64::engine::general_purpose::STANDARD.encode(KEY);
    std::fs::write(&secret, format!("whsec_{encoded}\n")).unwrap();
    let hook = Hook::answering(|_| StatusCode::OK).await;
    let more = format!(
        "    secret_file: {}\n    headers:\n      X-Team: blue\n",
        secret.display()
    );
    assert_eq!(webhook(&hook.url, &more).deliver(&message()).await, Outcome::Delivered);
    let (headers, body, _) = hook.calls().remove(0);
    assert_eq!(
        (header(&headers, "webhook-timestamp"), header(&headers, "x-team")),
        ("1700000100", "blue")
    );
    let mut signed = format!("{}.1700000100.", message().key()).into_bytes();
    signed.extend_from_slice(&body);
    let mut mac = hmac::Hmac::<sha2::Sha256>::new_from_slice(KEY).unwrap();
    mac.update(&signed);
    let given = header(&headers, "webhook-signature").strip_prefix("v1,").unwrap();
    mac.verify_slice(&base64::engine::general_purpose::STANDARD.decode(given).unwrap())
        .unwrap();
}

#[tokio::test]
async fn each_status_means_what_receivers_mean_by_it() {
    let kind = |outcome: Outcome| match outcome {
        Outcome::Delivered => "delivered",
        Outcome::RetryAfter(..) => "retry",
        Outcome::Throttled(..) => "throttled",
        Outcome::AuthBroken(_) => "auth",
        Outcome::Oversize(_) => "oversize",
        Outcome::Permanent(_) => "permanent",
        Outcome::Ambiguous(_) => "ambiguous",
    };
    let statuses = [
        200, 202, 299, 301, 307, 400, 401, 403, 404, 408, 410, 413, 422, 429, 500, 503, 599,
    ];
    let hook = Hook::answering(move |call| StatusCode::from_u16(statuses[call - 1]).unwrap()).await;
    let webhook = webhook(&hook.url, "");
    let mut got = Vec::new();
    for _ in statuses {
        got.push(kind(webhook.deliver(&message()).await));
    }
    let expected = [
        "delivered",
        "delivered",
        "delivered",
        "permanent",
        "permanent",
        "permanent",
        "auth",
        "auth",
        "permanent",
        "retry",
        "permanent",
        "oversize",
        "permanent",
        "throttled",
        "retry",
        "retry",
        "retry",
    ];
    assert_eq!(got, expected);
    let peers: std::collections::BTreeSet<_> = hook.calls().into_iter().map(|(_, _, peer)| peer).collect();
    assert_eq!(peers.len(), 1, "one warm connection for all of them");
}

#[tokio::test]
async fn a_receiver_says_when_to_come_back() {
    let answers = ["7", "0.5", "Tue, 14 Nov 2023 22:16:10 GMT", "soon"];
    let hook = Hook::answering(move |call| {
        let status = if call % 2 == 1 {
            StatusCode::TOO_MANY_REQUESTS
        } else {
            StatusCode::SERVICE_UNAVAILABLE
        };
        (status, [("retry-after", answers[call - 1])])
    })
    .await;
    let webhook = webhook(&hook.url, "");
    let mut waits = Vec::new();
    for _ in answers {
        match webhook.deliver(&message()).await {
            Outcome::Throttled(wait, _) | Outcome::RetryAfter(wait, _) => waits.push(wait),
            other => panic!("{other:?}"),
        }
    }
    let half = Duration::from_millis(500);
    assert_eq!(
        waits,
        [
            Some(Duration::from_secs(7)),
            Some(half),
            Some(Duration::from_secs(70)),
            None
        ]
    );
}

#[tokio::test]
async fn an_endpoint_that_hangs_is_given_up_at_the_configured_timeout() {
    let hook = Hook::raw(b"HTTP/1.1 2", b"").await;
    let begun = Instant::now();
    let outcome = webhook(&hook.url, "    timeout: 1s\n").deliver(&message()).await;
    let took = begun.elapsed();
    assert_eq!(outcome, Outcome::Ambiguous(Reason::new("timed out")));
    assert!(
        took >= Duration::from_millis(950) && took < Duration::from_secs(3),
        "{took:?}"
    );
}

#[tokio::test]
async fn a_connection_that_breaks_after_the_request_is_not_counted_as_refused() {
    let hook = Hook::raw(b"", b"").await;
    let outcome = webhook(&hook.url, "").deliver(&message()).await;
    assert!(matches!(outcome, Outcome::Ambiguous(_)), "{outcome:?}");
}

#[tokio::test]
async fn an_address_where_nobody_listens_is_retried_and_never_shown() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://user:pw@{}/token-in-path", listener.local_addr().unwrap());
    drop(listener);
    let webhook = webhook(&url, "");
    let outcome = webhook.deliver(&message()).await;
    assert_eq!(outcome, Outcome::RetryAfter(None, Reason::new("cannot connect")));
    assert_eq!(webhook.probe().await, Err(Reason::new("cannot connect")));
}

#[tokio::test]
async fn an_endless_answer_costs_little_time_and_memory() {
    let chunk: &[u8] = &[b'x'; 65_536];
    let hook = Hook::raw(b"HTTP/1.1 500 No\r\ncontent-length: 2147483648\r\n\r\n", chunk).await;
    let begun = Instant::now();
    let outcome = webhook(&hook.url, "").deliver(&message()).await;
    let Outcome::RetryAfter(None, reason) = outcome else {
        panic!("{outcome:?}")
    };
    assert!(
        reason.as_str().starts_with("http 500: xxx") && reason.as_str().len() <= 256,
        "{reason}"
    );
    assert!(begun.elapsed() < Duration::from_secs(2));
}

#[tokio::test]
async fn endless_headers_are_refused() {
    let hook = Hook::raw(
        b"HTTP/1.1 200 OK\r\n",
        b"x-more: 0123456789012345678901234567890123456789\r\n",
    )
    .await;
    let begun = Instant::now();
    let outcome = webhook(&hook.url, "    timeout: 5s\n").deliver(&message()).await;
    assert_eq!(
        outcome,
        Outcome::Ambiguous(Reason::new("connection lost or answer not valid HTTP"))
    );
    assert!(begun.elapsed() < Duration::from_secs(4));
}

#[tokio::test]
async fn a_slow_body_after_success_does_not_hold_the_next_message_back() {
    let hook = Hook::raw(b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nab", b"").await;
    let begun = Instant::now();
    assert_eq!(webhook(&hook.url, "").deliver(&message()).await, Outcome::Delivered);
    assert!(begun.elapsed() < Duration::from_secs(3));
}

/// Bytes that come one by one never end an attempt; its time does.
#[tokio::test]
async fn an_answer_that_drips_is_given_up_at_the_configured_timeout() {
    let hook = Hook::dripping().await;
    let outcome = webhook(&hook.url, "    timeout: 1s\n").deliver(&message()).await;
    assert_eq!(outcome, Outcome::Ambiguous(Reason::new("timed out")));
}

#[tokio::test]
async fn a_redirect_is_not_followed() {
    let other = Hook::answering(|_| StatusCode::OK).await;
    let location = other.url.clone();
    let hook = Hook::answering(move |_| (StatusCode::FOUND, [("location", location.clone())])).await;
    let outcome = webhook(&hook.url, "").deliver(&message()).await;
    assert_eq!(outcome, Outcome::Permanent(Reason::new("http 302")));
    assert!(other.calls().is_empty());
}

/// Echo services and many error pages answer with the request that they got.
#[tokio::test]
async fn a_receiver_that_sends_the_request_back_shows_no_secret() {
    let echo = "no POST /hook/token-in-path here; authorization: Bearer canary-header-1 (canary-header-1)";
    let hook = Hook::answering(move |_| (StatusCode::NOT_FOUND, echo)).await;
    let more = "    headers: {authorization: Bearer canary-header-1}\n";
    let Outcome::Permanent(reason) = webhook(&hook.url, more).deliver(&message()).await else {
        panic!("not permanent")
    };
    assert_eq!(
        reason.as_str(),
        "http 404: no POST [redacted] here; authorization: [redacted] ([redacted])"
    );
}

#[tokio::test]
async fn the_receivers_words_cannot_forge_a_log_line() {
    let hook = Hook::answering(|_| -> Response { (StatusCode::BAD_REQUEST, "no\n\x1b[2J".repeat(99)).into_response() });
    let outcome = webhook(&hook.await.url, "").deliver(&message()).await;
    let Outcome::Permanent(reason) = outcome else {
        panic!("{outcome:?}")
    };
    assert!(
        reason.as_str().starts_with("http 400: no\\u{a}\\u{1b}[2J") && reason.as_str().len() <= 256,
        "{reason}"
    );
}

#[tokio::test]
async fn a_brief_message_keeps_the_last_log_lines_and_says_so() {
    let hook = Hook::answering(|_| StatusCode::OK).await;
    let message = Message {
        brief: true,
        ..message()
    };
    webhook(&hook.url, "").deliver(&message).await;
    let event: serde_json::Value = serde_json::from_slice(&hook.calls()[0].1).unwrap();
    let log = &event["data"]["latest"]["evidence"][0]["logExcerpt"];
    assert_eq!(log["lines"], serde_json::json!(["line 3", "line 4", "line 5"]));
    assert_eq!(log["truncated"], true);
}

#[tokio::test]
async fn a_probe_tells_the_receiver_nothing_and_accepts_any_answer() {
    let hook = Hook::answering(|_| StatusCode::OK).await;
    assert_eq!(webhook(&hook.url, "").probe().await, Ok(()));
    assert!(hook.calls().is_empty());
}

#[test]
fn a_bad_secret_or_header_stops_the_start_without_being_shown() {
    let folder = tempfile::tempdir().unwrap();
    let secret = folder.path().join("secret");
    std::fs::write(&secret, "hunter2").unwrap();
    let setup = |more: &str| {
        let made = Webhook::new(&config("http://127.0.0.1:1/", more), Arc::new(FakeClock::default()));
        made.err().unwrap().to_string()
    };
    let more = format!("    secret_file: {}\n", secret.display());
    assert_eq!(
        setup(&more),
        "the signing secret is not whsec_ followed by base64 of at least 24 bytes"
    );
    assert_eq!(
        setup("    secret_file: /nonexistent\n"),
        "cannot read the signing secret"
    );
    assert_eq!(
        setup("    headers:\n      \"bad name\": hunter2\n"),
        "the header bad name is not valid in HTTP"
    );
}
