//! Jobs that gave up.

use inquest_shared::model::ReportKind;

use super::{
    Detector, View,
    sight::{Sight, of_owner, report},
};
use crate::cluster::{Job, Kind, OwnerRef, Uid};

pub(super) const FAILED: Detector = Detector {
    needs: &[Kind::Jobs],
    look,
};

fn look(view: &View<'_>) -> Option<Vec<Sight>> {
    let failed = view.index.jobs_that(|job| job.failed.is_some());
    Some(failed.iter().filter_map(|(uid, job)| sight(view, uid, job)).collect())
}

/// The incident is the cron job's: each run is another job.
fn sight(view: &View<'_>, uid: &Uid, job: &Job) -> Option<Sight> {
    let (reason, message) = job.failed.as_ref()?;
    let this = OwnerRef {
        api_version: "batch/v1".into(),
        kind: "Job".into(),
        name: job.name.clone(),
        uid: uid.clone(),
    };
    let owner = view.index.root_of(&this);
    owner.resolved.then(|| Sight {
        episode: uid.to_string(),
        subject: of_owner(&job.namespace, &owner),
        node: None,
        report: report(ReportKind::Job, reason, message, job.failed_at),
    })
}
