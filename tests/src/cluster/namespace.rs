//! A namespace of a cluster that belongs to one test.

use std::time::Duration;

use anyhow::{Context as _, Result};
use serde_json::{Value, json};

use super::{Cluster, PATIENCE};
use crate::wait_for;

/// How long to wait between two questions. Each is a kubectl of its own, which costs a fifth of a second of one core.
const BETWEEN: Duration = Duration::from_millis(250);

/// A namespace; deleted when dropped, without waiting for its pods.
#[derive(Debug)]
pub struct Namespace<'a> {
    cluster: &'a Cluster,
    name: String,
}

impl<'a> Namespace<'a> {
    pub(super) fn make(cluster: &'a Cluster, name: String) -> Result<Self> {
        cluster.kubectl(&["create", "namespace", &name])?;
        let made = Self { cluster, name };
        // a controller makes it a moment later, and until then pods are refused
        made.kubectl(&["wait", "--for=create", "serviceaccount/default", "--timeout=120s"])?;
        Ok(made)
    }

    /// Its name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// As [`Cluster::kubectl`], in here.
    ///
    /// # Errors
    /// When it fails, with its words.
    pub fn kubectl(&self, arguments: &[&str]) -> Result<String> {
        self.cluster
            .kubectl(&[&["--namespace", &self.name], arguments].concat())
    }

    /// Makes or changes an object in here.
    ///
    /// # Errors
    /// What the apiserver says.
    pub fn apply(&self, object: &Value) -> Result<()> {
        let mut object = object.clone();
        if let Some(metadata) = object.get_mut("metadata").and_then(Value::as_object_mut) {
            metadata.insert("namespace".to_owned(), json!(self.name));
        }
        self.cluster.apply(&object.to_string())
    }

    /// An object as it is, for example `pod/app`.
    ///
    /// # Errors
    /// What the apiserver says.
    pub fn get(&self, object: &str) -> Result<Value> {
        let text = self.kubectl(&["get", object, "--output", "json"])?;
        serde_json::from_str(&text).with_context(|| format!("{object} is not JSON"))
    }

    /// Waits until `judge` finds in the object what it looks for, and gives that back. `None` means not yet.
    ///
    /// # Errors
    /// When it does not within [`PATIENCE`], with the status that was seen last.
    pub async fn wait_for<T>(&self, what: &str, object: &str, judge: impl Fn(&Value) -> Option<T>) -> Result<T> {
        wait_for(what, PATIENCE, async || {
            let seen = match self.get(object) {
                Ok(seen) => judge(&seen).ok_or_else(|| seen["status"].to_string()),
                Err(error) => Err(format!("{error:#}")),
            };
            if seen.is_err() {
                tokio::time::sleep(BETWEEN).await;
            }
            seen
        })
        .await
    }

    /// Waits until every container of a pod runs and is ready; gives the pod.
    ///
    /// # Errors
    /// As [`Namespace::wait_for`].
    pub async fn wait_ready(&self, pod: &str) -> Result<Value> {
        let what = format!("pod {pod} is ready");
        self.wait_for(&what, &format!("pod/{pod}"), |seen| {
            is_ready(seen).then(|| seen.clone())
        })
        .await
    }
}

impl Drop for Namespace<'_> {
    fn drop(&mut self) {
        // What is left goes with the cluster.
        let deleted = self
            .cluster
            .kubectl(&["delete", "namespace", &self.name, "--wait=false"]);
        deleted.map(drop).unwrap_or_default();
    }
}

/// Whether the condition `Ready` of a pod or a node holds.
#[must_use]
pub fn is_ready(object: &Value) -> bool {
    let conditions = object["status"]["conditions"].as_array();
    let ready = |condition: &Value| condition["type"] == "Ready" && condition["status"] == "True";
    conditions.is_some_and(|all| all.iter().any(ready))
}

/// The manifest of a pod with one container `main` that runs a shell script. A test changes it where it needs another.
#[must_use]
pub fn pod(name: &str, image: &str, script: &str) -> Value {
    json!({
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": name, "labels": {"app": name}},
        "spec": {
            // a shell as process 1 ignores SIGTERM, and nobody waits for it
            "terminationGracePeriodSeconds": 0,
            "containers": [{
                "name": "main",
                "image": image,
                "imagePullPolicy": "IfNotPresent",
                "command": ["/bin/sh", "-c", script],
            }],
        },
    })
}
