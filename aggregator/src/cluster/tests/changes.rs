//! What the engine will be told, and what happens when it does not listen fast enough.

use std::sync::Arc;

use inquest_shared::clock::{Clock, FakeClock};
use serde_json::{Value, json};

use super::{
    bed::NOW,
    sample::{self, crashed, pod, uid},
};
use crate::cluster::{
    Change, ClusterIndex, ClusterMetrics, Found, Kind, Uid,
    change::{Batch, CAPACITY},
    watch::decode,
};

fn listening() -> ClusterIndex {
    let clock: Arc<dyn Clock> = Arc::new(FakeClock::at(NOW));
    let index = ClusterIndex::new("c1", clock, ClusterMetrics::default());
    index.listen();
    assert!(take(&index).resync, "what was before is unknown");
    index
}

fn put(index: &ClusterIndex, kind: Kind, object: &Value) {
    let text = json!({"metadata": {}, "items": [object]}).to_string();
    let (_, items) = decode::page(kind, text.as_bytes()).unwrap();
    index.put(&items, 1, Found::Live);
}

fn take(index: &ClusterIndex) -> Batch {
    index.queue().take(100_000).unwrap_or_default()
}

/// One word for each change.
fn words(batch: &Batch) -> Vec<String> {
    let word = |what: &Change| match what {
        Change::DeletionRequested(_) => "deletion".to_owned(),
        Change::PodGone(_) => "gone".to_owned(),
        Change::PodFailed(pod) => format!(
            "failed {:?}",
            pod.rare.as_ref().and_then(|rare| rare.status_reason.clone())
        ),
        Change::PodDisrupted(_) => "disrupted".to_owned(),
        Change::ContainerWaiting { reason, .. } => format!("waiting {}", reason.as_deref().unwrap_or("no more")),
        Change::ContainerTerminated { end, .. } => format!("ended {}", end.exit_code),
        Change::NodeCondition { condition, .. } => format!("node {} {}", condition.name, condition.status),
        Change::Rollout { condition, .. } => format!("rollout {}", condition.reason),
        Change::Warning(warning) => format!("warning {} {}", warning.reason, warning.count),
    };
    batch.changes.iter().map(|change| word(&change.what)).collect()
}

#[test]
fn a_crash_and_the_recovery_from_it_are_told_once_each() {
    let index = listening();
    put(&index, Kind::Pods, &pod(1));
    assert!(words(&take(&index)).is_empty());
    put(&index, Kind::Pods, &crashed(1, 1));
    assert_eq!(words(&take(&index)), ["ended 137", "waiting CrashLoopBackOff"]);
    put(&index, Kind::Pods, &crashed(1, 1));
    assert!(words(&take(&index)).is_empty());
    put(&index, Kind::Pods, &pod(1));
    assert_eq!(words(&take(&index)), ["waiting no more"]);
}

#[test]
fn a_planned_stop_is_told_before_the_pod_is_gone() {
    let index = listening();
    let mut leaving = pod(1);
    put(&index, Kind::Pods, &leaving);
    leaving["metadata"]["deletionTimestamp"] = "2026-01-01T00:01:00Z".into();
    leaving["status"]["conditions"] =
        json!([{"type": "DisruptionTarget", "status": "True", "reason": "PreemptionByScheduler"}]);
    put(&index, Kind::Pods, &leaving);
    assert_eq!(words(&take(&index)), ["deletion", "disrupted"]);
    leaving["status"]["phase"] = "Failed".into();
    leaving["status"]["reason"] = "Evicted".into();
    put(&index, Kind::Pods, &leaving);
    assert_eq!(words(&take(&index)), ["failed Some(\"Evicted\")"]);
}

#[test]
fn nodes_rollouts_and_growing_warnings_are_told() {
    let index = listening();
    put(&index, Kind::Nodes, &sample::node("node1", "True"));
    put(&index, Kind::Nodes, &sample::node("node1", "Unknown"));
    assert_eq!(words(&take(&index)), ["node Ready Unknown"]);
    put(&index, Kind::Events, &sample::warning(1, &uid(1), 3));
    assert_eq!(words(&take(&index)), ["warning BackOff 3"]);
    put(&index, Kind::Events, &sample::warning(1, &uid(1), 40));
    put(&index, Kind::Events, &sample::warning(1, &uid(1), 41));
    assert_eq!(words(&take(&index)), ["warning BackOff 41"]);
    assert_eq!(index.events_of(&Uid::parse(&uid(1))).len(), 1);
    let rollout = |status: &str, reason: &str| {
        json!({"metadata": {"name": "api", "namespace": "shop", "uid": uid(8_001)},
            "status": {"conditions": [{"type": "Progressing", "status": status, "reason": reason}]}})
    };
    put(&index, Kind::Deployments, &rollout("True", "NewReplicaSetAvailable"));
    put(&index, Kind::Deployments, &rollout("False", "ProgressDeadlineExceeded"));
    assert_eq!(words(&take(&index)), ["rollout ProgressDeadlineExceeded"]);
}

#[test]
fn a_queue_that_nobody_empties_keeps_the_newest_of_each_and_says_when_it_dropped() {
    let index = listening();
    for restarts in 1..50 {
        put(&index, Kind::Pods, &crashed(1, restarts));
    }
    let batch = take(&index);
    assert!(!batch.resync);
    let restarts = batch.changes.iter().find_map(|change| match &change.what {
        Change::ContainerTerminated { pod, .. } => Some(pod.container("main")?.restarts),
        _ => None,
    });
    assert_eq!((batch.changes.len(), restarts), (2, Some(49)));
    let failed = |number: usize| json!({"metadata": {"uid": format!("p{number}")}, "status": {"phase": "Failed"}});
    (0..CAPACITY + 9).for_each(|number| put(&index, Kind::Pods, &failed(number)));
    let batch = take(&index);
    assert!(
        batch.resync && batch.changes.len() == CAPACITY,
        "{}",
        batch.changes.len()
    );
    assert!(index.queue().take(1).is_none());
}

#[tokio::test]
async fn a_reader_that_waits_is_woken_by_a_change() {
    let index = listening();
    let reader = tokio::spawn({
        let index = index.clone();
        async move { index.changes(10).await.changes.len() }
    });
    tokio::task::yield_now().await;
    put(&index, Kind::Pods, &crashed(1, 1));
    assert_eq!(reader.await.unwrap(), 2);
}
