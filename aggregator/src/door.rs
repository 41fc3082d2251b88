//! What every connection passes before a byte of it reaches a service: caps, time limits and the count of control frames.
//!
//! Owns who may connect how often, and the metrics of who may not. Must not know certificates, protocols or identities:
//! TLS belongs to `ingest`, which tells the door when a peer has proved itself.

mod bucket;
mod ledger;
mod meter;
mod metrics;
mod pass;
mod stream;

use std::{io, net::SocketAddr, sync::Arc, time::Duration};

pub use bucket::{Bucket, Budget};
pub use ledger::{Limits, Refusal, Source};
pub use metrics::DoorMetrics;
pub use pass::Pass;
pub use stream::Guarded;
use tokio::{
    net::{TcpListener, TcpStream},
    time::{Instant, sleep},
};

use self::pass::Desk;

/// Pause after a failed accept (out of descriptors), so that the loop does not spin.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);
/// File descriptors that are left for the store, receivers and the other listeners.
const RESERVED: u64 = 512;

/// One listener with its limits.
pub struct Door {
    listener: TcpListener,
    desk: Arc<Desk>,
}

impl Door {
    /// Puts limits before a listener.
    #[must_use]
    pub fn new(listener: TcpListener, limits: Limits, metrics: DoorMetrics) -> Self {
        let desk = Desk::new(limits, metrics);
        Self { listener, desk }
    }

    /// Where the listener is.
    ///
    /// # Errors
    /// What the kernel says.
    pub fn local_addr(&self) -> io::Result<SocketAddr> {
        self.listener.local_addr()
    }

    /// The next connection that is within the limits; others are closed at once and counted.
    ///
    /// Cancel-safe: a connection that was not returned is closed.
    pub async fn admit(&self) -> (TcpStream, SocketAddr, Arc<Pass>) {
        loop {
            match self.listener.accept().await {
                Ok((stream, address)) => {
                    if let Some(pass) = Desk::admit(&self.desk, Source::of(address.ip()), Instant::now()) {
                        // Without it answers wait for the peer's delayed acknowledgements; it works all the same.
                        if let Err(error) = stream.set_nodelay(true) {
                            tracing::debug!(%error, "cannot set TCP_NODELAY");
                        }
                        return (stream, address, pass);
                    }
                }
                Err(error) => {
                    tracing::warn!(%error, "cannot accept a connection");
                    sleep(ACCEPT_PAUSE).await;
                }
            }
        }
    }
}

/// Connections that the file descriptors of this process allow, at most `wanted`. Raises the soft limit to the hard one:
/// the usual soft limit of 1,024 is kept low for programs that call select(2) only.
#[must_use]
pub fn connections_within(wanted: usize) -> usize {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let limit = getrlimit(Resource::Nofile);
    let raised = Rlimit {
        current: limit.maximum,
        maximum: limit.maximum,
    };
    let soft = match setrlimit(Resource::Nofile, raised) {
        Ok(()) => limit.maximum,
        Err(error) => {
            tracing::warn!(%error, "cannot raise the limit of open files");
            limit.current
        }
    };
    let room = soft.map_or(u64::MAX, |soft| soft.saturating_sub(RESERVED).max(soft / 2));
    wanted.min(usize::try_from(room).unwrap_or(usize::MAX))
}

#[cfg(test)]
mod tests;
