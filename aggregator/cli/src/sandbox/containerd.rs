//! The life of one private containerd.
//!
//! Owns its process and its images. Must not know what the pods in it are for.

use std::fs::{self, File};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal};
use sha2::{Digest, Sha256};

use super::cgroup;
use super::cri::Cri;
use super::error::SandboxError;
use super::image::{self, ImageSpec};
use super::pod::Node;
use super::requirements::{self, Missing, Programs};
use super::settings::{APP_IMAGE, Layout, NAMESPACE, PAUSE_IMAGE};
use super::sweep;

/// An idle machine needs 0.3 s; a busy one has been seen to need ten times that.
const READY_WITHIN: Duration = Duration::from_secs(30);

/// How long containerd gets to end by itself.
const STOPPED_WITHIN: Duration = Duration::from_secs(10);

/// How long the pods get to end through the runtime before they are killed without it.
const PODS_GONE_WITHIN: Duration = Duration::from_secs(30);

/// How often states are looked at.
const POLL: Duration = Duration::from_millis(10);

/// `OVERLAYFS_SUPER_MAGIC` of linux/magic.h.
const OVERLAYFS_MAGIC: i64 = 0x794c_7630;

/// The default entry point: containers name their own command.
const SHELL: &[&str] = &["/bin/sh"];

/// A sleep that outlives every test; the process that holds a pod's namespaces.
const PAUSE: &[&str] = &["/bin/sleep", "2147483647"];

/// A running private containerd. Dropping it kills everything in it; [`Containerd::stop`] is the orderly way.
#[derive(Debug)]
pub struct Containerd {
    layout: Layout,
    programs: Programs,
    snapshotter: &'static str,
    child: Option<Child>,
    cri: Cri,
    gone: bool,
}

impl Containerd {
    /// Whether a private containerd can run here.
    ///
    /// # Errors
    /// All that is missing, with the command that installs it.
    pub fn available() -> Result<(), Missing> {
        requirements::find_programs().map(|_| ())
    }

    /// Starts a containerd that keeps everything in `dir`, which must exist, and imports [`PAUSE_IMAGE`] and
    /// [`APP_IMAGE`]. What an earlier run left in the same folder is ended first.
    ///
    /// # Errors
    /// [`SandboxError::Missing`] and [`SandboxError::UnusableDir`] for what the caller can change;
    /// [`SandboxError::Timeout`] with the end of containerd's log when it does not come up.
    pub async fn start(dir: &Path) -> Result<Self, SandboxError> {
        let programs = requirements::find_programs()?;
        let dir = fs::canonicalize(dir).map_err(|source| SandboxError::io("find", dir, source))?;
        let layout = Layout::new(&dir)?;
        blocking_clean_up(dir.clone()).await?;
        for folder in layout.folders() {
            fs::create_dir_all(&folder).map_err(|source| SandboxError::io("make", &folder, source))?;
        }
        let snapshotter = snapshotter(&dir)?;
        let config = layout.config_file();
        fs::write(&config, layout.config(snapshotter)).map_err(|source| SandboxError::io("write", &config, source))?;
        let node = Node {
            log_root: layout.pod_logs(),
            cgroup_root: layout.cgroup_root(),
            limits_swap: cgroup::limits_swap(),
        };
        let cri = Cri::new(&layout.socket(), node);
        let mut containerd = Self {
            layout,
            programs,
            snapshotter,
            child: None,
            cri,
            gone: false,
        };
        containerd.launch().await?;
        let pause = ImageSpec {
            name: PAUSE_IMAGE,
            entrypoint: PAUSE,
        };
        containerd
            .import(&[
                pause,
                ImageSpec {
                    name: APP_IMAGE,
                    entrypoint: SHELL,
                },
            ])
            .await?;
        Ok(containerd)
    }

    /// Adds an image with busybox under another name, for instance `img.local/shop/checkout:2.0`.
    ///
    /// # Errors
    /// [`SandboxError::Program`] for a name that is none; [`SandboxError::Timeout`].
    pub async fn add_image(&self, name: &str) -> Result<(), SandboxError> {
        self.import(&[ImageSpec {
            name,
            entrypoint: SHELL,
        }])
        .await
    }

    /// The client of this runtime.
    #[must_use]
    pub fn cri(&self) -> &Cri {
        &self.cri
    }

    /// The socket that serves CRI and containerd's own API.
    #[must_use]
    pub fn socket(&self) -> PathBuf {
        self.layout.socket()
    }

    /// The cgroup above `/kubepods`, relative to the mount of each hierarchy.
    #[must_use]
    pub fn cgroup_root(&self) -> String {
        self.layout.cgroup_root()
    }

    /// The folder laid out like `/var/log/pods`.
    #[must_use]
    pub fn pod_logs(&self) -> PathBuf {
        self.layout.pod_logs()
    }

    /// What containerd itself logs.
    #[must_use]
    pub fn log_file(&self) -> PathBuf {
        self.layout.log_file()
    }

    /// Pid of containerd; none after [`Containerd::kill9`].
    #[must_use]
    pub fn pid(&self) -> Option<u32> {
        self.child.as_ref().map(Child::id)
    }

    /// Ends containerd, if it runs, and starts it again. The pods live through it.
    ///
    /// # Errors
    /// [`SandboxError::Timeout`] when it does not come up again.
    pub async fn restart(&mut self) -> Result<(), SandboxError> {
        self.end_process(Signal::TERM).await?;
        self.launch().await
    }

    /// Kills containerd as the kernel would. The pods live on; [`Containerd::restart`] brings it back.
    ///
    /// # Errors
    /// [`SandboxError::Io`] when the process cannot be collected.
    pub async fn kill9(&mut self) -> Result<(), SandboxError> {
        self.end_process(Signal::KILL).await
    }

    /// Ends all pods and containerd, and takes away every mount, cgroup and process of this sandbox. The folder stays,
    /// with the logs in it.
    ///
    /// # Errors
    /// [`SandboxError::LeftBehind`] names what stayed.
    pub async fn stop(mut self) -> Result<(), SandboxError> {
        if self.child.is_some() {
            let ended = tokio::time::timeout(PODS_GONE_WITHIN, self.remove_pods()).await;
            if !matches!(ended, Ok(Ok(()))) {
                tracing::warn!(outcome = ?ended, "pods did not end through the runtime and are killed");
            }
            self.end_process(Signal::TERM).await?;
        }
        self.gone = true;
        blocking_clean_up(self.layout.dir().to_owned()).await
    }

    async fn remove_pods(&self) -> Result<(), SandboxError> {
        for pod in self.cri.pods().await? {
            self.cri.remove_pod(&pod).await?;
        }
        Ok(())
    }

    async fn launch(&mut self) -> Result<(), SandboxError> {
        let child = self.spawn()?;
        let pid_file = self.layout.pid_file();
        let noted = fs::write(&pid_file, child.id().to_string());
        self.child = Some(child);
        noted.map_err(|source| SandboxError::io("write", &pid_file, source))?;
        self.wait_ready().await
    }

    fn spawn(&self) -> Result<Child, SandboxError> {
        let path = self.layout.log_file();
        let open = || File::options().create(true).append(true).open(&path);
        let log = open().and_then(|log| Ok((log.try_clone()?, log)));
        let (out, err) = log.map_err(|source| SandboxError::io("open", &path, source))?;
        let mut command = Command::new(&self.programs.containerd);
        command.arg("--config").arg(self.layout.config_file());
        // The shim and runc are looked up by name.
        if let Ok(path) = std::env::join_paths(requirements::search_path()) {
            command.env("PATH", path);
        }
        // A group of its own, so that Ctrl-C in a terminal reaches only the program that owns this sandbox.
        command.process_group(0).stdin(Stdio::null()).stdout(out).stderr(err);
        command
            .spawn()
            .map_err(|source| SandboxError::io("run", &self.programs.containerd, source))
    }

    async fn wait_ready(&mut self) -> Result<(), SandboxError> {
        let begin = Instant::now();
        while let Err(error) = self.cri.version().await {
            let ended = self
                .child
                .as_mut()
                .is_some_and(|child| !matches!(child.try_wait(), Ok(None)));
            if ended || begin.elapsed() >= READY_WITHIN {
                tracing::debug!(%error, ended, "containerd did not come up");
                let last = tail(&self.layout.log_file());
                return Err(SandboxError::Timeout {
                    what: "an answer of containerd",
                    waited: begin.elapsed(),
                    last,
                });
            }
            tokio::time::sleep(POLL).await;
        }
        Ok(())
    }

    async fn end_process(&mut self, signal: Signal) -> Result<(), SandboxError> {
        let Some(mut child) = self.child.take() else {
            return Ok(());
        };
        send(&child, signal);
        let begin = Instant::now();
        loop {
            match child.try_wait() {
                Ok(Some(_)) => return Ok(()),
                Ok(None) if begin.elapsed() < STOPPED_WITHIN => tokio::time::sleep(POLL).await,
                Ok(None) => send(&child, Signal::KILL),
                Err(source) => return Err(SandboxError::io("wait for", &self.programs.containerd, source)),
            }
        }
    }

    async fn import(&self, images: &[ImageSpec<'_>]) -> Result<(), SandboxError> {
        let archive = self.write_archive(images)?;
        let mut command = tokio::process::Command::new(&self.programs.ctr);
        command
            .arg("--address")
            .arg(self.layout.socket())
            .args(["--namespace", NAMESPACE, "images", "import"]);
        command
            .args(["--snapshotter", self.snapshotter])
            .arg(&archive)
            .stdin(Stdio::null())
            .kill_on_drop(true);
        let output = command
            .output()
            .await
            .map_err(|source| SandboxError::io("run", &self.programs.ctr, source))?;
        if !output.status.success() {
            let stderr = last_text(&output.stderr);
            return Err(SandboxError::Program {
                program: "ctr",
                status: output.status,
                stderr,
            });
        }
        for image in images {
            self.wait_image(image.name).await?;
        }
        Ok(())
    }

    fn write_archive(&self, images: &[ImageSpec<'_>]) -> Result<PathBuf, SandboxError> {
        let busybox = &self.programs.busybox;
        let program = fs::read(busybox).map_err(|source| SandboxError::io("read", busybox, source))?;
        let names: Vec<&str> = images.iter().map(|image| image.name).collect();
        let digest = Sha256::digest(names.join(" ").as_bytes());
        let tag: String = digest.iter().take(8).map(|byte| format!("{byte:02x}")).collect();
        let path = self.layout.images().join(format!("{tag}.tar"));
        let written = File::create(&path).and_then(|file| image::write_archive(&program, images, file));
        written.map_err(|source| SandboxError::io("write", &path, source))?;
        Ok(path)
    }

    /// The CRI half of containerd learns of an import through an event, a moment later.
    async fn wait_image(&self, name: &str) -> Result<(), SandboxError> {
        let begin = Instant::now();
        while !self.cri.has_image(name).await? {
            if begin.elapsed() >= READY_WITHIN {
                let last = format!("{name} is unknown");
                return Err(SandboxError::Timeout {
                    what: "an imported image",
                    waited: READY_WITHIN,
                    last,
                });
            }
            tokio::time::sleep(POLL).await;
        }
        Ok(())
    }
}

impl Drop for Containerd {
    fn drop(&mut self) {
        if self.gone {
            return;
        }
        if let Some(mut child) = self.child.take() {
            let ended = child.kill().and_then(|()| child.wait());
            if let Err(error) = ended {
                tracing::warn!(%error, "containerd not collected");
            }
        }
        if let Err(error) = sweep::clean_up(self.layout.dir()) {
            tracing::warn!(%error, "sandbox not cleaned up");
        }
    }
}

async fn blocking_clean_up(dir: PathBuf) -> Result<(), SandboxError> {
    let task = tokio::task::spawn_blocking({
        let dir = dir.clone();
        move || sweep::clean_up(&dir)
    });
    task.await
        .map_err(|error| SandboxError::io("clean up", &dir, std::io::Error::other(error)))?
}

fn send(child: &Child, signal: Signal) {
    if let Some(pid) = i32::try_from(child.id()).ok().and_then(Pid::from_raw) {
        // Fails only for a process that has ended, which the caller waits for anyway.
        rustix::process::kill_process(pid, signal).unwrap_or_default();
    }
}

/// Overlays cannot be stacked on an overlay, which is what most containers have as their root.
fn snapshotter(dir: &Path) -> Result<&'static str, SandboxError> {
    let stat = rustix::fs::statfs(dir).map_err(|error| SandboxError::io("inspect", dir, error.into()))?;
    Ok(if stat.f_type == OVERLAYFS_MAGIC {
        "native"
    } else {
        "overlayfs"
    })
}

fn tail(path: &Path) -> String {
    last_text(&fs::read(path).unwrap_or_default())
}

/// The last 2 KiB, with control characters made harmless.
fn last_text(bytes: &[u8]) -> String {
    let begin = bytes.len().saturating_sub(2048);
    let text = String::from_utf8_lossy(bytes.get(begin..).unwrap_or_default());
    text.trim()
        .chars()
        .map(|c| if c.is_control() && c != '\n' { ' ' } else { c })
        .collect()
}
