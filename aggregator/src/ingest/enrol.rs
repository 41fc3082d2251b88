//! Who may have a certificate.
//!
//! Owns the proof: a bootstrap secret outside Kubernetes. Must not know certificates or transports.

use std::{hint::black_box, time::Duration};

use inquest_proto::ingest::v1::{EnrolRequest, enrol_request::Proof};
use inquest_shared::{
    model::{Key, clean_name},
    secret::Secret,
};
use prost::Message as _;
use sha2::{Digest as _, Sha256};
use thiserror::Error;

use crate::record::NodeIdentity;

/// Largest request that is read.
pub const MAX_ENROL_BYTES: usize = 8 * 1024;
/// Longest host id.
const MAX_HOST_ID: usize = 64;

/// Why nobody was admitted. The text says what helps; the same request fails again.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum Refusal {
    /// More than [`MAX_ENROL_BYTES`].
    #[error("the enrolment request is larger than 8 KiB")]
    TooLarge,
    /// No proof at all.
    #[error("the enrolment request carries no proof: set the agent's bootstrap secret file")]
    NoProof,
    /// Too many wrong secrets came from there lately.
    #[error("too many wrong secrets came from this network: wait a minute")]
    TooManyWrong,
    /// The secret is another one.
    #[error("the bootstrap secret is wrong: agent and aggregator need the same file content")]
    WrongSecret,
    /// This aggregator has no secret.
    #[error("no bootstrap secret is configured: set enrolment.bootstrap_secret_file on the aggregator")]
    NoSecretConfigured,
    /// Token review does not exist here.
    #[error("ServiceAccount tokens are not configured here: enrol with a bootstrap secret")]
    TokensNotConfigured,
    /// No node name.
    #[error("the node name is empty")]
    NodeName,
    /// No host id, or a long one.
    #[error("the host id must have 1 to 64 bytes")]
    HostId,
    /// The certificate request is no valid PKCS#10 request.
    #[error("the certificate request is not a signed PKCS#10 request in PEM")]
    CertificateRequest,
}

impl Refusal {
    /// Value of the metric label.
    #[must_use]
    pub const fn label(self) -> &'static str {
        match self {
            Self::TooLarge => "too_large",
            Self::NoProof => "no_proof",
            Self::WrongSecret => "wrong_secret",
            Self::TooManyWrong => "too_many_wrong",
            Self::NoSecretConfigured => "no_secret_configured",
            Self::TokensNotConfigured => "tokens_not_configured",
            Self::NodeName => "node_name",
            Self::HostId => "host_id",
            Self::CertificateRequest => "certificate_request",
        }
    }

    /// Code of the gRPC status.
    #[must_use]
    pub const fn code(self) -> tonic::Code {
        match self {
            Self::NoProof | Self::WrongSecret => tonic::Code::Unauthenticated,
            Self::TooManyWrong => tonic::Code::ResourceExhausted,
            Self::NoSecretConfigured => tonic::Code::FailedPrecondition,
            Self::TokensNotConfigured => tonic::Code::Unimplemented,
            Self::TooLarge | Self::NodeName | Self::HostId | Self::CertificateRequest => tonic::Code::InvalidArgument,
        }
    }
}

/// The rules of admission.
pub struct Enrolment {
    /// Cluster that admitted nodes belong to.
    pub cluster: String,
    /// Secret that admits; `None` admits nobody by secret.
    pub secret: Option<Secret<String>>,
    /// Validity of certificates.
    pub ttl: Duration,
}

impl Enrolment {
    /// The identity that a request has proved.
    ///
    /// # Errors
    /// [`Refusal`]
    pub fn admit(&self, request: &EnrolRequest) -> Result<NodeIdentity, Refusal> {
        if request.encoded_len() > MAX_ENROL_BYTES {
            return Err(Refusal::TooLarge);
        }
        self.prove(request.proof.as_ref().ok_or(Refusal::NoProof)?)?;
        let name = clean_name(request.node_name.trim());
        if name.is_empty() {
            return Err(Refusal::NodeName);
        }
        if !(1..=MAX_HOST_ID).contains(&request.host_id.len()) {
            return Err(Refusal::HostId);
        }
        let uid = Key::of(b"node", &[self.cluster.as_bytes(), request.host_id.as_bytes()]).to_string();
        Ok(NodeIdentity {
            cluster: self.cluster.clone(),
            uid,
            name,
        })
    }

    fn prove(&self, proof: &Proof) -> Result<(), Refusal> {
        match proof {
            Proof::ServiceAccountToken(_) => Err(Refusal::TokensNotConfigured),
            Proof::BootstrapSecret(given) => {
                let wanted = self.secret.as_ref().ok_or(Refusal::NoSecretConfigured)?;
                let given = given.trim_end_matches(['\r', '\n']);
                if given.is_empty() || !same(wanted.expose(), given) {
                    return Err(Refusal::WrongSecret);
                }
                Ok(())
            }
        }
    }
}

/// Compares digests of equal length in full, so that the time tells nothing about the secret.
fn same(wanted: &str, given: &str) -> bool {
    let (wanted, given) = (Sha256::digest(wanted.as_bytes()), Sha256::digest(given.as_bytes()));
    let difference = wanted
        .iter()
        .zip(given.iter())
        .fold(0_u8, |sum, (a, b)| black_box(sum | (a ^ b)));
    difference == 0
}

#[cfg(test)]
mod tests {
    use super::*;

    fn enrolment() -> Enrolment {
        let secret = Some(Secret::new("s3cret".to_owned()));
        Enrolment {
            cluster: "c1".to_owned(),
            secret,
            ttl: Duration::from_secs(60),
        }
    }

    fn request(secret: &str) -> EnrolRequest {
        EnrolRequest {
            proof: Some(Proof::BootstrapSecret(secret.to_owned())),
            node_name: "node\u{1b}1".to_owned(),
            host_id: "h1".to_owned(),
            ..EnrolRequest::default()
        }
    }

    #[test]
    fn the_right_secret_gives_a_stable_identity_with_a_clean_name() {
        let first = enrolment().admit(&request("s3cret")).unwrap();
        let again = enrolment()
            .admit(&EnrolRequest {
                node_name: "renamed".into(),
                ..request("s3cret\n")
            })
            .unwrap();
        assert_eq!(
            (first.cluster.as_str(), first.name.as_str(), first.uid.len()),
            ("c1", "node_1", 32)
        );
        assert_eq!(first.uid, again.uid);
    }

    #[test]
    fn each_refusal_is_named() {
        let cases: [(EnrolRequest, Refusal); 7] = [
            (request("wrong"), Refusal::WrongSecret),
            (request(""), Refusal::WrongSecret),
            (
                EnrolRequest {
                    proof: None,
                    ..request("s3cret")
                },
                Refusal::NoProof,
            ),
            (
                EnrolRequest {
                    proof: Some(Proof::ServiceAccountToken("t".into())),
                    ..request("")
                },
                Refusal::TokensNotConfigured,
            ),
            (
                EnrolRequest {
                    node_name: "  ".into(),
                    ..request("s3cret")
                },
                Refusal::NodeName,
            ),
            (
                EnrolRequest {
                    host_id: "x".repeat(65),
                    ..request("s3cret")
                },
                Refusal::HostId,
            ),
            (
                EnrolRequest {
                    agent_version: "x".repeat(9_000),
                    ..request("s3cret")
                },
                Refusal::TooLarge,
            ),
        ];
        for (request, refusal) in cases {
            assert_eq!(enrolment().admit(&request), Err(refusal));
        }
        let closed = Enrolment {
            secret: None,
            ..enrolment()
        };
        assert_eq!(closed.admit(&request("s3cret")), Err(Refusal::NoSecretConfigured));
    }
}
