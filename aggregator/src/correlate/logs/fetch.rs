//! The request for the log of one run, and which of the lines are of that run.
//!
//! The kubelet may not have noticed the end yet, or may have started the next attempt already: what it calls "previous" and
//! "current" depends on that. The times of the lines do not.

use std::time::Duration;

use futures::AsyncReadExt as _;
use inquest_shared::{
    clock::UnixNanos,
    model::{LogOrigin, Subject},
};
use k8s_openapi::api::core::v1::Pod;
use kube::{Api, Client, Error, api::LogParams};

use super::Failure;

/// Most bytes of one answer.
const LIMIT: u32 = 256 * 1024;
/// The runtime may stamp the last line this much after the end.
const SLACK: Duration = Duration::from_secs(1);

/// Which log is asked for.
pub(super) struct Run<'a> {
    /// Names of the container.
    pub(super) subject: &'a Subject,
    /// When the run began, if that is known.
    pub(super) started: Option<UnixNanos>,
    /// When it ended.
    pub(super) finished: UnixNanos,
    /// How many of its last lines.
    pub(super) lines: u32,
}

/// Lines, oldest first; none when the container wrote nothing.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Found {
    pub(super) lines: Vec<String>,
    pub(super) origin: LogOrigin,
    /// There may be older ones.
    pub(super) truncated: bool,
}

type Stamped = (UnixNanos, String);

/// Asks for what the kubelet takes for the run before, then for what it takes for the present one.
///
/// # Errors
/// [`Failure`]; [`Failure::Gone`] when neither is kept, or the pod is gone.
pub(super) async fn lines_of(client: &Client, run: &Run<'_>) -> Result<Found, Failure> {
    let before = match read(client, run, true).await {
        Ok(lines) => Some(lines),
        Err(Failure::Gone) => None,
        Err(failure) => return Err(failure),
    };
    if let Some(found) = before.as_deref().and_then(|lines| run.take(lines)) {
        return Ok(found);
    }
    let now = match read(client, run, false).await {
        Err(Failure::Gone) if before.is_some() => Vec::new(),
        answer => answer?,
    };
    Ok(run.take(&now).unwrap_or_else(|| run.later(now)))
}

impl Run<'_> {
    fn covers(&self, at: UnixNanos) -> bool {
        let begun = self.started.is_none_or(|started| started <= at.saturating_add(SLACK));
        begun && at <= self.finished.saturating_add(SLACK)
    }

    /// The lines of this run.
    fn take(&self, lines: &[Stamped]) -> Option<Found> {
        let of_run = lines.iter().filter(|(at, _)| self.covers(*at));
        let found: Vec<String> = of_run.map(|(_, line)| line.clone()).collect();
        (!found.is_empty()).then(|| self.found(found, LogOrigin::Apiserver))
    }

    /// What came after it, marked as that.
    fn later(&self, lines: Vec<Stamped>) -> Found {
        let after = lines.into_iter().filter(|(at, _)| *at > self.finished);
        self.found(after.map(|(_, line)| line).collect(), LogOrigin::NextAttempt)
    }

    fn found(&self, lines: Vec<String>, origin: LogOrigin) -> Found {
        let asked = usize::try_from(self.lines).unwrap_or(usize::MAX);
        Found {
            truncated: lines.len() >= asked,
            lines,
            origin,
        }
    }
}

/// The limit in bytes cuts the newest lines off (`pkg/kubelet/kuberuntime/logs` of Kubernetes), so an answer as long as it is
/// asked for again with fewer lines.
async fn read(client: &Client, run: &Run<'_>, previous: bool) -> Result<Vec<Stamped>, Failure> {
    let mut lines = run.lines;
    loop {
        let bytes = request(client, run, previous, lines).await?;
        if bytes.len() < usize::try_from(LIMIT).unwrap_or(usize::MAX) || lines == 1 {
            return Ok(stamped(&String::from_utf8_lossy(&bytes)));
        }
        lines = (lines / 4).max(1);
    }
}

async fn request(client: &Client, run: &Run<'_>, previous: bool, lines: u32) -> Result<Vec<u8>, Failure> {
    let subject = run.subject;
    let params = LogParams {
        container: Some(subject.container.clone()),
        previous,
        tail_lines: Some(lines.into()),
        limit_bytes: Some(LIMIT.into()),
        timestamps: true,
        ..LogParams::default()
    };
    let api = Api::<Pod>::namespaced(client.clone(), &subject.namespace);
    let answer = api.log_stream(&subject.pod, &params).await.map_err(failure)?;
    let mut bytes = Vec::new();
    let mut bounded = answer.take(LIMIT.into());
    bounded.read_to_end(&mut bytes).await.map_err(|_| Failure::Away)?;
    Ok(bytes)
}

/// 400 is how the kubelet says that a container never ran, or that its log is gone.
fn failure(error: Error) -> Failure {
    match error {
        Error::Api(status) if status.code == 400 => Failure::Gone,
        error => error.into(),
    }
}

/// Lines with their times. A line without a time belongs to the one before it.
fn stamped(text: &str) -> Vec<Stamped> {
    let mut lines: Vec<Stamped> = Vec::new();
    for line in text.lines() {
        let (time, rest) = line.split_once(' ').unwrap_or((line, ""));
        let before = lines.last().map(|(at, _)| *at);
        match (UnixNanos::parse(time), before) {
            (Some(at), _) => lines.push((at, rest.to_owned())),
            (None, Some(at)) => lines.push((at, line.to_owned())),
            (None, None) => {}
        }
    }
    lines
}
