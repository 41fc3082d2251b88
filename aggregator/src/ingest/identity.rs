//! Who a peer is, by its verified certificate.
//!
//! Owns the form of the identity: a SPIFFE-style URI, `spiffe://inquest/cluster/<cluster>/node/<uid>`, with the node name
//! as common name for people. Must not verify signatures: rustls has done so before.

use inquest_shared::{clock::UnixNanos, model::clean_name};
use thiserror::Error;
use x509_parser::{certificate::X509Certificate, extensions::GeneralName, prelude::FromDer as _};

use crate::record::NodeIdentity;

const PREFIX: &str = "spiffe://inquest/cluster/";
/// Longest SPIFFE id. Source: SPIFFE-ID specification, 2.3 "Maximum SPIFFE ID Length".
const MAX_URI: usize = 2_048;

/// Why a certificate names nobody; the same certificate fails again, another enrolment helps.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum IdentityError {
    /// Not a certificate.
    #[error("the client certificate does not parse")]
    Malformed,
    /// No URI among the alternative names; a common name is not an identity.
    #[error("the client certificate has no identity (URI) of this service")]
    NoUri,
    /// More than one URI.
    #[error("the client certificate has several URIs")]
    Several,
}

/// A verified peer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Peer {
    /// The identity that its findings are stored under.
    pub node: NodeIdentity,
    /// End of the certificate's validity.
    pub not_after: UnixNanos,
}

/// The identity in a certificate that was verified already.
///
/// # Errors
/// [`IdentityError`]
pub fn peer_of(der: &[u8]) -> Result<Peer, IdentityError> {
    let (_, cert) = X509Certificate::from_der(der).map_err(|_| IdentityError::Malformed)?;
    let names = cert
        .subject_alternative_name()
        .map_err(|_| IdentityError::Malformed)?
        .ok_or(IdentityError::NoUri)?;
    let mut uris = names.value.general_names.iter().filter_map(|name| match name {
        GeneralName::URI(uri) => Some(*uri),
        _ => None,
    });
    let uri = uris.next().ok_or(IdentityError::NoUri)?;
    if uris.next().is_some() {
        return Err(IdentityError::Several);
    }
    let (cluster, uid) = parts_of(uri).ok_or(IdentityError::NoUri)?;
    let name = cert
        .subject()
        .iter_common_name()
        .next()
        .and_then(|name| name.as_str().ok())
        .unwrap_or(uid);
    let node = NodeIdentity {
        cluster: cluster.to_owned(),
        uid: uid.to_owned(),
        name: clean_name(name),
    };
    Ok(Peer {
        node,
        not_after: UnixNanos::from_secs(cert.validity().not_after.timestamp()),
    })
}

/// The URI of a node; `None` when cluster or uid cannot be a path segment of a SPIFFE id.
pub(crate) fn uri_of(node: &NodeIdentity) -> Option<String> {
    let uri = format!("{PREFIX}{}/node/{}", node.cluster, node.uid);
    (parts_of(&uri) == Some((&node.cluster, &node.uid))).then_some(uri)
}

fn parts_of(uri: &str) -> Option<(&str, &str)> {
    if uri.len() > MAX_URI {
        return None;
    }
    let mut segments = uri.strip_prefix(PREFIX)?.split('/');
    let (cluster, word, uid) = (segments.next()?, segments.next()?, segments.next()?);
    (word == "node" && segments.next().is_none() && is_segment(cluster) && is_segment(uid)).then_some((cluster, uid))
}

/// Source: SPIFFE-ID specification, 2.2 "Path".
pub(crate) fn is_segment(text: &str) -> bool {
    !matches!(text, "" | "." | "..") && text.bytes().all(|b| b.is_ascii_alphanumeric() || b"-._".contains(&b))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn node(cluster: &str, uid: &str) -> NodeIdentity {
        NodeIdentity {
            cluster: cluster.to_owned(),
            uid: uid.to_owned(),
            name: "n".to_owned(),
        }
    }

    #[test]
    fn a_uri_names_one_cluster_and_one_node() {
        let uri = uri_of(&node("prod-1", "a0")).unwrap();
        assert_eq!(uri, "spiffe://inquest/cluster/prod-1/node/a0");
        assert_eq!(parts_of(&uri), Some(("prod-1", "a0")));
    }

    /// A cluster named like a path would let one node pose as another.
    #[test]
    fn names_cannot_shift_into_each_other() {
        for (cluster, uid) in [
            ("a/node/b", "c"),
            ("", "c"),
            ("a", ""),
            ("..", "c"),
            ("a", "b/c"),
            ("a b", "c"),
        ] {
            assert_eq!(uri_of(&node(cluster, uid)), None, "{cluster} {uid}");
        }
        for uri in [
            "spiffe://other/cluster/a/node/b",
            "spiffe://inquest/cluster/a/pod/b",
            "a",
            "",
        ] {
            assert_eq!(parts_of(uri), None, "{uri}");
        }
    }
}
