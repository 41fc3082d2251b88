//! Which clusters are watched, and how they are reached.
//!
//! Owns the keys and their checks. Must not read a kubeconfig or ask an apiserver.

use std::path::PathBuf;

use super::ConfigDuration;
use super::Section;
use super::describe::Form;
use super::problem::quote;
use super::scalar::Scalar;

/// Longest name of a cluster. Source: a label value of Kubernetes has at most 63 characters.
const MAX_CLUSTER_NAME: usize = 63;
/// Longest name of a namespace. Source: RFC 1123 label, as Kubernetes checks it.
const MAX_NAMESPACE: usize = 63;
/// Most events that a finding carries.
const MOST_EVENTS: u32 = 20;

/// Whether the aggregator's own cluster is watched through the service account of its pod.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum KubernetesEnabled {
    /// If the aggregator runs in a pod.
    Auto,
    /// Always; a start outside of a pod fails.
    True,
    /// Never.
    False,
}

impl Scalar for KubernetesEnabled {
    const EXPECTED: &'static str = "auto, true or false";
    const FORM: Form = Form::Word(&["auto", "true", "false"]);

    fn parse(text: &str) -> Result<Self, String> {
        match text {
            "auto" => Ok(Self::Auto),
            "true" => Ok(Self::True),
            "false" => Ok(Self::False),
            _ => Err("is not valid".to_owned()),
        }
    }

    fn show(&self) -> String {
        match self {
            Self::Auto => "auto",
            Self::True => "true",
            Self::False => "false",
        }
        .to_owned()
    }
}

/// A cluster that is reached through a kubeconfig.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClusterConfig {
    /// `name`: the cluster on its records. The name in `cluster.name` means the own one.
    pub name: String,
    /// `kubeconfig`: the file. Default: `KUBECONFIG`, else `~/.kube/config`.
    pub kubeconfig: Option<PathBuf>,
    /// `context`: a context of the file. Default: its current one.
    pub context: Option<String>,
}

/// The name is a label, a part of keys and of identities in certificates, so it is as plain as a label value.
pub(super) fn own_name(section: &mut Section<'_, '_>) -> String {
    let name = section.value("name", "default-cluster".to_owned());
    check_name(section, &name);
    name
}

fn check_name(section: &mut Section<'_, '_>, name: &str) {
    let plain = |char: char| char.is_ascii_alphanumeric() || "-_.".contains(char);
    let ends_well =
        name.starts_with(|c: char| c.is_ascii_alphanumeric()) && name.ends_with(|c: char| c.is_ascii_alphanumeric());
    if name.len() > MAX_CLUSTER_NAME || !name.chars().all(plain) || !ends_well {
        let what = "is no name of a cluster; expected at most 63 letters, digits, `-`, `_` and `.`, with a letter or digit at both ends";
        section.reject("name", &format!("{} {what}", quote(name)));
    }
}

/// Reads `clusters`.
pub(super) fn others(section: &mut Section<'_, '_>) -> Vec<ClusterConfig> {
    let mut names: Vec<String> = Vec::new();
    let given = section.sections("clusters", |s| {
        let before = s.required("name", "name".to_owned());
        check_name(s, &before);
        if names.contains(&before) {
            s.reject("name", &format!("there is already a cluster {}", quote(&before)));
        }
        names.push(before.clone());
        ClusterConfig {
            name: before,
            kubeconfig: s.optional("kubeconfig"),
            context: s.optional("context"),
        }
    });
    given.unwrap_or_default()
}

fn namespaces(section: &mut Section<'_, '_>) -> Vec<String> {
    let names = section.list("namespaces", Vec::<String>::new());
    let plain = |char: char| char.is_ascii_lowercase() || char.is_ascii_digit() || char == '-';
    for name in &names {
        if name.len() > MAX_NAMESPACE || !name.chars().all(plain) {
            let what = "is no name of a namespace; expected at most 63 lower-case letters, digits and `-`";
            section.reject("namespaces", &format!("{} {what}", quote(name)));
        }
    }
    names
}

/// What is watched, and what is said of it.
#[derive(Debug, Clone)]
pub struct WatchConfig {
    /// `watch.namespaces`: what is watched. Default: all.
    pub namespaces: Vec<String>,
    /// `watch.report_after`: how long a pod must fail to start, or a node must be unwell, before people are told. Images are
    /// given twice as long. Default 1 min.
    pub report_after: ConfigDuration,
    /// `watch.event_entries`: how many of the last warnings about a pod are told with its end. Default `5`, at most `20`.
    pub event_entries: u32,
}

impl WatchConfig {
    pub(super) fn read(section: &mut Section<'_, '_>) -> Self {
        let event_entries = section.value("event_entries", 5);
        if event_entries > MOST_EVENTS {
            section.reject(
                "event_entries",
                &format!("is {event_entries}; expected at most {MOST_EVENTS}"),
            );
        }
        Self {
            namespaces: namespaces(section),
            report_after: section.value("report_after", ConfigDuration::from_secs(60)),
            event_entries,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{AggregatorConfig, Inputs, load_text};

    fn error(text: &str) -> String {
        load_text::<AggregatorConfig>(text, &Inputs::default())
            .unwrap_err()
            .to_string()
    }

    #[test]
    fn two_clusters_of_one_name_would_mix_their_records_and_are_refused() {
        let text = "clusters:\n- {name: a, kubeconfig: /a}\n- {name: a, kubeconfig: /b}\n";
        assert!(
            error(text).contains("clusters[1].name: there is already a cluster `a`"),
            "{}",
            error(text)
        );
        assert!(error("clusters: [{name: 'a b'}]").contains("is no name of a cluster"));
        assert!(error("clusters: [{kubeconfig: /a}]").contains("clusters[0].name: missing"));
    }

    #[test]
    fn a_namespace_that_cannot_exist_is_refused_before_it_becomes_part_of_a_path() {
        for name in ["Shop", "a/b", "../x", "a b"] {
            let text = format!("watch: {{namespaces: ['{name}']}}");
            assert!(error(&text).contains("is no name of a namespace"), "{name}");
        }
    }

    #[test]
    fn kubernetes_is_used_where_it_is_unless_told_otherwise() {
        let read = |text: &str| load_text::<AggregatorConfig>(text, &Inputs::default()).unwrap().value;
        assert_eq!(read("").kubernetes, KubernetesEnabled::Auto);
        assert_eq!(
            read("kubernetes: {enabled: false}").kubernetes,
            KubernetesEnabled::False
        );
        assert!(error("kubernetes: {enabled: 'yes'}").contains("expected auto, true or false"));
    }
}
