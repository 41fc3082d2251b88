//! Looks again at findings when the index learns more about their pods, or the apiserver tells what changed in their workloads.

use std::{sync::Arc, time::Duration};

use tokio::{task::JoinSet, time::interval};
use tokio_util::sync::CancellationToken;

use super::{Correlation, Told, logs::Logs, template::AT_ONCE};
use crate::{
    cluster::{Change, ClusterIndex, PodView},
    pipeline::{Intake, Stopped},
};

/// Changes taken from an index at once.
const CHANGES: usize = 256;
/// How often findings that came during an outage are looked at again.
const LOOK: Duration = Duration::from_secs(2);

/// Follows the changes of every index until the token is cancelled or the writer has ended.
///
/// # Errors
/// Only if a follower panicked; the supervisor starts all of them again.
pub async fn keep_correlating(
    correlation: Correlation,
    intake: Intake,
    token: CancellationToken,
) -> anyhow::Result<()> {
    let mut followers = JoinSet::new();
    for index in correlation.clusters.all() {
        index.listen();
        followers.spawn(follow(correlation.clone(), index.clone(), intake.clone()));
    }
    for _ in 0..AT_ONCE {
        followers.spawn(compare(correlation.clone(), intake.clone()));
    }
    if let Some(logs) = correlation.logs.clone() {
        followers.spawn(ask_for_logs(correlation.clone(), logs, intake.clone()));
    }
    let ended = tokio::select! {
        () = token.cancelled() => Ok(()),
        Some(ended) = followers.join_next() => ended,
    };
    followers.shutdown().await;
    Ok(ended?)
}

async fn follow(correlation: Correlation, index: ClusterIndex, intake: Intake) {
    let mut looks = interval(LOOK);
    loop {
        // Both branches are cancel-safe: a change that was not taken stays in its queue.
        let told: Vec<Told> = tokio::select! {
            batch = index.changes(CHANGES) => {
                let pods = batch.changes.iter().filter_map(|change| pod_of(&index, &change.what));
                pods.flat_map(|pod| correlation.more_about(&index, &pod)).collect()
            }
            _ = looks.tick() => correlation.caught_up(&index),
        };
        if tell_all(&intake, told).await.is_err() {
            return;
        }
    }
}

async fn compare(correlation: Correlation, intake: Intake) {
    loop {
        let told = correlation.compared().await;
        if tell_all(&intake, told).await.is_err() {
            return;
        }
    }
}

async fn ask_for_logs(correlation: Correlation, logs: Arc<Logs>, intake: Intake) {
    let mut running = JoinSet::new();
    loop {
        let told = logs.answer(&correlation, &mut running).await;
        if tell_all(&intake, vec![told]).await.is_err() {
            return;
        }
    }
}

/// The pod that a change is about, if it may explain an end.
fn pod_of(index: &ClusterIndex, change: &Change) -> Option<PodView> {
    match change {
        Change::DeletionRequested(pod) | Change::PodFailed(pod) | Change::PodDisrupted(pod) | Change::PodGone(pod) => {
            Some(pod.clone())
        }
        Change::Warning(warning) => index.pod_named(&warning.namespace, &warning.name),
        _ => None,
    }
}

async fn tell_all(intake: &Intake, told: Vec<Told>) -> Result<(), Stopped> {
    for (node, finding) in told {
        intake.tell(node, finding).await?;
    }
    Ok(())
}
