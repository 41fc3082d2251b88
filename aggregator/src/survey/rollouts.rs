//! Rollouts that passed their deadline.

use std::{collections::HashMap, sync::Arc};

use inquest_shared::model::ReportKind;

use super::{
    Detector, View,
    sight::{Sight, of_owner, report},
};
use crate::cluster::{Condition, Kind, Owner, Uid, Warning, Workload};

pub(super) const STUCK: Detector = Detector {
    needs: &[Kind::Deployments],
    look,
};

fn look(view: &View<'_>) -> Option<Vec<Sight>> {
    let stuck = view.index.workloads_that(|workload| late(workload).is_some());
    let probes = if stuck.is_empty() {
        HashMap::new()
    } else {
        failed_probes(view)
    };
    let seen = stuck
        .iter()
        .filter_map(|workload| sight(workload, probes.get(&workload.uid)));
    Some(seen.collect())
}

/// The newest failure of a readiness probe of each workload. The pods run, so nothing else says why they are not counted.
fn failed_probes(view: &View<'_>) -> HashMap<Uid, Arc<Warning>> {
    let unready = |event: &Warning| &*event.reason == "Unhealthy" && event.message.starts_with("Readiness probe ");
    let mut newest: HashMap<Uid, Arc<Warning>> = HashMap::new();
    for warning in view.index.warnings_that(unready) {
        let pod = view.index.pod(&warning.object.to_string());
        let Some(pod) = pod.filter(|pod| !pod.ready) else {
            continue;
        };
        let owner = view.index.root_owner(&pod).uid;
        let held = newest.entry(owner).or_insert_with(|| Arc::clone(&warning));
        if held.last < warning.last {
            *held = warning;
        }
    }
    newest
}

/// The condition that says so. Source: API reference, `DeploymentSpec.progressDeadlineSeconds`.
fn late(workload: &Workload) -> Option<&Condition> {
    let progressing = workload.condition("Progressing")?;
    (&*progressing.reason == "ProgressDeadlineExceeded" && !progressing.holds()).then_some(progressing)
}

fn sight(workload: &Workload, probe: Option<&Arc<Warning>>) -> Option<Sight> {
    let condition = late(workload)?;
    let mut message = condition.message.to_string();
    if let Some(probe) = probe {
        message = format!("{message} {}: {}", probe.name, probe.message.trim_end());
    }
    let owner = Owner {
        kind: "Deployment".into(),
        name: workload.name.as_ref().into(),
        uid: workload.uid.clone(),
        resolved: true,
    };
    Some(Sight {
        episode: format!("{}/{}", workload.uid, workload.generation),
        subject: of_owner(&workload.namespace, &owner),
        node: None,
        report: report(
            ReportKind::Rollout,
            &condition.reason,
            message.trim_start(),
            condition.since,
        ),
    })
}
