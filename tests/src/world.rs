//! A whole installation on this host: aggregator, agent, a strict webhook receiver and, when asked for, a private
//! containerd. Every part is the real program; each can be killed, frozen and started again.

mod config;

use std::{fs, io::Write as _, net::SocketAddr, path::PathBuf, process::Command, time::Duration};

use anyhow::{Context, Result, bail, ensure};
use inquest_cli::sandbox::{BareCgroup, Containerd};
use inquest_proto::{
    ingest::v1::Cause,
    query::v1::{
        Filter, GetIncidentRequest, GetLogRequest, Incident, ListFindingsRequest, ListIncidentsRequest,
        ListNodesRequest, Node, StoredFinding, query_service_client::QueryServiceClient,
    },
};
use tonic::transport::Channel;

use self::config::Surroundings;
use crate::{Dockerd, Process, TestDir, Tracefs, Webhook, bin, free_port, wait_for};

/// How long a healthy part may take on a busy machine.
pub const PATIENCE: Duration = Duration::from_secs(30);
/// Secret of the receiver: `whsec_` and base64 of 24 bytes.
const WEBHOOK_SECRET: &str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";

/// What to start and how.
#[derive(Debug, Clone, Default)]
pub struct Options {
    /// A private containerd with the images of the sandbox.
    pub containerd: bool,
    /// A containerd that runs already, as that of a node of a cluster.
    pub node: Option<OfNode>,
    /// A private dockerd; together with `containerd` it uses that one.
    pub docker: bool,
    /// Trace events, through a mount of tracefs and an instance of its own; else the source is switched off.
    pub trace: bool,
    /// An agent of the standard profile: without the kernel log.
    pub no_kernel_log: bool,
    /// Lines added to the agent's configuration.
    pub agent_extra: String,
    /// Lines added to the aggregator's configuration, indented as top-level keys.
    pub aggregator_extra: String,
    /// Lines added to the webhook receiver's section (`timeout: 1s`).
    pub webhook_extra: String,
    /// The aggregator's route instead of one that leads everything to `hook`, in braces.
    pub route: Option<String>,
    /// Where the aggregator listens for agents instead of a free port of the loopback.
    pub ingest: Option<SocketAddr>,
    /// Where the agent looks for the aggregator instead of there: a proxy in between.
    pub agent_reaches: Option<SocketAddr>,
    /// Keys of the agent's `aggregator` section, each with a comma after it (`keep_alive: {interval: 1s},`).
    pub agent_uplink: String,
    /// Who starts the programs.
    pub through: Through,
    /// Folder of the agent's state, when it is not to lie in the world's folder.
    pub agent_state: Option<PathBuf>,
}

/// Programs that start ours and become them, so that pids and signals stay true (`nsenter`, `env`).
#[derive(Debug, Clone, Default)]
pub struct Through {
    /// Words before the agent's own command line.
    pub agent: Vec<String>,
    /// Words before the aggregator's own command line.
    pub aggregator: Vec<String>,
}

/// A node whose containers are followed and that the world does not own.
#[derive(Debug, Clone)]
pub struct OfNode {
    /// Socket of its containerd.
    pub containerd: PathBuf,
    /// The cgroup below which its containers live.
    pub cgroup: String,
}

/// A running installation; everything ends when it is dropped.
pub struct World {
    /// The receiver.
    pub webhook: Webhook,
    /// The aggregator.
    pub aggregator: Process,
    /// The agent.
    pub agent: Process,
    /// The Docker engine; ended before the containerd that it may use.
    pub docker: Option<Dockerd>,
    /// The runtime.
    pub containerd: Option<Containerd>,
    /// What this world's agent calls its node: other worlds on the same kernel are none of its business.
    scope: BareCgroup,
    /// Trace events, when the world has them.
    pub tracefs: Option<Tracefs>,
    kernel_log: bool,
    has_containerd: bool,
    ports: Ports,
    through: Through,
    dir: TestDir,
}

#[derive(Debug, Clone, Copy)]
struct Ports {
    ingest: u16,
    api: u16,
    aggregator_status: u16,
    agent_status: u16,
}

impl World {
    /// Starts everything and waits until the agent is connected.
    ///
    /// # Errors
    /// What did not come up, with the end of its log.
    pub async fn start(label: &str, options: &Options) -> Result<Self> {
        let dir = TestDir::new(label)?;
        let webhook = Webhook::start_signed(WEBHOOK_SECRET)?;
        let containerd = match options.containerd {
            true => {
                let folder = dir.join("containerd");
                fs::create_dir_all(&folder)?;
                Some(Containerd::start(&folder).await.context("private containerd")?)
            }
            false => None,
        };
        let ports = Ports {
            ingest: options.ingest.map_or_else(free_port, |address| Ok(address.port()))?,
            api: free_port()?,
            aggregator_status: free_port()?,
            agent_status: free_port()?,
        };
        let scope = BareCgroup::scope()?;
        let docker = match options.docker {
            true => Some(start_docker(&dir, containerd.as_ref(), &scope).await?),
            false => None,
        };
        let instance = format!("t{}", ports.agent_status);
        let tracefs = match options.trace {
            true => Some(Tracefs::mount(&dir.join("tracing"), &instance)?),
            false => None,
        };
        let surroundings = Surroundings {
            ports,
            tracefs: tracefs.as_ref(),
            webhook: &webhook.url(),
            containerd: containerd.as_ref(),
            docker: docker.as_ref(),
            scope: &scope,
            node: options.node.as_ref(),
        };
        surroundings.write(&dir, options)?;
        let through = options.through.clone();
        let aggregator = spawn(Program::Aggregator, &dir, &through, None)?;
        let agent = spawn(Program::Agent, &dir, &through, None)?;
        let world = Self {
            webhook,
            aggregator,
            agent,
            containerd,
            docker,
            scope,
            tracefs,
            kernel_log: !options.no_kernel_log,
            has_containerd: options.containerd || options.docker || options.node.is_some(),
            ports,
            through,
            dir,
        };
        world.wait_connected().await?;
        Ok(world)
    }

    /// Makes a process of this world's node die at a memory limit; its cgroup lives until it is dropped.
    ///
    /// # Errors
    /// Without root, or when the kernel did not kill.
    pub fn kill_one(&self) -> Result<BareCgroup> {
        let cgroup = self.victim_cgroup()?;
        kill_in(&cgroup)?;
        Ok(cgroup)
    }

    /// A cgroup of this world's node in which [`kill_in`] makes a process die.
    ///
    /// # Errors
    /// Without root.
    pub fn victim_cgroup(&self) -> Result<BareCgroup> {
        Ok(self.scope.child(16 << 20)?)
    }

    /// Folder of the world, for files that a test wants to look at.
    #[must_use]
    pub fn path(&self, name: &str) -> PathBuf {
        self.dir.join(name)
    }

    /// Port of ingest.
    #[must_use]
    pub const fn ingest_port(&self) -> u16 {
        self.ports.ingest
    }

    /// Base address of the API.
    #[must_use]
    pub fn api_url(&self) -> String {
        format!("http://127.0.0.1:{}", self.ports.api)
    }

    /// Waits until the aggregator knows the agent as connected and its sources have reported.
    ///
    /// # Errors
    /// What was seen instead, with both logs.
    pub async fn wait_connected(&self) -> Result<Node> {
        let runtimes = [
            ("containerd", self.has_containerd),
            ("docker", self.docker.is_some()),
            ("kernel log", self.kernel_log),
            ("trace events", self.tracefs.is_some()),
        ];
        let connected = wait_for("the agent connects", PATIENCE, async || {
            let nodes = self.nodes().await?;
            let node = nodes.into_iter().find(|n| n.connected).context("no connected node")?;
            let sources = node.status.clone().unwrap_or_default().sources;
            let live = |name: &str| sources.iter().any(|s| s.name == name && s.state == 1);
            let missing = runtimes.iter().any(|(name, wanted)| *wanted && !live(name));
            if !live("cgroups") || missing {
                bail!("sources are {sources:?}");
            }
            Ok(node)
        });
        connected.await.with_context(|| {
            format!(
                "agent: {}\naggregator: {}",
                self.agent.stderr(),
                self.aggregator.stderr()
            )
        })
    }

    /// The runtime.
    ///
    /// # Errors
    /// When the world was started without one.
    pub fn runtime(&self) -> Result<&Containerd> {
        self.containerd.as_ref().context("this world has no containerd")
    }

    /// The Docker engine.
    ///
    /// # Errors
    /// When the world was started without one.
    pub fn docker(&self) -> Result<&Dockerd> {
        self.docker.as_ref().context("this world has no Docker")
    }

    /// Starts the agent again after it ended.
    ///
    /// # Errors
    /// When it cannot be started.
    pub fn start_agent(&mut self) -> Result<()> {
        self.agent = spawn(Program::Agent, &self.dir, &self.through, None)?;
        Ok(())
    }

    /// Starts the aggregator again after it ended.
    ///
    /// # Errors
    /// When it cannot be started.
    pub fn start_aggregator(&mut self) -> Result<()> {
        self.aggregator = spawn(Program::Aggregator, &self.dir, &self.through, None)?;
        Ok(())
    }

    /// Ends a program and starts it again so that it dies at a point, given as `<name>:<nth>`.
    ///
    /// # Errors
    /// When it cannot be ended or started.
    pub fn restart_armed(&mut self, program: Program, failpoint: &str) -> Result<()> {
        self.process(program).kill9()?;
        *self.process(program) = spawn(program, &self.dir, &self.through, Some(failpoint))?;
        Ok(())
    }

    /// The process of a program.
    pub const fn process(&mut self, program: Program) -> &mut Process {
        match program {
            Program::Agent => &mut self.agent,
            Program::Aggregator => &mut self.aggregator,
        }
    }

    /// A client of the query API.
    ///
    /// # Errors
    /// While the aggregator is down.
    pub async fn query(&self) -> Result<QueryServiceClient<Channel>> {
        Ok(QueryServiceClient::connect(self.api_url()).await?)
    }

    /// All incidents, newest first.
    ///
    /// # Errors
    /// While the aggregator is down.
    pub async fn incidents(&self) -> Result<Vec<Incident>> {
        let request = ListIncidentsRequest {
            page_size: 1000,
            ..ListIncidentsRequest::default()
        };
        Ok(self
            .query()
            .await?
            .list_incidents(request)
            .await?
            .into_inner()
            .incidents)
    }

    /// One incident with its deliveries.
    ///
    /// # Errors
    /// While the aggregator is down, or for an unknown id.
    pub async fn incident(&self, id: &str) -> Result<Incident> {
        let request = GetIncidentRequest { id: id.to_owned() };
        let answer = self.query().await?.get_incident(request).await?.into_inner();
        answer.incident.context("empty answer")
    }

    /// Occurrences of all incidents.
    ///
    /// # Errors
    /// When the aggregator does not answer.
    pub async fn occurrences(&self) -> Result<u64> {
        Ok(self.incidents().await?.iter().map(|i| i.occurrences).sum())
    }

    /// Waits until the incidents count this many occurrences in all.
    ///
    /// # Errors
    /// When they do not in time, with the last count.
    pub async fn wait_occurrences(&self, count: u64) -> Result<()> {
        wait_for("every kill is counted", PATIENCE, async || {
            let total = self.occurrences().await?;
            ensure!(total == count, "{total} of {count}");
            anyhow::Ok(())
        })
        .await
    }

    /// The incident of a pod's workload, once it has the cause and `ready` agrees.
    ///
    /// # Errors
    /// What was seen instead.
    pub async fn wait_incident(
        &self,
        workload: &str,
        cause: Cause,
        ready: impl Fn(&Incident) -> bool,
    ) -> Result<Incident> {
        let what = format!("incident of {workload} with cause {}", cause.as_str_name());
        wait_for(&what, PATIENCE, async || {
            let all = self.incidents().await?;
            let of = |i: &&Incident| i.workload.as_ref().is_some_and(|w| w.name == workload);
            let incident = all
                .iter()
                .find(of)
                .with_context(|| format!("{} other incidents", all.len()))?;
            if incident.cause() != cause || !ready(incident) {
                bail!("{incident:?}");
            }
            self.incident(&incident.id).await
        })
        .await
    }

    /// Stored findings of a pod, newest first.
    ///
    /// # Errors
    /// While the aggregator is down.
    pub async fn findings(&self, pod: &str) -> Result<Vec<StoredFinding>> {
        let filter = Filter {
            pod: pod.to_owned(),
            ..Filter::default()
        };
        let request = ListFindingsRequest {
            filter: Some(filter),
            page_size: 1000,
            ..ListFindingsRequest::default()
        };
        Ok(self.query().await?.list_findings(request).await?.into_inner().findings)
    }

    /// The stored log of a finding.
    ///
    /// # Errors
    /// While there is none.
    pub async fn log(&self, finding_key: &str) -> Result<String> {
        let request = GetLogRequest {
            finding_key: finding_key.to_owned(),
        };
        Ok(self.query().await?.get_log(request).await?.into_inner().text)
    }

    /// Enrolled nodes.
    ///
    /// # Errors
    /// While the aggregator is down.
    pub async fn nodes(&self) -> Result<Vec<Node>> {
        Ok(self
            .query()
            .await?
            .list_nodes(ListNodesRequest::default())
            .await?
            .into_inner()
            .nodes)
    }

    /// A page of the agent's or the aggregator's status listener.
    ///
    /// # Errors
    /// While the program is down.
    pub fn status_page(&self, program: Program, page: &str) -> Result<(u16, String)> {
        crate::http::get(self.status_port(program), page)
    }

    /// Loopback port of a program's status listener.
    #[must_use]
    pub const fn status_port(&self, program: Program) -> u16 {
        match program {
            Program::Agent => self.ports.agent_status,
            Program::Aggregator => self.ports.aggregator_status,
        }
    }
}

/// Makes a process die at the memory limit of a cgroup.
///
/// # Errors
/// When the kernel did not kill.
pub fn kill_in(cgroup: &BareCgroup) -> Result<()> {
    pace()?;
    ensure!(!cgroup.oom_hog().status()?.success(), "the hog was not killed");
    Ok(())
}

/// The kernel prints the head of an out-of-memory report, which names the cgroup, at most ten times in five seconds for the
/// whole machine (`mm/oom_kill.c`). What is killed while no agent looks can be attributed only by its head, so all
/// kills of all tests on this machine keep a distance.
fn pace() -> Result<()> {
    const DISTANCE: Duration = Duration::from_millis(600);
    let file = hold_kills()?;
    let passed = file.metadata()?.modified()?.elapsed().unwrap_or_default();
    std::thread::sleep(DISTANCE.saturating_sub(passed));
    (&file).write_all(b".")?;
    Ok(())
}

/// Keeps every other test of this machine from killing through [`World::kill_one`] while the file is open.
///
/// # Errors
/// When the temporary folder cannot be written.
pub fn hold_kills() -> Result<fs::File> {
    let path = std::env::temp_dir().join("inquest-kill-pace");
    let file = fs::File::options().create(true).append(true).open(&path)?;
    rustix::fs::flock(&file, rustix::fs::FlockOperation::LockExclusive)?;
    Ok(file)
}

/// One of the two programs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Program {
    /// The agent.
    Agent,
    /// The aggregator.
    Aggregator,
}

/// Starts a program; `failpoint` is where it is to die.
fn spawn(program: Program, dir: &TestDir, through: &Through, failpoint: Option<&str>) -> Result<Process> {
    let (name, config, through) = match program {
        Program::Agent => ("inquest-agent", "agent.yaml", &through.agent),
        Program::Aggregator => ("inquest-aggregator", "aggregator.yaml", &through.aggregator),
    };
    let mut command = match through.as_slice() {
        [] => Command::new(bin(name)?),
        [first, rest @ ..] => {
            let mut command = Command::new(first);
            command.args(rest).arg(bin(name)?);
            command
        }
    };
    command.arg("--config").arg(dir.join(config)).current_dir(dir.path());
    if let Some(failpoint) = failpoint {
        command.env(inquest_shared::failpoint::VARIABLE, failpoint);
    }
    Process::spawn(name, command, dir.path())
}

/// Containers of Docker live in the scope of the world's agent, like those of containerd.
async fn start_docker(dir: &TestDir, containerd: Option<&Containerd>, scope: &BareCgroup) -> Result<Dockerd> {
    let folder = dir.join("dk");
    fs::create_dir_all(&folder)?;
    let parent = match containerd {
        Some(runtime) => format!("{}/docker", runtime.cgroup_root()),
        None => scope.path().to_owned(),
    };
    let socket = containerd.map(Containerd::socket);
    let docker = Dockerd::start(&folder, &parent, socket.as_deref()).await;
    docker.context("private dockerd")
}
