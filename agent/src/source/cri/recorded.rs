//! Answers of three runtimes about one container, and one container of each kind: tests/fixtures/cri.

use std::{fs, path::PathBuf};

use inquest_proto::runtime::v1 as cri;
use inquest_shared::{
    cause::judge,
    clock::UnixNanos,
    model::{EvidenceSource, Finding},
};
use prost::Message;
use prost_reflect::{DescriptorPool, DynamicMessage};
use serde_json::Value;

use super::{Dialect, Feed};
use crate::{
    detect::{Fusion, Moment},
    observation::{Container, Exit, Observation},
    source::containerd::describe,
};

fn folder() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../tests/fixtures/cri")
}

fn json(path: &str) -> Value {
    serde_json::from_str(&fs::read_to_string(folder().join(path)).unwrap()).unwrap()
}

/// The JSON of a message as the message.
fn message<T: Message + Default>(name: &str, json: &Value) -> T {
    let proto = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../proto");
    let files = protox::compile(["runtime/v1/api.proto"], [proto]).unwrap();
    let pool = DescriptorPool::from_file_descriptor_set(files).unwrap();
    let descriptor = pool.get_message_by_name(&format!("runtime.v1.{name}")).unwrap();
    DynamicMessage::deserialize(descriptor, json)
        .unwrap()
        .transcode_to()
        .unwrap()
}

/// What a runtime says about the container of the fixtures while it runs and after its end.
fn records(runtime: &str) -> (Container, Container, Exit) {
    let dialect = Dialect::of(&message("VersionResponse", &json(&format!("{runtime}/version.json")))).unwrap();
    let sandboxes: cri::ListPodSandboxResponse =
        message("ListPodSandboxResponse", &json(&format!("{runtime}/sandboxes.json")));
    let listed: cri::ListContainersResponse =
        message("ListContainersResponse", &json(&format!("{runtime}/containers.json")));
    let sandbox = sandboxes.items.first();
    let status = |state: &str| -> cri::ContainerStatusResponse {
        message(
            "ContainerStatusResponse",
            &json(&format!("{runtime}/container-{state}.json")),
        )
    };
    let (running, exited) = (status("running"), status("exited"));
    let about = |answer| describe::container(dialect.runtime, answer, sandbox).unwrap();
    let end = exited.status.as_ref().unwrap();
    assert_eq!(listed.containers[0].id, end.id);
    assert_eq!(listed.containers[0].state(), cri::ContainerState::ContainerExited);
    assert_eq!(listed.containers[0].pod_sandbox_id, sandbox.unwrap().id);
    let limit = about(&exited).memory_limit;
    let exit = describe::exit(dialect.runtime, end, limit, true).unwrap();
    assert!(describe::exit(dialect.runtime, running.status.as_ref().unwrap(), None, true).is_none());
    (about(&running), about(&exited), exit)
}

/// SX-02: whoever moves a cluster to another runtime keeps the history of its workloads.
#[test]
fn one_container_gives_equal_records_from_all_three_runtimes() {
    let (running, exited, exit) = records("containerd");
    for (name, witness) in [("crio", EvidenceSource::Crio), ("cri-dockerd", EvidenceSource::Docker)] {
        let (mut other_running, mut other_exited, mut other_exit) = records(name);
        assert_eq!(other_exit.source, witness);
        assert_eq!(other_running.pid, Some(48213), "{name}");
        for other in [&mut other_running, &mut other_exited] {
            let cgroup = running.subject.cgroup.as_str();
            match name {
                "crio" => assert_eq!(other.subject.cgroup, cgroup.replace("cri-containerd-", "crio-")),
                // What cri-dockerd leaves out comes from the pid (cgroup), or stays unknown (limit).
                _ => assert_eq!((other.subject.cgroup.as_str(), other.memory_limit), ("", None)),
            }
            assert_ne!(other.subject.runtime, "containerd");
            cgroup.clone_into(&mut other.subject.cgroup);
            "containerd".clone_into(&mut other.subject.runtime);
            other.memory_limit = other.memory_limit.or(running.memory_limit);
        }
        other_exit.source = exit.source;
        other_exit.record.memory_limit_bytes = exit.record.memory_limit_bytes;
        assert_eq!(
            (other_running, other_exited),
            (running.clone(), exited.clone()),
            "{name}"
        );
        assert_eq!(other_exit, exit, "{name}");
    }
    assert_eq!((exit.record.exit_code, exit.record.reason.raw()), (137, "OOMKilled"));
    assert_eq!(exit.record.memory_limit_bytes, Some(64 << 20));
    let subject = &running.subject;
    assert_eq!(
        (subject.owner.kind.as_str(), subject.owner.name.as_str()),
        ("Deployment", "checkout")
    );
    assert_eq!((subject.namespace.as_str(), subject.attempt), ("shop", 2));
}

#[test]
fn an_event_of_cri_o_describes_the_same_end_as_its_status() {
    let event: cri::ContainerEventResponse = message("ContainerEventResponse", &json("crio/event-stopped.json"));
    let (_, exited, exit) = records("crio");
    let own = event
        .containers_statuses
        .iter()
        .find(|s| s.id == event.container_id)
        .unwrap();
    let dialect = Dialect::of(&message("VersionResponse", &json("crio/version.json"))).unwrap();
    assert_eq!(dialect.feed, Feed::Cri);
    assert_eq!(
        describe::exit(dialect.runtime, own, exited.memory_limit, true),
        Some(exit)
    );
}

fn findings(container: Container, exit: Exit) -> Vec<Finding> {
    let mut fusion = Fusion::new("boot".to_owned(), UnixNanos(0), "/", 4096);
    let now = Moment {
        wall: exit.record.finished_at,
        mono_us: 1,
    };
    fusion.observe(Observation::Container(container), now);
    fusion.observe(Observation::Exit(exit), now)
}

/// SX-10: init, restartable init, ephemeral, static pod and Job containers, as far as a node without the apiserver knows.
#[test]
fn every_kind_of_container_comes_out_as_its_fixture_says() {
    let mut kinds = 0;
    for entry in fs::read_dir(folder().join("kinds")).unwrap() {
        let name = entry.unwrap().file_name().into_string().unwrap();
        let fixture = json(&format!("kinds/{name}"));
        let answer: cri::ContainerStatusResponse = message("ContainerStatusResponse", &fixture["container"]);
        let sandbox: cri::PodSandbox = message("PodSandbox", &fixture["sandbox"]);
        let expect = &fixture["expect"];
        assert_eq!(!describe::is_ephemeral(&answer), expect["told"], "{name}");
        kinds += 1;
        if expect["told"] == false {
            continue;
        }
        let runtime = super::Runtime::Containerd;
        let container = describe::container(runtime, &answer, Some(&sandbox)).unwrap();
        let owner = format!("{}/{}", container.subject.owner.kind, container.subject.owner.name);
        assert_eq!(owner, expect["owner"], "{name}");
        let exit = describe::exit(runtime, answer.status.as_ref().unwrap(), None, true).unwrap();
        let findings = findings(container, exit);
        assert_eq!(findings.len(), 1, "{name}");
        assert_eq!(judge(&findings[0].evidence).cause.code(), expect["cause"], "{name}");
    }
    assert_eq!(kinds, 7);
}
