//! Signatures by Standard Webhooks 1.0 (github.com/standard-webhooks/standard-webhooks, spec/standard-webhooks.md).
//!
//! Owns signing and checking. Written apart from the product's own code on purpose: a shared mistake would stay unseen.

use std::fmt;
use std::time::Duration;

use anyhow::{Context, Result};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use hmac::{Hmac, KeyInit, Mac};
use inquest_shared::clock::UnixNanos;
use sha2::Sha256;

use super::record::Refusal;

/// How far a time stamp may be off; the value of the reference libraries.
const TOLERANCE: Duration = Duration::from_secs(300);

/// A key that both sides know.
#[derive(Clone)]
pub struct Secret(Vec<u8>);

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(…)")
    }
}

impl Secret {
    /// Reads `whsec_` and base64.
    ///
    /// # Errors
    /// For another prefix or broken base64.
    pub fn parse(text: &str) -> Result<Self> {
        let encoded = text.strip_prefix("whsec_").context("a secret begins with whsec_")?;
        Ok(Self(STANDARD.decode(encoded).context("a secret is base64")?))
    }

    fn mac(&self, id: &str, timestamp: &str, body: &[u8]) -> Option<Hmac<Sha256>> {
        let mut mac = Hmac::<Sha256>::new_from_slice(&self.0).ok()?;
        for part in [id.as_bytes(), b".", timestamp.as_bytes(), b".", body] {
            mac.update(part);
        }
        Some(mac)
    }
}

/// The value of `webhook-signature` for a request.
///
/// # Errors
/// For an empty secret.
pub fn sign(secret: &Secret, id: &str, timestamp: &str, body: &[u8]) -> Result<String> {
    let mac = secret.mac(id, timestamp, body).context("the secret is empty")?;
    Ok(format!("v1,{}", STANDARD.encode(mac.finalize().into_bytes())))
}

/// The three headers of a signed request.
#[derive(Debug, Clone, Copy)]
pub(super) struct Signed<'a> {
    pub(super) id: &'a str,
    pub(super) timestamp: &'a str,
    pub(super) signature: &'a str,
}

/// Accepts a request if one of the signatures is right and the time stamp is near.
pub(super) fn check(secret: &Secret, signed: Signed<'_>, body: &[u8], now: UnixNanos) -> Result<(), Refusal> {
    if [signed.id, signed.timestamp, signed.signature].contains(&"") {
        return Err(Refusal::Unsigned);
    }
    let stamp: i64 = signed.timestamp.parse().map_err(|_| Refusal::Stale)?;
    if UnixNanos::from_secs(stamp).abs_diff(now) > TOLERANCE {
        return Err(Refusal::Stale);
    }
    let right = signed
        .signature
        .split(' ')
        .any(|signature| is_right(secret, signed, signature, body));
    if right { Ok(()) } else { Err(Refusal::BadSignature) }
}

fn is_right(secret: &Secret, signed: Signed<'_>, signature: &str, body: &[u8]) -> bool {
    let given = signature
        .strip_prefix("v1,")
        .and_then(|encoded| STANDARD.decode(encoded).ok());
    let Some((given, mac)) = given.zip(secret.mac(signed.id, signed.timestamp, body)) else {
        return false;
    };
    mac.verify_slice(&given).is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    // The example of the specification's own libraries: same secret, id, time and body in each language.
    const SECRET: &str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";
    const ID: &str = "msg_p5jXN8AQM9LWM0D4loKWxJek";
    const TIME: &str = "1614265330";
    const BODY: &[u8] = br#"{"test": 2432232314}"#;
    const SIGNATURE: &str = "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=";

    fn checked(signature: &str, body: &[u8], now: i64) -> Result<(), Refusal> {
        let signed = Signed {
            id: ID,
            timestamp: TIME,
            signature,
        };
        check(&Secret::parse(SECRET).unwrap(), signed, body, UnixNanos::from_secs(now))
    }

    #[test]
    fn the_published_example_is_signed_as_published() {
        assert_eq!(
            sign(&Secret::parse(SECRET).unwrap(), ID, TIME, BODY).unwrap(),
            SIGNATURE
        );
        assert_eq!(checked(SIGNATURE, BODY, 1_614_265_330), Ok(()));
    }

    #[test]
    fn one_right_signature_among_several_is_enough_while_keys_rotate() {
        let several = format!("v1,AAAA v2,xyz {SIGNATURE}");
        assert_eq!(checked(&several, BODY, 1_614_265_330), Ok(()));
    }

    #[test]
    fn changed_stale_and_unsigned_requests_are_refused() {
        assert_eq!(checked(SIGNATURE, b"{}", 1_614_265_330), Err(Refusal::BadSignature));
        assert_eq!(checked(SIGNATURE, BODY, 1_614_265_330 + 301), Err(Refusal::Stale));
        assert_eq!(checked(SIGNATURE, BODY, 1_614_265_330 - 301), Err(Refusal::Stale));
        assert_eq!(checked("", BODY, 1_614_265_330), Err(Refusal::Unsigned));
        assert_eq!(checked("v1,", BODY, 1_614_265_330), Err(Refusal::BadSignature));
    }
}
