//! A large cluster that was made up, for tests and benches of whoever keeps its objects.
//!
//! Owns what such pods and nodes look like: as long as real ones, and with texts that repeat as often as real ones do. Must
//! not know how they are asked for.

use serde_json::{Value, json};

/// Pods of one replica set.
const OF_A_SET: usize = 10;
/// Pods of one namespace.
const OF_A_NAMESPACE: usize = 500;

/// The made-up cluster.
#[derive(Debug)]
pub struct Crowd {
    pod: Template,
    node: Template,
    nodes: usize,
}

impl Crowd {
    /// A cluster whose pods lie on so many nodes, at least one.
    #[must_use]
    pub fn new(nodes: usize) -> Self {
        Self {
            pod: Template::of(&pod()),
            node: Template::of(&node()),
            nodes: nodes.max(1),
        }
    }

    /// A running pod with two containers, as JSON: some 5 kB of text.
    #[must_use]
    pub fn pod(&self, number: usize) -> String {
        let set = number / OF_A_SET;
        self.pod.fill(|mark| match mark {
            "SET" => format!("service-{set}-6f7d9c8b5"),
            "NUMBER" => format!("{number:05x}"),
            "NS" => format!("team-{}", number / OF_A_NAMESPACE),
            "TAG" => format!("1.{}", set % 7),
            "UID" => uid(number, 1),
            "OWNER" => uid(set, 2),
            "HASH" => format!("{set:09x}"),
            "NODE" => node_name(number % self.nodes),
            "DIGEST" => digits(set % 2_000, 9),
            "FIRST" => digits(number, 3),
            "SECOND" => digits(number, 4),
            _ => String::new(),
        })
    }

    /// A ready node, as JSON: some 8 kB of text.
    #[must_use]
    pub fn node(&self, number: usize) -> String {
        self.node.fill(|mark| match mark {
            "NODE" => node_name(number),
            "UID" => uid(number, 5),
            "BOOT" => uid(number, 6),
            _ => String::new(),
        })
    }
}

/// Text with marks where objects differ.
#[derive(Debug)]
struct Template(Vec<(String, String)>);

impl Template {
    /// Takes every `%MARK%` of the object for a mark.
    fn of(object: &Value) -> Self {
        let text = object.to_string();
        let parts: Vec<&str> = text.split('%').collect();
        let pair = |pair: &[&str]| {
            let part = |index: usize| pair.get(index).copied().unwrap_or_default().to_owned();
            (part(0), part(1))
        };
        Self(parts.chunks(2).map(pair).collect())
    }

    fn fill(&self, value: impl Fn(&str) -> String) -> String {
        let mut text = String::with_capacity(8_192);
        for (part, mark) in &self.0 {
            text.push_str(part);
            text.push_str(&value(mark));
        }
        text
    }
}

fn node_name(number: usize) -> String {
    format!("ip-10-{}-{}.example.internal", number / 250, number % 250)
}

fn digits(seed: usize, salt: u64) -> String {
    let mixed = |round: u64| (seed as u64 + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15 ^ salt.wrapping_add(round));
    (0..4).map(|round| format!("{:016x}", mixed(round))).collect()
}

fn uid(seed: usize, salt: u64) -> String {
    let hex = digits(seed, salt);
    let part = |from: usize, to: usize| hex.get(from..to).unwrap_or_default().to_owned();
    [part(0, 8), part(8, 12), part(12, 16), part(16, 20), part(20, 32)].join("-")
}

/// What a manager has written about the fields it owns: nobody keeps it, and everybody is sent it.
fn managed(length: usize) -> Value {
    json!([{"manager": "kubelet", "fieldsV1": {"f:status": "y".repeat(length)}}])
}

fn pod() -> Value {
    json!({
        "metadata": {
            "name": "%SET%-%NUMBER%", "namespace": "%NS%", "uid": "%UID%", "resourceVersion": "100",
            "creationTimestamp": "2026-01-01T00:00:00Z",
            "labels": {"app": "%SET%", "pod-template-hash": "%HASH%"},
            "ownerReferences": [{"apiVersion": "apps/v1", "kind": "ReplicaSet", "controller": true,
                "name": "%SET%", "uid": "%OWNER%"}],
            "managedFields": managed(1_500),
        },
        "spec": {
            "nodeName": "%NODE%", "restartPolicy": "Always",
            "containers": [container("main"), container("proxy")],
        },
        "status": {
            "phase": "Running", "conditions": [{"type": "Ready", "status": "True"}],
            "containerStatuses": [status("main", "%FIRST%"), status("proxy", "%SECOND%")],
        },
    })
}

fn container(name: &str) -> Value {
    json!({
        "name": name, "image": format!("registry.example/%NS%/{name}:%TAG%"),
        "env": (0..12).map(|n| json!({"name": format!("SETTING_{n}"), "value": "x".repeat(40)})).collect::<Vec<_>>(),
        "resources": {"limits": {"memory": "512Mi"}, "requests": {"cpu": "100m"}},
        "livenessProbe": {"httpGet": {"path": "/livez", "port": 80}},
        "volumeMounts": [{"name": "token", "mountPath": "/var/run/secrets"}],
    })
}

fn status(name: &str, id: &str) -> Value {
    json!({
        "name": name, "ready": true, "restartCount": 0, "started": true,
        "image": "registry.example/image:1", "imageID": "registry.example/image@sha256:%DIGEST%",
        "containerID": format!("containerd://{id}"),
        "state": {"running": {"startedAt": "2026-01-01T00:00:01Z"}}, "lastState": {},
    })
}

fn node() -> Value {
    let condition = |name: &str, status: &str| {
        json!({"type": name, "status": status, "reason": format!("KubeletHas{name}"), "message": "as it should be",
            "lastHeartbeatTime": "2026-01-01T00:00:00Z", "lastTransitionTime": "2026-01-01T00:00:00Z"})
    };
    let pressures = ["MemoryPressure", "DiskPressure", "PIDPressure"];
    let mut conditions: Vec<Value> = pressures.iter().map(|name| condition(name, "False")).collect();
    conditions.push(condition("Ready", "True"));
    let image = |n: usize| json!({"names": [format!("registry.example/image-{n}:1"), "z".repeat(60)], "sizeBytes": 123_456_789});
    json!({
        "metadata": {
            "name": "%NODE%", "uid": "%UID%", "resourceVersion": "100", "creationTimestamp": "2026-01-01T00:00:00Z",
            "labels": {"kubernetes.io/hostname": "%NODE%", "topology.kubernetes.io/zone": "a"},
            "managedFields": managed(1_500),
        },
        "spec": {"podCIDR": "10.0.0.0/24"},
        "status": {
            "conditions": conditions,
            "nodeInfo": {"bootID": "%BOOT%", "kernelVersion": "6.18.0", "kubeletVersion": "v1.34.0"},
            "images": (0..40).map(image).collect::<Vec<_>>(),
        },
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn objects_are_json_without_marks_and_differ() {
        let crowd = Crowd::new(3);
        let pod: Value = serde_json::from_str(&crowd.pod(14)).unwrap();
        assert_eq!(pod["metadata"]["name"], "service-1-6f7d9c8b5-0000e");
        assert_eq!(pod["spec"]["nodeName"], "ip-10-0-2.example.internal");
        let node: Value = serde_json::from_str(&crowd.node(2)).unwrap();
        assert_eq!(node["metadata"]["name"], pod["spec"]["nodeName"]);
        assert!(!format!("{pod}{node}").contains('%'));
        assert_ne!(crowd.pod(14), crowd.pod(15));
    }
}
