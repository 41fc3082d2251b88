//! Pods of the Deployment `api`: revision 17 came 42 s before the end, revision 16 a month before.

use std::time::Duration;

use inquest_shared::model::{RevisionShare, RolloutContext};
use serde_json::{Value, json};

use super::*;
use crate::cluster::tests::objects::{Fake, clusters_of, crashed};

const SECRET: &str = "postgres://u:hunter2@db";

/// A pod of another revision.
fn of(mut pod: Value, (kind, owner, name): (&str, u32, &str), hash: &str, image: &str) -> Value {
    let meta = &mut pod["metadata"];
    meta["creationTimestamp"] = "2026-01-01T00:00:01Z".into();
    meta["labels"] = json!({"pod-template-hash": hash});
    if kind != "ReplicaSet" {
        meta["labels"] = json!({"controller-revision-hash": hash});
    }
    meta["ownerReferences"][0] =
        json!({"apiVersion": "apps/v1", "kind": kind, "name": name, "uid": uid(owner), "controller": true});
    pod["spec"]["containers"][0]["image"] = image.into();
    pod
}

fn new_pod(number: u32) -> Value {
    of(pod(number), ("ReplicaSet", 9_002, "api-new"), "new", "img/api:2")
}

fn set(name: &str, number: u32, revision: u32, created: &str) -> Value {
    let mut set = replica_set(name, number, Some(9_000), revision);
    set["metadata"]["creationTimestamp"] = created.into();
    set["metadata"]["labels"]["pod-template-hash"] = name.trim_start_matches("api-").into();
    set
}

/// The object with its template, as the apiserver gives it.
fn with_template(kind: &str, mut object: Value, env: &Value) -> Value {
    let container = json!({"name": "main", "image": "img/api:1", "env": env});
    (object["apiVersion"], object["kind"]) = ("apps/v1".into(), kind.into());
    object["spec"] = json!({"selector": {}, "template": {"metadata": {}, "spec": {"containers": [container]}}});
    object
}

fn sets() -> [Value; 2] {
    [
        set("api-6f7", 9_001, 16, "2025-12-01T00:00:00Z"),
        set("api-new", 9_002, 17, "2025-12-31T23:59:58Z"),
    ]
}

/// An apiserver that keeps both templates: the variable `DB_URL` went.
fn apiserver() -> Fake {
    let fake = Fake::new();
    let [old, new] = sets();
    let env = json!([{"name": "DB_URL", "value": SECRET}]);
    fake.put("replicasets", with_template("ReplicaSet", old, &env));
    fake.put("replicasets", with_template("ReplicaSet", new, &json!([])));
    fake
}

/// Three new pods of which the first is about to be told, and five old ones.
fn rolled_out(fake: &Fake) -> Clusters {
    let clusters = clusters_of(fake);
    let index = index(&clusters);
    sets().iter().for_each(|set| learn(index, Kind::ReplicaSets, set));
    learn(index, Kind::Pods, &new_pod(1));
    for number in [7, 8] {
        let pod = of(crashed(number, 0), ("ReplicaSet", 9_002, "api-new"), "new", "img/api:2");
        learn(index, Kind::Pods, &pod);
    }
    (2..=6).for_each(|number| learn(index, Kind::Pods, &pod(number)));
    clusters
}

fn complete(correlation: &Correlation, mut finding: Finding) -> Finding {
    correlation
        .complete(&sender("node1", "by-secret"), &mut finding)
        .unwrap();
    finding
}

fn rollout(finding: &Finding) -> RolloutContext {
    finding.evidence.rollout().cloned().unwrap()
}

fn changes(rollout: &RolloutContext) -> Vec<String> {
    let words = |c: &inquest_shared::model::TemplateChange| {
        format!("{} {}{}>{}", c.what, c.name, c.before.raw(), c.after.raw())
    };
    rollout.changes.iter().map(words).collect()
}

fn pods(revision: &str, crashed: u32, healthy: u32) -> RevisionShare {
    RevisionShare {
        revision: revision.into(),
        crashed,
        healthy,
        other: 0,
    }
}

/// The kubelet has not reported yet that the pod crashed.
#[tokio::test]
async fn a_crash_after_a_rollout_is_told_at_once_with_what_the_pods_show() {
    let fake = apiserver();
    let finding = complete(&correlation(&rolled_out(&fake)), death(1));
    let rollout = rollout(&finding);
    assert_eq!((&*rollout.revision, &*rollout.previous), ("17", "16"));
    assert_eq!(rollout.started_at, Some(UnixNanos::from_secs(END.as_secs() - 42)));
    assert_eq!(rollout.revisions, [pods("17", 3, 0), pods("16", 0, 5)]);
    assert_eq!(changes(&rollout), ["image img/api:1>img/api:2"]);
    assert_eq!(fake.count("replicasets"), 0, "nobody waits for the apiserver");
}

#[tokio::test]
async fn templates_are_compared_once_and_tell_names_but_no_values() {
    let fake = apiserver();
    let correlation = correlation(&rolled_out(&fake));
    let mut first = complete(&correlation, death(1));
    let told = correlation.compared().await;
    assert_eq!(told.len(), 1);
    let expected = ["image img/api:1>img/api:2", "env_removed DB_URL>"];
    assert_eq!(changes(&rollout(&told[0].1)), expected);
    assert!(!format!("{:?}", told[0].1).contains("hunter2"));
    assert!(first.evidence.merge(&told[0].1.evidence), "what is added wins");
    assert_eq!(changes(&rollout(&first)), expected);
    // The next run of the container crashes too, two hours later.
    let mut again = death(1);
    again.observed_at = END.saturating_add(Duration::from_secs(7_200));
    assert_eq!(changes(&rollout(&complete(&correlation, again))), expected);
    assert_eq!(fake.count("replicasets/"), 2);
}

#[tokio::test]
async fn a_missing_right_is_counted_and_costs_the_details_only() {
    let (fake, registry) = (apiserver(), Registry::new("test", "0"));
    fake.refuse("replicasets", 403);
    let metrics = CorrelationMetrics::new(&registry);
    let correlation = Correlation::new(
        rolled_out(&fake),
        Arc::new(FakeClock::at(END)),
        metrics,
        CorrelationSettings::default(),
    );
    let finding = complete(&correlation, death(1));
    assert!(correlation.compared().await.is_empty());
    assert_eq!(changes(&rollout(&finding)), ["image img/api:1>img/api:2"]);
    complete(&correlation, death(1));
    let text = registry.encode().unwrap();
    assert!(
        text.contains("inquest_correlation_templates_failed_total{reason=\"forbidden\"} 1\n"),
        "{text}"
    );
    assert_eq!(fake.count("replicasets/"), 1, "it is not asked again at once");
}

#[tokio::test(start_paused = true)]
async fn an_apiserver_that_hangs_is_given_up_after_five_seconds() {
    let fake = apiserver();
    fake.slow_down(60);
    let correlation = correlation(&rolled_out(&fake));
    complete(&correlation, death(1));
    let start = tokio::time::Instant::now();
    assert!(correlation.compared().await.is_empty());
    assert_eq!(start.elapsed().as_secs(), 5);
}

#[tokio::test]
async fn without_a_new_revision_only_the_pods_are_counted() {
    let fake = apiserver();
    let clusters = clusters_of(&fake);
    learn(index(&clusters), Kind::ReplicaSets, &sets()[0]);
    (1..=3).for_each(|number| learn(index(&clusters), Kind::Pods, &pod(number)));
    let rollout = rollout(&complete(&correlation(&clusters), death(1)));
    assert_eq!(rollout.revisions, [pods("16", 1, 2)]);
    assert_eq!((rollout.started_at, &*rollout.previous), (None, ""));
    assert!(rollout.changes.is_empty());
}

#[tokio::test]
async fn what_nobody_is_told_of_is_not_looked_into() {
    let clusters = rolled_out(&apiserver());
    assert!(complete(&correlation(&clusters), death(0)).evidence.rollout().is_none());
    let mut old = death(1);
    old.observed_at = END.saturating_sub(Duration::from_secs(3_600));
    assert!(complete(&correlation(&clusters), old).evidence.rollout().is_none());
}

/// All of them crash within the second for which a count is used again.
#[tokio::test]
async fn pods_that_crash_at_once_are_all_counted() {
    let clusters = clusters();
    sets()
        .iter()
        .for_each(|set| learn(index(&clusters), Kind::ReplicaSets, set));
    (1..=4).for_each(|number| learn(index(&clusters), Kind::Pods, &new_pod(number)));
    let correlation = correlation(&clusters);
    for number in [1, 2, 3, 3] {
        let mut finding = death(1);
        finding.subject.pod_uid = uid(number);
        let counted = rollout(&complete(&correlation, finding)).revisions;
        assert_eq!(counted, [pods("17", number, 4 - number)]);
    }
}

/// When the older replica set came back is written down nowhere.
#[tokio::test]
async fn a_rollback_is_not_given_a_wrong_beginning() {
    let clusters = clusters();
    let back = set("api-6f7", 9_001, 18, "2025-12-31T23:00:00Z");
    for set in [&back, &sets()[1]] {
        learn(index(&clusters), Kind::ReplicaSets, set);
    }
    learn(index(&clusters), Kind::Pods, &pod(1));
    let rollout = rollout(&complete(&correlation(&clusters), death(1)));
    assert_eq!((&*rollout.revision, rollout.started_at), ("18", None));
}

/// Stateful sets label pods with the name of the revision, daemon sets with its hash.
#[tokio::test]
async fn pods_of_stateful_sets_and_daemon_sets_are_told_apart_by_their_controller_revisions() {
    for (kind, old, new) in [("StatefulSet", "db-old", "db-new"), ("DaemonSet", "old", "new")] {
        let fake = Fake::new();
        let kept = |name: &str, env: Value| {
            let meta = json!({"name": name, "namespace": "shop"});
            let mut object = with_template("ControllerRevision", json!({"metadata": meta, "revision": 1}), &env);
            object["data"] = json!({"spec": {"template": object["spec"]["template"].take()}});
            object["data"]["spec"]["template"]["$patch"] = "replace".into();
            fake.put("controllerrevisions", object);
        };
        kept("db-old", json!([]));
        kept("db-new", json!([{"name": "MODE", "value": SECRET}]));
        let clusters = clusters_of(&fake);
        let owner = (kind, 9_100, "db");
        let mut before = of(pod(2), owner, old, "img/db:1");
        before["metadata"]["creationTimestamp"] = "2025-12-01T00:00:00Z".into();
        learn(index(&clusters), Kind::Pods, &before);
        learn(index(&clusters), Kind::Pods, &of(pod(1), owner, new, "img/db:1"));
        let correlation = correlation(&clusters);
        let first = rollout(&complete(&correlation, death(1)));
        assert_eq!((&*first.revision, &*first.previous), (new, old));
        assert_eq!(first.revisions, [pods(new, 1, 0), pods(old, 0, 1)]);
        let told = correlation.compared().await;
        assert_eq!(changes(&rollout(&told[0].1)), ["env_added MODE>"], "{kind}");
    }
}
