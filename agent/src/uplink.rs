//! The connection to the aggregator: enrols, keeps both streams open, sends what the spools hold and frees what is
//! acknowledged. Must not know sources or detection.

mod findings;
mod identity;
mod lane;
mod logs;
mod proof;

pub use proof::{Proof, ProofError};

use std::{path::PathBuf, sync::Arc, time::Duration};

use inquest_shared::{
    clock::Clock,
    supervisor::Backoff,
    telemetry::{Condition, Health},
};
use prometheus_client::metrics::gauge::Gauge;
use tokio::time::{Instant, sleep, sleep_until, timeout};
use tokio_util::sync::CancellationToken;
use tonic::{
    Status,
    transport::{Certificate, Channel, ClientTlsConfig, Endpoint},
};

use crate::{outgoing::Outgoing, source::Statuses};
use identity::Identity;

/// Name of the condition in `/readyz`.
pub const CONDITION: &str = "aggregator";
/// Largest message in either direction; the aggregator refuses more.
const MAX_MESSAGE: usize = 256 * 1024;
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// Time for a connection with its TLS handshake: a frozen aggregator's kernel still accepts connections.
const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(10);
/// Jittered pause between two connections; it starts anew after a connection that lasted.
const RETRY_MIN: Duration = Duration::from_millis(100);
const RETRY_MAX: Duration = Duration::from_secs(10);
const HEALTHY: Duration = Duration::from_secs(10);

/// Where the aggregator is and how this node proves itself.
#[derive(Debug, Clone)]
pub struct UplinkConfig {
    /// host:port.
    pub address: String,
    /// Name expected in the server's certificate.
    pub server_name: String,
    /// PEM file of the authority that signs the server's certificate.
    pub ca_file: Option<PathBuf>,
    /// What the node proves itself with.
    pub proof: Proof,
    /// Name that the node enrols with.
    pub node_name: String,
    /// Stable identity of the host.
    pub host_id: String,
    /// Linux boot id.
    pub boot_id: String,
    /// A silent connection is asked after this time whether it still lives (HTTP/2 PING, also when idle).
    pub keep_alive: Duration,
    /// Time for the answer; without one the connection is given up.
    pub keep_alive_timeout: Duration,
}

/// Why there is no connection. Every kind is tried again; the message says what to do when waiting does not help.
#[derive(Debug, thiserror::Error)]
pub enum UplinkError {
    /// A file that is needed before anything can be sent.
    #[error("cannot read {what} {path}")]
    File {
        /// What it is.
        what: &'static str,
        /// Where.
        path: PathBuf,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// A setting that is needed.
    #[error("{0} is not set")]
    Unset(&'static str),
    /// The secret or the token is unusable.
    #[error(transparent)]
    Proof(#[from] ProofError),
    /// The key or the request could not be made.
    #[error("cannot make a key for this node")]
    Key(#[from] rcgen::Error),
    /// No connection.
    #[error("cannot reach the aggregator at {address}")]
    Connect {
        /// host:port.
        address: String,
        /// Why.
        #[source]
        source: tonic::transport::Error,
    },
    /// Something accepts connections there and says nothing: the aggregator is stopped or overloaded.
    #[error("the aggregator at {address} accepted a connection and said nothing")]
    Silent {
        /// host:port.
        address: String,
    },
    /// The aggregator answered no.
    #[error("the aggregator refused {call}: {}", status.message())]
    Refused {
        /// Which call.
        call: &'static str,
        /// The answer.
        status: Box<Status>,
    },
    /// The stream ended.
    #[error("the stream to the aggregator ended")]
    Ended,
}

impl UplinkError {
    /// Whether only a person can help: the aggregator said no for a reason that the next seconds will not change. It is
    /// asked again all the same, since that person may be at work.
    fn needs_people(&self) -> bool {
        use tonic::Code::{FailedPrecondition, InvalidArgument, PermissionDenied, Unimplemented};
        let Self::Refused { status, .. } = self else {
            return false;
        };
        matches!(
            status.code(),
            FailedPrecondition | InvalidArgument | PermissionDenied | Unimplemented
        )
    }
}

/// What the uplink sends.
#[derive(Clone)]
pub struct Uplink {
    /// Where and who.
    pub config: Arc<UplinkConfig>,
    /// Findings.
    pub findings: Outgoing,
    /// Log tails.
    pub logs: Outgoing,
    /// What is live and blind.
    pub statuses: Statuses,
    /// Told whether the aggregator is reached.
    pub health: Health,
    /// Wall time.
    pub clock: Arc<dyn Clock>,
    /// End of the identity's validity, in seconds since 1970; 0 before the first enrolment.
    pub expires: Gauge,
}

impl Uplink {
    /// Stays connected until the token ends. A lost connection is ordinary: it is tried again with jittered back-off,
    /// and nothing is lost meanwhile since the spools keep what was not acknowledged.
    pub async fn run(self, token: CancellationToken) {
        let mut backoff = Backoff::new(RETRY_MIN, RETRY_MAX, HEALTHY);
        loop {
            let begun = Instant::now();
            let ended = tokio::select! {
                () = token.cancelled() => return,
                ended = self.connected() => ended,
            };
            let mut pause = backoff.after(begun.elapsed());
            if let Err(error) = ended {
                let chain = chain(&error);
                tracing::warn!(error = chain, "aggregator not reached, findings are spooled");
                self.health.set(CONDITION, Condition::degraded(chain));
                if error.needs_people() {
                    pause = pause.max(RETRY_MAX / 2);
                }
            }
            tokio::select! {
                () = token.cancelled() => return,
                () = sleep(pause) => {}
            }
        }
    }

    /// One identity: enrols, then keeps the streams open until half of its life is over.
    async fn connected(&self) -> Result<(), UplinkError> {
        let ca = self.ca()?;
        let channel = self
            .open(&self.endpoint(self.tls(&ca))?.timeout(identity::DEADLINE))
            .await?;
        let identity = Identity::enrol(&self.config, channel, self.clock.as_ref()).await?;
        let tls = self.tls(&ca).identity(identity.tls());
        let channel = self.open(&self.endpoint(tls)?).await?;
        self.expires.set(identity.not_after.as_secs());
        let renew = Instant::now() + identity.renew_after;
        tracing::info!(
            cluster = identity.cluster,
            node = identity.node_name,
            server = identity.server_id,
            "enrolled"
        );
        tokio::select! {
            ended = findings::run(self, channel.clone()) => ended,
            ended = logs::run(self, channel) => ended,
            () = sleep_until(renew) => Ok(()),
        }
    }

    fn ca(&self) -> Result<Certificate, UplinkError> {
        let path = self
            .config
            .ca_file
            .clone()
            .ok_or(UplinkError::Unset("aggregator.ca_file"))?;
        let pem = std::fs::read(&path).map_err(|source| UplinkError::File {
            what: "the authority",
            path,
            source,
        })?;
        Ok(Certificate::from_pem(pem))
    }

    fn tls(&self, ca: &Certificate) -> ClientTlsConfig {
        ClientTlsConfig::new()
            .ca_certificate(ca.clone())
            .domain_name(&self.config.server_name)
    }

    fn endpoint(&self, tls: ClientTlsConfig) -> Result<Endpoint, UplinkError> {
        let endpoint = Channel::from_shared(format!("https://{}", self.config.address))
            .map_err(|_| UplinkError::Unset("aggregator.address"))?;
        let endpoint = endpoint
            .connect_timeout(CONNECT_TIMEOUT)
            .tcp_nodelay(true)
            .http2_keep_alive_interval(self.config.keep_alive)
            .keep_alive_timeout(self.config.keep_alive_timeout)
            .keep_alive_while_idle(true);
        endpoint.tls_config(tls).map_err(|source| self.connect_error(source))
    }

    /// The transport's own time-out ends with the TCP handshake, which the kernel of a frozen peer still makes.
    async fn open(&self, endpoint: &Endpoint) -> Result<Channel, UplinkError> {
        match timeout(HANDSHAKE_TIMEOUT, endpoint.connect()).await {
            Ok(opened) => opened.map_err(|source| self.connect_error(source)),
            Err(_) => Err(UplinkError::Silent {
                address: self.config.address.clone(),
            }),
        }
    }

    fn connect_error(&self, source: tonic::transport::Error) -> UplinkError {
        UplinkError::Connect {
            address: self.config.address.clone(),
            source,
        }
    }
}

/// An error with its causes on one line.
fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(inner) = source {
        text = format!("{text}: {inner}");
        source = inner.source();
    }
    text
}
