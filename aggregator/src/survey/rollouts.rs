//! Rollouts that passed their deadline.

use inquest_shared::model::ReportKind;

use super::{
    Detector, View,
    sight::{Sight, of_owner, report},
};
use crate::cluster::{Condition, Kind, Owner, Workload};

pub(super) const STUCK: Detector = Detector {
    needs: &[Kind::Deployments],
    look,
};

fn look(view: &View<'_>) -> Option<Vec<Sight>> {
    let stuck = view.index.workloads_that(|workload| late(workload).is_some());
    Some(stuck.iter().filter_map(|workload| sight(workload)).collect())
}

/// The condition that says so. Source: API reference, `DeploymentSpec.progressDeadlineSeconds`.
fn late(workload: &Workload) -> Option<&Condition> {
    let progressing = workload.condition("Progressing")?;
    (&*progressing.reason == "ProgressDeadlineExceeded" && !progressing.holds()).then_some(progressing)
}

fn sight(workload: &Workload) -> Option<Sight> {
    let condition = late(workload)?;
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
            &condition.message,
            condition.since,
        ),
    })
}
