//! The aggregator's schema (`/etc/inquest/aggregator.yaml`).
//!
//! Owns keys, defaults and limits. Must not open, bind or read anything that they name.

use std::net::SocketAddr;
use std::path::PathBuf;

use super::cluster::{self, ClusterConfig, KubernetesEnabled, WatchConfig};
use super::enrolment::EnrolmentConfig;
use super::log_fallback::LogFallbackConfig;
use super::redaction;
use super::route::{self, Receiver, Route};
use super::units::{ByteSize, ConfigDuration};
use super::{KeepAlive, LogConfig, Schema, Section, at_least, positive};

/// Everything that can be set for the aggregator.
#[derive(Debug, Clone)]
pub struct AggregatorConfig {
    /// `cluster.name`: on every record; one database may hold several clusters. Default
    /// `default-cluster`.
    pub cluster_name: String,
    /// `kubernetes.enabled`: whether the own cluster is watched through the service account of the pod. Default `auto`: in a
    /// pod only.
    pub kubernetes: KubernetesEnabled,
    /// `clusters`: clusters that are reached through a kubeconfig. Default: none.
    pub clusters: Vec<ClusterConfig>,
    /// `watch.*`: what is watched of a cluster.
    pub watch: WatchConfig,
    /// `log_fallback.*`: logs that a node cannot give.
    pub log_fallback: LogFallbackConfig,
    /// `redaction.patterns`: regular expressions whose matches are blanked in logs from the apiserver, beside the built-in
    /// ones. Default: none.
    pub redaction_patterns: Vec<String>,
    /// `listen.*`: addresses.
    pub listen: Listen,
    /// `data_dir`: folder of the database and the certificate authority. Default
    /// `/var/lib/inquest`.
    pub data_dir: PathBuf,
    /// `store.sqlite.path`: the database. Default `<data_dir>/inquest.db`.
    pub sqlite_path: PathBuf,
    /// `tls.*`: the server's certificate.
    pub tls: TlsConfig,
    /// `enrolment.*`: who is given a certificate.
    pub enrolment: EnrolmentConfig,
    /// `ingest.keep_alive.*`: how soon a dead agent's connection is freed.
    pub keep_alive: KeepAlive,
    /// `engine.*`: how occurrences become incidents.
    pub engine: EngineConfig,
    /// `route`: which receiver gets which alert.
    pub route: Route,
    /// `receivers`: destinations. Default: one, `stdout`.
    pub receivers: Vec<Receiver>,
    /// `retention.occurrences`: how long an occurrence is kept, and how long its repetition is
    /// recognised. Default `30d`, at least `1h`.
    pub retain_occurrences: ConfigDuration,
    /// `retention.max_bytes`: size of the database; beyond it the oldest go before their time. Default `8GiB`, at least
    /// `16MiB`.
    pub retain_bytes: ByteSize,
    /// `log.*`: the aggregator's own log.
    pub log: LogConfig,
}

/// Addresses that the aggregator listens on.
#[derive(Debug, Clone)]
pub struct Listen {
    /// `listen.ingest`: agents. Default `0.0.0.0:7440`.
    pub ingest: SocketAddr,
    /// `listen.api`: API and pages; loopback only, because there is no authentication yet.
    /// Default `127.0.0.1:7441`.
    pub api: SocketAddr,
    /// `listen.status`: `/metrics`, `/livez` and `/readyz`. Default `0.0.0.0:7442`.
    pub status: SocketAddr,
}

/// The server's certificate, issued by the aggregator's own authority.
#[derive(Debug, Clone)]
pub struct TlsConfig {
    /// `tls.names`: names and addresses by which agents reach ingest. Default `localhost`,
    /// `127.0.0.1`, `::1`.
    pub names: Vec<String>,
    /// `tls.ca_dir`: folder of the authority's key and certificate. Default `<data_dir>/ca`.
    pub ca_dir: PathBuf,
}

/// How occurrences become incidents.
#[derive(Debug, Clone)]
pub struct EngineConfig {
    /// `engine.quiet_period`: an incident without a new occurrence for this long is resolved.
    /// Default `10m`.
    pub quiet_period: ConfigDuration,
    /// `engine.reopen_window`: the same cause within this time after the end reopens the incident
    /// instead of opening another. Default `2h`.
    pub reopen_window: ConfigDuration,
    /// `engine.max_open_per_namespace`: further ones are gathered in one overflow incident.
    /// Default `500`, at least `1`.
    pub max_open_per_namespace: u32,
}

impl Schema for AggregatorConfig {
    const LIVE: &'static [&'static str] = &["engine", "route", "receivers", "retention", "log.level"];

    fn log(&self) -> &LogConfig {
        &self.log
    }

    fn read(section: &mut Section<'_, '_>) -> Self {
        let cluster_name = section.section("cluster", cluster::own_name);
        let listen = section.section("listen", Listen::read);
        let data_dir: PathBuf = section.value("data_dir", PathBuf::from("/var/lib/inquest"));
        let database = data_dir.join("inquest.db");
        let (route, receivers) = route::read(section);
        let (retain_occurrences, retain_bytes) = section.section("retention", |s| {
            let (month, hour) = (ConfigDuration::from_secs(30 * 86_400), ConfigDuration::from_secs(3_600));
            let time = at_least(s, "occurrences", month, &hour);
            (
                time,
                at_least(s, "max_bytes", ByteSize::mib(8 * 1024), &ByteSize::mib(16)),
            )
        });
        Self {
            cluster_name,
            kubernetes: section.section("kubernetes", |s| s.value("enabled", KubernetesEnabled::Auto)),
            clusters: cluster::others(section),
            watch: section.section("watch", WatchConfig::read),
            log_fallback: section.section("log_fallback", LogFallbackConfig::read),
            redaction_patterns: section.section("redaction", redaction::patterns),
            listen,
            sqlite_path: section.section("store", |s| s.section("sqlite", |s| s.value("path", database))),
            tls: section.section("tls", |s| TlsConfig {
                names: s.list("names", ["localhost", "127.0.0.1", "::1"].map(str::to_owned).into()),
                ca_dir: s.value("ca_dir", data_dir.join("ca")),
            }),
            data_dir,
            enrolment: section.section("enrolment", EnrolmentConfig::read),
            keep_alive: section.section("ingest", KeepAlive::read),
            engine: section.section("engine", EngineConfig::read),
            route,
            receivers,
            retain_occurrences,
            retain_bytes,
            log: section.section("log", LogConfig::read),
        }
    }
}

impl Listen {
    fn read(section: &mut Section<'_, '_>) -> Self {
        let api: SocketAddr = section.value("api", SocketAddr::from(([127, 0, 0, 1], 7441)));
        if !api.ip().is_loopback() {
            section.reject(
                "api",
                "is reachable from other hosts; expected a loopback address, because the API has no authentication",
            );
        }
        Self {
            ingest: section.value("ingest", SocketAddr::from(([0, 0, 0, 0], 7440))),
            api,
            status: section.value("status", SocketAddr::from(([0, 0, 0, 0], 7442))),
        }
    }
}

impl EngineConfig {
    fn read(section: &mut Section<'_, '_>) -> Self {
        Self {
            quiet_period: positive(section, "quiet_period", ConfigDuration::from_secs(600)),
            reopen_window: section.value("reopen_window", ConfigDuration::from_secs(7_200)),
            max_open_per_namespace: at_least(section, "max_open_per_namespace", 500, &1),
        }
    }
}
