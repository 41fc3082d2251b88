//! Answers as HTTP: JSON of messages, and statuses as `google.rpc.Status` JSON with the HTTP code that belongs to them.

use std::error::Error;

use axum::{
    http::{HeaderValue, StatusCode, header},
    response::{IntoResponse as _, Response},
};
use prost::Message;
use serde_json::{Value, json};
use tonic::{Code, Status};
use tonic_types::StatusExt as _;

use crate::json::to_json;

const JSON: &str = "application/json";
const TEXT: &str = "text/plain; charset=utf-8";

/// A message as JSON.
pub(super) fn of_message<M: Message>(full_name: &str, message: &M) -> Response {
    match json(full_name, message) {
        Ok(json) => page(StatusCode::OK, JSON, json.to_string()),
        Err(status) => of_status(&status),
    }
}

/// The JSON of a message; failing to write it is our defect, and the log says which.
pub(super) fn json<M: Message>(full_name: &str, message: &M) -> Result<Value, Status> {
    to_json(full_name, message).map_err(|error| {
        tracing::error!(error = &error as &dyn Error, "an answer has no JSON form");
        Status::internal("the answer has no JSON form; the aggregator's log says why")
    })
}

/// A plain text.
pub(super) fn of_text(text: &'static str) -> Response {
    page(StatusCode::OK, TEXT, text.to_owned())
}

/// A status as JSON.
pub(in crate::api) fn of_status(status: &Status) -> Response {
    page(http_code(status.code()), JSON, status_json(status).to_string())
}

/// Everything here is read with GET.
pub(in crate::api) fn method_not_allowed() -> Response {
    let status = Status::unimplemented("only GET");
    page(StatusCode::METHOD_NOT_ALLOWED, JSON, status_json(&status).to_string())
}

/// `{code, message, details}`. Source: `google/rpc/status.proto`.
pub(super) fn status_json(status: &Status) -> Value {
    let bad_request = status.get_details_bad_request().map(|bad| {
        let violations: Vec<_> = bad
            .field_violations
            .iter()
            .map(|violation| json!({"field": violation.field, "description": violation.description}))
            .collect();
        json!({"@type": "type.googleapis.com/google.rpc.BadRequest", "fieldViolations": violations})
    });
    let details: Vec<_> = bad_request.into_iter().collect();
    json!({"code": i32::from(status.code()), "message": status.message(), "details": details})
}

/// Source: `google/rpc/code.proto`, "HTTP Mapping".
const fn http_code(code: Code) -> StatusCode {
    match code {
        Code::Ok => StatusCode::OK,
        Code::InvalidArgument | Code::FailedPrecondition | Code::OutOfRange => StatusCode::BAD_REQUEST,
        Code::Unauthenticated => StatusCode::UNAUTHORIZED,
        Code::PermissionDenied => StatusCode::FORBIDDEN,
        Code::NotFound => StatusCode::NOT_FOUND,
        Code::AlreadyExists | Code::Aborted => StatusCode::CONFLICT,
        Code::ResourceExhausted => StatusCode::TOO_MANY_REQUESTS,
        Code::Unimplemented => StatusCode::NOT_IMPLEMENTED,
        Code::Unavailable => StatusCode::SERVICE_UNAVAILABLE,
        Code::DeadlineExceeded => StatusCode::GATEWAY_TIMEOUT,
        Code::Cancelled | Code::Unknown | Code::Internal | Code::DataLoss => StatusCode::INTERNAL_SERVER_ERROR,
    }
}

/// No page is kept by a browser, and none is taken for anything but what it says.
fn page(code: StatusCode, kind: &'static str, body: String) -> Response {
    let headers = [
        (header::CONTENT_TYPE, HeaderValue::from_static(kind)),
        (header::CACHE_CONTROL, HeaderValue::from_static("no-store")),
        (header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff")),
    ];
    (code, headers, body).into_response()
}
