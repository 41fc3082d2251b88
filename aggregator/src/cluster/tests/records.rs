//! What is kept of objects, and the questions that it answers.

use std::{sync::Arc, time::Duration};

use inquest_shared::clock::{Clock, FakeClock, UnixNanos};
use serde_json::{Value, json};

use super::{
    bed::NOW,
    sample::{self, container_id, crashed, pod, uid},
};
use crate::cluster::{
    ClusterIndex, ClusterMetrics, ContainerKind, Found, Kind, Phase, RestartPolicy, Uid, watch::decode,
};

struct World {
    index: ClusterIndex,
    clock: FakeClock,
}

impl World {
    fn new() -> Self {
        let clock = FakeClock::at(NOW);
        let shared: Arc<dyn Clock> = Arc::new(clock.clone());
        Self {
            index: ClusterIndex::new("c1", shared, ClusterMetrics::default()),
            clock,
        }
    }

    fn put(&self, kind: Kind, objects: &[Value]) {
        let text = json!({"metadata": {}, "items": objects}).to_string();
        let (_, items) = decode::page(kind, text.as_bytes()).unwrap();
        self.index.put(&items, 1, Found::Live);
    }

    fn remove(&self, kind: Kind, object: &Value) {
        let text = json!({"metadata": {}, "items": [object]}).to_string();
        let (_, items) = decode::page(kind, text.as_bytes()).unwrap();
        self.index.remove(&items[0], 1, Found::Live);
    }
}

#[test]
fn a_pod_is_found_by_uid_name_node_and_by_both_instances_of_its_container() {
    let world = World::new();
    world.put(Kind::Pods, &[crashed(1, 1)]);
    let pod = world.index.pod(&uid(1)).unwrap();
    assert_eq!(
        (&*pod.namespace, &*pod.name, pod.node.as_deref()),
        ("shop", "api-1", Some("node1"))
    );
    assert_eq!(world.index.pod_named("shop", "api-1").unwrap(), pod);
    assert_eq!(world.index.pods_on("node1"), std::slice::from_ref(&pod));
    let (found, name) = world.index.pod_of_container(&container_id(101)).unwrap();
    assert_eq!((found.uid.clone(), &*name), (pod.uid.clone(), "main"));
    world.put(Kind::Pods, &[crashed(1, 2)]);
    assert!(world.index.pod_of_container(&container_id(101)).is_none());
    assert!(
        world
            .index
            .pod_of_container(container_id(201).strip_prefix("containerd://").unwrap())
            .is_some()
    );
    assert!(world.index.pod_of_container("").is_none());
}

#[test]
fn everything_that_explains_a_death_is_kept_of_a_container() {
    let mut object = crashed(1, 3);
    object["spec"]["initContainers"] = json!([
        {"name": "proxy", "image": "p:1", "restartPolicy": "Always", "startupProbe": {}},
        {"name": "setup", "image": "s:1"},
    ]);
    object["metadata"]["deletionTimestamp"] = "2026-01-01T00:01:00Z".into();
    object["metadata"]["deletionGracePeriodSeconds"] = 30.into();
    object["status"]["reason"] = "Evicted".into();
    object["status"]["conditions"] =
        json!([{"type": "DisruptionTarget", "status": "True", "reason": "EvictionByEvictionAPI"}]);
    let world = World::new();
    world.put(Kind::Pods, &[object]);
    let pod = world.index.pod(&uid(1)).unwrap();
    let main = pod.container("main").unwrap();
    assert_eq!((main.spec.memory_limit, main.restarts), (Some(64 << 20), 3));
    assert!(main.spec.liveness && !main.spec.readiness && !main.spec.startup);
    assert_eq!(main.spec.image_id.as_deref(), Some("img/api@sha256:1"));
    let trouble = main.trouble.as_ref().unwrap();
    assert_eq!(&*trouble.waiting.as_ref().unwrap().reason, "CrashLoopBackOff");
    let last = trouble.last.as_ref().unwrap();
    assert_eq!((last.exit_code, last.reason.as_deref()), (137, Some("OOMKilled")));
    assert_eq!(last.finished, UnixNanos::parse("2026-01-01T00:03:09Z"));
    let proxy = pod.container("proxy").unwrap();
    assert_eq!(
        (proxy.spec.kind, proxy.spec.restart),
        (ContainerKind::Sidecar, RestartPolicy::Always)
    );
    assert_eq!(pod.container("setup").unwrap().spec.restart, RestartPolicy::OnFailure);
    let rare = pod.rare.as_ref().unwrap();
    assert_eq!(rare.status_reason.as_deref(), Some("Evicted"));
    assert_eq!(rare.disruption.as_deref(), Some("EvictionByEvictionAPI"));
    assert_eq!(pod.deletion_requested(), UnixNanos::parse("2026-01-01T00:00:30Z"));
    assert_eq!((pod.phase, pod.ready), (Phase::Running, false));
}

#[test]
fn the_workload_of_a_pod_is_its_deployment_and_the_way_there_may_be_unknown() {
    let world = World::new();
    world.put(Kind::Pods, &[pod(1)]);
    let view = world.index.pod(&uid(1)).unwrap();
    let owner = world.index.root_owner(&view);
    assert_eq!(
        (&*owner.kind, &*owner.name, owner.resolved),
        ("ReplicaSet", "api-6f7", false)
    );
    let set = sample::replica_set("api-6f7", 9_001, Some(8_001), 17);
    world.put(Kind::ReplicaSets, std::slice::from_ref(&set));
    let owner = world.index.root_owner(&view);
    assert_eq!(
        (&*owner.kind, &*owner.name, owner.resolved),
        ("Deployment", "api", true)
    );
    world.remove(Kind::ReplicaSets, &set);
    assert_eq!(&*world.index.root_owner(&view).kind, "Deployment");
}

#[test]
fn a_static_pod_is_its_own_workload_and_not_its_nodes() {
    let mut object = pod(1);
    object["metadata"]["annotations"]["kubernetes.io/config.mirror"] = "abc".into();
    object["metadata"]["ownerReferences"] =
        json!([{"kind": "Node", "name": "node1", "uid": uid(5), "controller": true}]);
    let world = World::new();
    world.put(Kind::Pods, &[object]);
    let view = world.index.pod(&uid(1)).unwrap();
    assert_eq!(&*world.index.root_owner(&view).kind, "Pod");
    assert_eq!(view.rare.as_ref().unwrap().static_hash.as_deref(), Some("abc"));
}

#[test]
fn crashed_and_healthy_pods_are_counted_by_revision_under_one_deployment() {
    let world = World::new();
    world.put(
        Kind::ReplicaSets,
        &[
            sample::replica_set("api-6f7", 9_001, Some(8_001), 16),
            sample::replica_set("api-new", 9_002, Some(8_001), 17),
        ],
    );
    let fresh = |number: u32| {
        let mut pod = crashed(number, 2);
        pod["metadata"]["ownerReferences"][0]["uid"] = uid(9_002).into();
        pod["metadata"]["labels"]["pod-template-hash"] = "new".into();
        pod
    };
    let pods: Vec<Value> = (1..=5).map(pod).chain((6..=8).map(fresh)).collect();
    world.put(Kind::Pods, &pods);
    let siblings = world.index.siblings(&Uid::parse(&uid(8_001)), UnixNanos::EPOCH);
    let counts: Vec<_> = siblings
        .revisions
        .iter()
        .map(|r| (r.number, r.crashed, r.healthy, r.other))
        .collect();
    assert_eq!(counts, [(Some(17), 3, 0, 0), (Some(16), 0, 5, 0)]);
    world.remove(Kind::Pods, &fresh(6));
    let siblings = world.index.siblings(&Uid::parse(&uid(8_001)), UnixNanos::EPOCH);
    assert_eq!(siblings.revisions[0].crashed, 2);
}

#[test]
fn a_deleted_pod_can_be_asked_for_half_an_hour_in_its_last_state() {
    let world = World::new();
    world.put(Kind::Pods, &[pod(1)]);
    world.remove(Kind::Pods, &crashed(1, 1));
    let gone = world.index.pod(&uid(1)).unwrap();
    assert_eq!((gone.gone, gone.container("main").unwrap().restarts), (Some(NOW), 1));
    assert!(world.index.pods_that(|_| true).is_empty());
    let mut again = pod(2);
    again["metadata"]["name"] = "api-1".into();
    world.put(Kind::Pods, &[again]);
    assert_eq!(world.index.pod_named("shop", "api-1").unwrap().uid.to_string(), uid(2));
    world.clock.advance(Duration::from_secs(29 * 60));
    world.index.tidy();
    assert!(world.index.pod_of_container(&container_id(101)).is_some());
    world.clock.advance(Duration::from_secs(60));
    world.index.tidy();
    assert!(world.index.pod(&uid(1)).is_none() && world.index.pod_of_container(&container_id(101)).is_none());
    assert_eq!(world.index.read(|state| state.pods.keys()), 5);
}

#[test]
fn a_flood_of_deletions_does_not_grow_without_bound() {
    let world = World::new();
    for round in 0..25_u32 {
        let bare =
            |number: u32| json!({"metadata": {"name": format!("p{number}"), "namespace": "shop", "uid": uid(number)}});
        let pods: Vec<Value> = (0..1_000).map(|number| bare(round * 1_000 + number)).collect();
        world.put(Kind::Pods, &pods);
        pods.iter().for_each(|pod| world.remove(Kind::Pods, pod));
    }
    world.index.tidy();
    assert!(world.index.pod(&uid(0)).is_none() && world.index.pod(&uid(24_999)).is_some());
}

#[test]
fn nodes_namespaces_and_rollouts_say_what_an_incident_needs() {
    let world = World::new();
    world.put(Kind::Nodes, &[sample::node("node1", "Unknown")]);
    let node = world.index.node("node1").unwrap();
    assert_eq!(
        (node.ready(), &*node.boot_id, &*node.taints[0]),
        (false, "b1", "dedicated")
    );
    world.put(
        Kind::Namespaces,
        &[
            json!({"metadata": {"name": "shop", "uid": uid(3), "labels": {"team": "a"},
        "annotations": {"large": "x".repeat(9_999), "owner": "b"}}}),
        ],
    );
    let namespace = world.index.namespace("shop").unwrap();
    assert_eq!((namespace.labels.len(), namespace.annotations.len()), (1, 1));
    world.put(
        Kind::Deployments,
        &[json!({
            "metadata": {"name": "api", "namespace": "shop", "uid": uid(8_001), "generation": 4,
                "annotations": {"deployment.kubernetes.io/revision": "17"}},
            "spec": {"replicas": 3},
            "status": {"observedGeneration": 4, "updatedReplicas": 1, "readyReplicas": 2,
                "conditions": [{"type": "Progressing", "status": "False", "reason": "ProgressDeadlineExceeded"}]},
        })],
    );
    let rollout = world.index.workload("Deployment", "shop", "api").unwrap();
    assert_eq!(
        (
            rollout.revision.as_deref(),
            rollout.desired,
            rollout.updated,
            rollout.ready
        ),
        (Some("17"), 3, 1, 2)
    );
    assert_eq!(
        &*rollout.condition("Progressing").unwrap().reason,
        "ProgressDeadlineExceeded"
    );
    assert!(world.index.workload("Deployment", "other", "api").is_none());
}

#[test]
fn the_same_names_in_two_clusters_stay_apart() {
    let (left, right) = (World::new(), World::new());
    left.put(Kind::Pods, &[pod(1)]);
    assert!(left.index.pod_named("shop", "api-1").is_some() && right.index.pod_named("shop", "api-1").is_none());
}

#[test]
fn a_pod_record_is_small() {
    assert!(
        size_of::<crate::cluster::Pod>() <= 144,
        "{}",
        size_of::<crate::cluster::Pod>()
    );
    assert!(
        size_of::<crate::cluster::Container>() <= 72,
        "{}",
        size_of::<crate::cluster::Container>()
    );
}
