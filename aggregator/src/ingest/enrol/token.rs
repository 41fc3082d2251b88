//! The parts of a ServiceAccount token: a signed JSON Web Token (RFC 7515, 7.1; RFC 7519).
//!
//! Owns parsing. Must not verify: nothing here says that a claim is true.

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use serde::{Deserialize, de::DeserializeOwned};

use super::review::{Bound, Review};

/// A token, taken apart.
#[derive(Debug)]
pub(super) struct Token<'a> {
    pub header: Header,
    pub claims: Claims,
    /// What the signature is over.
    pub signed: &'a str,
    pub signature: Vec<u8>,
}

/// How it is signed.
#[derive(Debug, Deserialize)]
pub(super) struct Header {
    pub alg: String,
    pub kid: Option<String>,
}

/// What it says.
#[derive(Debug, Deserialize)]
pub(super) struct Claims {
    #[serde(default)]
    pub iss: String,
    #[serde(default)]
    sub: String,
    #[serde(default)]
    aud: Audiences,
    exp: Option<i64>,
    nbf: Option<i64>,
    #[serde(rename = "kubernetes.io", default)]
    bound: BoundTo,
}

/// One audience or several (RFC 7519, 4.1.3).
#[derive(Debug, Deserialize)]
#[serde(untagged)]
enum Audiences {
    One(String),
    Many(Vec<String>),
}

impl Default for Audiences {
    fn default() -> Self {
        Self::Many(Vec::new())
    }
}

/// Source: Kubernetes, "Managing Service Accounts", schema of bound tokens.
#[derive(Debug, Default, Deserialize)]
struct BoundTo {
    node: Option<Reference>,
    pod: Option<Reference>,
}

#[derive(Debug, Deserialize)]
struct Reference {
    name: String,
    uid: String,
}

impl<'a> Token<'a> {
    /// Takes a token apart; `None` when it is none.
    pub(super) fn parse(text: &'a str) -> Option<Self> {
        let (signed, signature) = text.rsplit_once('.')?;
        let (header, claims) = signed.split_once('.')?;
        Some(Self {
            header: json(header)?,
            claims: json(claims)?,
            signed,
            signature: URL_SAFE_NO_PAD.decode(signature).ok()?,
        })
    }
}

fn json<T: DeserializeOwned>(part: &str) -> Option<T> {
    serde_json::from_slice(&URL_SAFE_NO_PAD.decode(part).ok()?).ok()
}

impl Claims {
    /// Its end has come, or it has none.
    pub(super) fn is_over(&self, now_secs: i64) -> bool {
        self.exp.is_none_or(|exp| exp <= now_secs)
    }

    /// It begins later than `leeway` seconds from now.
    pub(super) fn is_early(&self, now_secs: i64, leeway: i64) -> bool {
        self.nbf.is_some_and(|nbf| nbf > now_secs.saturating_add(leeway))
    }

    /// It is for this audience.
    pub(super) fn is_for(&self, audience: &str) -> bool {
        match &self.aud {
            Audiences::One(one) => one == audience,
            Audiences::Many(many) => many.iter().any(|one| one == audience),
        }
    }

    /// What an apiserver would say about it, once its signature is verified.
    pub(super) fn into_review(self) -> Review {
        let bound = |reference: Reference| Bound {
            name: reference.name,
            uid: reference.uid,
        };
        Review {
            authenticated: true,
            username: self.sub,
            audiences: match self.aud {
                Audiences::One(one) => vec![one],
                Audiences::Many(many) => many,
            },
            node: self.bound.node.map(bound),
            pod: self.bound.pod.map(bound),
            error: String::new(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The claims of a token that Kubernetes 1.34 projected, with other names.
    const PROJECTED: &str = r#"{"aud":["inquest-aggregator"],"exp":1700000600,"iat":1700000000,"nbf":1700000000,
        "iss":"https://kubernetes.default.svc","jti":"j","sub":"system:serviceaccount:inquest:inquest-agent",
        "kubernetes.io":{"namespace":"inquest","node":{"name":"node1","uid":"n-uid"},"pod":{"name":"agent-x","uid":"p-uid"},
        "serviceaccount":{"name":"inquest-agent","uid":"s-uid"}}}"#;

    fn token(claims: &str) -> String {
        let encode = |text: &str| URL_SAFE_NO_PAD.encode(text);
        format!(
            "{}.{}.{}",
            encode(r#"{"alg":"RS256","kid":"k"}"#),
            encode(claims),
            encode("s")
        )
    }

    #[test]
    fn a_projected_token_names_its_node_and_pod() {
        let text = token(PROJECTED);
        let token = Token::parse(&text).unwrap();
        assert!(token.claims.is_for("inquest-aggregator") && !token.claims.is_for("other"));
        assert!(!token.claims.is_over(1_700_000_599) && token.claims.is_over(1_700_000_600));
        assert!(token.claims.is_early(1_699_999_900, 60) && !token.claims.is_early(1_699_999_950, 60));
        let review = token.claims.into_review();
        assert_eq!(review.node.unwrap().uid, "n-uid");
        assert_eq!(review.pod.unwrap().name, "agent-x");
    }

    #[test]
    fn a_token_without_an_end_is_over() {
        let text = token(r#"{"aud":"one"}"#);
        let claims = Token::parse(&text).unwrap().claims;
        assert!(claims.is_over(0) && claims.is_for("one"));
    }

    proptest::proptest! {
        #[test]
        fn garbage_is_no_token_and_no_panic(text in "\\PC*", claims in "\\PC*") {
            drop(Token::parse(&text));
            drop(Token::parse(&token(&claims)));
        }
    }
}
