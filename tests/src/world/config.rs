//! The configuration files of a world.

use std::{
    fs,
    net::{Ipv4Addr, SocketAddr},
};

use anyhow::Result;
use inquest_cli::sandbox::{BareCgroup, Containerd};

use super::{OfNode, Options, Ports, WEBHOOK_SECRET};
use crate::{Dockerd, TestDir, Tracefs};

/// What the files name.
pub(super) struct Surroundings<'a> {
    pub(super) ports: Ports,
    /// Address of the receiver.
    pub(super) webhook: &'a str,
    pub(super) containerd: Option<&'a Containerd>,
    pub(super) docker: Option<&'a Dockerd>,
    pub(super) scope: &'a BareCgroup,
    pub(super) node: Option<&'a OfNode>,
    pub(super) tracefs: Option<&'a Tracefs>,
}

impl Surroundings<'_> {
    /// Writes both files and the secrets that they name.
    pub(super) fn write(&self, dir: &TestDir, options: &Options) -> Result<()> {
        fs::write(dir.join("bootstrap"), "a bootstrap secret of this world")?;
        fs::write(dir.join("webhook-secret"), WEBHOOK_SECRET)?;
        fs::write(dir.join("aggregator.yaml"), self.aggregator(dir, options))?;
        fs::write(dir.join("agent.yaml"), self.agent(dir, options))?;
        Ok(())
    }

    fn ingest(&self, options: &Options) -> SocketAddr {
        let own = || (Ipv4Addr::LOCALHOST, self.ports.ingest).into();
        options.ingest.unwrap_or_else(own)
    }

    fn aggregator(&self, dir: &TestDir, options: &Options) -> String {
        let root = dir.path().display();
        format!(
            "cluster: {{name: test}}\n\
             listen: {{ingest: \"{}\", api: \"127.0.0.1:{}\", status: \"127.0.0.1:{}\"}}\n\
             data_dir: {root}/data\n\
             enrolment: {{bootstrap_secret_file: {root}/bootstrap}}\n\
             route: {}\n\
             receivers:\n  - name: hook\n    webhook:\n      url: {}\n      secret_file: {root}/webhook-secret\n{}\n{}\n",
            self.ingest(options),
            self.ports.api,
            self.ports.aggregator_status,
            options.route.as_deref().unwrap_or("{receiver: hook}"),
            self.webhook,
            indent(&options.webhook_extra, 6),
            options.aggregator_extra,
        )
    }

    fn agent(&self, dir: &TestDir, options: &Options) -> String {
        let root = dir.path().display();
        let state = options.agent_state.clone().unwrap_or_else(|| dir.join("agent"));
        format!(
            "node: {{name: n1}}\n\
             aggregator: {{address: \"{}\", {}ca_file: {root}/data/ca/ca.crt}}\n\
             enrolment: {{bootstrap_secret_file: {root}/bootstrap}}\n\
             state_dir: {}\n\
             sources:\n  {}\n  {}\n  {}\n{}  cgroup: {{scope: {}}}\n\
             listen: {{status: \"127.0.0.1:{}\"}}\n{}\n",
            options.agent_reaches.unwrap_or(self.ingest(options)),
            options.agent_uplink,
            state.display(),
            source("containerd", self.containerd_socket().as_deref()),
            source(
                "docker",
                self.docker
                    .map(|docker| docker.socket().display().to_string())
                    .as_deref()
            ),
            self.trace_source(),
            if options.no_kernel_log {
                "  kmsg: {enabled: false}\n"
            } else {
                ""
            },
            self.cgroup(),
            self.ports.agent_status,
            options.agent_extra,
        )
    }

    fn cgroup(&self) -> String {
        let own = || self.scope.path().to_owned();
        let of_node = self.node.map(|node| node.cgroup.clone());
        let of_runtime = self.containerd.map(Containerd::cgroup_root);
        of_node.or(of_runtime).unwrap_or_else(own)
    }

    fn trace_source(&self) -> String {
        match self.tracefs {
            Some(at) => format!("trace: {{path: {}, instance: {}}}", at.path().display(), at.instance()),
            None => "trace: {enabled: false}".to_owned(),
        }
    }

    /// As on a host with Docker alone, its containerd has no CRI and only tells its events.
    fn containerd_socket(&self) -> Option<String> {
        let of_node = || self.node.map(|node| node.containerd.clone());
        let own = self.containerd.map(Containerd::socket).or_else(of_node);
        let of_docker = || self.docker.map(Dockerd::containerd_socket);
        own.or_else(of_docker).map(|socket| socket.display().to_string())
    }
}

fn source(name: &str, socket: Option<&str>) -> String {
    match socket {
        Some(socket) => format!("{name}: {{socket: [{socket}]}}"),
        None => format!("{name}: {{enabled: false}}"),
    }
}

fn indent(text: &str, by: usize) -> String {
    text.lines()
        .map(|line| format!("{:by$}{line}", ""))
        .collect::<Vec<_>>()
        .join("\n")
}
