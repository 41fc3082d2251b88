//! The requests of lists and watches.
//!
//! Owns paths, parameters and the accepted form. Must not send anything. Source: kubernetes.io, "Kubernetes API Concepts".

use hyper::{Request, header::ACCEPT};
use kube::client::Body;

use super::failure::Failure;
use crate::cluster::kind::Kind;

/// Objects of one page.
pub(super) const PAGE: u32 = 500;
/// Seconds after which the server ends a watch in the ordinary way, so that watches move to other servers in time. Source:
/// the apiserver's own choice lies between 30 and 60 minutes; clients usually ask for less than 5.
const WATCH_SECS: u32 = 290;

const METADATA: &str = "application/json;as=PartialObjectMetadata;g=meta.k8s.io;v=v1,application/json";
const METADATA_LIST: &str = "application/json;as=PartialObjectMetadataList;g=meta.k8s.io;v=v1,application/json";

/// What is asked for.
#[derive(Debug)]
pub(super) enum Ask<'a> {
    /// A page of the list; the first has no token.
    Page { token: &'a str },
    /// The list as the beginning of a watch.
    Stream,
    /// Everything since a version.
    Follow { version: &'a str },
}

pub(super) fn build(kind: Kind, namespace: Option<&str>, ask: &Ask<'_>) -> Result<Request<Body>, Failure> {
    let mut query = Query(format!("{}?", kind.path(namespace)));
    if let Some(selector) = kind.selector() {
        query.add("fieldSelector", selector);
    }
    match ask {
        Ask::Page { token } => {
            query.add("limit", &PAGE.to_string());
            if !token.is_empty() {
                query.add("continue", token);
            }
        }
        Ask::Stream => {
            query.watch();
            query.add("sendInitialEvents", "true");
            query.add("resourceVersionMatch", "NotOlderThan");
        }
        Ask::Follow { version } => {
            query.watch();
            query.add("resourceVersion", version);
        }
    }
    let accept = match (kind.metadata_only(), ask) {
        (false, _) => "application/json",
        (true, Ask::Page { .. }) => METADATA_LIST,
        (true, _) => METADATA,
    };
    let request = Request::get(query.0).header(ACCEPT, accept);
    request.body(Body::empty()).map_err(|error| Failure::unreadable(&error))
}

struct Query(String);

impl Query {
    fn watch(&mut self) {
        self.add("watch", "true");
        self.add("allowWatchBookmarks", "true");
        self.add("timeoutSeconds", &WATCH_SECS.to_string());
    }

    /// Source of the characters that stay: RFC 3986, section 2.3.
    fn add(&mut self, name: &str, value: &str) {
        if !self.0.ends_with('?') {
            self.0.push('&');
        }
        self.0.push_str(name);
        self.0.push('=');
        for byte in value.bytes() {
            if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
                self.0.push(char::from(byte));
            } else {
                self.0 += &format!("%{byte:02X}");
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn uri(kind: Kind, namespace: Option<&str>, ask: &Ask<'_>) -> String {
        build(kind, namespace, ask).unwrap().uri().to_string()
    }

    #[test]
    fn requests_are_those_of_the_api() {
        assert_eq!(
            uri(Kind::Pods, Some("shop"), &Ask::Page { token: "a+b=" }),
            "/api/v1/namespaces/shop/pods?fieldSelector=status.phase%21%3DSucceeded&limit=500&continue=a%2Bb%3D"
        );
        assert_eq!(
            uri(Kind::Nodes, Some("shop"), &Ask::Follow { version: "17" }),
            "/api/v1/nodes?watch=true&allowWatchBookmarks=true&timeoutSeconds=290&resourceVersion=17"
        );
        let sets = build(Kind::ReplicaSets, None, &Ask::Stream).unwrap();
        assert!(sets.uri().path().starts_with("/apis/apps/v1/replicasets"));
        assert!(
            sets.headers()[ACCEPT]
                .to_str()
                .unwrap()
                .contains("PartialObjectMetadata;")
        );
    }
}
