//! What several workloads wait for together: a registry that does not answer, an object that is not there.
//!
//! Owns how it is read from the kubelet's words. Must not know what was seen before.

use inquest_shared::model::{Owner, Report, ReportKind, Subject, clean_name};

/// From this many workloads on their trouble is one: that of what they wait for.
pub(super) const MANY: usize = 3;

/// What containers on any node wait for.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct Culprit {
    kind: &'static str,
    /// Empty for a registry: it serves all namespaces.
    namespace: String,
    name: String,
}

/// What the kubelet and the runtime say of a registry that cannot be talked to, in lower case. That an image is not there, or
/// may not be pulled, is the trouble of who named it. Source: Go's `net` and `net/http`, the distribution specification.
const UNREACHABLE: &[&str] = &[
    "dial tcp",
    "i/o timeout",
    "connection refused",
    "connection reset",
    "no such host",
    "no route to host",
    "network is unreachable",
    "tls handshake timeout",
    "context deadline exceeded",
    "unexpected eof",
    "500 internal server error",
    "502 bad gateway",
    "503 service unavailable",
    "504 gateway",
    "too many requests",
    "toomanyrequests",
];

impl Culprit {
    /// What a container waits for, if that is known and may hold up others as well.
    pub(super) fn of(subject: &Subject, report: &Report) -> Option<Self> {
        let message = report.message.raw();
        match report.kind {
            ReportKind::Image => registry(&subject.image, message),
            ReportKind::Config => object(&subject.namespace, message),
            _ => None,
        }
    }

    /// It as the subject of an incident, with the pod that waits for it.
    pub(super) fn subject(&self, waiting: &Subject) -> Subject {
        Subject {
            namespace: self.namespace.clone(),
            owner: Owner {
                kind: self.kind.to_owned(),
                name: self.name.clone(),
            },
            owner_confirmed: true,
            pod: waiting.pod.clone(),
            ..Subject::default()
        }
    }
}

fn registry(image: &str, message: &str) -> Option<Culprit> {
    let message = message.to_lowercase();
    let unreachable = UNREACHABLE.iter().any(|words| message.contains(words));
    unreachable.then(|| Culprit {
        kind: "Registry",
        namespace: String::new(),
        name: clean_name(host_of(image)),
    })
}

/// The registry of an image. Source: the reference grammar of `distribution/reference`.
fn host_of(image: &str) -> &str {
    match image.split_once('/') {
        Some((host, _)) if host.contains(['.', ':']) || host == "localhost" => host,
        _ => "docker.io",
    }
}

/// Source: kubernetes `pkg/kubelet/kubelet_pods.go`: `configmap "x" not found`, `couldn't find key k in Secret ns/x`.
fn object(namespace: &str, message: &str) -> Option<Culprit> {
    let named = |words: &str, kind: &'static str| {
        let name = message.split_once(words)?.1;
        let end = name.find(|char: char| char == '"' || char.is_whitespace());
        let name = end.map_or(name, |end| name.split_at(end).0);
        (!name.is_empty()).then(|| Culprit {
            kind,
            namespace: namespace.to_owned(),
            name: clean_name(name),
        })
    };
    let of_key = |kind: &'static str| named(&format!("in {kind} {namespace}/"), kind);
    let absent = || named("configmap \"", "ConfigMap").or_else(|| named("secret \"", "Secret"));
    of_key("ConfigMap").or_else(|| of_key("Secret")).or_else(absent)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::survey::sight::report;

    fn of(kind: ReportKind, image: &str, message: &str) -> Option<(&'static str, String)> {
        let subject = Subject {
            namespace: "shop".into(),
            image: image.into(),
            ..Subject::default()
        };
        let culprit = Culprit::of(&subject, &report(kind, "", message, None));
        culprit.map(|culprit| (culprit.kind, culprit.name))
    }

    #[test]
    fn a_registry_is_blamed_for_silence_and_not_for_an_image_that_it_does_not_have() {
        let away =
            "failed to do request: Head \"https://r.example/v2/a\": dial tcp 10.0.0.1:443: connect: connection refused";
        let blamed = |image: &str, message: &str| of(ReportKind::Image, image, message).map(|(_, name)| name);
        assert_eq!(blamed("r.example:5000/a:1", away).as_deref(), Some("r.example:5000"));
        assert_eq!(blamed("library/nginx", away).as_deref(), Some("docker.io"));
        assert_eq!(blamed("nginx", "429 Too Many Requests").as_deref(), Some("docker.io"));
        assert_eq!(blamed("r.example/a:1", "r.example/a:1: not found"), None);
        assert_eq!(blamed("r.example/a:1", "403 Forbidden"), None);
    }

    #[test]
    fn a_missing_object_is_named_by_each_form_of_the_kubelets_words() {
        let named = |message: &str| of(ReportKind::Config, "a", message);
        let (map, secret) = (
            Some(("ConfigMap", "app".to_owned())),
            Some(("Secret", "tls".to_owned())),
        );
        assert_eq!(named("configmap \"app\" not found"), map);
        assert_eq!(named("couldn't find key DB_URL in ConfigMap shop/app"), map);
        assert_eq!(named("secret \"tls\" not found"), secret);
        assert_eq!(named("couldn't find key crt in Secret shop/tls"), secret);
        assert_eq!(named("container has runAsNonRoot and image will run as root"), None);
        assert_eq!(named("secret \""), None);
    }
}
