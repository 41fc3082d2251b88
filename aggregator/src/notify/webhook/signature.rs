//! Standard Webhooks signatures, version 1: HMAC-SHA256 over `id.timestamp.body`.
//!
//! Owns key and scheme. Source: the specification of standardwebhooks.com.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use hmac::{Hmac, KeyInit as _, Mac as _};
use inquest_shared::secret::Secret;
use sha2::Sha256;

/// Shortest key that the specification allows.
const MIN_KEY_BYTES: usize = 24;

/// Signs for one receiver.
pub(super) struct Signer {
    key: Secret<Vec<u8>>,
}

impl Signer {
    /// Takes `whsec_` followed by base64; `None` if it is something else or too short.
    pub(super) fn new(secret: &Secret) -> Option<Self> {
        let key = STANDARD.decode(secret.expose().strip_prefix("whsec_")?).ok()?;
        (key.len() >= MIN_KEY_BYTES).then(|| Self { key: Secret::new(key) })
    }

    /// The value of `webhook-signature`. HMAC takes keys of any length, so there always is one.
    pub(super) fn sign(&self, id: &str, timestamp: &str, body: &[u8]) -> Option<String> {
        let mut mac = Hmac::<Sha256>::new_from_slice(self.key.expose()).ok()?;
        for part in [id.as_bytes(), b".", timestamp.as_bytes(), b".", body] {
            mac.update(part);
        }
        Some(format!("v1,{}", STANDARD.encode(mac.finalize().into_bytes())))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn signer(secret: &str) -> Option<Signer> {
        Signer::new(&Secret::new(secret.to_owned()))
    }

    #[test]
    fn the_signature_is_that_of_the_published_example() {
        // The example of the reference libraries of Standard Webhooks.
        let signer = signer("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw").unwrap();
        let signed = signer.sign("msg_p5jXN8AQM9LWM0D4loKWxJek", "1614265330", br#"{"test": 2432232314}"#);
        assert_eq!(signed.unwrap(), "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=");
    }

    #[test]
    fn a_secret_of_another_form_is_refused() {
        for secret in [
            "",
            "hunter2",
            "whsec_",
            "whsec_c2hvcnQ=",
            "whsec_***",
            "MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw",
        ] {
            assert!(signer(secret).is_none(), "{secret}");
        }
    }
}
