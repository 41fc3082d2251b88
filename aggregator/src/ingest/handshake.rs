//! TLS of port 7440, and the name of each way in which a handshake fails.
//!
//! Owns the versions and the verification of client certificates: TLS 1.3 only, since both ends are ours and nothing older
//! has to be spoken to.

use std::{io, sync::Arc};

use rustls::{
    CertificateError, Error as TlsError, InvalidMessage, RootCertStore, ServerConfig,
    pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject as _},
    server::{NoServerSessionStorage, VerifierBuilderError, WebPkiClientVerifier},
};
use thiserror::Error;

use super::ServerIdentity;

/// Protocol of gRPC in the handshake. Source: RFC 9113, 3.3.
const ALPN: &[u8] = b"h2";

/// Why the server's own material was not taken; the same files fail again.
#[derive(Debug, Error)]
pub enum TlsSetupError {
    /// Not PEM.
    #[error("a certificate or key is not PEM")]
    Pem(#[source] rustls::pki_types::pem::Error),
    /// Key, certificate or version was refused.
    #[error("key or certificate are not usable")]
    Material(#[from] TlsError),
    /// The authority cannot verify anybody.
    #[error("the authority is not usable")]
    Authority(#[from] VerifierBuilderError),
}

/// The server's side: TLS 1.3, client certificates of the authority, or none.
///
/// # Errors
/// [`TlsSetupError`]
pub(super) fn config(identity: &ServerIdentity, authority_pem: &str) -> Result<ServerConfig, TlsSetupError> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let mut roots = RootCertStore::empty();
    let authority = CertificateDer::from_pem_slice(authority_pem.as_bytes()).map_err(TlsSetupError::Pem)?;
    roots.add(authority)?;
    let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), Arc::clone(&provider))
        .allow_unauthenticated()
        .build()?;
    let chain = CertificateDer::pem_slice_iter(identity.chain_pem.as_bytes())
        .collect::<Result<Vec<_>, _>>()
        .map_err(TlsSetupError::Pem)?;
    let key = PrivateKeyDer::from_pem_slice(identity.key_pem.as_bytes()).map_err(TlsSetupError::Pem)?;
    let mut config = ServerConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&rustls::version::TLS13])?
        .with_client_cert_verifier(verifier)
        .with_single_cert(chain, key)?;
    config.alpn_protocols = vec![ALPN.to_vec()];
    // A resumed session would skip the check of the client certificate, which may have expired since.
    config.session_storage = Arc::new(NoServerSessionStorage {});
    config.send_tls13_tickets = 0;
    Ok(config)
}

/// Value of the metric label for a handshake that failed.
pub(super) fn reason_of(error: &io::Error) -> &'static str {
    let Some(tls) = error.get_ref().and_then(|inner| inner.downcast_ref::<TlsError>()) else {
        return "handshake_left";
    };
    match tls {
        TlsError::InvalidMessage(InvalidMessage::InvalidContentType | InvalidMessage::UnknownProtocolVersion) => {
            "not_tls"
        }
        TlsError::PeerIncompatible(_) => "tls_version",
        TlsError::InvalidCertificate(problem) => certificate(problem),
        _ => "handshake",
    }
}

const fn certificate(problem: &CertificateError) -> &'static str {
    match problem {
        CertificateError::Expired | CertificateError::ExpiredContext { .. } => "certificate_expired",
        CertificateError::NotValidYet | CertificateError::NotValidYetContext { .. } => "certificate_not_yet_valid",
        CertificateError::UnknownIssuer | CertificateError::BadSignature => "certificate_issuer",
        CertificateError::InvalidPurpose | CertificateError::InvalidPurposeContext { .. } => "certificate_purpose",
        _ => "certificate",
    }
}
