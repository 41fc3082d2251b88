use std::time::Duration;

use inquest_shared::{
    cause,
    clock::UnixNanos,
    model::{Cause, Discovery, ReportKind},
};
use serde_json::{Value, json};

use super::{Memory, Told, look};
use crate::{
    cluster::{
        ClusterIndex, Kind,
        tests::objects::{index, learn, node, pod, reach, replica_set, uid},
    },
    ingest::{NodeView, Skew},
    record::NodeIdentity,
};

/// The time of the index.
const NOW: UnixNanos = UnixNanos::from_secs(1_780_000_000);
const PATIENCE: Duration = Duration::from_secs(60);

/// A cluster with the deployment `api`, looked at from [`NOW`] on.
struct World {
    index: ClusterIndex,
    memory: Memory,
    now: UnixNanos,
    agents: Vec<NodeView>,
}

impl World {
    fn new() -> Self {
        let world = Self {
            memory: Memory::new(NOW, PATIENCE),
            index: index(),
            // Later than what follows the opening of a watch.
            now: NOW.saturating_add(Duration::from_secs(200)),
            agents: Vec::new(),
        };
        world.learn(Kind::ReplicaSets, &replica_set("api-6f7", 9_001, Some(9_000), 3));
        world.learn(Kind::Nodes, &node("node1", "True"));
        world
    }

    /// One that was looked at before: what comes now is news.
    fn watched() -> Self {
        let mut world = Self::new();
        assert!(world.look().is_empty());
        world
    }

    fn learn(&self, kind: Kind, object: &Value) {
        learn(&self.index, kind, object);
    }

    fn look(&mut self) -> Vec<Told> {
        self.now = self.now.saturating_add(Duration::from_secs(2));
        look(&self.index, self.agents.clone(), &mut self.memory, self.now)
    }

    /// Looks for that long; what was told.
    fn after(&mut self, secs: u64) -> Vec<Told> {
        (0..secs / 2).flat_map(|_| self.look()).collect()
    }

    fn holds(&self) -> usize {
        self.memory.standing(self.now).map_or(0, |holds| holds.len())
    }
}

fn waiting(number: u32, reason: &str, message: &str) -> Value {
    let mut pod = pod(number);
    pod["status"]["phase"] = "Pending".into();
    pod["status"]["containerStatuses"][0] = json!({
        "name": "main", "restartCount": 0, "state": {"waiting": {"reason": reason, "message": message}},
    });
    pod
}

fn cause_of(told: &Told) -> Cause {
    cause::judge(&told.finding.evidence).cause
}

#[test]
fn an_image_that_fails_for_a_moment_is_nobodys_business_and_one_that_stays_away_is_told_once() {
    let mut world = World::watched();
    world.learn(Kind::Pods, &waiting(1, "ErrImagePull", "not found"));
    assert!(world.after(118).is_empty());
    world.learn(Kind::Pods, &pod(1));
    assert!(world.after(60).is_empty());

    world.learn(Kind::Pods, &waiting(2, "ErrImagePull", "not found"));
    assert!(world.after(60).is_empty());
    // The kubelet's own back-off is the same trouble.
    world.learn(Kind::Pods, &waiting(2, "ImagePullBackOff", "Back-off pulling image"));
    let told = world.after(600);
    let [told] = told.as_slice() else { panic!("{told:#?}") };
    assert_eq!(
        (cause_of(told), told.finding.discovery),
        (Cause::ImageError, Discovery::Live)
    );
    let subject = &told.finding.subject;
    assert_eq!(
        (
            &*subject.owner.kind,
            &*subject.owner.name,
            &*subject.container,
            &*told.node.name
        ),
        ("Deployment", "api", "main", "node1")
    );
}

#[test]
fn what_holds_is_said_until_it_is_mended_and_not_while_nothing_can_be_seen() {
    let mut world = World::watched();
    world.learn(
        Kind::Pods,
        &waiting(1, "CreateContainerConfigError", "configmap \"app\" not found"),
    );
    assert_eq!(world.after(80).len(), 1);
    assert_eq!(world.holds(), 1);
    reach(&world.index, false);
    world.learn(Kind::Pods, &pod(1));
    assert!(world.after(600).is_empty());
    assert_eq!(world.holds(), 1);
    reach(&world.index, true);
    assert!(world.after(2).is_empty());
    assert_eq!(world.holds(), 0);
}

#[test]
fn a_program_that_starts_anew_does_not_forget_what_holds() {
    let mut world = World::new();
    world.learn(
        Kind::Pods,
        &waiting(1, "CreateContainerConfigError", "configmap \"app\" not found"),
    );
    assert!(world.look().is_empty());
    assert_eq!(world.holds(), 1);
    let told = world.after(80);
    assert_eq!(
        told.iter().map(|t| t.finding.discovery).collect::<Vec<_>>(),
        [Discovery::Recovered]
    );
}

#[test]
fn a_crash_loop_is_the_nodes_business() {
    let mut world = World::watched();
    world.learn(Kind::Pods, &waiting(1, "CrashLoopBackOff", "back-off 10s"));
    world.learn(Kind::Pods, &waiting(2, "ContainerCreating", ""));
    assert!(world.after(600).is_empty());
}

#[test]
fn a_pod_that_is_being_deleted_may_fail_as_it_likes() {
    let mut world = World::watched();
    let mut going = waiting(1, "ErrImagePull", "not found");
    going["metadata"]["deletionTimestamp"] = "2026-01-01T00:00:40Z".into();
    going["metadata"]["deletionGracePeriodSeconds"] = 30.into();
    world.learn(Kind::Pods, &going);
    assert!(world.after(600).is_empty());
}

#[test]
fn a_pod_without_a_node_is_told_with_the_schedulers_words() {
    let mut world = World::watched();
    let mut homeless = pod(1);
    homeless["spec"]["nodeName"] = "".into();
    homeless["status"] = json!({"phase": "Pending", "conditions": [{
        "type": "PodScheduled", "status": "False", "reason": "Unschedulable",
        "message": "0/1 nodes are available: 1 Insufficient memory.",
    }]});
    world.learn(Kind::Pods, &homeless);
    let told = world.after(70);
    assert_eq!(told.iter().map(cause_of).collect::<Vec<_>>(), [Cause::Unschedulable]);
    assert_eq!(told[0].finding.subject.container, "");
    let report = told[0].finding.evidence.report().unwrap();
    assert_eq!(report.message.raw(), "0/1 nodes are available: 1 Insufficient memory.");
}

fn event(number: u32, kind: &str, object: (&str, String), reason: &str, message: &str, last: UnixNanos) -> Value {
    json!({
        "metadata": {"name": format!("e{number}"), "namespace": "shop", "uid": uid(70_000 + number)},
        "involvedObject": {"kind": kind, "namespace": "shop", "name": object.0, "uid": object.1},
        "type": "Warning", "reason": reason, "message": message, "count": 1, "lastTimestamp": last.to_string(),
    })
}

#[test]
fn a_volume_that_cannot_be_mounted_is_told_while_the_kubelet_still_tries() {
    let mut world = World::watched();
    world.learn(Kind::Pods, &waiting(1, "ContainerCreating", ""));
    let said = "MountVolume.SetUp failed for volume \"v\" : secret \"s\" not found";
    world.learn(
        Kind::Events,
        &event(1, "Pod", ("api-1", uid(1)), "FailedMount", said, world.now),
    );
    assert_eq!(
        world.after(80).iter().map(cause_of).collect::<Vec<_>>(),
        [Cause::MountFailed]
    );
    assert_eq!(world.holds(), 1);
    world.after(320);
    assert_eq!(world.holds(), 0);
}

#[test]
fn pods_that_may_not_be_made_are_told_although_there_is_none() {
    let mut world = World::watched();
    let said = "Error creating: pods \"api-6f7-x\" is forbidden: exceeded quota: q";
    let refused = |number| {
        event(
            number,
            "ReplicaSet",
            ("api-6f7", uid(9_001)),
            "FailedCreate",
            said,
            world.now,
        )
    };
    let events: Vec<Value> = (1..5).map(refused).collect();
    for event in &events {
        world.learn(Kind::Events, event);
    }
    assert!(world.after(80).is_empty(), "the deployment does not say that it fails");
    let fails = json!({"type": "ReplicaFailure", "status": "True", "reason": "FailedCreate"});
    world.learn(Kind::Deployments, &deployment(&fails));
    let told = world.after(80);
    assert_eq!(told.iter().map(cause_of).collect::<Vec<_>>(), [Cause::CreationRefused]);
    assert_eq!(told[0].finding.subject.owner.kind, "Deployment");
}

fn deployment(condition: &Value) -> Value {
    json!({
        "metadata": {"name": "api", "namespace": "shop", "uid": uid(9_000), "generation": 7},
        "spec": {"replicas": 3}, "status": {"conditions": [condition]},
    })
}

#[test]
fn a_rollout_past_its_deadline_is_told_once_for_each_generation() {
    let mut world = World::watched();
    let late = json!({"type": "Progressing", "status": "False", "reason": "ProgressDeadlineExceeded"});
    world.learn(Kind::Deployments, &deployment(&late));
    assert_eq!(
        world.after(60).iter().map(cause_of).collect::<Vec<_>>(),
        [Cause::RolloutStuck]
    );
}

/// "Timed out progressing" alone sends people to the pods; the probe's words are what they look for there.
#[test]
fn a_rollout_that_waits_for_a_readiness_probe_is_told_with_the_newest_words_of_the_probe() {
    let mut world = World::watched();
    let (ready, mut unready) = (pod(2), pod(1));
    unready["status"]["conditions"][0]["status"] = "False".into();
    world.learn(Kind::Pods, &ready);
    world.learn(Kind::Pods, &unready);
    let failed = |number, said, at| event(number, "Pod", ("api-1", uid(1)), "Unhealthy", said, at);
    let (before, now) = (world.now.saturating_sub(Duration::from_secs(5)), world.now);
    for event in [
        failed(1, "Readiness probe failed: no database", now),
        failed(2, "Readiness probe failed: no network", before),
        failed(3, "Liveness probe failed: no pulse", now),
        event(
            4,
            "Pod",
            ("api-2", uid(2)),
            "Unhealthy",
            "Readiness probe failed: once",
            now,
        ),
    ] {
        world.learn(Kind::Events, &event);
    }
    let late =
        json!({"type": "Progressing", "status": "False", "reason": "ProgressDeadlineExceeded", "message": "Too late."});
    world.learn(Kind::Deployments, &deployment(&late));
    let told = world.after(60);
    assert_eq!(told.iter().map(cause_of).collect::<Vec<_>>(), [Cause::RolloutStuck]);
    let report = told[0].finding.evidence.report().unwrap();
    assert_eq!(
        report.message.raw(),
        "Too late. api-1: Readiness probe failed: no database"
    );
}

#[test]
fn a_job_that_failed_long_ago_is_history_and_one_that_fails_now_is_told_under_its_cron_job() {
    let job = |number: u32, at: UnixNanos| {
        json!({
            "metadata": {"name": format!("tidy-{number}"), "namespace": "shop", "uid": uid(number), "ownerReferences": [
                {"apiVersion": "batch/v1", "kind": "CronJob", "name": "tidy", "uid": uid(9_100), "controller": true}]},
            "status": {"conditions": [{"type": "Failed", "status": "True", "reason": "BackoffLimitExceeded",
                "message": "Job has reached the specified backoff limit", "lastTransitionTime": at.to_string()}]},
        })
    };
    let mut world = World::new();
    world.learn(Kind::Jobs, &job(1, NOW.saturating_sub(Duration::from_secs(90_000))));
    let told = world.look();
    assert_eq!(
        told.iter().map(|t| t.finding.discovery).collect::<Vec<_>>(),
        [Discovery::Lookback]
    );
    world.learn(Kind::Jobs, &job(2, world.now));
    let told = world.look();
    assert_eq!(told.iter().map(cause_of).collect::<Vec<_>>(), [Cause::JobFailed]);
    assert_eq!(told[0].finding.subject.owner.kind, "CronJob");
    assert_eq!((told[0].finding.discovery, world.holds()), (Discovery::Live, 0));
}

#[test]
fn a_node_that_nothing_is_heard_of_is_told_with_its_pods_and_not_right_after_an_outage() {
    let mut world = World::watched();
    world.learn(Kind::Pods, &pod(1));
    world.learn(Kind::Nodes, &node("node1", "Unknown"));
    let told = world.after(20);
    assert_eq!(told.iter().map(cause_of).collect::<Vec<_>>(), [Cause::NodeLost]);
    assert_eq!(told[0].finding.evidence.report().unwrap().affected, 1);

    let mut fresh = World::new();
    fresh.now = NOW;
    fresh.learn(Kind::Nodes, &node("node1", "Unknown"));
    assert!(fresh.after(116).is_empty());
    assert_eq!(fresh.after(20).len(), 1);
}

#[test]
fn a_node_that_was_started_anew_is_told_unless_somebody_had_cordoned_it() {
    let mut world = World::watched();
    let mut again = node("node1", "True");
    again["status"]["nodeInfo"]["bootID"] = "b2".into();
    world.learn(Kind::Nodes, &again);
    assert_eq!(world.look().iter().map(cause_of).collect::<Vec<_>>(), [Cause::NodeLost]);
    again["status"]["nodeInfo"]["bootID"] = "b3".into();
    again["spec"]["unschedulable"] = true.into();
    world.learn(Kind::Nodes, &again);
    assert!(world.after(60).is_empty());
}

#[test]
fn a_silent_agent_is_the_agents_trouble_only_while_its_node_is_well() {
    let mut world = World::watched();
    let known = world.index.node("node1").unwrap();
    world.agents = vec![NodeView {
        node: NodeIdentity {
            cluster: "c1".into(),
            uid: known.uid.to_string(),
            name: "node1".into(),
        },
        connected: false,
        last_seen: NOW,
        agent_version: String::new(),
        skew: Skew::of(""),
        silent: true,
        status: None,
        clock_offset: None,
    }];
    let told = world.after(80);
    assert_eq!(told.iter().map(cause_of).collect::<Vec<_>>(), [Cause::NodeCondition]);
    let kind = told[0].finding.evidence.report().unwrap().kind;
    assert_eq!((kind, world.holds()), (ReportKind::AgentSilent, 1));
    world.learn(Kind::Nodes, &node("node1", "Unknown"));
    assert_eq!(
        world.after(20).iter().map(cause_of).collect::<Vec<_>>(),
        [Cause::NodeLost]
    );
}

#[test]
fn a_kubelet_that_cannot_free_disk_is_told_as_its_nodes_trouble() {
    let mut world = World::watched();
    let mut event = event(
        1,
        "Node",
        ("node1", "node1".to_owned()),
        "FreeDiskSpaceFailed",
        "Failed to garbage collect",
        world.now,
    );
    event["involvedObject"]["namespace"] = "".into();
    world.learn(Kind::Events, &event);
    let told = world.after(80);
    assert_eq!(told.iter().map(cause_of).collect::<Vec<_>>(), [Cause::NodeCondition]);
    assert_eq!(
        told[0].finding.evidence.report().unwrap().reason.raw(),
        "FreeDiskSpaceFailed"
    );
}

/// A container of the StatefulSet with this number that waits.
fn waiting_of(number: u32, reason: &str, message: &str) -> Value {
    let mut pod = waiting(number, reason, message);
    pod["metadata"]["ownerReferences"] = json!([{"apiVersion": "apps/v1", "kind": "StatefulSet",
        "name": format!("db-{number}"), "uid": uid(9_100 + number), "controller": true}]);
    pod["spec"]["containers"][0]["image"] = "r.example:5000/db:1".into();
    pod
}

fn owners(told: &[Told]) -> Vec<String> {
    let owner = |told: &Told| {
        let subject = &told.finding.subject;
        format!("{}/{}/{}", subject.namespace, subject.owner.kind, subject.owner.name)
    };
    told.iter().map(owner).collect()
}

const AWAY: &str = "Head \"https://r.example:5000/v2/db\": dial tcp 10.0.0.1:5000: connect: connection refused";

/// One message for a registry that is down, and not one for each team.
#[test]
fn a_registry_that_does_not_answer_is_one_trouble_of_all_who_wait_for_it() {
    let mut world = World::watched();
    for number in 1..=3 {
        world.learn(Kind::Pods, &waiting_of(number, "ErrImagePull", AWAY));
    }
    assert!(world.after(20).is_empty());
    // In between, older kubelets say only that they wait.
    world.learn(Kind::Pods, &waiting_of(2, "ImagePullBackOff", "Back-off pulling image"));
    let told = world.after(300);
    assert_eq!(owners(&told), ["/Registry/r.example:5000"; 3]);
    let pods: std::collections::BTreeSet<_> = told.iter().map(|told| told.finding.subject.pod.clone()).collect();
    assert_eq!(pods.len(), 3);
    assert_eq!(world.holds(), 1);
    // Two of them go on; the incident stays that of the registry.
    for number in [1, 2] {
        world.learn(Kind::Pods, &pod(number));
    }
    assert!(world.after(300).is_empty());
    assert_eq!(world.holds(), 1);
}

#[test]
fn two_workloads_or_an_image_that_is_not_there_are_their_own_trouble() {
    let mut world = World::watched();
    for number in 1..=2 {
        world.learn(Kind::Pods, &waiting_of(number, "ErrImagePull", AWAY));
    }
    for number in 3..=5 {
        world.learn(
            Kind::Pods,
            &waiting_of(number, "ErrImagePull", "r.example:5000/db:1: not found"),
        );
    }
    let mut told = owners(&world.after(300));
    told.sort();
    assert_eq!(told, [1, 2, 3, 4, 5].map(|n| format!("shop/StatefulSet/db-{n}")));
}

#[test]
fn a_missing_object_that_many_refer_to_is_told_once_under_its_own_name() {
    let mut world = World::watched();
    for number in 1..=3 {
        let pod = waiting_of(number, "CreateContainerConfigError", "configmap \"app\" not found");
        world.learn(Kind::Pods, &pod);
    }
    assert_eq!(owners(&world.after(300)), ["shop/ConfigMap/app"; 3]);
}
