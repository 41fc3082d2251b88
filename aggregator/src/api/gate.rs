//! What every request passes: the name of the host, the number of requests at once, and the time for an answer.

use std::{net::IpAddr, sync::Arc, time::Duration};

use axum::{
    Router,
    extract::{Request, State},
    http::{HeaderMap, Uri, header, uri::Authority},
    middleware::{self, Next},
    response::Response,
};
use tokio::{sync::Semaphore, time::timeout};
use tonic::Status;

use super::{http::reply, status::quoted};

/// Requests worked on at once; the next ones wait for their turn within their time.
const MAX_REQUESTS: usize = 64;
/// Time for an answer; of a stream, for its beginning.
const REQUEST_TIME: Duration = Duration::from_secs(10);

/// Puts the gate before all routes, and answers in the caller's protocol where there is none.
pub(super) fn guard(router: Router) -> Router {
    router
        .fallback(nothing_here)
        .method_not_allowed_fallback(only_get)
        .layer(middleware::from_fn_with_state(
            Arc::new(Semaphore::new(MAX_REQUESTS)),
            pass,
        ))
}

async fn pass(State(turns): State<Arc<Semaphore>>, request: Request, next: Next) -> Response {
    let grpc = is_grpc(request.headers());
    if let Err(status) = check_host(request.uri(), request.headers()) {
        return refuse(grpc, &status);
    }
    let answer = async {
        let _turn = turns.acquire().await;
        next.run(request).await
    };
    let late = |_| Status::deadline_exceeded(format!("no answer within {} s; try again", REQUEST_TIME.as_secs()));
    timeout(REQUEST_TIME, answer)
        .await
        .map_err(late)
        .unwrap_or_else(|status| refuse(grpc, &status))
}

/// A web page elsewhere can make a browser connect here under a name of its own (DNS rebinding); it cannot change the
/// name in the request. So only names of this host are served.
fn check_host(uri: &Uri, headers: &HeaderMap) -> Result<(), Status> {
    let header = headers
        .get(header::HOST)
        .map(|value| String::from_utf8_lossy(value.as_bytes()).into_owned());
    let Some(given) = uri.authority().map(ToString::to_string).or(header) else {
        return Ok(());
    };
    if given
        .parse::<Authority>()
        .is_ok_and(|authority| is_local(authority.host()))
    {
        return Ok(());
    }
    let hint = "connect to localhost, 127.0.0.1 or [::1]";
    Err(Status::permission_denied(format!(
        "this API does not answer to the name {}; {hint}",
        quoted(&given)
    )))
}

fn is_local(host: &str) -> bool {
    let address = host.trim_start_matches('[').trim_end_matches(']');
    host.eq_ignore_ascii_case("localhost") || address.parse::<IpAddr>().is_ok_and(|ip| ip.is_loopback())
}

fn is_grpc(headers: &HeaderMap) -> bool {
    headers
        .get(header::CONTENT_TYPE)
        .is_some_and(|kind| kind.as_bytes().starts_with(b"application/grpc"))
}

fn refuse(grpc: bool, status: &Status) -> Response {
    if grpc {
        status.clone().into_http()
    } else {
        reply::of_status(status)
    }
}

async fn nothing_here(request: Request) -> Response {
    let path = quoted(request.uri().path());
    if is_grpc(request.headers()) {
        return Status::unimplemented(format!("{path} is not served here")).into_http();
    }
    reply::of_status(&Status::not_found(format!(
        "{path} is not served here; / lists what is"
    )))
}

async fn only_get() -> Response {
    reply::method_not_allowed()
}

#[cfg(test)]
mod tests {
    use std::future::pending;

    use axum::{
        body::Body,
        http::{HeaderValue, StatusCode},
        routing::get,
    };
    use tokio::time::{Instant, sleep};
    use tower::ServiceExt as _;

    use super::*;

    fn check(host: &'static str) -> Result<(), Status> {
        let headers = HeaderMap::from_iter([(header::HOST, HeaderValue::from_static(host))]);
        check_host(&Uri::from_static("/api/v1/incidents"), &headers)
    }

    #[test]
    fn a_web_page_under_a_foreign_name_cannot_read_incidents() {
        for host in [
            "evil.example",
            "evil.example:7441",
            "localhost.evil.example",
            "10.0.0.1:7441",
            "",
            "a b",
        ] {
            let status = check(host).unwrap_err();
            assert_eq!(status.code(), tonic::Code::PermissionDenied, "{host}");
        }
        for host in [
            "localhost:7441",
            "LOCALHOST",
            "127.0.0.1:7441",
            "[::1]:7441",
            "127.0.0.53",
        ] {
            assert!(check(host).is_ok(), "{host}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_question_that_hangs_is_answered_in_the_callers_protocol() {
        let router = guard(Router::new().route("/", get(pending::<()>)));
        let request = |kind| {
            Request::get("/")
                .header(header::CONTENT_TYPE, kind)
                .body(Body::empty())
                .unwrap()
        };
        let answer = router.clone().oneshot(request("application/json")).await.unwrap();
        assert_eq!(answer.status(), StatusCode::GATEWAY_TIMEOUT);
        let answer = router.oneshot(request("application/grpc")).await.unwrap();
        let code = i32::from(tonic::Code::DeadlineExceeded).to_string();
        assert_eq!(
            (answer.status(), answer.headers()["grpc-status"].to_str().unwrap()),
            (StatusCode::OK, code.as_str())
        );
    }

    #[tokio::test(start_paused = true)]
    async fn a_question_beyond_the_limit_waits_for_its_turn() {
        let router = guard(
            Router::new()
                .route("/", get(pending::<()>))
                .route("/fast", get(|| async {})),
        );
        let ask = |path: &str| router.clone().oneshot(Request::get(path).body(Body::empty()).unwrap());
        let slow = futures::future::join_all((0..MAX_REQUESTS).map(|_| ask("/")));
        let later = async {
            sleep(REQUEST_TIME / 2).await;
            let since = Instant::now();
            (ask("/fast").await.unwrap().status(), since.elapsed())
        };
        let (slow, (status, waited)) = tokio::join!(slow, later);
        assert!(
            slow.into_iter()
                .all(|answer| answer.unwrap().status() == StatusCode::GATEWAY_TIMEOUT)
        );
        assert_eq!((status, waited.as_secs()), (StatusCode::OK, REQUEST_TIME.as_secs() / 2));
    }
}
