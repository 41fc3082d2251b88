//! Controllers that may not make their pods: no pod exists, so nothing else tells of it.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use inquest_shared::model::ReportKind;

use super::{
    Detector, View,
    sight::{Sight, of_owner, report},
};
use crate::cluster::{Condition, Kind, Owner, OwnerRef, Warning};

pub(super) const REFUSED: Detector = Detector {
    needs: &[Kind::Events, Kind::Deployments],
    look,
};

/// Controllers that make pods.
const MAKERS: &[&str] = &["ReplicaSet", "StatefulSet", "DaemonSet", "Job", "ReplicationController"];
/// A controller tries again after at most 1,000 s. Source: client-go `DefaultTypedControllerRateLimiter`.
const TRIES: Duration = Duration::from_secs(1_100);

fn look(view: &View<'_>) -> Option<Vec<Sight>> {
    let refused = |event: &Warning| {
        let recent = event.last.is_some_and(|last| view.now.since(last) < TRIES);
        &*event.reason == "FailedCreate" && MAKERS.contains(&&*event.kind) && recent
    };
    // Each refusal names another pod in its text, so it is another event; the newest stands for all.
    let mut newest: BTreeMap<String, Arc<Warning>> = BTreeMap::new();
    for warning in view.index.warnings_that(refused) {
        let held = newest
            .entry(warning.object.to_string())
            .or_insert_with(|| Arc::clone(&warning));
        if held.last < warning.last {
            *held = warning;
        }
    }
    Some(newest.values().filter_map(|warning| sight(view, warning)).collect())
}

fn sight(view: &View<'_>, warning: &Warning) -> Option<Sight> {
    if let Some(namespace) = view.index.namespace(&warning.namespace)
        && namespace.terminating
    {
        return None;
    }
    let maker = OwnerRef {
        api_version: "".into(),
        kind: Arc::clone(&warning.kind),
        name: warning.name.clone(),
        uid: warning.object.clone(),
    };
    let owner = view.index.root_of(&maker);
    if !owner.resolved || is_mended(view, &warning.namespace, &owner) {
        return None;
    }
    Some(Sight {
        episode: format!("{}/create", warning.object),
        subject: of_owner(&warning.namespace, &owner),
        node: None,
        report: report(ReportKind::Creation, &warning.reason, &warning.message, warning.first),
    })
}

/// A deployment says whether its pods can be made; of others only the warnings are known, which end by themselves.
fn is_mended(view: &View<'_>, namespace: &str, owner: &Owner) -> bool {
    let deployment = view.index.workload(&owner.kind, namespace, &owner.name);
    let fails = deployment.is_some_and(|d| d.condition("ReplicaFailure").is_some_and(Condition::holds));
    &*owner.kind == "Deployment" && !fails
}
