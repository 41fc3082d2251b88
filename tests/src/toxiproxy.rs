//! Toxiproxy, a proxy that damages TCP connections on demand, between an agent and the aggregator.
//!
//! Owns its process and its control interface. Which damage means what is the test's business; names and attributes are
//! those of its documentation (github.com/Shopify/toxiproxy).

use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use serde_json::{Value, json};

use crate::{Process, TestDir, free_port, http, wait_for};

/// Path of the program, set by the test runner, which builds it.
pub const PROGRAM: &str = "INQUEST_TEST_TOXIPROXY";
const PATIENCE: Duration = Duration::from_secs(20);

/// A running proxy in front of one address.
#[derive(Debug)]
pub struct Toxiproxy {
    // ends before its folder does
    _process: Process,
    _dir: TestDir,
    control: u16,
    listens: SocketAddr,
}

impl Toxiproxy {
    /// Starts one that leads to `upstream`, which need not exist yet.
    ///
    /// # Errors
    /// When [`PROGRAM`] is not set or it does not come up.
    pub async fn start(upstream: SocketAddr) -> Result<Self> {
        let program: PathBuf = std::env::var_os(PROGRAM)
            .with_context(|| format!("{PROGRAM} is not set"))?
            .into();
        let dir = TestDir::new("toxic")?;
        let control = free_port()?;
        let listens = SocketAddr::from((Ipv4Addr::LOCALHOST, free_port()?));
        let mut command = Command::new(program);
        command.args(["-host", "127.0.0.1", "-port", &control.to_string()]);
        let process = Process::spawn("toxiproxy", command, dir.path())?;
        let started = Self {
            _process: process,
            _dir: dir,
            control,
            listens,
        };
        let proxy = json!({"name": "wire", "listen": listens.to_string(), "upstream": upstream.to_string()});
        wait_for("toxiproxy", PATIENCE, async || started.ask("POST", "/proxies", &proxy)).await?;
        Ok(started)
    }

    /// The address that clients use instead of the upstream's.
    #[must_use]
    pub const fn listens(&self) -> SocketAddr {
        self.listens
    }

    /// Damages what goes `upstream` or `downstream`, until [`Toxiproxy::heal`].
    ///
    /// # Errors
    /// For a kind or attributes that it does not know.
    pub fn damage(&self, kind: &str, stream: &str, attributes: &Value) -> Result<()> {
        let toxic = json!({"name": "damage", "type": kind, "stream": stream, "attributes": attributes});
        self.ask("POST", "/proxies/wire/toxics", &toxic)
    }

    /// Ends the damage.
    ///
    /// # Errors
    /// When there is none.
    pub fn heal(&self) -> Result<()> {
        self.ask("DELETE", "/proxies/wire/toxics/damage", &Value::Null)
    }

    fn ask(&self, method: &str, path: &str, body: &Value) -> Result<()> {
        let body = if body.is_null() {
            String::new()
        } else {
            body.to_string()
        };
        let (status, answer) = http::ask(self.control, method, path, &body)?;
        ensure!((200..300).contains(&status), "{method} {path}: {status} {answer}");
        Ok(())
    }
}
