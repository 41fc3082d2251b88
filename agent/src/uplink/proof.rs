//! What this node proves itself with when it enrols.
//!
//! Owns the choice between token and secret, and their reading. Must not know certificates or connections.

use std::path::{Path, PathBuf};

use inquest_proto::ingest::v1::enrol_request;
use inquest_shared::{
    config::AgentProof,
    secret::{Secret, SecretError},
};

/// A file that proves who we are. It is read anew for each enrolment: the kubelet replaces a token at 80 % of its life.
/// Source: Kubernetes, "Configure Service Accounts for Pods", ServiceAccount token volume projection.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Proof {
    /// Projected ServiceAccount token.
    TokenFile(PathBuf),
    /// Secret that the aggregator has too.
    BootstrapSecretFile(PathBuf),
}

/// Why there is no proof.
#[derive(Debug, thiserror::Error)]
pub enum ProofError {
    /// Neither is there; the same configuration fails again.
    #[error(
        "enrolment.token_file or enrolment.bootstrap_secret_file is not set, and there is no token at {}",
        default.display()
    )]
    Unset {
        /// Where a token was looked for.
        default: PathBuf,
    },
    /// The token cannot be read; trying again helps once the volume of the pod has it.
    #[error("the ServiceAccount token is unusable: the pod needs a projected token as enrolment.token_file")]
    Token(#[source] SecretError),
    /// The secret cannot be read; trying again helps once the file is right.
    #[error("the bootstrap secret is unusable")]
    Secret(#[source] SecretError),
}

impl Proof {
    /// What the configuration names; without a name the token at `default`, when there is one.
    ///
    /// # Errors
    /// [`ProofError::Unset`]
    pub fn choose(config: &AgentProof, default: &Path) -> Result<Self, ProofError> {
        match (&config.token_file, &config.bootstrap_secret_file) {
            (Some(file), _) => Ok(Self::TokenFile(file.clone())),
            (None, Some(file)) => Ok(Self::BootstrapSecretFile(file.clone())),
            (None, None) if default.exists() => Ok(Self::TokenFile(default.to_owned())),
            (None, None) => Err(ProofError::Unset {
                default: default.to_owned(),
            }),
        }
    }

    /// The file's content as the request carries it.
    pub(super) fn read(&self) -> Result<enrol_request::Proof, ProofError> {
        let text = |file: &Path| Secret::from_file(file).map(|secret| secret.expose().clone());
        match self {
            Self::TokenFile(file) => text(file)
                .map(enrol_request::Proof::ServiceAccountToken)
                .map_err(ProofError::Token),
            Self::BootstrapSecretFile(file) => text(file)
                .map(enrol_request::Proof::BootstrapSecret)
                .map_err(ProofError::Secret),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config(token: Option<&str>, secret: Option<&str>) -> AgentProof {
        AgentProof {
            token_file: token.map(PathBuf::from),
            bootstrap_secret_file: secret.map(PathBuf::from),
        }
    }

    #[test]
    fn a_pod_with_the_usual_token_needs_no_key_and_a_host_with_a_secret_keeps_it() {
        let folder = tempfile::tempdir().unwrap();
        let default = folder.path().join("token");
        let refused = Proof::choose(&config(None, None), &default).unwrap_err();
        assert!(
            refused
                .to_string()
                .contains("enrolment.bootstrap_secret_file is not set"),
            "{refused}"
        );
        std::fs::write(&default, "t").unwrap();
        let chosen = |token, secret| Proof::choose(&config(token, secret), &default).unwrap();
        assert_eq!(chosen(None, None), Proof::TokenFile(default.clone()));
        assert_eq!(chosen(Some("/t"), None), Proof::TokenFile("/t".into()));
        assert_eq!(chosen(None, Some("/s")), Proof::BootstrapSecretFile("/s".into()));
    }

    /// The kubelet swaps the file; a token kept from the start would have expired at the renewal.
    #[test]
    fn a_token_that_was_rotated_is_presented_at_the_next_enrolment() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("token");
        let proof = Proof::TokenFile(file.clone());
        assert!(matches!(proof.read(), Err(ProofError::Token(_))));
        for token in ["first", "second"] {
            std::fs::write(&file, format!("{token}\n")).unwrap();
            let read = proof.read().unwrap();
            assert_eq!(read, enrol_request::Proof::ServiceAccountToken(token.to_owned()));
        }
    }
}
