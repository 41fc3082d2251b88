//! Who may have a certificate.
//!
//! Owns the proofs: a bootstrap secret outside Kubernetes, a ServiceAccount token inside. Must not know certificates or
//! transports.

mod apiserver;
mod keys;
mod refusal;
mod review;
mod rules;
mod token;
mod tokens;
mod watched;

use std::{hint::black_box, sync::Arc, time::Duration};

use inquest_proto::ingest::v1::{EnrolRequest, enrol_request::Proof};
use inquest_shared::{
    clock::UnixNanos,
    model::{Key, clean_name},
    secret::Secret,
};
use prost::Message as _;
use sha2::{Digest as _, Sha256};

pub use apiserver::KubeReviewer;
pub use refusal::Refusal;
pub use review::{Bound, Owner, PodIndex, PodLookup, PublishedKeys, Review, ReviewError, TokenReviewer};
pub use rules::TokenRules;
pub use tokens::Tokens;

use crate::record::NodeIdentity;

/// Largest request that is read.
pub const MAX_ENROL_BYTES: usize = 8 * 1024;
/// Longest host id.
const MAX_HOST_ID: usize = 64;
/// Validity of a certificate that was given without asking the apiserver: it could not say that the pod is gone.
const OFFLINE_TTL: Duration = Duration::from_secs(600);

/// The rules of admission.
pub struct Enrolment {
    /// Cluster that admitted nodes belong to.
    pub cluster: String,
    /// Secret that admits; `None` admits nobody by secret.
    pub secret: Option<Secret<String>>,
    /// ServiceAccount tokens that admit; `None` admits nobody by token.
    pub tokens: Option<Arc<Tokens>>,
    /// Validity of certificates.
    pub ttl: Duration,
}

/// A node that may have a certificate.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Admitted {
    /// Who it is.
    pub node: NodeIdentity,
    /// For how long.
    pub ttl: Duration,
    /// Proved by cached keys while the apiserver was away.
    pub offline: bool,
}

impl Enrolment {
    /// The identity that a request has proved. From a token come name and uid of the node; what the request says of itself
    /// counts with a bootstrap secret only.
    ///
    /// # Errors
    /// [`Refusal`]
    pub async fn admit(&self, request: &EnrolRequest, now: UnixNanos) -> Result<Admitted, Refusal> {
        if request.encoded_len() > MAX_ENROL_BYTES {
            return Err(Refusal::TooLarge);
        }
        match request.proof.as_ref().ok_or(Refusal::NoProof)? {
            Proof::BootstrapSecret(given) => self.by_secret(given, request),
            Proof::ServiceAccountToken(token) => self.by_token(token, now).await,
        }
    }

    async fn by_token(&self, token: &str, now: UnixNanos) -> Result<Admitted, Refusal> {
        let tokens = self.tokens.as_ref().ok_or(Refusal::TokensNotConfigured)?;
        let proved = tokens.admit(token, now).await?;
        let ttl = if proved.offline {
            self.ttl.min(OFFLINE_TTL)
        } else {
            self.ttl
        };
        Ok(Admitted {
            node: NodeIdentity {
                cluster: self.cluster.clone(),
                uid: proved.uid,
                name: clean_name(&proved.name),
            },
            ttl,
            offline: proved.offline,
        })
    }

    fn by_secret(&self, given: &str, request: &EnrolRequest) -> Result<Admitted, Refusal> {
        let wanted = self.secret.as_ref().ok_or(Refusal::NoSecretConfigured)?;
        let given = given.trim_end_matches(['\r', '\n']);
        if given.is_empty() || !same(wanted.expose(), given) {
            return Err(Refusal::WrongSecret);
        }
        let name = clean_name(request.node_name.trim());
        if name.is_empty() {
            return Err(Refusal::NodeName);
        }
        if !(1..=MAX_HOST_ID).contains(&request.host_id.len()) {
            return Err(Refusal::HostId);
        }
        let uid = Key::of(b"node", &[self.cluster.as_bytes(), request.host_id.as_bytes()]).to_string();
        Ok(Admitted {
            node: NodeIdentity {
                cluster: self.cluster.clone(),
                uid,
                name,
            },
            ttl: self.ttl,
            offline: false,
        })
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
pub(super) mod tests;
