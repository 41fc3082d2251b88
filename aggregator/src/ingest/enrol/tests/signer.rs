//! Keys of a cluster, and the tokens that it signs with them.

use base64::{
    Engine as _,
    engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD},
};
use ring::{
    rand::SystemRandom,
    rsa::KeyPair as RsaKeyPair,
    signature::{
        ECDSA_P256_SHA256_FIXED, ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair as _,
        RSA_PKCS1_2048_8192_SHA256, RSA_PKCS1_SHA256, RsaPublicKeyComponents, UnparsedPublicKey, VerificationAlgorithm,
    },
};
use serde_json::{Value, json};

/// An RSA key of these tests and of nothing else (PKCS#1 in base64): *ring* signs with RSA but makes no keys.
const RSA: &str = "\
     MIIEowIBAAKCAQEA551CPjdB2X54ZzrcZYzFJN6vjCKSGXVARnnQvNzob0/QwiZK0rn0jgz+pyyRIGo7WMQmfAKyCaF5lddtImE9btbGwqZX6LpY\
     6ZYou7TahVi21QVsqIdRObhHZtBEJcHsy4wXjUG2K7KFLimJ3f9eXdZeNKUJ5WLoaEmbzebbbz2RLHec1VuH65OqSMBpCTVtS2g443JGz/YRiSF8\
     fD7wNRBxF6cqm4hF0XASNXsHijfU80WhBW2gds/w2DmmEnP+d5IyKVrixGEL71EaP+Wb851519cn7CJHGgev0FYIR1GLKao2RZt3ZVjJ7lMbeIs9\
     GIwy6znhzNYV5ZyKSwmZKQIDAQABAoIBABDUBTnIrAPQbjvEiWTmIHYi/ormVsp7ZsB4Hf7K53xxm8+va+T5q9dyVuzwjlmA6RpJo34ud/RpLhCs\
     BqWRKR8s2GN7ezb76x/gUB9V7uvyBn6zFoemz/OrUaIaZF6AmOLaeo+XLv7nyUi8WI8E/JHsKbYWKQI9+HgzTkWx4077/R+hqbRzu0S59NgUvvKP\
     DjUGucAXzJFDANSW/cYi054gViH64X0PybzJsljlgL6hlLbajtUR+WgCEZoS0n4DZ7o7RnYyaff4NBXU9O+B41+cVFinWSymASaR8NjYJxIARodt\
     J+DLHagj3ByIniicq0M9w7kZFHGwEcbRqY2pyHECgYEA95JuqMC6C2nv7m36A7DV6QS07jHcbSSXgqPNv3seQ3IC54i/vuYC7QtDI4fWWBTEOB2G\
     dHo64BrcryfjSV9PlbfQ1JNiZfGOXjsIIabIuVfjdIvdajkb4DS4W9fk2rBEOkp+zh7zmfDl1kb05SEUFOcmusOTk+r40XiSkGVBa80CgYEA73/B\
     qfi0WqpBEQfVDbtCrTiVEjwVlzu+yddyr6Dp9So1QQiDs5xc7ZOB+kbtxKbp6GbkMpE2T1nYiiKmXc1CK/sb9EsIOy006v3m3d76W6eyI0eDAaM6\
     Iee+AMHkEtNtRY/Qmmv982TrcDf8fP3Mbm4Fc3wjqud7VyjFyPlVXs0CgYEApyO4C7vZnp0Nu8WJtfYr5F4mHG2TKCg9FZiq7iwbmWMebNwYv7Of\
     pBMnZ5RsdBjJBC2CuZ5Poz7fYG0oeD+dhjGMDgfWtYZoHFv0OGvWNbMNP4CxoeYeWLafBHpz6eR4m3XxuAyTX4mQUaKj8RDs8tO/hPVG6+UFyL2D\
     DXMewL0CgYA+Zxda5kZ36SyS92t37HbvE3MkESu+//4yMUTcphzPmHPPwhwuzGsaK/kN8TU6rBL+TvDejB+OhWZ6d5TJlBXNx9v8xyAZ6ymCoS1q\
     WhL5lrQ/pP5pitI2y18ia2K11Qj/uv0rfz/oDz+ZOb08BBUkIN6ivJG+khn9F86REwY/cQKBgC6rx1OQMcM2qVfNPN9q5iZchjufFEH1KZiy8FRf\
     Rcgd6ji+FBX9Bj1yNzVnvMq1vnCKs1BfYYn2K/Axy3IBFI5ZNrVDK9qPNWz7YsrwlkHxVc+BERZTRyMRaE0bKDxZa+RbMSQiVu/Clow9nJSdao7D\
     HPCdIcfowc9+uHV2Cc4U";

/// One signing key.
pub(in crate::ingest) enum Signer {
    Es256(EcdsaKeyPair),
    Rs256(RsaKeyPair),
}

impl Signer {
    pub(in crate::ingest) fn es256() -> Self {
        let random = SystemRandom::new();
        let pkcs8 = EcdsaKeyPair::generate_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, &random).unwrap();
        Self::Es256(EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, pkcs8.as_ref(), &random).unwrap())
    }

    pub(in crate::ingest) fn rs256() -> Self {
        Self::Rs256(RsaKeyPair::from_der(&STANDARD.decode(RSA).unwrap()).unwrap())
    }

    pub(in crate::ingest) const fn algorithm(&self) -> &'static str {
        match self {
            Self::Es256(_) => "ES256",
            Self::Rs256(_) => "RS256",
        }
    }

    /// The public half, as it is published.
    pub(in crate::ingest) fn jwk(&self, kid: &str) -> Value {
        let text = |bytes: &[u8]| URL_SAFE_NO_PAD.encode(bytes);
        match self {
            Self::Es256(key) => {
                let (x, y) = key.public_key().as_ref()[1..].split_at(32);
                json!({"use": "sig", "kty": "EC", "kid": kid, "alg": "ES256", "crv": "P-256", "x": text(x), "y": text(y)})
            }
            Self::Rs256(key) => {
                let RsaPublicKeyComponents { n, e } = RsaPublicKeyComponents::<Vec<u8>>::from(key.public());
                json!({"use": "sig", "kty": "RSA", "kid": kid, "alg": "RS256", "n": text(&n), "e": text(&e)})
            }
        }
    }

    pub(super) fn verifies(&self, signed: &str, signature: &[u8]) -> bool {
        let (algorithm, public): (&dyn VerificationAlgorithm, &[u8]) = match self {
            Self::Es256(key) => (&ECDSA_P256_SHA256_FIXED, key.public_key().as_ref()),
            Self::Rs256(key) => (&RSA_PKCS1_2048_8192_SHA256, key.public().as_ref()),
        };
        UnparsedPublicKey::new(algorithm, public)
            .verify(signed.as_bytes(), signature)
            .is_ok()
    }

    /// A token with these claims.
    pub(in crate::ingest) fn sign(&self, kid: &str, claims: &Value) -> String {
        self.sign_as(self.algorithm(), kid, claims)
    }

    /// The same with another name of the algorithm in its header.
    pub(in crate::ingest) fn sign_as(&self, algorithm: &str, kid: &str, claims: &Value) -> String {
        let part = |value: &Value| URL_SAFE_NO_PAD.encode(value.to_string());
        let signed = format!("{}.{}", part(&json!({"alg": algorithm, "kid": kid})), part(claims));
        let random = SystemRandom::new();
        let signature = match self {
            Self::Es256(key) => key.sign(&random, signed.as_bytes()).unwrap().as_ref().to_vec(),
            Self::Rs256(key) => {
                let mut signature = vec![0; key.public().modulus_len()];
                key.sign(&RSA_PKCS1_SHA256, &random, signed.as_bytes(), &mut signature)
                    .unwrap();
                signature
            }
        };
        format!("{signed}.{}", URL_SAFE_NO_PAD.encode(signature))
    }
}
