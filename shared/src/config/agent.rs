//! The agent's schema (`/etc/inquest/agent.yaml`).
//!
//! Owns keys, defaults and limits. Must not know the cluster's name: the aggregator takes cluster
//! and node from the identity of the connection.

use std::net::SocketAddr;
use std::path::PathBuf;

use super::enrolment::AgentProof;
use super::redaction;
use super::units::{ByteSize, ConfigDuration};
use super::{HostPort, KeepAlive, LogConfig, Schema, Section, at_least, positive};

/// Everything that can be set for the agent.
#[derive(Debug, Clone)]
pub struct AgentConfig {
    /// `node.name`: the name this node enrols with. Default: the host name. In Kubernetes set
    /// `INQUEST_NODE_NAME` from `spec.nodeName`.
    pub node_name: Option<String>,
    /// `aggregator.*`: where findings go.
    pub aggregator: AggregatorAddress,
    /// `enrolment.*`: what this node proves itself with.
    pub proof: AgentProof,
    /// `state_dir`: folder of the spool, the cursors and the counter baselines. Default
    /// `/var/lib/inquest-agent`.
    pub state_dir: PathBuf,
    /// `spool.*`: how much is kept while the aggregator is away.
    pub spool: SpoolConfig,
    /// `sources.*`: what is watched.
    pub sources: Sources,
    /// `host.proc`: where the host's procfs is mounted. Default `/proc`.
    pub host_proc: PathBuf,
    /// `host.container_logs`: the kubelet's folder of log links, read only where no runtime can be asked. Default
    /// `/var/log/containers`.
    pub container_logs: PathBuf,
    /// `log_tail.*`: how much of a dead container's log is kept.
    pub log_tail: LogTail,
    /// `redaction.patterns`: regular expressions whose matches are blanked before a log line
    /// leaves the node, beside the built-in ones. Default: none.
    pub redaction_patterns: Vec<String>,
    /// `listen.status`: address of `/metrics`, `/livez` and `/readyz`. Default `127.0.0.1:7443`.
    pub status: SocketAddr,
    /// `log.*`: the agent's own log.
    pub log: LogConfig,
}

/// Where the aggregator is and how to know it.
#[derive(Debug, Clone)]
pub struct AggregatorAddress {
    /// `aggregator.address`: host and port of ingest. Default `127.0.0.1:7440`.
    pub address: HostPort,
    /// `aggregator.ca_file`: PEM file with the authority that the server's certificate must come
    /// from. Default: none, and then the agent cannot connect outside a cluster.
    pub ca_file: Option<PathBuf>,
    /// `aggregator.server_name`: name expected in the server's certificate. Default: the host of
    /// `aggregator.address`.
    pub server_name: Option<String>,
    /// `aggregator.keep_alive.*`: how soon a dead connection is noticed.
    pub keep_alive: KeepAlive,
}

/// Limits of the spool.
#[derive(Debug, Clone)]
pub struct SpoolConfig {
    /// `spool.findings_max`: disk for findings. Default `64MiB`, at least `1MiB`.
    pub findings_max: ByteSize,
    /// `spool.logs_max`: disk for log tails. Default `8MiB`, at least `1MiB`.
    pub logs_max: ByteSize,
}

/// What is watched on the node.
#[derive(Debug, Clone)]
pub struct Sources {
    /// `sources.kmsg.*`: the kernel log.
    pub kmsg: KmsgSource,
    /// `sources.trace.*`: trace events of the kernel.
    pub trace: TraceSource,
    /// `sources.cgroup.*`: kill counters of control groups.
    pub cgroup: CgroupSource,
    /// `sources.containerd.*`: the container runtime.
    pub containerd: ContainerdSource,
    /// `sources.cri.*`: a runtime that speaks CRI and is not containerd.
    pub cri: ContainerdSource,
    /// `sources.docker.*`: the Docker engine.
    pub docker: DockerSource,
}

/// The kernel log.
#[derive(Debug, Clone)]
pub struct KmsgSource {
    /// `sources.kmsg.enabled`. Default `true`.
    pub enabled: bool,
    /// `sources.kmsg.path`. Default `/dev/kmsg`.
    pub path: PathBuf,
}

/// Trace events.
#[derive(Debug, Clone)]
pub struct TraceSource {
    /// `sources.trace.enabled`. Default `true`.
    pub enabled: bool,
    /// `sources.trace.path`: where tracefs is mounted; only its folder `instances` is used. Default `/sys/kernel/tracing`.
    pub path: PathBuf,
    /// `sources.trace.instance`: the agent's folder is `instances/inquest-<instance>`; two agents on one kernel need two.
    /// Default `agent`, 1 to 32 letters, digits and `-`.
    pub instance: String,
}

/// Control groups.
#[derive(Debug, Clone)]
pub struct CgroupSource {
    /// `sources.cgroup.enabled`. Default `true`.
    pub enabled: bool,
    /// `sources.cgroup.root`: where the cgroup file system is mounted. Default `/sys/fs/cgroup`.
    pub root: PathBuf,
    /// `sources.cgroup.scope`: cgroup below which this node's containers live, as the kernel log names it. Kernel
    /// records of other cgroups belong to another node on the same kernel (kind) and are left to it. Default `/`.
    pub scope: String,
    /// `sources.cgroup.poll`: time between two readings of the counters. Default `1s`.
    pub poll: ConfigDuration,
}

/// A runtime that speaks CRI: `sources.containerd.*` or `sources.cri.*`.
#[derive(Debug, Clone)]
pub struct ContainerdSource {
    /// `enabled`. Default `true`.
    pub enabled: bool,
    /// `socket`: candidates; the first that answers is used. Default: the sockets of containerd,
    /// k3s and MicroK8s, or those of CRI-O and cri-dockerd.
    pub socket: Vec<PathBuf>,
    /// `poll`: time between two listings while there is no event stream. Default `1s`.
    pub poll: ConfigDuration,
    /// `reconcile`: time between two listings while the stream is live. Default `30s`.
    pub reconcile: ConfigDuration,
    /// `events`: subscribe to the runtime's events. Default `true`.
    pub events: bool,
}

/// The Docker engine.
#[derive(Debug, Clone)]
pub struct DockerSource {
    /// `sources.docker.enabled`. Default `true`.
    pub enabled: bool,
    /// `sources.docker.socket`: candidates; the first that exists is used. Default: `/run/docker.sock`.
    pub socket: Vec<PathBuf>,
    /// `sources.docker.reconcile`: time between two listings that make up for events that got lost. Default `30s`.
    pub reconcile: ConfigDuration,
}

/// The last lines of a dead container.
#[derive(Debug, Clone)]
pub struct LogTail {
    /// `log_tail.max_lines`: lines kept. Default `200`; `0` keeps none.
    pub max_lines: u32,
    /// `log_tail.max_bytes`: bytes kept. Default `16KiB`.
    pub max_bytes: ByteSize,
}

/// Least disk for one lane of the spool: below it, one burst of a node would already be shed.
const LEAST_SPOOL: ByteSize = ByteSize::mib(1);

impl Schema for AgentConfig {
    const LIVE: &'static [&'static str] = &["redaction.patterns", "log.level"];

    fn log(&self) -> &LogConfig {
        &self.log
    }

    fn read(section: &mut Section<'_, '_>) -> Self {
        let (host_proc, container_logs) = section.section("host", |s| {
            (
                s.value("proc", PathBuf::from("/proc")),
                s.value("container_logs", PathBuf::from("/var/log/containers")),
            )
        });
        Self {
            node_name: section.section("node", |s| s.optional("name")),
            aggregator: section.section("aggregator", AggregatorAddress::read),
            proof: section.section("enrolment", AgentProof::read),
            state_dir: section.value("state_dir", PathBuf::from("/var/lib/inquest-agent")),
            spool: section.section("spool", |s| SpoolConfig {
                findings_max: at_least(s, "findings_max", ByteSize::mib(64), &LEAST_SPOOL),
                logs_max: at_least(s, "logs_max", ByteSize::mib(8), &LEAST_SPOOL),
            }),
            sources: section.section("sources", Sources::read),
            host_proc,
            container_logs,
            log_tail: section.section("log_tail", |s| LogTail {
                max_lines: s.value("max_lines", 200),
                max_bytes: s.value("max_bytes", ByteSize::kib(16)),
            }),
            redaction_patterns: section.section("redaction", redaction::patterns),
            status: section.section("listen", |s| {
                s.value("status", SocketAddr::from(([127, 0, 0, 1], 7443)))
            }),
            log: section.section("log", LogConfig::read),
        }
    }
}

impl AggregatorAddress {
    fn read(section: &mut Section<'_, '_>) -> Self {
        Self {
            address: section.value("address", HostPort::new("127.0.0.1", 7440)),
            ca_file: section.optional("ca_file"),
            server_name: section.optional("server_name"),
            keep_alive: KeepAlive::read(section),
        }
    }
}

impl Sources {
    fn read(section: &mut Section<'_, '_>) -> Self {
        Self {
            kmsg: section.section("kmsg", |s| KmsgSource {
                enabled: s.value("enabled", true),
                path: s.value("path", PathBuf::from("/dev/kmsg")),
            }),
            trace: section.section("trace", |s| TraceSource {
                enabled: s.value("enabled", true),
                path: s.value("path", PathBuf::from("/sys/kernel/tracing")),
                instance: read_instance(s),
            }),
            cgroup: section.section("cgroup", |s| CgroupSource {
                enabled: s.value("enabled", true),
                root: s.value("root", PathBuf::from("/sys/fs/cgroup")),
                scope: s.value("scope", "/".to_owned()),
                poll: positive(s, "poll", ConfigDuration::from_secs(1)),
            }),
            containerd: section.section("containerd", |s| ContainerdSource::read(s, &CONTAINERD_SOCKETS)),
            cri: section.section("cri", |s| ContainerdSource::read(s, &CRI_SOCKETS)),
            docker: section.section("docker", |s| DockerSource {
                enabled: s.value("enabled", true),
                socket: s.list("socket", vec![PathBuf::from("/run/docker.sock")]),
                reconcile: positive(s, "reconcile", ConfigDuration::from_secs(30)),
            }),
        }
    }
}

impl ContainerdSource {
    fn read(section: &mut Section<'_, '_>, sockets: &[&str]) -> Self {
        Self {
            enabled: section.value("enabled", true),
            socket: section.list("socket", sockets.iter().map(PathBuf::from).collect()),
            poll: positive(section, "poll", ConfigDuration::from_secs(1)),
            reconcile: positive(section, "reconcile", ConfigDuration::from_secs(30)),
            events: section.value("events", true),
        }
    }
}

/// The default addresses in the documentation of containerd, k3s and MicroK8s.
const CONTAINERD_SOCKETS: [&str; 4] = [
    "/run/containerd/containerd.sock",
    "/run/k3s/containerd/containerd.sock",
    "/var/snap/microk8s/common/run/containerd.sock",
    "/run/docker/containerd/containerd.sock",
];

/// The default addresses in the documentation of CRI-O and cri-dockerd.
const CRI_SOCKETS: [&str; 2] = ["/run/crio/crio.sock", "/run/cri-dockerd.sock"];

/// The name becomes a folder of tracefs, so nothing that leads elsewhere is taken.
fn read_instance(section: &mut Section<'_, '_>) -> String {
    let name = section.value("instance", "agent".to_owned());
    let fits = |name: &str| name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-');
    if !(1..=32).contains(&name.len()) || !fits(&name) {
        section.reject("instance", "expected 1 to 32 letters, digits and dashes");
    }
    name
}
