//! The demo's folder: secret and configuration files.
//!
//! Owns paths and the two files' content. Must not start anything.

use std::{
    fs::{self, OpenOptions},
    io::Write as _,
    os::unix::fs::OpenOptionsExt as _,
    path::{Path, PathBuf},
};

use serde_json::{Value, json};

use super::{DemoError, ports::Ports};
use crate::output::to_yaml;

/// Name of the demo's receiver.
pub(super) const RECEIVER: &str = "demo";
/// Random bytes of the bootstrap secret.
const SECRET_BYTES: usize = 32;

/// Where the demo keeps what.
#[derive(Debug, Clone)]
pub(super) struct Folder(PathBuf);

impl Folder {
    pub(super) fn new(path: &Path) -> Self {
        Self(path.to_owned())
    }

    fn text(&self, name: &str) -> String {
        self.0.join(name).display().to_string()
    }

    pub(super) fn database(&self) -> PathBuf {
        self.0.join("aggregator/inquest.db")
    }

    pub(super) fn aggregator_config(&self) -> PathBuf {
        self.0.join("aggregator.yaml")
    }

    pub(super) fn agent_config(&self) -> PathBuf {
        self.0.join("agent.yaml")
    }

    pub(super) fn log(&self, program: &str) -> PathBuf {
        self.0.join(format!("{program}.log"))
    }

    /// Of the private container runtime; short, because a socket lies in it.
    pub(super) fn runtime(&self) -> PathBuf {
        self.0.join("rt")
    }

    /// Writes the secret that admits the agent.
    pub(super) fn write_secret(&self) -> Result<(), DemoError> {
        let mut bytes = [0; SECRET_BYTES];
        let random = rustls::crypto::ring::default_provider().secure_random;
        random.fill(&mut bytes).map_err(|_| DemoError::Random)?;
        let secret: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
        let path = self.0.join("secret");
        let file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&path);
        file.and_then(|mut file| file.write_all(secret.as_bytes()))
            .map_err(DemoError::io("write", &path))
    }

    /// Writes the aggregator's file.
    pub(super) fn write_aggregator(&self, ports: Ports, webhook: &str) -> Result<(), DemoError> {
        let value = json!({
            "listen": {
                "ingest": loopback(ports.ingest),
                "api": loopback(ports.api),
                "status": loopback(ports.aggregator),
            },
            "data_dir": self.text("aggregator"),
            "enrolment": {"bootstrap_secret_file": self.text("secret")},
            "receivers": [{"name": RECEIVER, "webhook": {"url": webhook}}],
            "route": {"receiver": RECEIVER},
        });
        write(&self.aggregator_config(), &value)
    }

    /// Writes the agent's file; with `socket`, the agent reads that runtime and no other.
    pub(super) fn write_agent(&self, ports: Ports, socket: Option<&Path>) -> Result<(), DemoError> {
        // An agent of this host keeps its own trace instance.
        let mut sources = json!({"trace": {"instance": "demo"}});
        if let (Some(socket), Some(map)) = (socket, sources.as_object_mut()) {
            map.insert(
                "containerd".to_owned(),
                json!({"socket": [socket.display().to_string()]}),
            );
        }
        let value = json!({
            "aggregator": {"address": loopback(ports.ingest), "ca_file": self.text("aggregator/ca/ca.crt")},
            "enrolment": {"bootstrap_secret_file": self.text("secret")},
            "state_dir": self.text("agent"),
            "listen": {"status": loopback(ports.agent)},
            "sources": sources,
        });
        write(&self.agent_config(), &value)
    }
}

fn loopback(port: u16) -> String {
    format!("127.0.0.1:{port}")
}

fn write(path: &Path, value: &Value) -> Result<(), DemoError> {
    fs::write(path, to_yaml(value)).map_err(DemoError::io("write", path))
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use inquest_shared::config::{AgentConfig, AggregatorConfig, Inputs, ReceiverKind, load};

    use super::*;

    const PORTS: Ports = Ports {
        ingest: 1,
        api: 2,
        aggregator: 3,
        agent: 4,
    };

    fn inputs(file: PathBuf) -> Inputs {
        Inputs {
            file: Some(file),
            ..Inputs::default()
        }
    }

    #[test]
    fn both_programs_accept_their_files() {
        let dir = tempfile::tempdir().unwrap();
        let folder = Folder::new(dir.path());
        folder.write_aggregator(PORTS, "http://127.0.0.1:5/alerts").unwrap();
        folder.write_agent(PORTS, Some(Path::new("/tmp/x/c.sock"))).unwrap();
        let aggregator = load::<AggregatorConfig>(&inputs(folder.aggregator_config()))
            .unwrap()
            .value;
        let agent = load::<AgentConfig>(&inputs(folder.agent_config())).unwrap().value;
        assert_eq!(aggregator.sqlite_path, folder.database());
        assert!(matches!(
            aggregator.receivers.first().unwrap().kind,
            ReceiverKind::Webhook(_)
        ));
        assert_eq!(agent.aggregator.ca_file.unwrap(), aggregator.tls.ca_dir.join("ca.crt"));
        assert_eq!(
            agent.proof.bootstrap_secret_file,
            aggregator.enrolment.bootstrap_secret_file
        );
        assert_eq!(agent.sources.containerd.socket, [PathBuf::from("/tmp/x/c.sock")]);
        assert!(aggregator.listen.ingest.ip().is_loopback() && aggregator.listen.status.ip().is_loopback());
    }

    #[test]
    fn without_a_runtime_of_its_own_the_agent_looks_for_the_hosts() {
        let dir = tempfile::tempdir().unwrap();
        let folder = Folder::new(dir.path());
        folder.write_agent(PORTS, None).unwrap();
        let agent = load::<AgentConfig>(&inputs(folder.agent_config())).unwrap().value;
        assert!(agent.sources.containerd.socket.len() > 1);
        assert_eq!(agent.sources.trace.instance, "demo");
    }

    #[test]
    fn the_secret_is_new_each_time_and_for_its_owner_only() {
        let secret = || {
            let dir = tempfile::tempdir().unwrap();
            Folder::new(dir.path()).write_secret().unwrap();
            let path = dir.path().join("secret");
            assert_eq!(path.metadata().unwrap().permissions().mode() & 0o777, 0o600);
            fs::read_to_string(path).unwrap()
        };
        let (one, two) = (secret(), secret());
        assert!(one.len() == 2 * SECRET_BYTES && one != two);
    }
}
