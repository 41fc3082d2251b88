use std::os::unix::fs::PermissionsExt as _;

use super::*;
use crate::ingest::{IdentityError, peer_of};

const NOW: UnixNanos = UnixNanos::from_secs(1_800_000_000);

fn node() -> NodeIdentity {
    NodeIdentity {
        cluster: "c1".to_owned(),
        uid: "u1".to_owned(),
        name: "node-1".to_owned(),
    }
}

fn names(list: &[&str]) -> Vec<String> {
    list.iter().map(|name| (*name).to_owned()).collect()
}

/// A request that asks for everything that an agent must not get.
fn greedy_request(key: &KeyPair) -> String {
    let mut params = CertificateParams::new(names(&["aggregator.example"])).unwrap();
    params.distinguished_name.push(DnType::CommonName, "someone-else");
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.serialize_request(key).unwrap().pem().unwrap()
}

fn first_der(pem: &str) -> Vec<u8> {
    x509_parser::pem::parse_x509_pem(pem.as_bytes()).unwrap().1.contents
}

#[test]
fn the_authority_survives_a_restart_and_only_its_owner_can_read_the_key() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("ca");
    let first = Authority::open(&path, NOW).unwrap().cert_pem;
    assert_eq!(Authority::open(&path, NOW).unwrap().cert_pem, first);
    for (file, mode) in [("ca.key", 0o600), ("ca.crt", 0o644)] {
        assert_eq!(
            path.join(file).metadata().unwrap().permissions().mode() & 0o777,
            mode,
            "{file}"
        );
    }
    assert_eq!(path.metadata().unwrap().permissions().mode() & 0o777, 0o700);
}

/// A new authority in place of a lost one would cut off every agent without a word.
#[test]
fn a_missing_or_damaged_half_is_an_error_and_never_replaced() {
    let folder = tempfile::tempdir().unwrap();
    Authority::open(folder.path(), NOW).unwrap();
    let key_file = folder.path().join("ca.key");
    let key = std::fs::read_to_string(&key_file).unwrap();
    std::fs::write(&key_file, "torn").unwrap();
    assert!(matches!(
        Authority::open(folder.path(), NOW),
        Err(AuthorityError::Damaged { .. })
    ));
    std::fs::write(&key_file, new_key().unwrap().serialize_pem()).unwrap();
    assert!(matches!(
        Authority::open(folder.path(), NOW),
        Err(AuthorityError::Mismatch { .. })
    ));
    std::fs::remove_file(&key_file).unwrap();
    assert!(matches!(
        Authority::open(folder.path(), NOW),
        Err(AuthorityError::KeyMissing { .. })
    ));
    std::fs::write(&key_file, key).unwrap();
    assert!(Authority::open(folder.path(), NOW).is_ok());
}

/// A crash between the two files of the first start.
#[test]
fn a_key_without_certificate_gets_one() {
    let folder = tempfile::tempdir().unwrap();
    Authority::open(folder.path(), NOW).unwrap();
    std::fs::remove_file(folder.path().join("ca.crt")).unwrap();
    assert!(Authority::open(folder.path(), NOW).is_ok());
}

#[test]
fn the_server_certificate_is_kept_until_names_change_or_half_its_life_is_over() {
    let folder = tempfile::tempdir().unwrap();
    let authority = Authority::open(folder.path(), NOW).unwrap();
    let issue = |list: &[&str], days: u64| {
        let at = NOW.saturating_add(Duration::from_secs(days * 86_400));
        authority.server_identity(&names(list), at).unwrap().chain_pem
    };
    let first = issue(&["localhost", "127.0.0.1", "::1"], 0);
    assert_eq!(issue(&["::1", "localhost", "127.0.0.1"], 100), first);
    let half = issue(&["localhost", "127.0.0.1", "::1"], 190);
    assert_ne!(half, first);
    assert_ne!(issue(&["localhost"], 191), half);
    assert!(matches!(
        authority.server_identity(&names(&["a b"]), NOW),
        Err(AuthorityError::Name { .. })
    ));
}

#[test]
fn nothing_but_the_key_of_a_request_is_signed() {
    let folder = tempfile::tempdir().unwrap();
    let authority = Authority::open(folder.path(), NOW).unwrap();
    let key = new_key().unwrap();
    let signed = authority
        .sign(&greedy_request(&key), &node(), NOW, Duration::MAX)
        .unwrap();
    assert_eq!(signed.not_after, NOW.saturating_add(MAX_TTL));
    let der = first_der(&signed.chain_pem);
    let peer = peer_of(&der).unwrap();
    assert_eq!((peer.node, peer.not_after), (node(), signed.not_after));
    use x509_parser::prelude::FromDer as _;
    let (_, cert) = X509::from_der(&der).unwrap();
    assert!(!cert.is_ca());
    assert_eq!(
        cert.subject_alternative_name()
            .unwrap()
            .unwrap()
            .value
            .general_names
            .len(),
        1
    );
}

type X509<'a> = x509_parser::certificate::X509Certificate<'a>;

#[test]
fn a_request_signed_by_another_key_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let authority = Authority::open(folder.path(), NOW).unwrap();
    let pem = greedy_request(&new_key().unwrap());
    let (_, mut request) = x509_parser::pem::parse_x509_pem(pem.as_bytes()).unwrap();
    let last = request.contents.len() - 1;
    request.contents[last] ^= 1;
    use base64::Engine as _;
    let body = base64::engine::general_purpose::STANDARD.encode(&request.contents);
    let forged = format!("-----BEGIN CERTIFICATE REQUEST-----\n{body}\n-----END CERTIFICATE REQUEST-----\n");
    for pem in [forged.as_str(), "", "no pem"] {
        let result = authority.sign(pem, &node(), NOW, MAX_TTL);
        assert!(matches!(result, Err(AuthorityError::Request { .. })), "{result:?}");
    }
}

#[test]
fn a_node_that_cannot_be_named_in_a_uri_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let authority = Authority::open(folder.path(), NOW).unwrap();
    let request = greedy_request(&new_key().unwrap());
    let node = NodeIdentity {
        cluster: "a/node/b".to_owned(),
        ..node()
    };
    assert!(matches!(
        authority.sign(&request, &node, NOW, MAX_TTL),
        Err(AuthorityError::Identity { .. })
    ));
}

/// Anyone can get a certificate with any common name from some authority; only our URI is an identity.
#[test]
fn a_name_in_the_common_name_only_is_nobody() {
    let key = new_key().unwrap();
    let pem = self_signed(&key, NOW).unwrap();
    assert_eq!(peer_of(&first_der(&pem)), Err(IdentityError::NoUri));
    assert_eq!(peer_of(b"garbage"), Err(IdentityError::Malformed));
}
