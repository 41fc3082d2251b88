//! The templates of two revisions, asked of the apiserver and compared.
//!
//! Owns the two requests, and what an error of each means. What a template holds is dropped here: it may hold secrets.

use inquest_shared::model::TemplateChange;
use k8s_openapi::api::{
    apps::v1::{ControllerRevision, ReplicaSet},
    core::v1::PodSpec,
};
use kube::{Api, Client};
use serde::Deserialize;

use super::{Failure, Keeper, Pair, diff};

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
            let set = api.get_opt(name).await?.ok_or(Failure::Gone)?;
            let template = set.spec.and_then(|spec| spec.template);
            template.and_then(|template| template.spec).ok_or(Failure::Odd)
        }
        Keeper::ControllerRevisions => {
            let api = Api::<ControllerRevision>::namespaced(client.clone(), &pair.namespace);
            let data = api
                .get_opt(name)
                .await?
                .ok_or(Failure::Gone)?
                .data
                .ok_or(Failure::Odd)?;
            let kept: Kept = serde_json::from_value(data.0).map_err(|_| Failure::Odd)?;
            kept.spec.template.spec.ok_or(Failure::Odd)
        }
    }
}
