//! The product in a cluster: the committed manifests, with images of the programs that were just built.
//!
//! Owns how the programs get into the cluster and how their answers get out. Must not know what is tested.

use std::{
    collections::BTreeSet,
    fs,
    net::{IpAddr, SocketAddr},
    path::{Path, PathBuf},
    process::Command,
    sync::{Mutex, MutexGuard, OnceLock, PoisonError},
    time::Duration,
};

use anyhow::{Context as _, Result, anyhow, ensure};
use serde_json::{Value, json};

use super::{Cluster, PATIENCE};
use crate::{TestDir, Webhook, bin, faketime, wait_for};

/// The namespace of the committed manifests.
const NAMESPACE: &str = "inquest";
/// Between two questions, each a program in the aggregator's container.
const BETWEEN: Duration = Duration::from_millis(300);
/// A debug build takes more memory than what ships.
const DEBUG_MEMORY: &str = "128Mi";

/// Name of the receiver of the tests.
pub const RECEIVER: &str = "hook";

/// Where the aggregator's image has the library that moves its clock.
pub const FAKETIME: &str = "/libfaketime.so";

/// How long trouble that only the apiserver knows lasts before it is told, for tests that do not wait for minutes.
const REPORT_AFTER: &str = "3s";

/// The product, installed once for each test process.
#[derive(Debug, Clone, Copy)]
pub struct Installation<'a> {
    cluster: &'a Cluster,
    receiver: &'static Mutex<Webhook>,
}

impl<'a> Installation<'a> {
    /// Installs the standard profile on the first call, and waits until every agent has enrolled.
    ///
    /// # Errors
    /// When a manifest is refused or something does not become ready; then for all who ask.
    pub async fn of(cluster: &'a Cluster) -> Result<Self> {
        static INSTALLED: OnceLock<Result<Mutex<Webhook>, String>> = OnceLock::new();
        mount_tracefs(cluster)?;
        let installed = INSTALLED.get_or_init(|| {
            let made = install(cluster).map(Mutex::new);
            made.map_err(|error| format!("{error:#}"))
        });
        let receiver = installed
            .as_ref()
            .map_err(|error| anyhow!("the product is not installed: {error}"))?;
        let this = Self { cluster, receiver };
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

    /// As [`ask`].
    ///
    /// # Errors
    /// When it fails, with its words.
    pub fn ask(&self, question: &[&str]) -> Result<Value> {
        ask(self.cluster, question)
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

    /// Waits until an incident of the node, or of the registry, with this name `fits`, and gives it.
    ///
    /// # Errors
    /// When there is none within twice [`PATIENCE`]: nodes are judged only some minutes after the start.
    pub async fn named(&self, name: &str, what: &str, fits: impl Fn(&Value) -> bool) -> Result<Value> {
        self.find(&["--workload", name], what, PATIENCE.saturating_mul(2), fits)
            .await
    }

    /// Where every message goes; it can be made to misbehave by who has the cluster alone.
    pub fn receiver(&self) -> MutexGuard<'static, Webhook> {
        self.receiver.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What people were told of a namespace, in the order of its arrival.
    #[must_use]
    pub fn messages(&self, namespace: &str) -> Vec<Value> {
        let told = self.receiver().told().into_iter().map(|received| received.body);
        told.filter(|body| body["data"]["workload"]["namespace"] == namespace)
            .collect()
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

/// What the command line answers inside the aggregator's container, as JSON.
///
/// # Errors
/// When it fails, with its words.
pub fn ask(cluster: &Cluster, question: &[&str]) -> Result<Value> {
    let program = [
        "--namespace",
        NAMESPACE,
        "exec",
        "deployment/inquest-aggregator",
        "--",
        "/inquest",
    ];
    let text = cluster.kubectl(&[&program, question, &["--output", "json"]].concat())?;
    serde_json::from_str(&text).with_context(|| format!("no JSON: {text}"))
}

/// Gives every node the folder of trace events, as systemd does at each boot.
///
/// # Errors
/// When a node does not take it.
pub fn mount_tracefs(cluster: &Cluster) -> Result<()> {
    for node in 1..=cluster.nodes()? {
        let script = "mountpoint -q /sys/kernel/tracing || mount -t tracefs nodev /sys/kernel/tracing";
        cluster.node(node)?.run(&["sh", "-c", script])?;
    }
    Ok(())
}

/// Images of the agent and of the aggregator that were just built, in every node.
///
/// # Errors
/// When a node does not take one.
pub fn images(cluster: &Cluster) -> Result<(String, String)> {
    let agent = image(cluster, "inquest-agent", &["inquest-agent"], &[])?;
    let library = faketime::library()?;
    let further = [(FAKETIME, library.as_path())];
    let aggregator = image(
        cluster,
        "inquest-aggregator",
        &["inquest-aggregator", "inquest"],
        &further,
    )?;
    Ok((agent, aggregator))
}

/// Applies the manifests of the standard profile with what differs here: images, memory of a debug build, no storage, nodes
/// that share a kernel, and a receiver on this machine, which is given back.
fn install(cluster: &Cluster) -> Result<Webhook> {
    let (agent, aggregator) = images(cluster)?;
    let receiver = Webhook::start_at(SocketAddr::new(address(cluster)?, 0))?;
    cluster.kubectl(&["create", "namespace", NAMESPACE])?;
    authority(cluster)?;
    let dir = TestDir::new("install")?;
    fs::write(dir.join("standard.yaml"), manifests(&receiver.url())?)?;
    let overlay = overlay(&agent, &aggregator, &cgroup_scope(cluster)?);
    fs::write(dir.join("kustomization.yaml"), overlay.to_string())?;
    cluster.kubectl(&["apply", "--kustomize", &dir.path().display().to_string()])?;
    for part in ["deployment/inquest-aggregator", "daemonset/inquest-agent"] {
        cluster.kubectl(&["--namespace", NAMESPACE, "rollout", "status", part, "--timeout=180s"])?;
    }
    Ok(receiver)
}

/// The committed manifests with a receiver beside the one that everybody has.
fn manifests(receiver: &str) -> Result<String> {
    const CONFIG: &str = "  aggregator.yaml: |\n";
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("../deploy/kubernetes/standard.yaml");
    let text = fs::read_to_string(file).context("the committed manifests")?;
    ensure!(text.contains(CONFIG), "the manifests have no configuration");
    let receivers = json!([{"name": "stdout", "stdout": {}}, {"name": RECEIVER, "webhook": {"url": receiver}}]);
    let route =
        json!({"receiver": "stdout", "routes": [{"receiver": RECEIVER, "continue": true}, {"receiver": "stdout"}]});
    let added = format!("{CONFIG}    receivers: {receivers}\n    route: {route}\n");
    Ok(text.replacen(CONFIG, &added, 1))
}

/// The address of this machine as nodes and pods see it.
fn address(cluster: &Cluster) -> Result<IpAddr> {
    let settings = fs::read_to_string(cluster.home()?.join("env"))?;
    let rest = settings.split("CLUSTER_API=https://").nth(1).context("no apiserver")?;
    let address = rest.split(':').next().unwrap_or_default();
    address.parse().with_context(|| format!("no address: {address}"))
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
///
/// # Errors
/// When the kubelet names none.
pub fn cgroup_scope(cluster: &Cluster) -> Result<String> {
    Ok(cluster.node(1)?.cgroup()?.replace("node1", "$(INQUEST_NODE_NAME)"))
}

/// An image of programs of ours, with the libraries that a debug build loads, and further files.
fn image(cluster: &Cluster, name: &str, programs: &[&str], further: &[(&str, &Path)]) -> Result<String> {
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
    let files: Vec<_> = own.chain(loaded).chain(further.iter().copied()).collect();
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
