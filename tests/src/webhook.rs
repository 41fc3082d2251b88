//! A webhook receiver in this process that behaves like a strict real one.
//!
//! Owns the server, the script of its misbehaviour, and the record of what came in. It refuses what a receiver that
//! follows Standard Webhooks refuses: unsigned, wrongly signed, stale and oversize requests. It runs on a thread of its
//! own, so a busy test does not delay its time stamps.

mod connection;
mod receive;
mod record;
mod signature;

use std::collections::{BTreeSet, VecDeque};
use std::fmt;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use anyhow::{Context, Result};
use inquest_shared::clock::{Clock, SystemClock};
use tokio::runtime::Runtime;

use crate::wait::wait_for;

pub use record::{Answer, Received, Refusal};
pub use signature::{Secret, sign};

/// Largest body that is taken; a larger one is answered with 413.
pub const MAX_BODY_BYTES: usize = 1 << 20;

/// Most requests that are kept; further ones are only counted.
pub const MAX_RECORDS: usize = 100_000;

/// How long connections get to end; none of them blocks, so it never takes that long.
const SHUTDOWN: Duration = Duration::from_secs(5);

/// What the receiver does with a request that it would otherwise accept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Behaviour {
    /// 200.
    Accept,
    /// Another status without a body.
    Status(u16),
    /// 429 with `Retry-After` in whole seconds.
    RetryAfter(u32),
    /// Reads the request and never answers.
    Hang,
    /// 429 with `Retry-After` as a fraction of seconds, as chat services send it, in milliseconds here.
    RetryAfterFraction(u32),
    /// 429 with `Retry-After` as the HTTP date so many seconds from now.
    RetryAfterDate(u32),
    /// Reads the request and resets the connection.
    Reset,
    /// Takes the message in, then resets the connection instead of answering.
    TakeThenReset,
    /// Takes the message in and answers 200 after this time.
    Late(Duration),
    /// 200 with a body of 2 GiB.
    EndlessBody,
}

/// What the server and the test share.
struct Shared {
    secret: Option<Secret>,
    clock: Arc<dyn Clock>,
    inner: Mutex<Inner>,
}

#[derive(Debug)]
struct Inner {
    script: VecDeque<Behaviour>,
    otherwise: Behaviour,
    received: Vec<Received>,
    not_kept: u64,
}

impl fmt::Debug for Shared {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Shared")
            .field("inner", &self.inner)
            .finish_non_exhaustive()
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What to do with the next good request.
    fn next(&self) -> Behaviour {
        let mut inner = self.lock();
        inner.script.pop_front().unwrap_or(inner.otherwise)
    }

    fn keep(&self, received: Received) {
        let mut inner = self.lock();
        if inner.received.len() < MAX_RECORDS {
            inner.received.push(received);
        } else {
            inner.not_kept = inner.not_kept.saturating_add(1);
        }
    }
}

/// A receiver on a port of the loopback.
#[derive(Debug)]
pub struct Webhook {
    address: SocketAddr,
    shared: Arc<Shared>,
    runtime: Option<Runtime>,
}

impl Webhook {
    /// Starts a receiver that takes unsigned requests and accepts everything.
    ///
    /// # Errors
    /// When the loopback cannot be listened on.
    pub fn start() -> Result<Self> {
        Self::listen(None, Arc::new(SystemClock))
    }

    /// Starts a receiver that takes only requests signed with `secret` (`whsec_` and base64).
    ///
    /// # Errors
    /// For a secret that is none; when the loopback cannot be listened on.
    pub fn start_signed(secret: &str) -> Result<Self> {
        Self::listen(Some(Secret::parse(secret)?), Arc::new(SystemClock))
    }

    /// Starts a receiver of unsigned requests at an address of its own.
    ///
    /// # Errors
    /// When the address is taken.
    pub fn start_at(address: SocketAddr) -> Result<Self> {
        Self::listen_at(address, None, Arc::new(SystemClock))
    }

    fn listen(secret: Option<Secret>, clock: Arc<dyn Clock>) -> Result<Self> {
        Self::listen_at((Ipv4Addr::LOCALHOST, 0).into(), secret, clock)
    }

    fn listen_at(address: SocketAddr, secret: Option<Secret>, clock: Arc<dyn Clock>) -> Result<Self> {
        let inner = Inner {
            script: VecDeque::new(),
            otherwise: Behaviour::Accept,
            received: Vec::new(),
            not_kept: 0,
        };
        let shared = Arc::new(Shared {
            secret,
            clock,
            inner: Mutex::new(inner),
        });
        let mut webhook = Self {
            address,
            shared,
            runtime: None,
        };
        webhook.come_back()?;
        Ok(webhook)
    }

    /// The address to send to.
    #[must_use]
    pub fn url(&self) -> String {
        format!("http://{}/hook", self.address)
    }

    /// Says what to do with the next good requests, one after another, after those that were said before.
    pub fn script(&self, behaviours: impl IntoIterator<Item = Behaviour>) {
        self.shared.lock().script.extend(behaviours);
    }

    /// Says what to do with good requests beyond the script.
    pub fn otherwise(&self, behaviour: Behaviour) {
        self.shared.lock().otherwise = behaviour;
    }

    /// Closes the port and every connection; nobody answers there until [`Webhook::come_back`].
    pub fn go_down(&mut self) {
        let Some(runtime) = self.runtime.take() else { return };
        // Ending a runtime waits for its threads, which tokio forbids within a task; a thread of its own may wait.
        let ended = std::thread::spawn(move || runtime.shutdown_timeout(SHUTDOWN)).join();
        ended.unwrap_or_default();
    }

    /// Listens again on the same port, with the same record and script.
    ///
    /// # Errors
    /// When the port was taken in between.
    pub fn come_back(&mut self) -> Result<()> {
        self.go_down();
        let listener = TcpListener::bind(self.address).with_context(|| format!("cannot listen on {}", self.address))?;
        listener.set_nonblocking(true)?;
        self.address = listener.local_addr()?;
        let builder = &mut tokio::runtime::Builder::new_multi_thread();
        let runtime = builder.worker_threads(1).thread_name("webhook").enable_all().build()?;
        let listener = {
            let _inside = runtime.enter();
            tokio::net::TcpListener::from_std(listener)?
        };
        runtime.spawn(receive::serve(listener, Arc::clone(&self.shared)));
        self.runtime = Some(runtime);
        Ok(())
    }

    /// Everything that came in, in the order of its arrival.
    #[must_use]
    pub fn received(&self) -> Vec<Received> {
        self.shared.lock().received.clone()
    }

    /// What was answered with a success, that is, what the sender must never send again.
    #[must_use]
    pub fn accepted(&self) -> Vec<Received> {
        let inner = self.shared.lock();
        inner
            .received
            .iter()
            .filter(|received| received.answer.is_success())
            .cloned()
            .collect()
    }

    /// What people were told: the first request of each key that was taken in, answered or not. A repeat of a key is
    /// the receiver's own business to leave out, as `idempotency-key` allows it to.
    #[must_use]
    pub fn told(&self) -> Vec<Received> {
        let mut keys = BTreeSet::new();
        let mut told = self.received();
        told.retain(|received| {
            received.answer.is_taken() && keys.insert(received.header("idempotency-key").to_owned())
        });
        told
    }

    /// How many requests came after [`MAX_RECORDS`] and were not kept.
    #[must_use]
    pub fn not_kept(&self) -> u64 {
        self.shared.lock().not_kept
    }

    /// Waits until at least `count` requests were accepted, and gives the accepted ones back.
    ///
    /// # Errors
    /// When fewer came within `timeout`, with the answers given so far.
    pub async fn wait_accepted(&self, count: usize, timeout: Duration) -> Result<Vec<Received>> {
        let what = format!("{count} accepted webhooks");
        let found = wait_for(&what, timeout, async || {
            let accepted = self.accepted();
            if accepted.len() >= count {
                return Ok(accepted);
            }
            let answers: Vec<Answer> = self.received().iter().map(|received| received.answer).collect();
            Err(format!("{} accepted, answers {answers:?}", accepted.len()))
        });
        found.await
    }
}

impl Drop for Webhook {
    fn drop(&mut self) {
        self.go_down();
    }
}

#[cfg(test)]
mod tests;
