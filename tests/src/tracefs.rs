//! A tracefs of its own mount for one installation: the kernel has one tree, so each agent gets an instance of its own.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context, Result, ensure};

/// A mount that ends when it is dropped, together with what a killed agent left in it.
#[derive(Debug)]
pub struct Tracefs {
    path: PathBuf,
    instance: String,
}

impl Tracefs {
    /// Mounts tracefs on a folder, which is made. `instance` is the agent's `sources.trace.instance`.
    ///
    /// # Errors
    /// Without root, or without tracefs in the kernel.
    pub fn mount(path: &Path, instance: &str) -> Result<Self> {
        fs::create_dir_all(path)?;
        let mut mount = Command::new("mount");
        let done = mount
            .args(["-t", "tracefs", "inquest-test"])
            .arg(path)
            .output()
            .context("mount")?;
        ensure!(
            done.status.success(),
            "mount: {}",
            String::from_utf8_lossy(&done.stderr)
        );
        Ok(Self {
            path: path.to_owned(),
            instance: instance.to_owned(),
        })
    }

    /// Where it is mounted.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Name of the agent's instance.
    #[must_use]
    pub fn instance(&self) -> &str {
        &self.instance
    }

    /// Folder of the agent's instance.
    #[must_use]
    pub fn folder(&self) -> PathBuf {
        self.path.join("instances").join(format!("inquest-{}", self.instance))
    }
}

impl Drop for Tracefs {
    fn drop(&mut self) {
        let _is_gone_or_busy = fs::remove_dir(self.folder());
        let mut umount = Command::new("umount");
        let _best_effort = umount.arg("-l").arg(&self.path).status();
    }
}
