//! One watch: lists a kind, follows it, and starts again as gently as the failure asks for.
//!
//! Owns the order of list and watch, deadlines and pauses. Must not know records.
//!
//! A list is asked for as a stream where the server offers that, else in pages. A watch that says nothing for
//! [`SILENCE`] is taken for dead, since the apiserver sends a bookmark about once a minute. A version that the server has
//! forgotten (410) means a new list, and what it does not name is gone.

mod body;
pub(super) mod decode;
mod failure;
mod list;
mod request;

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use inquest_shared::supervisor::Backoff;
use kube::Client;
use tokio::{
    sync::Semaphore,
    time::{Instant, sleep, sleep_until},
};
use tokio_util::sync::CancellationToken;

use super::{ClusterIndex, change::Found, kind::Kind, status::WatchState, wire::Frame};
use body::Lines;
use failure::Failure;
use request::Ask;

/// A watch without a word for so long is dead. Source: the apiserver sends bookmarks once a minute
/// (`bookmarkFrequency` in `k8s.io/apiserver/pkg/storage/cacher`); three may be missed.
const SILENCE: Duration = Duration::from_secs(190);
/// A list without progress for so long is given up.
const LIST_PROGRESS: Duration = Duration::from_secs(60);
/// Time between two lists of the same kind: half of it at least, doubling while versions keep being forgotten.
const RELIST: Backoff = Backoff::new(
    Duration::from_secs(20),
    Duration::from_secs(300),
    Duration::from_secs(600),
);
/// Pauses after failures of the connection.
const RECONNECT: Backoff = Backoff::new(Duration::from_secs(1), Duration::from_secs(60), Duration::from_secs(60));
/// Pauses while the server does not allow or does not offer a kind.
const REFUSED: Backoff = Backoff::new(
    Duration::from_secs(120),
    Duration::from_secs(600),
    Duration::from_secs(3_600),
);

/// Where a watch goes on.
struct Resume {
    version: String,
    epoch: u32,
}

/// What the watches of one cluster share.
pub(super) struct Lane {
    /// One list at a time: a list is the dearest question that an apiserver gets.
    turn: Semaphore,
    /// Whether the server may offer lists as streams. What one watch learned the others need not try.
    streams: AtomicBool,
}

impl Default for Lane {
    fn default() -> Self {
        Self {
            turn: Semaphore::new(1),
            streams: AtomicBool::new(true),
        }
    }
}

/// One watch of one kind.
pub(super) struct Watch {
    index: ClusterIndex,
    client: Client,
    kind: Kind,
    namespace: Option<Arc<str>>,
    lane: Arc<Lane>,
    resume: Option<Resume>,
    /// Whether a list was ever complete: later ones tell what was missed.
    complete: bool,
    /// Whether the last watch died without a word.
    silent: bool,
    last_list: Option<Instant>,
    next_list: Option<Instant>,
    relist: Backoff,
    reconnect: Backoff,
    refused: Backoff,
}

impl Watch {
    pub(super) fn new(
        index: &ClusterIndex,
        client: &Client,
        kind: Kind,
        namespace: Option<Arc<str>>,
        lane: &Arc<Lane>,
    ) -> Self {
        let watch = Self {
            index: index.clone(),
            client: client.clone(),
            kind,
            namespace,
            lane: Arc::clone(lane),
            resume: None,
            complete: false,
            silent: false,
            last_list: None,
            next_list: None,
            relist: RELIST,
            reconnect: RECONNECT,
            refused: REFUSED,
        };
        watch.index.announce(watch.kind, watch.namespace.as_ref());
        watch
    }

    /// Follows the kind until the token is cancelled.
    pub(super) async fn run(mut self, token: CancellationToken) {
        loop {
            let started = Instant::now();
            let failure = tokio::select! {
                () = token.cancelled() => return,
                failure = self.session() => failure,
            };
            let pause = self.digest(&failure, started.elapsed());
            tokio::select! {
                () = token.cancelled() => return,
                () = sleep(pause) => {}
            }
        }
    }

    /// Lists if need be, then follows; comes back with what ended it.
    async fn session(&mut self) -> Failure {
        let mut open = None;
        if self.resume.is_none() {
            match self.list().await {
                Ok(lines) => open = lines,
                Err(failure) => return failure,
            }
        }
        match self.follow(open).await {
            Ok(()) => Failure::Ended,
            Err(failure) => failure,
        }
    }

    /// Makes a complete list. A streamed one goes on as a watch, which is given back.
    async fn list(&mut self) -> Result<Option<Lines>, Failure> {
        if let Some(at) = self.next_list {
            sleep_until(at).await;
        }
        let lane = Arc::clone(&self.lane);
        // The semaphore is never closed.
        let _permit = lane.turn.acquire().await;
        let found = if self.complete { Found::Relist } else { Found::Baseline };
        let listed = self.list_any(found).await;
        self.last_list = Some(Instant::now());
        let (version, epoch, lines) = listed?;
        let namespace = self.namespace.as_deref();
        self.index.finish(self.kind, namespace, epoch, found);
        self.resume = Some(Resume { version, epoch });
        self.complete = true;
        self.live();
        Ok(lines)
    }

    /// As a stream where that works, else in pages. Each try has an epoch of its own: what a stream showed before it failed
    /// may be gone when the pages are read.
    async fn list_any(&mut self, found: Found) -> Result<(String, u32, Option<Lines>), Failure> {
        if self.lane.streams.load(Ordering::Relaxed) {
            let epoch = self.index.next_epoch();
            match list::streamed(self, epoch, found).await {
                Ok((version, lines)) => return Ok((version, epoch, Some(lines))),
                Err(failure) if failure.asks_for_pages() => self.lane.streams.store(false, Ordering::Relaxed),
                Err(failure) => return Err(failure),
            }
        }
        let epoch = self.index.next_epoch();
        let version = list::paged(self, epoch, found).await?;
        Ok((version, epoch, None))
    }

    /// Takes what the server sends until it ends.
    async fn follow(&mut self, open: Option<Lines>) -> Result<(), Failure> {
        let mut lines = match open {
            Some(lines) => lines,
            None => {
                let version = self.resume.as_ref().map_or("", |resume| resume.version.as_str());
                self.ask(Ask::Follow { version }).await?
            }
        };
        if !self.silent {
            self.live();
        }
        while let Some(line) = lines.next(SILENCE).await? {
            self.silent = false;
            match decode::frame(self.kind, &line) {
                Ok(frame) => self.take(frame)?,
                Err(error) => self.skip(&error),
            }
            self.live();
        }
        Ok(())
    }

    fn take(&mut self, frame: Frame<super::state::Item>) -> Result<(), Failure> {
        let Some(resume) = &mut self.resume else { return Ok(()) };
        let version = match frame {
            Frame::Added(item) | Frame::Modified(item) => {
                let version = item.version().to_owned();
                self.index.put(&[item], resume.epoch, Found::Live);
                version
            }
            Frame::Deleted(item) => {
                self.index.remove(&item, resume.epoch, Found::Live);
                item.version().to_owned()
            }
            Frame::Bookmark(bookmark) => bookmark.metadata.resource_version,
            Frame::Error(status) => return Err(Failure::of(&status)),
        };
        if !version.is_empty() {
            resume.version = version;
        }
        Ok(())
    }

    /// An object that cannot be read is left out; the watch goes on.
    fn skip(&self, error: &serde_json::Error) {
        self.index.unreadable(self.kind);
        tracing::warn!(cluster = &**self.index.name(), kind = %self.kind, %error, "an object of the watch cannot be read");
    }

    async fn ask(&self, ask: Ask<'_>) -> Result<Lines, Failure> {
        let request = request::build(self.kind, self.namespace.as_deref(), &ask)?;
        body::send(&self.client, request).await
    }

    fn live(&self) {
        let version = self.resume.as_ref().map(|resume| resume.version.as_str());
        self.index.heard(self.kind, self.namespace.as_ref(), version);
    }

    /// Notes what ended a session, and says how long to wait.
    fn digest(&mut self, failure: &Failure, ran: Duration) -> Duration {
        self.index.restarted(self.kind, failure.cause());
        let quiet = matches!(failure, Failure::Ended) && self.resume.is_some();
        if !quiet {
            let state = match (failure.is_refusal(), self.complete) {
                (false, true) => WatchState::Degraded,
                _ => WatchState::Blind,
            };
            self.index.lost(self.kind, self.namespace.as_ref(), state, failure);
        }
        match failure {
            Failure::Ended if ran >= Duration::from_secs(1) => Duration::ZERO,
            Failure::Gone => {
                // At once if the last list is long ago, but never one list after the other.
                self.resume = None;
                let pause = self.relist.after(ran);
                self.next_list = self.last_list.map(|last| last + pause);
                Duration::ZERO
            }
            Failure::Silent => {
                // Once is bad luck of a connection; twice, and the version itself is not trusted.
                if self.silent {
                    self.resume = None;
                }
                self.silent = true;
                Duration::ZERO
            }
            Failure::Forbidden(_) | Failure::Missing(_) => self.refused.after(ran),
            Failure::Busy { wait } => self.reconnect.after(ran).max(*wait),
            _ => self.reconnect.after(ran),
        }
    }
}
