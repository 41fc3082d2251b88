//! The node's identity: a key that never leaves memory, and the certificate that the aggregator signed for it.

use std::time::Duration;

use inquest_proto::ingest::v1::{EnrolRequest, ingest_service_client::IngestServiceClient};
use inquest_shared::{
    clock::{Clock, UnixNanos},
    secret::Secret,
};
use rcgen::{CertificateParams, KeyPair};
use tonic::transport::Channel;

use super::{UplinkConfig, UplinkError};

/// Longest wait for a signature; the aggregator gives up after the same time.
pub(super) const DEADLINE: Duration = Duration::from_secs(5);
/// A certificate is renewed at half of its life, but never more often than this.
const LEAST_RENEWAL: Duration = Duration::from_secs(30);

/// A signed identity.
pub(super) struct Identity {
    certificate_pem: String,
    key_pem: Secret<String>,
    /// End of the certificate's validity.
    pub(super) not_after: UnixNanos,
    /// When to enrol again.
    pub(super) renew_after: Duration,
    /// Cluster that the identity belongs to.
    pub(super) cluster: String,
    /// Name that the aggregator knows the node by.
    pub(super) node_name: String,
    /// Which aggregator signed.
    pub(super) server_id: String,
}

impl Identity {
    /// Presents the proof once over server-verified TLS. Every call of the channel has a deadline.
    pub(super) async fn enrol(config: &UplinkConfig, channel: Channel, clock: &dyn Clock) -> Result<Self, UplinkError> {
        let proof = config.proof.read()?;
        let key = KeyPair::generate()?;
        let request = EnrolRequest {
            proof: Some(proof),
            certificate_request_pem: CertificateParams::default().serialize_request(&key)?.pem()?,
            node_name: config.node_name.clone(),
            host_id: config.host_id.clone(),
            agent_version: env!("CARGO_PKG_VERSION").to_owned(),
        };
        let refused = |status| UplinkError::Refused {
            call: "enrolment",
            status: Box::new(status),
        };
        let answer = IngestServiceClient::new(channel)
            .enrol(request)
            .await
            .map_err(refused)?
            .into_inner();
        let not_after = UnixNanos(answer.not_after_ns);
        let life = not_after.since(clock.now());
        Ok(Self {
            certificate_pem: answer.certificate_chain_pem,
            key_pem: Secret::new(key.serialize_pem()),
            not_after,
            renew_after: (life / 2).max(LEAST_RENEWAL),
            cluster: answer.cluster,
            node_name: answer.node_name,
            server_id: answer.server_id,
        })
    }

    /// For the mutual handshake.
    pub(super) fn tls(&self) -> tonic::transport::Identity {
        tonic::transport::Identity::from_pem(&self.certificate_pem, self.key_pem.expose())
    }
}
