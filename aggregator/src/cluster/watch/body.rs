//! Answers of the apiserver, read with deadlines and limits.
//!
//! Owns sending, the refusals in answers, and the cutting of bodies into lines. Must not know objects.

use std::time::Duration;

use bytes::{Buf as _, Bytes, BytesMut};
use http_body_util::BodyExt as _;
use hyper::{Request, StatusCode, header::RETRY_AFTER};
use kube::{Client, client::Body};
use tokio::time::timeout;

use super::failure::Failure;
use crate::cluster::wire::Status;

/// Time until the head of an answer. Source: the apiserver answers within its own request timeout of 60 s.
const HEAD: Duration = Duration::from_secs(65);
/// Largest line of a watch: etcd takes 1.5 MiB for an object, JSON may take several times as much.
const MAX_LINE: usize = 16 * 1024 * 1024;
/// Largest page of a list: 500 objects of half a mebibyte.
const MAX_PAGE: usize = 256 * 1024 * 1024;
/// Largest body of a refusal that is looked at.
const MAX_REFUSAL: usize = 64 * 1024;
/// Time for the body of a refusal.
const REFUSAL: Duration = Duration::from_secs(5);
/// The longest wait that a busy server can ask for.
const MAX_WAIT: u64 = 300;

/// The body of an answer.
pub(super) struct Lines {
    body: Body,
    buffer: BytesMut,
    /// Bytes of the buffer that were searched for the end of a line.
    searched: usize,
    /// Whether the rest of a line that is too long is being skipped.
    skipping: bool,
}

/// Sends a request and takes a refusal apart.
pub(super) async fn send(client: &Client, request: Request<Body>) -> Result<Lines, Failure> {
    let sent = timeout(HEAD, client.send(request)).await;
    let answer = sent
        .map_err(|_| Failure::Silent)?
        .map_err(|error| Failure::connection(&error))?;
    let status = answer.status();
    let wait = answer.headers().get(RETRY_AFTER).and_then(|wait| wait.to_str().ok());
    let wait = wait.and_then(|wait| wait.parse().ok()).unwrap_or(0);
    let mut lines = Lines {
        body: answer.into_body(),
        buffer: BytesMut::new(),
        searched: 0,
        skipping: false,
    };
    if status.is_success() {
        return Ok(lines);
    }
    if status == StatusCode::TOO_MANY_REQUESTS || (status == StatusCode::SERVICE_UNAVAILABLE && wait > 0) {
        return Err(Failure::Busy {
            wait: Duration::from_secs(wait.min(MAX_WAIT)),
        });
    }
    // A refusal without words is one all the same.
    let words = lines.all(MAX_REFUSAL, REFUSAL).await.unwrap_or_default();
    let said = serde_json::from_slice(&words).unwrap_or_default();
    Err(Failure::of(&Status {
        code: status.as_u16(),
        ..said
    }))
}

impl Lines {
    /// The next line, or `None` at the end of the body; a line that is cut off by it does not count. Empty lines and lines
    /// that are too long are skipped.
    pub(super) async fn next(&mut self, deadline: Duration) -> Result<Option<Bytes>, Failure> {
        loop {
            if let Some(line) = self.cut() {
                if !line.is_empty() {
                    return Ok(Some(line));
                }
            } else if !self.more(deadline).await? {
                return Ok(None);
            }
        }
    }

    /// Takes a whole line out of the buffer.
    fn cut(&mut self) -> Option<Bytes> {
        let rest = self.buffer.get(self.searched..).unwrap_or_default();
        let Some(at) = rest.iter().position(|byte| *byte == b'\n') else {
            self.searched = self.buffer.len();
            if self.searched > MAX_LINE {
                self.skipping = true;
                self.buffer.clear();
                self.searched = 0;
            }
            return None;
        };
        let line = self.buffer.split_to(self.searched.saturating_add(at)).freeze();
        self.buffer.advance(1);
        self.searched = 0;
        Some(if std::mem::take(&mut self.skipping) {
            Bytes::new()
        } else {
            line
        })
    }

    /// Reads on; `false` at the end.
    async fn more(&mut self, deadline: Duration) -> Result<bool, Failure> {
        let frame = timeout(deadline, self.body.frame())
            .await
            .map_err(|_| Failure::Silent)?;
        match frame {
            None => Ok(false),
            Some(Err(error)) => Err(Failure::connection(&error)),
            Some(Ok(frame)) => {
                if let Ok(data) = frame.into_data() {
                    self.buffer.extend_from_slice(&data);
                }
                Ok(true)
            }
        }
    }

    /// The whole body of a list.
    pub(super) async fn page(&mut self, deadline: Duration) -> Result<Bytes, Failure> {
        self.all(MAX_PAGE, deadline).await
    }

    /// The whole body, with a deadline for each piece of it.
    async fn all(&mut self, max: usize, deadline: Duration) -> Result<Bytes, Failure> {
        while self.more(deadline).await? {
            if self.buffer.len() > max {
                return Err(Failure::Unreadable(format!("more than {max} bytes")));
            }
        }
        Ok(self.buffer.split().freeze())
    }
}
