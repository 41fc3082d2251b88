//! A private dockerd with one image made of busybox. Owns its daemon, folders and containers; it never touches a Docker
//! that was already there, and several may run side by side.

use std::{
    fs,
    os::unix::fs::symlink,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, ensure};
use rustix::process::{Pid, Signal, kill_process};

use crate::{Process, wait_for};

/// The image of every container.
pub const IMAGE: &str = "img.local/app:1";
/// A daemon that is ready within this time is healthy; a busy machine needs a quarter of it.
const READY_WITHIN: Duration = Duration::from_secs(60);
/// How long the daemon gets to end by itself.
const STOPPED_WITHIN: Duration = Duration::from_secs(10);
/// How often leftovers are looked at.
const POLL: Duration = Duration::from_millis(20);
/// Names under which busybox is callable.
const APPLETS: [&str; 9] = ["sh", "cat", "cp", "echo", "kill", "printf", "sleep", "tail", "true"];

/// A running private dockerd. Dropping it ends its containers, its processes and its mounts.
#[derive(Debug)]
pub struct Dockerd {
    dir: PathBuf,
    cgroup_parent: String,
    containerd: Option<PathBuf>,
    process: Option<Process>,
}

impl Dockerd {
    /// Starts a daemon that keeps everything in `dir`, which must exist and have a short path, and puts its containers below
    /// a cgroup. With `containerd` it uses that one, in the namespace `moby`, instead of starting its own.
    ///
    /// # Errors
    /// When a program is missing or the daemon does not come up, with the end of its log.
    pub async fn start(dir: &Path, cgroup_parent: &str, containerd: Option<&Path>) -> Result<Self> {
        let mut dockerd = Self {
            dir: dir.to_owned(),
            cgroup_parent: cgroup_parent.to_owned(),
            containerd: containerd.map(Path::to_owned),
            process: None,
        };
        dockerd.launch().await?;
        dockerd.import()?;
        Ok(dockerd)
    }

    /// The socket of the API.
    #[must_use]
    pub fn socket(&self) -> PathBuf {
        self.dir.join("d.sock")
    }

    /// The socket of the containerd that it uses: one that was given, or the one that it started.
    #[must_use]
    pub fn containerd_socket(&self) -> PathBuf {
        let own = || self.dir.join("x/containerd/containerd.sock");
        self.containerd.clone().unwrap_or_else(own)
    }

    /// The daemon, to freeze it; its containerd goes on.
    ///
    /// # Errors
    /// When it does not run.
    pub fn process(&self) -> Result<&Process> {
        self.process.as_ref().context("dockerd does not run")
    }

    /// Runs a shell script in a container of this name; gives the container's id.
    ///
    /// # Errors
    /// What Docker says.
    pub fn run(&self, name: &str, options: &[&str], script: &str) -> Result<String> {
        let mut args = vec!["run", "--detach", "--network", "none", "--name", name];
        args.extend(options);
        args.extend([IMAGE, "/bin/sh", "-c", script]);
        Ok(self.docker(&args)?.trim().to_owned())
    }

    /// Runs the client; gives what it printed.
    ///
    /// # Errors
    /// When it fails, with its words.
    pub fn docker(&self, args: &[&str]) -> Result<String> {
        let output = self.client().args(args).output().context("cannot run docker")?;
        ensure!(
            output.status.success(),
            "docker {args:?}: {}",
            String::from_utf8_lossy(&output.stderr)
        );
        Ok(String::from_utf8_lossy(&output.stdout).into_owned())
    }

    /// The client, told to talk to this daemon and nobody else.
    fn client(&self) -> Command {
        let mut command = Command::new("docker");
        command
            .env("DOCKER_HOST", format!("unix://{}", self.socket().display()))
            .env("DOCKER_CONFIG", self.dir.join("client"))
            .stdin(Stdio::null());
        command
    }

    /// Kills the daemon as the kernel would. Its containers live on; [`Dockerd::launch`] brings it back.
    ///
    /// # Errors
    /// When the process cannot be collected.
    pub fn kill9(&mut self) -> Result<()> {
        if let Some(mut process) = self.process.take() {
            process.kill9()?;
        }
        Ok(())
    }

    /// Starts the daemon, also after [`Dockerd::kill9`].
    ///
    /// # Errors
    /// When it does not come up, with the end of its log.
    pub async fn launch(&mut self) -> Result<()> {
        // dockerd gives up when its containerd does not answer within 15 s, which happens on a busy machine.
        if self.try_launch().await.is_ok() {
            return Ok(());
        }
        self.kill9()?;
        self.try_launch().await
    }

    async fn try_launch(&mut self) -> Result<()> {
        let at = |name: &str| self.dir.join(name).display().to_string();
        // A pid file of a killed daemon would refuse the next one when its number is in use again.
        fs::remove_file(self.dir.join("pid")).or_else(|error| match error.kind() {
            std::io::ErrorKind::NotFound => Ok(()),
            _ => Err(error),
        })?;
        let mut command = Command::new("dockerd");
        command
            .args(["--host", &format!("unix://{}", self.socket().display())])
            .args([
                "--data-root",
                &at("data"),
                "--exec-root",
                &at("x"),
                "--pidfile",
                &at("pid"),
            ])
            .args([
                "--iptables=false",
                "--ip6tables=false",
                "--bridge=none",
                "--live-restore",
            ])
            .args(["--exec-opt", "native.cgroupdriver=cgroupfs"])
            .args(["--cgroup-parent", &self.cgroup_parent])
            .env("PATH", search_path());
        if let Some(socket) = &self.containerd {
            command.arg("--containerd").arg(socket);
        }
        self.process = Some(Process::spawn("dockerd", command, &self.dir)?);
        let ready = wait_for("dockerd", READY_WITHIN, async || self.docker(&["version"])).await;
        let log = self.process.as_ref().map(Process::stderr).unwrap_or_default();
        ready.map(|_| ()).with_context(|| log)
    }

    /// One image from nothing but busybox.
    fn import(&self) -> Result<()> {
        let root = self.dir.join("image");
        fs::create_dir_all(root.join("bin"))?;
        fs::create_dir_all(root.join("tmp"))?;
        let busybox = ["/bin/busybox", "/usr/bin/busybox"]
            .into_iter()
            .find(|path| Path::new(path).exists())
            .context("no busybox")?;
        fs::copy(busybox, root.join("bin/busybox"))?;
        for applet in APPLETS {
            symlink("busybox", root.join("bin").join(applet))?;
        }
        let archive = self.dir.join("image.tar");
        let mut tar = Command::new("tar");
        tar.arg("-C").arg(&root).arg("-cf").arg(&archive).arg(".");
        ensure!(tar.status()?.success(), "tar failed");
        self.docker(&[
            "import",
            "--change",
            "ENV PATH=/bin",
            &archive.display().to_string(),
            IMAGE,
        ])?;
        Ok(())
    }

    /// Ends what a daemon that was killed left: shims and, if it is ours, containerd. They are known by our folder.
    fn end_leftovers(&self) {
        let begin = Instant::now();
        while begin.elapsed() < STOPPED_WITHIN {
            let left = processes_with(&self.dir);
            if left.is_empty() {
                break;
            }
            for pid in left {
                // One that ended in between is what is wanted.
                kill_process(pid, Signal::KILL).unwrap_or_default();
            }
            std::thread::sleep(POLL);
        }
        for mount in mounts_below(&self.dir) {
            let mut umount = Command::new("umount");
            umount.arg("-l").arg(&mount).stderr(Stdio::null());
            umount.status().map(|_| ()).unwrap_or_default();
        }
    }
}

impl Drop for Dockerd {
    fn drop(&mut self) {
        if let Some(mut process) = self.process.take() {
            let ids = self.docker(&["ps", "--all", "--quiet"]).unwrap_or_default();
            let mut args = vec!["rm", "--force"];
            args.extend(ids.split_whitespace());
            if args.len() > 2 {
                self.docker(&args).map(|_| ()).unwrap_or_default();
            }
            process.signal(Signal::TERM).unwrap_or_default();
            let begin = Instant::now();
            while begin.elapsed() < STOPPED_WITHIN && Path::new(&format!("/proc/{}/exe", process.pid())).exists() {
                std::thread::sleep(POLL);
            }
            process.kill9().map(|_| ()).unwrap_or_default();
        }
        self.end_leftovers();
    }
}

/// Debian keeps daemons where a user's path may not look.
fn search_path() -> String {
    format!("{}:/usr/sbin:/sbin", std::env::var("PATH").unwrap_or_default())
}

/// Processes whose command line names the folder, without this one.
fn processes_with(folder: &Path) -> Vec<Pid> {
    let needle = format!("{}/", folder.display());
    let Ok(entries) = fs::read_dir("/proc") else {
        return Vec::new();
    };
    let pids = entries.flatten().filter_map(|entry| {
        let pid: u32 = entry.file_name().to_str()?.parse().ok()?;
        let line = fs::read(entry.path().join("cmdline")).ok()?;
        let named = String::from_utf8_lossy(&line).contains(&needle);
        (named && pid != std::process::id()).then_some(pid)
    });
    pids.filter_map(|pid| Pid::from_raw(i32::try_from(pid).ok()?)).collect()
}

/// Mounts below the folder, the innermost first.
fn mounts_below(folder: &Path) -> Vec<PathBuf> {
    let text = fs::read_to_string("/proc/self/mountinfo").unwrap_or_default();
    let points = text.lines().filter_map(|line| line.split(' ').nth(4));
    let mut below: Vec<PathBuf> = points
        .map(PathBuf::from)
        .filter(|path| path.starts_with(folder))
        .collect();
    below.sort_by_key(|path| std::cmp::Reverse(path.components().count()));
    below
}
