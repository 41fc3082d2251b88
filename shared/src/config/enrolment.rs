//! Keys of admission: `enrolment.*` of both programs.
//!
//! Owns keys, defaults and limits. Must not read a secret or ask an apiserver.

use std::path::PathBuf;

use super::problem::quote;
use super::units::ConfigDuration;
use super::{Section, at_least};

/// Longest validity of an agent's certificate: a day bounds what a stolen key is worth.
const DAY: ConfigDuration = ConfigDuration::from_secs(24 * 3_600);
/// Shortest: agents renew at half of the life and at most every 30 s.
const MINUTE: ConfigDuration = ConfigDuration::from_secs(60);
/// Longest name of a namespace, and of anything else. Source: RFC 1123 labels and subdomains, as Kubernetes takes them.
const MAX_NAMESPACE: usize = 63;
const MAX_NAME: usize = 253;
/// Stands for every owner of a pod. It is no name that Kubernetes allows.
const ANY: &str = "*";

/// Who is given a certificate by the aggregator.
#[derive(Debug, Clone)]
pub struct EnrolmentConfig {
    /// `enrolment.bootstrap_secret_file`: file with the secret that admits agents outside
    /// Kubernetes. Default: none, and then no agent is admitted by secret.
    pub bootstrap_secret_file: Option<PathBuf>,
    /// `enrolment.certificate_life`: validity of an agent's certificate. Default `1d`, from `1m` to `1d`.
    pub certificate_life: ConfigDuration,
    /// `enrolment.tokens.*`: which ServiceAccount tokens admit. They count only where the apiserver can be asked.
    pub tokens: TokenConfig,
}

/// Which ServiceAccount tokens admit an agent.
#[derive(Debug, Clone)]
pub struct TokenConfig {
    /// `enrolment.tokens.audience`: whom the token must be for. Default `inquest-aggregator`.
    pub audience: String,
    /// `enrolment.tokens.service_account`: `namespace/name` of the agents' ServiceAccount. Default: `inquest-agent` in the
    /// aggregator's own namespace.
    pub service_account: Option<ServiceAccount>,
    /// `enrolment.tokens.daemonset`: name of the DaemonSet that must control the agent's pod. Default `inquest-agent`;
    /// `*` (here `None`) takes any pod with the ServiceAccount.
    pub daemonset: Option<String>,
}

/// A ServiceAccount by namespace and name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ServiceAccount {
    /// Its namespace.
    pub namespace: String,
    /// Its name.
    pub name: String,
}

impl EnrolmentConfig {
    /// Reads `enrolment` of the aggregator.
    pub(super) fn read(section: &mut Section<'_, '_>) -> Self {
        let bootstrap_secret_file = section.optional("bootstrap_secret_file");
        let certificate_life = at_least(section, "certificate_life", DAY, &MINUTE);
        if certificate_life > DAY {
            section.reject("certificate_life", "is too long; expected at most 1d");
        }
        Self {
            bootstrap_secret_file,
            certificate_life,
            tokens: section.section("tokens", TokenConfig::read),
        }
    }
}

impl TokenConfig {
    fn read(section: &mut Section<'_, '_>) -> Self {
        let daemonset = section.value("daemonset", "inquest-agent".to_owned());
        if daemonset != ANY && !is_name(&daemonset) {
            let what = format!("{} is no name of a DaemonSet; expected one, or `*`", quote(&daemonset));
            section.reject("daemonset", &what);
        }
        Self {
            audience: section.value("audience", "inquest-aggregator".to_owned()),
            service_account: read_service_account(section),
            daemonset: (daemonset != ANY).then_some(daemonset),
        }
    }
}

fn read_service_account(section: &mut Section<'_, '_>) -> Option<ServiceAccount> {
    let text: String = section.optional("service_account")?;
    let parts = text.split_once('/');
    let account =
        parts.filter(|(namespace, name)| namespace.len() <= MAX_NAMESPACE && is_name(namespace) && is_name(name));
    let Some((namespace, name)) = account else {
        let what = format!("{} is no ServiceAccount; expected namespace/name", quote(&text));
        section.reject("service_account", &what);
        return None;
    };
    Some(ServiceAccount {
        namespace: namespace.to_owned(),
        name: name.to_owned(),
    })
}

fn is_name(text: &str) -> bool {
    let plain = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b"-.".contains(&b);
    !text.is_empty() && text.len() <= MAX_NAME && text.bytes().all(plain)
}

/// What an agent proves itself with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AgentProof {
    /// `enrolment.bootstrap_secret_file`: file with the secret that admits this node outside Kubernetes. Default: none.
    pub bootstrap_secret_file: Option<PathBuf>,
    /// `enrolment.token_file`: projected ServiceAccount token that admits this node in Kubernetes. Default: none; then
    /// [`DEFAULT_TOKEN_FILE`] where there is such a file and no bootstrap secret is set.
    pub token_file: Option<PathBuf>,
}

/// Where a pod of the agent finds its token unless it is told another place.
pub const DEFAULT_TOKEN_FILE: &str = "/var/run/secrets/inquest/token";

impl AgentProof {
    /// Reads `enrolment` of the agent.
    pub(super) fn read(section: &mut Section<'_, '_>) -> Self {
        let proof = Self {
            bootstrap_secret_file: section.optional("bootstrap_secret_file"),
            token_file: section.optional("token_file"),
        };
        if proof.bootstrap_secret_file.is_some() && proof.token_file.is_some() {
            let what = "is set beside bootstrap_secret_file; expected one of them: the token in Kubernetes, the secret elsewhere";
            section.reject("token_file", what);
        }
        proof
    }
}

#[cfg(test)]
mod tests {
    use crate::config::{AgentConfig, AggregatorConfig, Inputs, load};

    fn with(flags: &[(&str, &str)]) -> Inputs {
        let flags = flags
            .iter()
            .map(|(key, value)| ((*key).to_owned(), (*value).to_owned()));
        Inputs {
            flags: flags.collect(),
            ..Inputs::default()
        }
    }

    /// Which one counts would depend on the program; a person meant one of them.
    #[test]
    fn an_agent_with_two_proofs_is_told_to_choose() {
        let both = with(&[
            ("enrolment.token_file", "/t"),
            ("enrolment.bootstrap_secret_file", "/s"),
        ]);
        let refused = load::<AgentConfig>(&both).unwrap_err().to_string();
        assert!(refused.contains("expected one of them"), "{refused}");
        let one = load::<AgentConfig>(&with(&[("enrolment.token_file", "/t")])).unwrap();
        assert_eq!(one.value.proof.token_file.unwrap().to_str(), Some("/t"));
    }

    #[test]
    fn names_that_kubernetes_does_not_allow_and_lives_out_of_bounds_are_refused() {
        for (key, value) in [
            ("enrolment.tokens.service_account", "inquest-agent"),
            ("enrolment.tokens.service_account", "a/b/c"),
            ("enrolment.tokens.service_account", "/name"),
            ("enrolment.tokens.daemonset", "Not A Name"),
            ("enrolment.certificate_life", "59s"),
            ("enrolment.certificate_life", "25h"),
        ] {
            assert!(
                load::<AggregatorConfig>(&with(&[(key, value)])).is_err(),
                "{key} {value}"
            );
        }
    }

    #[test]
    fn the_owner_of_pods_is_checked_unless_a_star_says_otherwise() {
        let owner = |flags: &[(&str, &str)]| {
            let config = load::<AggregatorConfig>(&with(flags)).unwrap().value;
            config.enrolment.tokens.daemonset
        };
        assert_eq!(owner(&[]).as_deref(), Some("inquest-agent"));
        assert_eq!(owner(&[("enrolment.tokens.daemonset", "*")]), None);
    }
}
