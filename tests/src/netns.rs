//! Two network namespaces with a wire between them that can be cut in one direction or both.
//!
//! Owns names, addresses and the cutting. Must not know what talks over the wire. Nothing outside these namespaces is
//! changed. A packet is dropped where it arrives (`iptables -A INPUT -j DROP`): its sender learns nothing, as with a
//! cable that was pulled two switches away.

use std::net::Ipv4Addr;
use std::path::PathBuf;
use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering};

use anyhow::{Context as _, Result, anyhow, ensure};
use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};

use crate::world::{Options, Through};

/// Addresses for documentation (RFC 5737); nobody else sees them.
const NEAR: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 1);
const FAR: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 2);
/// Port of ingest; the namespace is empty, so any will do.
const INGEST: u16 = 7440;

/// A namespace of its own with a loopback; removed when dropped.
#[derive(Debug)]
pub struct Namespace {
    name: String,
}

impl Namespace {
    /// Makes one.
    ///
    /// # Errors
    /// Without root, or without `ip`.
    pub fn new() -> Result<Self> {
        static MADE: AtomicU32 = AtomicU32::new(0);
        let number = MADE.fetch_add(1, Ordering::Relaxed);
        // the sweep after a run knows by the pid whose namespaces nobody uses any more
        let name = format!("inq-{}-{number}", std::process::id());
        run("ip", &["netns", "add", &name])?;
        let made = Self { name };
        made.ip(&["link", "set", "lo", "up"])?;
        Ok(made)
    }

    fn path(&self) -> PathBuf {
        PathBuf::from("/run/netns").join(&self.name)
    }

    fn ip(&self, arguments: &[&str]) -> Result<()> {
        run("ip", &[&["-n", &self.name], arguments].concat())
    }

    fn iptables(&self, arguments: &[&str]) -> Result<()> {
        run(
            "ip",
            &[&["netns", "exec", &self.name, "iptables", "-w"], arguments].concat(),
        )
    }

    /// Words before a command line that is to run in here. Mounts stay as they are, unlike with `ip netns exec`, which
    /// hides the cgroup hierarchies below a new `/sys`.
    #[must_use]
    pub fn through(&self) -> Vec<String> {
        vec!["nsenter".to_owned(), format!("--net={}", self.path().display())]
    }

    /// Does something with the network of this namespace, on a thread of its own.
    ///
    /// # Errors
    /// What `work` says, or when the namespace cannot be entered.
    pub fn inside<T: Send>(&self, work: impl FnOnce() -> Result<T> + Send) -> Result<T> {
        std::thread::scope(|scope| {
            let thread = scope.spawn(|| {
                let namespace = std::fs::File::open(self.path())?;
                let kind = Some(LinkNameSpaceType::Network);
                move_into_link_name_space(std::os::fd::AsFd::as_fd(&namespace), kind)?;
                work()
            });
            thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
        })
    }
}

impl Drop for Namespace {
    fn drop(&mut self) {
        // What is left after a failure is swept by the runner.
        run("ip", &["netns", "del", &self.name]).unwrap_or_default();
    }
}

/// An aggregator's and an agent's namespace and the wire between them.
#[derive(Debug)]
pub struct Wire {
    near: Namespace,
    far: Namespace,
}

impl Wire {
    /// Runs a test on the aggregator's side: what it starts, itself included, uses that namespace, except for an agent
    /// that is started with [`Wire::options`].
    ///
    /// # Errors
    /// What the test says, or when namespaces cannot be made.
    pub fn test(test: impl AsyncFnOnce(&Self) -> Result<()> + Send) -> Result<()> {
        let wire = Self::new()?;
        wire.near.inside(|| {
            // Tasks stay on this one thread: only it is in the namespace.
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
            runtime.block_on(test(&wire))
        })
    }

    fn new() -> Result<Self> {
        let (near, far) = (Namespace::new()?, Namespace::new()?);
        near.ip(&[
            "link", "add", "wire", "type", "veth", "peer", "name", "wire", "netns", &far.name,
        ])?;
        for (namespace, address) in [(&near, NEAR), (&far, FAR)] {
            namespace.ip(&["address", "add", &format!("{address}/30"), "dev", "wire"])?;
            namespace.ip(&["link", "set", "wire", "up"])?;
        }
        Ok(Self { near, far })
    }

    /// A world whose agent is at the far end, with these lines for both configurations.
    #[must_use]
    pub fn options(&self, agent_uplink: &str, aggregator_extra: &str) -> Options {
        Options {
            ingest: Some((NEAR, INGEST).into()),
            agent_uplink: agent_uplink.to_owned(),
            aggregator_extra: format!("tls: {{names: [{NEAR}]}}\n{aggregator_extra}"),
            through: Through {
                agent: self.far.through(),
                aggregator: Vec::new(),
            },
            ..Options::default()
        }
    }

    /// The agent's end.
    #[must_use]
    pub const fn far(&self) -> &Namespace {
        &self.far
    }

    /// Cuts both directions.
    ///
    /// # Errors
    /// When the kernel or `iptables` refuse.
    pub fn cut(&self) -> Result<()> {
        self.cut_towards_agent()?;
        drop_arriving(&self.near)
    }

    /// Lets everything through to the aggregator, and nothing back.
    ///
    /// # Errors
    /// When the kernel or `iptables` refuse.
    pub fn cut_towards_agent(&self) -> Result<()> {
        drop_arriving(&self.far)
    }

    /// Joins what was cut.
    ///
    /// # Errors
    /// When the kernel or `iptables` refuse.
    pub fn heal(&self) -> Result<()> {
        self.near.iptables(&["-F"])?;
        self.far.iptables(&["-F"])
    }
}

fn drop_arriving(at: &Namespace) -> Result<()> {
    at.iptables(&["-A", "INPUT", "-i", "wire", "-j", "DROP"])
}

fn run(program: &str, arguments: &[&str]) -> Result<()> {
    let output = Command::new(program).args(arguments).output();
    let output = output.with_context(|| format!("cannot run {program}"))?;
    let error = || anyhow!("{program} {arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
    ensure!(output.status.success(), error());
    Ok(())
}
