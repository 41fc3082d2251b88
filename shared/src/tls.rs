//! TLS: chooses the cryptography once per process.
//!
//! Owns the installation of the provider. Must not know certificates or identities: the two ends
//! of the agent's connection own those.

/// Makes *ring* the process-wide cryptography provider of rustls. Later calls change nothing.
///
/// Call it first in `main`, and in tests that open a TLS connection: rustls refuses to build a
/// configuration when no provider is installed.
pub fn install_provider() {
    if rustls::crypto::CryptoProvider::get_default().is_none() {
        // A failure means that another thread was faster, with the only provider we link.
        drop(rustls::crypto::ring::default_provider().install_default());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn installing_twice_is_harmless_and_leaves_a_provider() {
        install_provider();
        install_provider();
        assert!(rustls::crypto::CryptoProvider::get_default().is_some());
    }
}
