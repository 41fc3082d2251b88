//! The templates of two revisions, asked of the apiserver and compared.
//!
//! Owns the two requests, and what an error of each means. What a template holds is dropped here: it may hold secrets.

use inquest_shared::model::TemplateChange;
use k8s_openapi::api::{
    apps::v1::{ControllerRevision, ReplicaSet},
    core::v1::PodSpec,
};
use kube::{Api, Client, Error};
use serde::Deserialize;

use super::{Keeper, Pair, diff};

/// Why two revisions could not be compared.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, thiserror::Error)]
pub(in crate::correlate) enum Failure {
    /// The apiserver does not answer in time, or says "not now".
    #[error("the apiserver does not answer")]
    Away,
    /// A right is missing.
    #[error("not allowed: get replicasets and controllerrevisions in the API group apps")]
    Forbidden,
    /// One of the revisions is not kept any more.
    #[error("a revision is not kept any more")]
    Gone,
    /// The answer is not what the API promises.
    #[error("the answer holds no template")]
    Odd,
}

impl Failure {
    /// The label of the metric.
    pub(in crate::correlate) const fn code(self) -> &'static str {
        match self {
            Self::Away => "away",
            Self::Forbidden => "forbidden",
            Self::Gone => "gone",
            Self::Odd => "odd",
        }
    }
}

/// What a controller revision keeps of its workload. Source: kubernetes `pkg/controller/{statefulset,daemon}`, `getPatch`.
#[derive(Default, Deserialize)]
#[serde(default)]
struct Kept {
    spec: KeptSpec,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct KeptSpec {
    template: KeptTemplate,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct KeptTemplate {
    spec: Option<PodSpec>,
}

/// What differs between the two.
pub(super) async fn compare(client: &Client, pair: &Pair) -> Result<Vec<TemplateChange>, Failure> {
    let old = template(client, pair, &pair.old).await?;
    let new = template(client, pair, &pair.new).await?;
    Ok(diff::changes(&old, &new))
}

async fn template(client: &Client, pair: &Pair, name: &str) -> Result<PodSpec, Failure> {
    match pair.keeper {
        Keeper::ReplicaSets => {
            let api = Api::<ReplicaSet>::namespaced(client.clone(), &pair.namespace);
            let set = found(api.get_opt(name).await)?;
            let template = set.spec.and_then(|spec| spec.template);
            template.and_then(|template| template.spec).ok_or(Failure::Odd)
        }
        Keeper::ControllerRevisions => {
            let api = Api::<ControllerRevision>::namespaced(client.clone(), &pair.namespace);
            let data = found(api.get_opt(name).await)?.data.ok_or(Failure::Odd)?;
            let kept: Kept = serde_json::from_value(data.0).map_err(|_| Failure::Odd)?;
            kept.spec.template.spec.ok_or(Failure::Odd)
        }
    }
}

/// Source of the codes: Kubernetes API conventions, "HTTP Status codes".
fn found<T>(answer: Result<Option<T>, Error>) -> Result<T, Failure> {
    match answer {
        Ok(object) => object.ok_or(Failure::Gone),
        Err(Error::Api(status)) => Err(match status.code {
            401 | 403 => Failure::Forbidden,
            404 | 410 => Failure::Gone,
            429 | 500..=599 => Failure::Away,
            _ => Failure::Odd,
        }),
        Err(Error::HyperError(_) | Error::Service(_) | Error::ReadEvents(_)) => Err(Failure::Away),
        Err(_) => Err(Failure::Odd),
    }
}
