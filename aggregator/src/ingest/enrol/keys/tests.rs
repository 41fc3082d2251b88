use serde_json::{Value, json};

use super::{super::tests::signer::Signer, *};

const NOW: i64 = 1_700_000_000;
const ISSUER: &str = "https://kubernetes.default.svc";

fn claims() -> Value {
    json!({
        "iss": ISSUER, "aud": ["inquest-aggregator"], "exp": NOW + 600, "nbf": NOW, "iat": NOW,
        "sub": "system:serviceaccount:inquest:inquest-agent",
        "kubernetes.io": {"node": {"name": "node1", "uid": "n"}, "pod": {"name": "p", "uid": "pu"}},
    })
}

fn set(keys: &[Value]) -> Option<KeySet> {
    KeySet::read(&PublishedKeys {
        issuer: ISSUER.to_owned(),
        jwks: json!({"keys": keys}).to_string(),
    })
}

#[test]
fn tokens_of_both_algorithms_are_verified_by_the_published_keys() {
    let (ec, rsa) = (Signer::es256(), Signer::rs256());
    let keys = set(&[ec.jwk("one"), rsa.jwk("two")]).unwrap();
    for token in [ec.sign("one", &claims()), rsa.sign("two", &claims())] {
        let review = keys.verify(&token, "inquest-aggregator", NOW).unwrap();
        assert_eq!(
            (review.node.unwrap().uid, review.pod.unwrap().uid),
            ("n".into(), "pu".into())
        );
    }
}

#[test]
fn a_claim_that_is_not_right_is_refused_although_the_signature_is() {
    let signer = Signer::es256();
    let keys = set(&[signer.jwk("one")]).unwrap();
    let cases: [(&str, Value, Refusal); 6] = [
        ("iss", json!("https://elsewhere"), Refusal::InvalidToken),
        ("aud", json!("https://kubernetes.default.svc"), Refusal::WrongAudience),
        ("exp", json!(NOW), Refusal::ExpiredToken),
        ("exp", Value::Null, Refusal::ExpiredToken),
        ("nbf", json!(NOW + LEEWAY + 1), Refusal::InvalidToken),
        ("aud", json!([]), Refusal::WrongAudience),
    ];
    for (claim, value, refusal) in cases {
        let mut claims = claims();
        claims[claim] = value;
        let verified = keys.verify(&signer.sign("one", &claims), "inquest-aggregator", NOW);
        assert_eq!(verified, Err(refusal), "{claim}");
    }
}

/// The usual ways to forge: another key, another algorithm's name, none at all, a changed claim.
#[test]
fn a_forged_token_is_refused() {
    let (ec, rsa, stranger) = (Signer::es256(), Signer::rs256(), Signer::es256());
    let keys = set(&[ec.jwk("one"), rsa.jwk("two")]).unwrap();
    let good = ec.sign("one", &claims());
    let (signed, signature) = good.rsplit_once('.').unwrap();
    let (header, _) = signed.split_once('.').unwrap();
    let mut other = claims();
    other["kubernetes.io"]["node"]["name"] = json!("node2");
    let changed = URL_SAFE_NO_PAD.encode(other.to_string());
    for forged in [
        stranger.sign("one", &claims()),
        ec.sign("unknown", &claims()),
        ec.sign("two", &claims()),
        ec.sign_as("none", "one", &claims()),
        ec.sign_as("HS256", "one", &claims()),
        rsa.sign_as("ES256", "two", &claims()),
        format!("{signed}."),
        format!("{header}.{changed}.{signature}"),
        String::new(),
        "a.b.c".to_owned(),
    ] {
        let verified = keys.verify(&forged, "inquest-aggregator", NOW);
        assert_eq!(verified, Err(Refusal::InvalidToken), "{forged}");
    }
    assert!(keys.verify(&good, "inquest-aggregator", NOW).is_ok());
}

#[test]
fn keys_of_unknown_kinds_are_left_out_and_none_at_all_is_no_set() {
    let good = Signer::es256().jwk("one");
    let odd = json!({"kty": "OKP", "crv": "Ed25519", "x": "AA", "kid": "x"});
    let broken = json!({"kty": "RSA", "n": "not base64!", "e": "AQAB"});
    let short = json!({"kty": "EC", "crv": "P-256", "x": "AA", "y": "AA", "kid": "s"});
    assert_eq!(
        set(&[odd.clone(), broken.clone(), short, json!(7), good])
            .unwrap()
            .len(),
        1
    );
    assert_eq!(set(&[odd, broken]), None);
}
