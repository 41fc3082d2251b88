mod changed;

use std::sync::Arc;

use super::{Correlation, CorrelationMetrics, CorrelationSettings, ForeignPod};
use crate::{
    cluster::{
        ClusterIndex, Clusters, Kind,
        tests::objects::{clusters, container_id, learn, node, pod, reach, replica_set, uid, warning},
    },
    record::NodeIdentity,
};
use inquest_shared::{
    cause::{self, Hint},
    clock::{FakeClock, UnixNanos},
    model::{
        Cause, Discovery, Evidence, EvidenceSet, EvidenceSource, Fact, Finding, FindingKind, Key, RuntimeExit, Subject,
    },
    telemetry::Registry,
};

/// 2026-01-01T00:00:40Z.
pub(super) const END: UnixNanos = UnixNanos::from_secs(1_767_225_640);

pub(super) fn sender(name: &str, uid: &str) -> Arc<NodeIdentity> {
    Arc::new(NodeIdentity {
        cluster: "c1".to_owned(),
        uid: uid.to_owned(),
        name: name.to_owned(),
    })
}

/// The container `main` of pod 1 ended with this code.
pub(super) fn death(exit_code: i32) -> Finding {
    let exit = RuntimeExit {
        exit_code,
        finished_at: END,
        ..RuntimeExit::default()
    };
    let mut evidence = EvidenceSet::default();
    let fact = Fact::RuntimeExit(exit);
    evidence.insert(EvidenceSource::Containerd, "1", Evidence { at: END, fact });
    Finding {
        key: Key::of(b"test", &[]),
        kind: FindingKind::Exit,
        discovery: Discovery::Live,
        observed_at: END,
        subject: Subject {
            namespace: "shop".to_owned(),
            pod: "api-1".to_owned(),
            pod_uid: uid(1),
            container: "main".to_owned(),
            instance: container_id(1).replace("containerd://", ""),
            ..Subject::default()
        },
        evidence,
        cites: [].into(),
        revision: 0,
    }
}

fn correlation(clusters: &Clusters) -> Correlation {
    let metrics = CorrelationMetrics::new(&Registry::new("test", "0"));
    Correlation::new(
        clusters.clone(),
        Arc::new(FakeClock::at(END)),
        metrics,
        CorrelationSettings::default(),
    )
}

pub(super) fn index(clusters: &Clusters) -> &ClusterIndex {
    clusters.get("c1").unwrap()
}

fn deleted() -> serde_json::Value {
    let mut pod = pod(1);
    pod["metadata"]["deletionTimestamp"] = "2026-01-01T00:00:40Z".into();
    pod["metadata"]["deletionGracePeriodSeconds"] = 30.into();
    pod
}

fn completed(clusters: &Clusters, mut finding: Finding) -> Finding {
    correlation(clusters)
        .complete(&sender("node1", "by-secret"), &mut finding)
        .unwrap();
    finding
}

#[tokio::test]
async fn a_death_gets_its_deployment_and_the_wish_behind_it() {
    let clusters = clusters();
    learn(
        index(&clusters),
        Kind::ReplicaSets,
        &replica_set("api-6f7", 9_001, Some(9_000), 3),
    );
    learn(index(&clusters), Kind::Pods, &deleted());
    let finding = completed(&clusters, death(137));
    assert_eq!(cause::judge(&finding.evidence).cause, Cause::PlannedStop);
    let owner = &finding.subject.owner;
    assert_eq!((owner.kind.as_str(), owner.name.as_str()), ("Deployment", "api"));
    assert!(finding.subject.owner_confirmed);
}

/// The kubelet is told by the same watch as we are, so it may be faster.
#[tokio::test]
async fn a_wish_that_is_heard_of_after_the_death_still_explains_it() {
    let clusters = clusters();
    let correlation = correlation(&clusters);
    learn(index(&clusters), Kind::Pods, &pod(1));
    let mut finding = death(137);
    correlation
        .complete(&sender("node1", "by-secret"), &mut finding)
        .unwrap();
    assert_eq!(cause::judge(&finding.evidence).cause, Cause::KilledUnknown);
    learn(index(&clusters), Kind::Pods, &deleted());
    let pod = index(&clusters).pod(&uid(1)).unwrap();
    let told = correlation.more_about(index(&clusters), &pod);
    assert_eq!(told.len(), 1);
    assert_eq!(cause::judge(&told[0].1.evidence).cause, Cause::PlannedStop);
    assert!(
        correlation.more_about(index(&clusters), &pod).is_empty(),
        "nothing is told twice"
    );
}

/// People are told at once and without a guess; the rest follows when it can be had.
#[tokio::test]
async fn what_came_while_the_apiserver_was_away_says_so_and_is_completed_afterwards() {
    let clusters = clusters();
    let correlation = correlation(&clusters);
    reach(index(&clusters), false);
    let mut finding = death(1);
    correlation
        .complete(&sender("node1", "by-secret"), &mut finding)
        .unwrap();
    assert!(cause::hints(&finding.evidence).contains(&Hint::ClusterUnknown));
    assert!(correlation.caught_up(index(&clusters)).is_empty(), "still away");
    learn(
        index(&clusters),
        Kind::ReplicaSets,
        &replica_set("api-6f7", 9_001, Some(9_000), 3),
    );
    learn(index(&clusters), Kind::Pods, &pod(1));
    reach(index(&clusters), true);
    let told = correlation.caught_up(index(&clusters));
    assert_eq!(told.len(), 1);
    assert!(!cause::hints(&told[0].1.evidence).contains(&Hint::ClusterUnknown));
    assert_eq!(told[0].1.subject.owner.name, "api");
    assert!(
        correlation.caught_up(index(&clusters)).is_empty(),
        "nothing is told twice"
    );
}

#[tokio::test]
async fn a_failed_liveness_probe_of_that_very_container_is_found() {
    let clusters = clusters();
    learn(index(&clusters), Kind::Pods, &pod(1));
    let mut event = warning(1, &uid(1), 3);
    event["reason"] = "Unhealthy".into();
    event["message"] = "Liveness probe failed: HTTP probe failed with statuscode: 500".into();
    event["lastTimestamp"] = "2026-01-01T00:00:39Z".into();
    learn(index(&clusters), Kind::Events, &event);
    assert_eq!(
        cause::judge(&completed(&clusters, death(137)).evidence).cause,
        Cause::ProbeKilled
    );
    let mut sibling = death(137);
    sibling.subject.container = "sidecar".to_owned();
    let cause = cause::judge(&completed(&clusters, sibling).evidence).cause;
    assert_eq!(cause, Cause::KilledUnknown, "the probe was another container's");
}

#[tokio::test]
async fn what_kubernetes_does_not_know_stays_as_the_node_told_it() {
    assert_eq!(completed(&clusters(), death(1)), death(1));
    let elsewhere = Arc::new(NodeIdentity {
        cluster: "c2".to_owned(),
        ..(*sender("node1", "x")).clone()
    });
    let mut finding = death(1);
    correlation(&clusters()).complete(&elsewhere, &mut finding).unwrap();
    assert_eq!(finding, death(1));
}

/// A node that was taken over must not be able to speak about the pods of others.
#[tokio::test]
async fn a_node_cannot_tell_of_the_pods_of_another_one() {
    let clusters = clusters();
    learn(index(&clusters), Kind::Nodes, &node("node2", "True"));
    learn(index(&clusters), Kind::Pods, &pod(1));
    let told = correlation(&clusters).complete(&sender("node2", "uid-of-node2"), &mut death(1));
    assert_eq!(told, Err(ForeignPod));
    let unknown = correlation(&clusters).complete(&sender("node2", "by-secret"), &mut death(1));
    assert_eq!(
        unknown,
        Ok(()),
        "one that enrolled by secret has no name in the cluster"
    );
}

/// The figures say how much the cluster explains, not how long an outage lasted.
#[tokio::test]
async fn a_finding_is_counted_once_however_often_it_is_looked_at_again() {
    let (clusters, registry) = (clusters(), Registry::new("test", "0"));
    let metrics = CorrelationMetrics::new(&registry);
    let correlation = Correlation::new(
        clusters.clone(),
        Arc::new(FakeClock::at(END)),
        metrics,
        CorrelationSettings::default(),
    );
    reach(index(&clusters), false);
    correlation
        .complete(&sender("node1", "by-secret"), &mut death(1))
        .unwrap();
    reach(index(&clusters), true);
    for _ in 0..3 {
        assert!(correlation.caught_up(index(&clusters)).is_empty(), "the pod is unknown");
    }
    let text = registry.encode().unwrap();
    assert!(text.contains("inquest_correlation_unknown_total 1\n"), "{text}");
}

/// The pod of a job, whose failure policy ignores 42.
fn of_job() -> serde_json::Value {
    let mut pod = pod(1);
    pod["metadata"]["ownerReferences"][0] = serde_json::json!({
        "apiVersion": "batch/v1", "kind": "Job", "name": "tidy", "uid": uid(9_500), "controller": true});
    pod["spec"]["containers"][0]["restartPolicyRules"] =
        serde_json::json!([{"action": "Restart", "exitCodes": {"operator": "In", "values": [43]}}]);
    pod
}

#[tokio::test]
async fn codes_that_a_job_or_a_container_provides_for_are_expected() {
    let clusters = clusters();
    let rule = serde_json::json!({"action": "Ignore", "onExitCodes": {"operator": "In", "values": [42]}});
    let job = serde_json::json!({
        "metadata": {"namespace": "shop", "name": "tidy", "uid": uid(9_500)},
        "spec": {"podFailurePolicy": {"rules": [rule]}}});
    learn(index(&clusters), Kind::Jobs, &job);
    learn(index(&clusters), Kind::Pods, &of_job());
    let cause = |code| cause::judge(&completed(&clusters, death(code)).evidence).cause;
    assert_eq!(
        [cause(42), cause(43), cause(1)],
        [Cause::ExpectedExit, Cause::ExpectedExit, Cause::AppError]
    );
}
