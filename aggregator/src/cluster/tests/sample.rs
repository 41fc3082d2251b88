//! Objects as the API writes them, with fields that the index does not keep.

use serde_json::{Value, json};

pub(crate) fn uid(number: u32) -> String {
    format!("00000000-0000-4000-8000-{number:012x}")
}

pub(crate) fn container_id(number: u32) -> String {
    format!("containerd://{number:064x}")
}

/// A running pod of the replica set `api-1`.
pub(crate) fn pod(number: u32) -> Value {
    json!({
        "apiVersion": "v1", "kind": "Pod",
        "metadata": {
            "name": format!("api-{number}"), "namespace": "shop", "uid": uid(number),
            "creationTimestamp": "2026-01-01T00:00:00Z",
            "labels": {"app": "api", "pod-template-hash": "6f7"},
            "annotations": {"note": "x"},
            "ownerReferences": [{"apiVersion": "apps/v1", "kind": "ReplicaSet", "name": "api-6f7",
                "uid": uid(9_001), "controller": true, "blockOwnerDeletion": true}],
            "managedFields": [{"manager": "kubelet", "fieldsV1": {"f:status": {}}}],
        },
        "spec": {
            "nodeName": "node1", "restartPolicy": "Always",
            "containers": [{
                "name": "main", "image": "img/api:1", "env": [{"name": "A", "value": "b"}],
                "resources": {"limits": {"memory": "64Mi", "cpu": "1"}},
                "livenessProbe": {"httpGet": {"port": 80}},
            }],
            "volumes": [{"name": "v", "emptyDir": {}}],
        },
        "status": {
            "phase": "Running",
            "conditions": [{"type": "Ready", "status": "True"}],
            "containerStatuses": [{
                "name": "main", "ready": true, "restartCount": 0, "started": true,
                "image": "img/api:1", "imageID": "img/api@sha256:1",
                "containerID": container_id(number),
                "state": {"running": {"startedAt": "2026-01-01T00:00:01Z"}}, "lastState": {},
            }],
        },
    })
}

/// The same after its container died and waits for the next start.
pub(crate) fn crashed(number: u32, restarts: u32) -> Value {
    let mut pod = pod(number);
    pod["status"]["conditions"][0]["status"] = "False".into();
    pod["status"]["containerStatuses"][0] = json!({
        "name": "main", "restartCount": restarts, "imageID": "img/api@sha256:1",
        "containerID": container_id(number + 100 * restarts),
        "state": {"waiting": {"reason": "CrashLoopBackOff", "message": "back-off 10s restarting failed container"}},
        "lastState": {"terminated": {
            "exitCode": 137, "reason": "OOMKilled", "startedAt": "2026-01-01T00:00:01Z",
            "finishedAt": format!("2026-01-01T00:{:02}:09Z", restarts % 60),
            "containerID": container_id(number + 100 * restarts),
        }},
    });
    pod
}

pub(crate) fn replica_set(name: &str, number: u32, deployment: Option<u32>, revision: u32) -> Value {
    let owners = deployment.map(|owner| {
        json!({"apiVersion": "apps/v1", "kind": "Deployment", "name": "api", "uid": uid(owner), "controller": true})
    });
    json!({
        "metadata": {
            "name": name, "namespace": "shop", "uid": uid(number), "creationTimestamp": "2026-01-01T00:00:00Z",
            "labels": {"pod-template-hash": "6f7"},
            "annotations": {"deployment.kubernetes.io/revision": revision.to_string()},
            "ownerReferences": owners.into_iter().collect::<Vec<_>>(),
        },
    })
}

pub(crate) fn node(name: &str, ready: &str) -> Value {
    json!({
        "metadata": {"name": name, "uid": format!("uid-of-{name}"), "creationTimestamp": "2026-01-01T00:00:00Z"},
        "spec": {"taints": [{"key": "dedicated", "effect": "NoSchedule"}]},
        "status": {
            "nodeInfo": {"bootID": "b1", "kernelVersion": "6.1"},
            "conditions": [
                {"type": "MemoryPressure", "status": "False", "reason": "KubeletHasSufficientMemory"},
                {"type": "Ready", "status": ready, "reason": "KubeletReady"},
            ],
        },
    })
}

pub(crate) fn warning(number: u32, object: &str, count: u32) -> Value {
    json!({
        "metadata": {"name": format!("e{number}"), "namespace": "shop", "uid": uid(70_000 + number)},
        "involvedObject": {"kind": "Pod", "namespace": "shop", "name": "api-1", "uid": object,
            "fieldPath": "spec.containers{main}"},
        "type": "Warning", "reason": "BackOff", "message": "Back-off restarting failed container",
        "count": count, "source": {"component": "kubelet", "host": "node1"},
    })
}
