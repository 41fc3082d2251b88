//! Where a private containerd keeps what, and its configuration file.
//!
//! Owns names and paths, all derived from one folder. Must not touch the disk.

use std::path::{Path, PathBuf};

use sha2::{Digest, Sha256};

use super::error::SandboxError;

/// Image of the process that holds a pod together.
pub const PAUSE_IMAGE: &str = "img.local/pause:1";

/// Image with busybox that every sandbox has from the start.
pub const APP_IMAGE: &str = "img.local/app:1.4";

/// containerd's namespace for what CRI makes.
pub(super) const NAMESPACE: &str = "k8s.io";

/// The kernel takes socket paths of at most 107 bytes (`UNIX_PATH_MAX`, unix(7)); `.ttrpc` is appended to ours.
const MAX_SOCKET_PATH: usize = 107 - ".ttrpc".len();

/// All paths and names of one private containerd.
#[derive(Debug, Clone)]
pub(super) struct Layout {
    dir: PathBuf,
    text: String,
}

impl Layout {
    /// Names everything below `dir`, which must be absolute, UTF-8 and short enough for a socket.
    pub(super) fn new(dir: &Path) -> Result<Self, SandboxError> {
        let unusable = |reason| SandboxError::UnusableDir {
            path: dir.to_owned(),
            reason,
        };
        let text = dir
            .to_str()
            .ok_or_else(|| unusable("the path is not UTF-8"))?
            .to_owned();
        if !dir.is_absolute() {
            return Err(unusable("the path is not absolute"));
        }
        if text.chars().any(|c| c.is_control() || c.is_whitespace()) {
            return Err(unusable("the path has blanks or control characters"));
        }
        let layout = Self {
            dir: dir.to_owned(),
            text,
        };
        if layout.socket().as_os_str().len() > MAX_SOCKET_PATH {
            return Err(unusable("the path is too long for a socket in it"));
        }
        Ok(layout)
    }

    pub(super) fn dir(&self) -> &Path {
        &self.dir
    }

    pub(super) fn socket(&self) -> PathBuf {
        self.dir.join("c.sock")
    }

    pub(super) fn state(&self) -> PathBuf {
        self.dir.join("state")
    }

    pub(super) fn config_file(&self) -> PathBuf {
        self.dir.join("containerd.toml")
    }

    pub(super) fn pid_file(&self) -> PathBuf {
        self.dir.join("containerd.pid")
    }

    pub(super) fn log_file(&self) -> PathBuf {
        self.dir.join("containerd.log")
    }

    pub(super) fn images(&self) -> PathBuf {
        self.dir.join("images")
    }

    /// Counterpart of `/var/log/pods`.
    pub(super) fn pod_logs(&self) -> PathBuf {
        self.dir.join("pods")
    }

    /// Folders that must exist before containerd starts.
    pub(super) fn folders(&self) -> Vec<PathBuf> {
        let cni = self.dir.join("cni");
        vec![
            self.dir.join("root"),
            self.state(),
            self.dir.join("opt"),
            cni,
            self.images(),
            self.pod_logs(),
        ]
    }

    /// Cgroup above everything that runs in this sandbox, as a kubelet's `cgroupRoot`. The same folder always gives
    /// the same name, so that a later run finds what a killed one left.
    pub(super) fn cgroup_root(&self) -> String {
        let digest = Sha256::digest(self.text.as_bytes());
        let tag: String = digest.iter().take(4).map(|byte| format!("{byte:02x}")).collect();
        format!("/inquest-{tag}")
    }

    /// The configuration file, in containerd's version 2 format, which 1.x and 2.x read.
    pub(super) fn config(&self, snapshotter: &str) -> String {
        let dir = &self.text;
        // Layout::new refuses control characters; a quote or backslash must still not end the string.
        let dir = dir.replace('\\', "\\\\").replace('"', "\\\"");
        format!(
            r#"version = 2
root = "{dir}/root"
state = "{dir}/state"

[grpc]
  address = "{dir}/c.sock"

[plugins."io.containerd.internal.v1.opt"]
  path = "{dir}/opt"

[plugins."io.containerd.grpc.v1.cri"]
  sandbox_image = "{PAUSE_IMAGE}"
  disable_tcp_service = true
  disable_apparmor = true
  # inside a container root may not lower its own score, and every sandbox would fail
  restrict_oom_score_adj = true
  stream_server_address = "127.0.0.1"

  [plugins."io.containerd.grpc.v1.cri".cni]
    conf_dir = "{dir}/cni"
    bin_dir = "{dir}/cni"

  [plugins."io.containerd.grpc.v1.cri".containerd]
    snapshotter = "{snapshotter}"

    [plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc]
      runtime_type = "io.containerd.runc.v2"

      [plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc.options]
        SystemdCgroup = false
        Root = "{dir}/runc"
"#
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_folders_never_share_a_cgroup_and_one_keeps_its_own() {
        let name = |dir: &str| Layout::new(Path::new(dir)).unwrap().cgroup_root();
        assert_eq!(name("/tmp/a"), name("/tmp/a"));
        assert_ne!(name("/tmp/a"), name("/tmp/b"));
        assert!(name("/tmp/a").starts_with("/inquest-"));
    }

    #[test]
    fn a_folder_that_cannot_hold_a_socket_is_refused_with_the_reason() {
        let reason = |dir: &str| Layout::new(Path::new(dir)).unwrap_err().to_string();
        assert!(reason("relative").ends_with("the path is not absolute"));
        assert!(reason("/tmp/with blank").ends_with("the path has blanks or control characters"));
        assert!(reason(&format!("/{}", "x".repeat(120))).ends_with("the path is too long for a socket in it"));
    }

    #[test]
    fn a_quote_in_the_path_cannot_end_a_string_of_the_configuration() {
        let config = Layout::new(Path::new(r#"/tmp/a"b\c"#)).unwrap().config("native");
        assert!(config.contains(r#"state = "/tmp/a\"b\\c/state""#));
    }
}
