//! A real Kubernetes cluster for tests: one that `tests/cluster/up` brings up, or the one of whoever runs the tests.
//!
//! Owns when a cluster begins and ends, and who may break it. It must not know what is tested in it. How a cluster is
//! made is the business of `tests/cluster`, which this module only calls.

mod guardian;
mod installation;
mod namespace;
mod node;

use std::{
    fs,
    io::Write as _,
    path::{Path, PathBuf},
    process::{Command, Output, Stdio},
    sync::{
        OnceLock,
        atomic::{AtomicU32, Ordering},
    },
    time::Duration,
};

use anyhow::{Context as _, Result, anyhow, bail, ensure};
use tokio::sync::{RwLock, RwLockReadGuard, RwLockWriteGuard};

pub use installation::{FAKETIME, Installation, RECEIVER, ask, cgroup_scope, images, mount_tracefs};
pub use namespace::{Namespace, is_ready, pod};
pub use node::Node;

use self::guardian::Guardian;
use crate::TestDir;

/// Folder of the programs of a cluster, set by the test runner, which builds them.
pub const PROGRAMS: &str = "INQUEST_TEST_KUBERNETES";
/// Names a kubeconfig: tests then use that cluster, and never break it on purpose.
pub const KUBECONFIG: &str = "INQUEST_TEST_KUBECONFIG";
/// An image with a shell that the nodes of such a cluster can fetch.
pub const IMAGE: &str = "INQUEST_TEST_IMAGE";
/// How long anything may take that a busy machine does in a quarter of it.
pub const PATIENCE: Duration = Duration::from_secs(120);

/// The image that `tests/cluster/up` makes: busybox, and `segv`, which faults.
const BUSYBOX: &str = "img.local/busybox:1";
/// Nodes of the shared cluster: a second one shows what must cross between them, a third would show nothing more.
const NODES: usize = 2;

/// Tests that break the cluster have it to themselves; all others share it.
static TURN: RwLock<()> = RwLock::const_new(());

/// What a cluster is to be like.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Options {
    /// How many nodes it has.
    pub nodes: usize,
    /// The longest pause between restarts of a container, as `1s`; `None` is the kubelet's own, five minutes.
    pub back_off_max: Option<String>,
    /// Further arguments of `tests/cluster/up`.
    pub arguments: Vec<String>,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            nodes: NODES,
            back_off_max: None,
            arguments: Vec::new(),
        }
    }
}

/// A running cluster. One of ours is taken down when it is dropped, and at the latest when this process ends.
#[derive(Debug)]
pub struct Cluster {
    kubeconfig: PathBuf,
    ours: Option<Ours>,
}

/// What only a cluster of our own has.
#[derive(Debug)]
struct Ours {
    nodes: usize,
    // takes the cluster down before its folder is removed
    guardian: Guardian,
    dir: TestDir,
}

/// The shared cluster, for as long as a test works in it.
#[derive(Debug)]
pub struct Shared<Turn> {
    cluster: &'static Cluster,
    _turn: Turn,
}

impl<Turn> std::ops::Deref for Shared<Turn> {
    type Target = Cluster;

    fn deref(&self) -> &Cluster {
        self.cluster
    }
}

impl Cluster {
    /// The cluster of this test process, brought up by whoever asks first. Other tests work in it at the same time, so
    /// nothing but a namespace of one's own may be touched.
    ///
    /// # Errors
    /// When it does not come up; then for all who ask. Retrying does not help.
    pub async fn shared() -> Result<Shared<RwLockReadGuard<'static, ()>>> {
        let turn = TURN.read().await;
        Ok(Shared {
            cluster: of_process()?,
            _turn: turn,
        })
    }

    /// The same cluster, while nobody else uses it: for tests that break it, and mend it again.
    ///
    /// # Errors
    /// As [`Cluster::shared`]; and when it is not ours to break.
    pub async fn alone() -> Result<Shared<RwLockWriteGuard<'static, ()>>> {
        let turn = TURN.write().await;
        let cluster = of_process()?;
        cluster.ours()?;
        Ok(Shared { cluster, _turn: turn })
    }

    /// Brings up one more cluster, for tests that need one of another kind.
    ///
    /// # Errors
    /// When [`PROGRAMS`] is not set or it does not come up, with the end of its logs.
    pub fn start(options: &Options) -> Result<Self> {
        let programs =
            std::env::var_os(PROGRAMS).with_context(|| format!("{PROGRAMS} is not set; run `tests/run cluster`"))?;
        let dir = TestDir::new("k8s")?;
        let home = dir.join("c");
        // from now on it is taken down whatever happens to this process
        let guardian = Guardian::of(&home)?;
        let mut command = script("up");
        command.arg(&home).arg("--programs").arg(programs);
        command.args(["--nodes", &options.nodes.to_string()]);
        if let Some(longest) = &options.back_off_max {
            command.args(["--back-off-max", longest]);
        }
        said(command.args(&options.arguments).stdin(Stdio::null()).output())?;
        Ok(Self {
            kubeconfig: home.join("kubeconfig/admin"),
            ours: Some(Ours {
                nodes: options.nodes,
                guardian,
                dir,
            }),
        })
    }

    /// The file with the address and the rights of its administrator.
    #[must_use]
    pub fn kubeconfig(&self) -> &Path {
        &self.kubeconfig
    }

    /// An image with a shell that every node has or can fetch.
    #[must_use]
    pub fn image_with_shell(&self) -> String {
        match self.ours {
            Some(_) => BUSYBOX.to_owned(),
            None => std::env::var(IMAGE).unwrap_or_else(|_| "busybox:1.36".to_owned()),
        }
    }

    /// Runs kubectl; gives what it printed.
    ///
    /// # Errors
    /// When it fails, with its words.
    pub fn kubectl(&self, arguments: &[&str]) -> Result<String> {
        said(self.kubectl_command().args(arguments).stdin(Stdio::null()).output())
            .with_context(|| format!("kubectl {}", arguments.join(" ")))
    }

    /// Makes or changes what the manifest says, in YAML or JSON.
    ///
    /// # Errors
    /// What the apiserver says.
    pub fn apply(&self, manifest: &str) -> Result<()> {
        self.feed(&["apply", "--filename", "-"], manifest)
    }

    /// Posts an object to a path of the API, for what no command of kubectl does.
    ///
    /// # Errors
    /// What the apiserver says.
    pub fn post(&self, path: &str, object: &str) -> Result<()> {
        self.feed(&["create", "--raw", path, "--filename", "-"], object)
    }

    fn feed(&self, arguments: &[&str], input: &str) -> Result<()> {
        let mut command = self.kubectl_command();
        command
            .args(arguments)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        let mut child = command.spawn().context("cannot run kubectl")?;
        child.stdin.take().context("no input")?.write_all(input.as_bytes())?;
        said(child.wait_with_output()).with_context(|| format!("{} {input}", arguments.join(" ")))?;
        Ok(())
    }

    /// Makes a namespace, which goes when it is dropped with everything in it.
    ///
    /// # Errors
    /// What the apiserver says.
    pub fn namespace(&self, label: &str) -> Result<Namespace<'_>> {
        static MADE: AtomicU32 = AtomicU32::new(0);
        let number = MADE.fetch_add(1, Ordering::Relaxed);
        Namespace::make(self, format!("{label}-{}-{number}", std::process::id()))
    }

    /// Makes an image `img.local/<name>` of these files, given as a path in the image and the file that goes there, and loads
    /// it into every node. `command` is what a container of it runs.
    ///
    /// # Errors
    /// When a file cannot be read or a node does not take it; when the cluster is not ours.
    pub fn image(&self, name: &str, files: &[(&str, &Path)], command: &[&str]) -> Result<String> {
        let reference = format!("img.local/{name}");
        let root = TestDir::new("image")?;
        for (place, file) in files {
            let path = root.join(place.trim_start_matches('/'));
            fs::create_dir_all(path.parent().context("not a path of a file")?)?;
            fs::copy(file, &path).with_context(|| format!("cannot copy {}", file.display()))?;
        }
        let command = serde_json::to_string(command)?;
        self.ctl(&["image", &reference, &root.path().display().to_string(), &command])?;
        Ok(reference)
    }

    /// Breaks or mends a part, in the words of `tests/cluster/ctl --help`; gives what it printed.
    ///
    /// # Errors
    /// When it fails, with its words; when the cluster is not ours.
    pub fn ctl(&self, arguments: &[&str]) -> Result<String> {
        let mut command = script("ctl");
        command.arg(self.home()?).args(arguments).stdin(Stdio::null());
        said(command.output()).with_context(|| format!("ctl {}", arguments.join(" ")))
    }

    /// One of its nodes; the first is 1.
    ///
    /// # Errors
    /// When there is no such node; when the cluster is not ours.
    pub fn node(&self, number: usize) -> Result<Node<'_>> {
        let nodes = self.ours()?.nodes;
        ensure!(
            (1..=nodes).contains(&number),
            "there are {nodes} nodes, not a node {number}"
        );
        Ok(Node::new(self, number, &self.home()?))
    }

    /// How many nodes it has.
    ///
    /// # Errors
    /// When the cluster is not ours.
    pub fn nodes(&self) -> Result<usize> {
        Ok(self.ours()?.nodes)
    }

    /// The folder that everything of it lies in.
    ///
    /// # Errors
    /// When the cluster is not ours.
    pub fn home(&self) -> Result<PathBuf> {
        Ok(self.ours()?.dir.join("c"))
    }

    /// Takes it down and waits until that is done.
    ///
    /// # Errors
    /// When something is left, with the words of `tests/cluster/down`.
    pub fn down(self) -> Result<()> {
        match self.ours {
            Some(ours) => ours.guardian.end(),
            None => Ok(()),
        }
    }

    fn ours(&self) -> Result<&Ours> {
        self.ours
            .as_ref()
            .with_context(|| format!("the cluster of {KUBECONFIG} is not ours to touch"))
    }

    /// A kubectl of this cluster that has no arguments yet.
    pub(crate) fn kubectl_command(&self) -> Command {
        let built = std::env::var_os(PROGRAMS).map(|folder| PathBuf::from(folder).join("kubectl"));
        let mut command = Command::new(built.unwrap_or_else(|| "kubectl".into()));
        command.arg("--kubeconfig").arg(&self.kubeconfig);
        command
    }
}

/// A failure is kept as well, so that not every test waits for the same one.
fn of_process() -> Result<&'static Cluster> {
    static CLUSTER: OnceLock<Result<Cluster, String>> = OnceLock::new();
    let made = CLUSTER.get_or_init(|| {
        let made = match std::env::var_os(KUBECONFIG) {
            Some(kubeconfig) => Ok(Cluster {
                kubeconfig: kubeconfig.into(),
                ours: None,
            }),
            None => Cluster::start(&Options::default()),
        };
        made.map_err(|error| format!("{error:#}"))
    });
    made.as_ref().map_err(|error| anyhow!("no cluster: {error}"))
}

fn script(name: &str) -> Command {
    Command::new(Path::new(env!("CARGO_MANIFEST_DIR")).join("cluster").join(name))
}

/// What a program printed, or its complaint.
fn said(output: std::io::Result<Output>) -> Result<String> {
    let output = output.context("cannot be run")?;
    if !output.status.success() {
        bail!("{}: {}", output.status, String::from_utf8_lossy(&output.stderr).trim());
    }
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}
