//! The product in a cluster: the committed manifests, with images of the programs that were just built.
//!
//! Owns how the programs get into the cluster and how their answers get out. Must not know what is tested.

use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
    process::Command,
    sync::OnceLock,
    time::Duration,
};

use anyhow::{Context as _, Result, anyhow, ensure};
use serde_json::{Value, json};

use super::{Cluster, PATIENCE};
use crate::{TestDir, bin, wait_for};

/// The namespace of the committed manifests.
const NAMESPACE: &str = "inquest";
/// Between two questions, each a program in the aggregator's container.
const BETWEEN: Duration = Duration::from_millis(300);
/// A debug build takes more memory than what ships.
const DEBUG_MEMORY: &str = "128Mi";

/// How long trouble that only the apiserver knows lasts before it is told, for tests that do not wait for minutes.
const REPORT_AFTER: &str = "3s";

/// The product, installed once for each test process.
#[derive(Debug, Clone, Copy)]
pub struct Installation<'a>(&'a Cluster);

impl<'a> Installation<'a> {
    /// Installs the standard profile on the first call, and waits until every agent has enrolled.
    ///
    /// # Errors
    /// When a manifest is refused or something does not become ready; then for all who ask.
    pub async fn of(cluster: &'a Cluster) -> Result<Self> {
        static INSTALLED: OnceLock<Result<(), String>> = OnceLock::new();
        // a node that lost its power in an earlier test has lost this mount as well
        for node in 1..=cluster.nodes()? {
            let script = "mountpoint -q /sys/kernel/tracing || mount -t tracefs nodev /sys/kernel/tracing";
            cluster.node(node)?.run(&["sh", "-c", script])?;
        }
        let installed = INSTALLED.get_or_init(|| install(cluster).map_err(|error| format!("{error:#}")));
        installed
            .clone()
            .map_err(|error| anyhow!("the product is not installed: {error}"))?;
        let this = Self(cluster);
        let nodes = cluster.kubectl(&["get", "nodes", "--output", "name"])?.lines().count();
        wait_for("every agent reports", PATIENCE, async || {
            let seen = this.ask(&["nodes"])?;
            let known = seen["nodes"].as_array().cloned().unwrap_or_default();
            let connected = known.iter().filter(|node| node["connected"] == true).count();
            ensure!(connected == nodes, "{seen}");
            Ok::<_, anyhow::Error>(())
        })
        .await?;
        Ok(this)
    }

    /// What the command line answers inside the aggregator's container, as JSON.
    ///
    /// # Errors
    /// When it fails, with its words.
    pub fn ask(&self, question: &[&str]) -> Result<Value> {
        let program = [
            "--namespace",
            NAMESPACE,
            "exec",
            "deployment/inquest-aggregator",
            "--",
            "/inquest",
        ];
        let text = self.0.kubectl(&[&program, question, &["--output", "json"]].concat())?;
        serde_json::from_str(&text).with_context(|| format!("no JSON: {text}"))
    }

    /// The incidents of a namespace, the newest first.
    ///
    /// # Errors
    /// As [`Installation::ask`].
    pub fn incidents(&self, namespace: &str) -> Result<Vec<Value>> {
        let seen = self.ask(&["incidents", "--namespace", namespace])?;
        Ok(seen["incidents"].as_array().cloned().unwrap_or_default())
    }

    /// Waits until the namespace has an incident that `fits`, and gives it.
    ///
    /// # Errors
    /// When there is none within [`PATIENCE`], with those that there are.
    pub async fn incident(&self, namespace: &str, what: &str, fits: impl Fn(&Value) -> bool) -> Result<Value> {
        self.find(&["--namespace", namespace], what, PATIENCE, fits).await
    }

    /// Waits until an incident of a node `fits`, and gives it.
    ///
    /// # Errors
    /// When there is none within twice [`PATIENCE`]: nodes are judged only some minutes after the start.
    pub async fn of_node(&self, node: &str, what: &str, fits: impl Fn(&Value) -> bool) -> Result<Value> {
        self.find(&["--workload", node], what, PATIENCE.saturating_mul(2), fits)
            .await
    }

    async fn find(
        &self,
        filter: &[&str],
        what: &str,
        patience: Duration,
        fits: impl Fn(&Value) -> bool,
    ) -> Result<Value> {
        wait_for(what, patience, async || {
            let seen = self.ask(&[&["incidents"], filter].concat())?;
            let seen = seen["incidents"].as_array().cloned().unwrap_or_default();
            let found = seen.iter().find(|incident| fits(incident)).cloned();
            if found.is_none() {
                tokio::time::sleep(BETWEEN).await;
            }
            found.with_context(|| json!(seen).to_string())
        })
        .await
    }
}

/// Applies the manifests of the standard profile with what differs here: images, memory of a debug build, no storage, and
/// nodes that share a kernel.
fn install(cluster: &Cluster) -> Result<()> {
    let agent = image(cluster, "inquest-agent", &["inquest-agent"])?;
    let aggregator = image(cluster, "inquest-aggregator", &["inquest-aggregator", "inquest"])?;
    cluster.kubectl(&["create", "namespace", NAMESPACE])?;
    authority(cluster)?;
    let dir = TestDir::new("install")?;
    let manifests = Path::new(env!("CARGO_MANIFEST_DIR")).join("../deploy/kubernetes/standard.yaml");
    fs::copy(manifests, dir.join("standard.yaml")).context("the committed manifests")?;
    let overlay = overlay(&agent, &aggregator, &scope(cluster)?);
    fs::write(dir.join("kustomization.yaml"), overlay.to_string())?;
    cluster.kubectl(&["apply", "--kustomize", &dir.path().display().to_string()])?;
    for part in ["deployment/inquest-aggregator", "daemonset/inquest-agent"] {
        cluster.kubectl(&["--namespace", NAMESPACE, "rollout", "status", part, "--timeout=180s"])?;
    }
    Ok(())
}

/// A kustomization in JSON, which is YAML as well.
fn overlay(agent: &str, aggregator: &str, scope: &str) -> Value {
    let patch = |kind: &str, name: &str, changes: Value| json!({"target": {"kind": kind, "name": name}, "patch": changes.to_string()});
    let memory = |limit: &str| json!({"op": "replace", "path": "/spec/template/spec/containers/0/resources/limits/memory", "value": limit});
    let name = |image: &str| {
        image
            .rsplit_once(':')
            .map(|(name, tag)| (name.to_owned(), tag.to_owned()))
            .unwrap_or_default()
    };
    let (agent_name, agent_tag) = name(agent);
    let (aggregator_name, aggregator_tag) = name(aggregator);
    let env = |name: &str, value: &str| json!({"op": "add", "path": "/spec/template/spec/containers/0/env/-", "value": {"name": name, "value": value}});
    json!({
        "resources": ["standard.yaml"],
        "images": [
            {"name": "inquest-agent", "newName": agent_name, "newTag": agent_tag},
            {"name": "inquest-aggregator", "newName": aggregator_name, "newTag": aggregator_tag},
        ],
        "patches": [
            patch("DaemonSet", "inquest-agent", json!([
                memory(DEBUG_MEMORY),
                env("INQUEST_SOURCES_CGROUP_SCOPE", scope),
                env("INQUEST_SOURCES_TRACE_INSTANCE", "$(INQUEST_NODE_NAME)"),
            ])),
            patch("Deployment", "inquest-aggregator", json!([
                {"op": "replace", "path": "/spec/template/spec/volumes/1", "value": {"name": "data", "emptyDir": {}}},
                {"op": "add", "path": "/spec/template/spec/containers/0/env", "value": [
                    {"name": "INQUEST_WATCH_REPORT_AFTER", "value": REPORT_AFTER},
                ]},
            ])),
            {"patch": json!({
                "apiVersion": "v1",
                "kind": "PersistentVolumeClaim",
                "metadata": {"name": "inquest-aggregator", "namespace": NAMESPACE},
                "$patch": "delete",
            }).to_string()},
        ],
    })
}

/// The cgroup of a node, in words that its agent completes: nodes that share a kernel share its records.
fn scope(cluster: &Cluster) -> Result<String> {
    Ok(cluster.node(1)?.cgroup()?.replace("node1", "$(INQUEST_NODE_NAME)"))
}

/// An image of programs of ours, with the libraries that a debug build loads.
fn image(cluster: &Cluster, name: &str, programs: &[&str]) -> Result<String> {
    let paths: Vec<PathBuf> = programs.iter().map(|program| bin(program)).collect::<Result<_>>()?;
    let mut libraries = BTreeSet::new();
    for path in &paths {
        libraries.extend(libraries_of(path)?);
    }
    let places: Vec<String> = programs.iter().map(|program| format!("/{program}")).collect();
    let own = places
        .iter()
        .map(String::as_str)
        .zip(paths.iter().map(PathBuf::as_path));
    let loaded = libraries.iter().map(|library| (library.as_str(), Path::new(library)));
    let files: Vec<_> = own.chain(loaded).collect();
    let command = places.first().context("no program")?;
    cluster.image(&format!("{name}:test"), &files, &[command])
}

/// What the loader takes, as `ldd` says, each by the path at which it is looked for.
fn libraries_of(program: &Path) -> Result<Vec<String>> {
    let said = Command::new("ldd").arg(program).output().context("cannot run ldd")?;
    let text = String::from_utf8(said.stdout)?;
    let path = |line: &str| {
        line.split_whitespace()
            .find(|word| word.starts_with('/'))
            .map(str::to_owned)
    };
    Ok(text.lines().filter_map(path).collect())
}

/// The authority that the manifests leave to whoever installs them, as the page on installation says.
fn authority(cluster: &Cluster) -> Result<()> {
    let dir = TestDir::new("authority")?;
    let (key, certificate) = (dir.join("ca.key"), dir.join("ca.crt"));
    let made = Command::new("openssl")
        .args([
            "req",
            "-x509",
            "-newkey",
            "ec",
            "-pkeyopt",
            "ec_paramgen_curve:prime256v1",
            "-nodes",
        ])
        .args(["-days", "2", "-subj", "/CN=inquest authority"])
        .arg("-keyout")
        .arg(&key)
        .arg("-out")
        .arg(&certificate)
        .output()
        .context("cannot run openssl")?;
    ensure!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
    let file = |path: &Path| format!("--from-file={}", path.display());
    let (key, certificate) = (file(&key), file(&certificate));
    let to = ["--namespace", NAMESPACE, "create"];
    cluster.kubectl(&[&to[..], &["secret", "generic", "inquest-authority", &certificate, &key]].concat())?;
    cluster.kubectl(&[&to[..], &["configmap", "inquest-authority", &certificate]].concat())?;
    Ok(())
}
