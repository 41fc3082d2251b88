pub(in crate::ingest) mod apiserver;
pub(in crate::ingest) mod signer;

use futures::FutureExt as _;

use super::*;

fn enrolment() -> Enrolment {
    let secret = Some(Secret::new("s3cret".to_owned()));
    Enrolment {
        cluster: "c1".to_owned(),
        secret,
        tokens: None,
        ttl: Duration::from_secs(60),
    }
}

/// Nothing is waited for when a secret is looked at.
fn admit(enrolment: &Enrolment, request: &EnrolRequest) -> Result<NodeIdentity, Refusal> {
    let admitted = enrolment.admit(request, UnixNanos::EPOCH).now_or_never().unwrap();
    admitted.map(|admitted| admitted.node)
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
    let first = admit(&enrolment(), &request("s3cret")).unwrap();
    let renamed = EnrolRequest {
        node_name: "renamed".into(),
        ..request("s3cret\n")
    };
    let again = admit(&enrolment(), &renamed).unwrap();
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
        assert_eq!(admit(&enrolment(), &request), Err(refusal));
    }
    let closed = Enrolment {
        secret: None,
        ..enrolment()
    };
    assert_eq!(admit(&closed, &request("s3cret")), Err(Refusal::NoSecretConfigured));
}
