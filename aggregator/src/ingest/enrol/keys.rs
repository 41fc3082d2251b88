//! The cluster's public keys, and tokens verified with them alone.
//!
//! Owns signatures, issuer and times of a token while no apiserver can be asked. Must not decide whether that is so.

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use ring::signature::{ECDSA_P256_SHA256_FIXED, RSA_PKCS1_2048_8192_SHA256, RsaPublicKeyComponents, UnparsedPublicKey};
use serde::Deserialize;

use super::{
    Refusal,
    review::{PublishedKeys, Review},
    token::Token,
};

/// Keys kept; a cluster has one, and two while it changes them.
const MAX_KEYS: usize = 16;
/// A token may begin this much later by our clock, in seconds: the clock of the apiserver that signed it is another one.
const LEEWAY: i64 = 60;

/// Bytes of a coordinate of P-256, leading zeros included. Source: RFC 7518, 6.2.1.2.
const COORDINATE: usize = 32;

/// Keys of one issuer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct KeySet {
    issuer: String,
    keys: Vec<Key>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Key {
    id: Option<String>,
    material: Material,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Material {
    /// Modulus and exponent, without leading zeros.
    Rsa { n: Vec<u8>, e: Vec<u8> },
    /// A point of P-256, uncompressed.
    P256(Vec<u8>),
}

#[derive(Deserialize)]
struct Jwks {
    keys: Vec<serde_json::Value>,
}

/// Source: RFC 7518, 6.
#[derive(Deserialize)]
struct Jwk {
    kty: String,
    kid: Option<String>,
    crv: Option<String>,
    x: Option<String>,
    y: Option<String>,
    n: Option<String>,
    e: Option<String>,
}

impl KeySet {
    /// Reads what an apiserver publishes; `None` when no key of it is usable. Keys of unknown kinds are left out.
    pub(super) fn read(published: &PublishedKeys) -> Option<Self> {
        let jwks: Jwks = serde_json::from_str(&published.jwks).ok()?;
        let parsed = jwks.keys.into_iter().filter_map(|key| serde_json::from_value(key).ok());
        let keys: Vec<Key> = parsed.filter_map(|jwk: Jwk| jwk.read()).take(MAX_KEYS).collect();
        (!keys.is_empty() && !published.issuer.is_empty()).then(|| Self {
            issuer: published.issuer.clone(),
            keys,
        })
    }

    /// How many keys.
    pub(super) const fn len(&self) -> usize {
        self.keys.len()
    }

    /// What the issuer said with a token, as a review would tell it. Whether its pod still exists nobody knows here.
    pub(super) fn verify(&self, text: &str, audience: &str, now_secs: i64) -> Result<Review, Refusal> {
        let token = Token::parse(text).ok_or(Refusal::InvalidToken)?;
        let candidates = self
            .keys
            .iter()
            .filter(|key| token.header.kid.is_none() || key.id == token.header.kid);
        let mut signed = candidates.filter(|key| key.material.signed(&token));
        if signed.next().is_none() || token.claims.iss != self.issuer || token.claims.is_early(now_secs, LEEWAY) {
            return Err(Refusal::InvalidToken);
        }
        if token.claims.is_over(now_secs) {
            return Err(Refusal::ExpiredToken);
        }
        if !token.claims.is_for(audience) {
            return Err(Refusal::WrongAudience);
        }
        Ok(token.claims.into_review())
    }
}

impl Jwk {
    fn read(self) -> Option<Key> {
        let bytes = |text: Option<String>| URL_SAFE_NO_PAD.decode(text?).ok();
        let material = match (self.kty.as_str(), self.crv.as_deref()) {
            ("RSA", _) => {
                let number = |text| Some(bytes(text)?.into_iter().skip_while(|byte| *byte == 0).collect());
                Material::Rsa {
                    n: number(self.n)?,
                    e: number(self.e)?,
                }
            }
            ("EC", Some("P-256")) => {
                let coordinate = |text| bytes(text).filter(|bytes| bytes.len() == COORDINATE);
                Material::P256([vec![4], coordinate(self.x)?, coordinate(self.y)?].concat())
            }
            _ => return None,
        };
        Some(Key { id: self.kid, material })
    }
}

impl Material {
    /// The kind of the key chooses the algorithm; a token that names another one is not signed with it.
    fn signed(&self, token: &Token<'_>) -> bool {
        let (message, signature) = (token.signed.as_bytes(), token.signature.as_slice());
        match (self, token.header.alg.as_str()) {
            (Self::Rsa { n, e }, "RS256") => RsaPublicKeyComponents { n, e }
                .verify(&RSA_PKCS1_2048_8192_SHA256, message, signature)
                .is_ok(),
            (Self::P256(point), "ES256") => UnparsedPublicKey::new(&ECDSA_P256_SHA256_FIXED, point)
                .verify(message, signature)
                .is_ok(),
            _ => false,
        }
    }
}

#[cfg(test)]
mod tests;
