//! The aggregator's own certificate authority.
//!
//! Owns the key, the certificate and the server certificate, as files in one folder. Must not know who may enrol: it
//! signs the identity that it is given, and takes nothing but the public key from a request.

mod file;
mod names;

use std::{
    path::{Path, PathBuf},
    time::{Duration, UNIX_EPOCH},
};

use inquest_shared::{clock::UnixNanos, model::Key};
use rcgen::{
    BasicConstraints, CertificateParams, CertificateSigningRequestParams, DistinguishedName, DnType,
    ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair, KeyUsagePurpose, SanType,
};
use thiserror::Error;

use super::identity::uri_of;
use crate::record::NodeIdentity;

/// Longest validity of an agent's certificate.
pub const MAX_TTL: Duration = Duration::from_secs(24 * 3_600);
/// A node's certificate is valid from a little before it is made. Source: the signer of the Kubernetes controller manager
/// back-dates by five minutes.
const BACKDATE: Duration = Duration::from_secs(300);
/// What agents check by their own clocks is valid from a day before: a node with a wrong clock must be able to report.
const BACKDATE_FOR_AGENTS: Duration = Duration::from_secs(24 * 3_600);
/// Validity of the authority: the ten years of a cluster authority made by kubeadm.
const AUTHORITY_TTL: Duration = Duration::from_secs(3_650 * 86_400);
/// Validity of the server certificate; made anew at a start in its second half.
const SERVER_TTL: Duration = Duration::from_secs(365 * 86_400);

const KEY_FILE: &str = "ca.key";
const CERT_FILE: &str = "ca.crt";
const SERVER_KEY_FILE: &str = "server.key";
const SERVER_CERT_FILE: &str = "server.crt";

/// Why the authority could not do its work.
#[derive(Debug, Error)]
pub enum AuthorityError {
    /// A file could not be read or written; retrying helps once the disk or the rights are repaired.
    #[error("cannot {action} {path}")]
    File {
        /// What was tried.
        action: &'static str,
        /// Which file.
        path: PathBuf,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// A file holds no such key or certificate; restore it, or remove the folder and enrol all agents again.
    #[error("{path} is damaged")]
    Damaged {
        /// Which file.
        path: PathBuf,
        /// What does not parse.
        #[source]
        source: rcgen::Error,
    },
    /// The certificate does not belong to the key.
    #[error("{cert} does not belong to {key}")]
    Mismatch {
        /// Certificate file.
        cert: PathBuf,
        /// Key file.
        key: PathBuf,
    },
    /// The certificate is there without its key; restore the key, or remove the certificate and enrol all agents again.
    #[error("{cert} is there but {key} is missing")]
    KeyMissing {
        /// Certificate file.
        cert: PathBuf,
        /// Key file.
        key: PathBuf,
    },
    /// A configured server name is neither an address nor a DNS name.
    #[error("{name:?} is no address and no DNS name")]
    Name {
        /// The name.
        name: String,
    },
    /// The request of an agent is not a signed PKCS#10 request; the same one fails again.
    #[error("the certificate request is not acceptable")]
    Request {
        /// Why.
        #[source]
        source: rcgen::Error,
    },
    /// Cluster or uid cannot be part of a SPIFFE id.
    #[error("cluster {cluster:?} and uid {uid:?} must consist of letters, digits, dots, dashes and underscores")]
    Identity {
        /// Cluster name.
        cluster: String,
        /// Node uid.
        uid: String,
    },
    /// A key or a certificate could not be made.
    #[error("cannot make {what}")]
    Make {
        /// What.
        what: &'static str,
        /// Why.
        #[source]
        source: rcgen::Error,
    },
}

/// Key and certificate chain of the server, in PEM.
#[derive(Clone)]
pub struct ServerIdentity {
    /// Certificate, then its issuer.
    pub chain_pem: String,
    /// Private key.
    pub key_pem: String,
}

/// What an agent gets.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SignedIdentity {
    /// Certificate, then its issuer, in PEM.
    pub chain_pem: String,
    /// End of validity.
    pub not_after: UnixNanos,
}

/// Signs what the aggregator vouches for.
pub struct Authority {
    folder: PathBuf,
    issuer: Issuer<'static, KeyPair>,
    cert_pem: String,
}

impl Authority {
    /// Reads the authority from `folder`, or makes one there at the first start.
    ///
    /// # Errors
    /// [`AuthorityError`]; an existing authority is never replaced.
    pub fn open(folder: &Path, now: UnixNanos) -> Result<Self, AuthorityError> {
        let (key_path, cert_path) = (folder.join(KEY_FILE), folder.join(CERT_FILE));
        file::make_folder(folder)?;
        let cert = file::read(&cert_path)?;
        let key = match (file::read(&key_path)?, &cert) {
            (Some(pem), _) => KeyPair::from_pem(&pem).map_err(|source| AuthorityError::Damaged {
                path: key_path.clone(),
                source,
            })?,
            (None, Some(_)) => {
                return Err(AuthorityError::KeyMissing {
                    cert: cert_path,
                    key: key_path,
                });
            }
            (None, None) => {
                let key = new_key()?;
                file::write(&key_path, &key.serialize_pem())?;
                key
            }
        };
        let cert_pem = if let Some(pem) = cert {
            pem
        } else {
            let pem = self_signed(&key, now)?;
            file::write_public(&cert_path, &pem)?;
            pem
        };
        if !names::is_for_key(&cert_pem, &key) {
            return Err(AuthorityError::Mismatch {
                cert: cert_path,
                key: key_path,
            });
        }
        let issuer = Issuer::from_ca_cert_pem(&cert_pem, key).map_err(|source| AuthorityError::Damaged {
            path: cert_path,
            source,
        })?;
        Ok(Self {
            folder: folder.to_owned(),
            issuer,
            cert_pem,
        })
    }

    /// Certificate of the authority: what agents verify the server with.
    #[must_use]
    pub fn cert_pem(&self) -> &str {
        &self.cert_pem
    }

    /// The server certificate for these DNS names and addresses, from its files when they still fit, else made anew.
    ///
    /// # Errors
    /// [`AuthorityError::Name`] for a name that cannot be certified; file errors as in [`Authority::open`].
    pub fn server_identity(&self, server_names: &[String], now: UnixNanos) -> Result<ServerIdentity, AuthorityError> {
        let (key_path, cert_path) = (self.folder.join(SERVER_KEY_FILE), self.folder.join(SERVER_CERT_FILE));
        let params = server_params(server_names, now)?;
        if let (Some(key_pem), Some(cert_pem)) = (file::read(&key_path)?, file::read(&cert_path)?) {
            let usable = KeyPair::from_pem(&key_pem).is_ok_and(|key| names::is_for_key(&cert_pem, &key))
                && names::still_fits(&cert_pem, &self.cert_pem, &params.subject_alt_names, now);
            if usable {
                return Ok(self.server(&cert_pem, key_pem));
            }
        }
        let key = new_key()?;
        let cert = params
            .signed_by(&key, &self.issuer)
            .map_err(|source| AuthorityError::Make {
                what: "the server certificate",
                source,
            })?;
        let key_pem = key.serialize_pem();
        file::write(&key_path, &key_pem)?;
        file::write(&cert_path, &cert.pem())?;
        Ok(self.server(&cert.pem(), key_pem))
    }

    fn server(&self, cert_pem: &str, key_pem: String) -> ServerIdentity {
        ServerIdentity {
            chain_pem: format!("{cert_pem}{}", self.cert_pem),
            key_pem,
        }
    }

    /// Signs `node` for the key of a PKCS#10 request, valid for `ttl` but at most [`MAX_TTL`]. Everything in the request
    /// but its key is ignored; its signature proves that the sender has the private key.
    ///
    /// # Errors
    /// [`AuthorityError::Request`] and [`AuthorityError::Identity`]; the same call fails again.
    pub fn sign(
        &self,
        request_pem: &str,
        node: &NodeIdentity,
        now: UnixNanos,
        ttl: Duration,
    ) -> Result<SignedIdentity, AuthorityError> {
        let request = CertificateSigningRequestParams::from_pem(request_pem)
            .map_err(|source| AuthorityError::Request { source })?;
        let not_after = UnixNanos::from_secs(now.saturating_add(ttl.min(MAX_TTL)).as_secs());
        let params = node_params(node, now, not_after)?;
        let cert = params
            .signed_by(&request.public_key, &self.issuer)
            .map_err(|source| AuthorityError::Make {
                what: "a node certificate",
                source,
            })?;
        Ok(SignedIdentity {
            chain_pem: format!("{}{}", cert.pem(), self.cert_pem),
            not_after,
        })
    }
}

fn new_key() -> Result<KeyPair, AuthorityError> {
    KeyPair::generate_for(&rcgen::PKCS_ECDSA_P256_SHA256)
        .map_err(|source| AuthorityError::Make { what: "a key", source })
}

/// The subject names the key, so that a server certificate of an earlier authority is recognised by its issuer.
fn self_signed(key: &KeyPair, now: UnixNanos) -> Result<String, AuthorityError> {
    let name = format!("inquest authority {}", Key::of(b"authority", &[key.public_key_raw()]));
    let from = now.saturating_sub(BACKDATE_FOR_AGENTS);
    let mut params = base_params(&name, from, now.saturating_add(AUTHORITY_TTL));
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    let cert = params.self_signed(key).map_err(|source| AuthorityError::Make {
        what: "the authority certificate",
        source,
    })?;
    Ok(cert.pem())
}

fn server_params(server_names: &[String], now: UnixNanos) -> Result<CertificateParams, AuthorityError> {
    let from = now.saturating_sub(BACKDATE_FOR_AGENTS);
    let mut params = base_params("inquest-aggregator", from, now.saturating_add(SERVER_TTL));
    params.subject_alt_names = server_names
        .iter()
        .map(|name| names::san_of(name))
        .collect::<Result<_, _>>()?;
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
    Ok(params)
}

fn node_params(node: &NodeIdentity, now: UnixNanos, not_after: UnixNanos) -> Result<CertificateParams, AuthorityError> {
    let refused = || AuthorityError::Identity {
        cluster: node.cluster.clone(),
        uid: node.uid.clone(),
    };
    let uri = uri_of(node).ok_or_else(refused)?;
    let mut params = base_params(&node.name, now.saturating_sub(BACKDATE), not_after);
    params.subject_alt_names = vec![SanType::URI(uri.try_into().map_err(|_| refused())?)];
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
    Ok(params)
}

fn base_params(common_name: &str, not_before: UnixNanos, not_after: UnixNanos) -> CertificateParams {
    let mut distinguished_name = DistinguishedName::new();
    distinguished_name.push(DnType::CommonName, common_name);
    let mut params = CertificateParams::default();
    params.distinguished_name = distinguished_name;
    params.not_before = (UNIX_EPOCH + not_before.since(UnixNanos::EPOCH)).into();
    params.not_after = (UNIX_EPOCH + not_after.since(UnixNanos::EPOCH)).into();
    params.use_authority_key_identifier_extension = true;
    params
}

#[cfg(test)]
mod tests;
