//! The apiserver, asked through its API.
//!
//! Owns the three questions of enrolment as requests, and what an error of each means. Must not judge answers.

use axum::http::Request;
use k8s_openapi::api::{
    authentication::v1::{TokenReview, TokenReviewSpec, TokenReviewStatus},
    core::v1::{Node, Pod},
};
use kube::{
    Api, Client, Error,
    api::{ObjectMeta, PostParams},
};
use serde::Deserialize;

use super::review::{Bound, Owner, PodLookup, PublishedKeys, Review, ReviewError, TokenReviewer};

/// Where the issuer and its keys are published. Source: Kubernetes, "ServiceAccount issuer discovery".
const DISCOVERY: &str = "/.well-known/openid-configuration";
const JWKS: &str = "/openid/v1/jwks";
/// Keys of `extra` in a review. Source: Kubernetes, "Managing Service Accounts".
const EXTRA: &str = "authentication.kubernetes.io/";

/// Asks through a client.
pub struct KubeReviewer(pub Client);

#[derive(Deserialize)]
struct Discovery {
    issuer: String,
}

#[tonic::async_trait]
impl TokenReviewer for KubeReviewer {
    async fn review(&self, token: &str, audience: &str) -> Result<Review, ReviewError> {
        let question = TokenReview {
            spec: TokenReviewSpec {
                token: Some(token.to_owned()),
                audiences: Some(vec![audience.to_owned()]),
            },
            ..TokenReview::default()
        };
        let answer = Api::all(self.0.clone()).create(&PostParams::default(), &question).await;
        let answer = answer.map_err(|error| {
            let rule = "create tokenreviews in the API group authentication.k8s.io";
            reason(error, "review a token", rule)
        })?;
        Ok(review_of(answer.status.unwrap_or_default()))
    }

    async fn pod(&self, namespace: &str, pod: &Bound) -> Result<PodLookup, ReviewError> {
        let found = Api::<Pod>::namespaced(self.0.clone(), namespace)
            .get_opt(&pod.name)
            .await;
        let found = found.map_err(|error| reason(error, "find a pod", "get pods in the agents' namespace"))?;
        Ok(found.map_or(PodLookup::Unknown, |found| lookup_of(found, &pod.uid)))
    }

    async fn node_uid(&self, name: &str) -> Result<Option<String>, ReviewError> {
        let found = Api::<Node>::all(self.0.clone()).get_opt(name).await;
        let found = found.map_err(|error| reason(error, "find a node", "get nodes"))?;
        Ok(found.and_then(|node| node.metadata.uid))
    }

    async fn keys(&self) -> Result<PublishedKeys, ReviewError> {
        let (what, rule) = (
            "publish its keys",
            "get /openid/v1/jwks (ClusterRole system:service-account-issuer-discovery)",
        );
        let get = async |path: &str| {
            let request = Request::get(path).body(Vec::new()).map_err(Error::HttpError);
            let answer = async { self.0.request_text(request?).await };
            answer.await.map_err(|error| reason(error, what, rule))
        };
        let discovery = get(DISCOVERY).await?;
        let discovery: Discovery = serde_json::from_str(&discovery).map_err(|error| ReviewError::Odd {
            what,
            source: error.into(),
        })?;
        Ok(PublishedKeys {
            issuer: discovery.issuer,
            jwks: get(JWKS).await?,
        })
    }
}

fn review_of(status: TokenReviewStatus) -> Review {
    let user = status.user.unwrap_or_default();
    let mut extra = user.extra.unwrap_or_default();
    let mut one = |key: &str| {
        extra
            .remove(&format!("{EXTRA}{key}"))
            .and_then(|values| values.into_iter().next())
    };
    let mut bound = |name, uid| {
        Some(Bound {
            name: one(name)?,
            uid: one(uid)?,
        })
    };
    Review {
        authenticated: status.authenticated.unwrap_or_default(),
        audiences: status.audiences.unwrap_or_default(),
        username: user.username.unwrap_or_default(),
        node: bound("node-name", "node-uid"),
        pod: bound("pod-name", "pod-uid"),
        error: status.error.unwrap_or_default(),
    }
}

fn lookup_of(pod: Pod, uid: &str) -> PodLookup {
    let ObjectMeta {
        uid: found,
        namespace,
        deletion_timestamp,
        owner_references,
        ..
    } = pod.metadata;
    let spec = pod.spec.unwrap_or_default();
    let node = spec.node_name.unwrap_or_default();
    if deletion_timestamp.is_some() || found.as_deref() != Some(uid) {
        return PodLookup::Deleted { node };
    }
    let owner = owner_references.unwrap_or_default().into_iter();
    let controller = owner.into_iter().find(|owner| owner.controller == Some(true));
    PodLookup::Present {
        node,
        namespace: namespace.unwrap_or_default(),
        service_account: spec.service_account_name,
        owner: controller.map(|owner| Owner {
            kind: owner.kind,
            name: owner.name,
        }),
    }
}

/// Without an answer, and with "not now", the apiserver is away. Source of the codes: Kubernetes API conventions, "HTTP
/// Status codes".
fn reason(error: Error, what: &'static str, rule: &'static str) -> ReviewError {
    let code = match &error {
        Error::Api(status) => status.code,
        Error::HyperError(_) | Error::Service(_) | Error::ReadEvents(_) => 0,
        _ => {
            return ReviewError::Odd {
                what,
                source: error.into(),
            };
        }
    };
    match code {
        403 => ReviewError::Forbidden { rule },
        0 | 429 | 500..=599 => ReviewError::Away {
            what,
            source: error.into(),
        },
        _ => ReviewError::Odd {
            what,
            source: error.into(),
        },
    }
}
