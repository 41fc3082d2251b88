//! Small file systems that a test may fill.

use std::{
    fs,
    io::{ErrorKind, Write as _},
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context, Result, bail, ensure};

/// A tmpfs of a fixed size. Unmounted when dropped, lazily, since a program that is being killed may still hold files.
#[derive(Debug)]
pub struct SmallDisk {
    path: PathBuf,
}

impl SmallDisk {
    /// Mounts `kib` KiB on a folder, which is made.
    ///
    /// # Errors
    /// Without root.
    pub fn mount(path: &Path, kib: u32) -> Result<Self> {
        fs::create_dir_all(path)?;
        let mut mount = Command::new("mount");
        mount.args(["-t", "tmpfs", "-o", &format!("size={kib}k"), "inquest-test"]);
        let done = mount.arg(path).output().context("mount")?;
        ensure!(
            done.status.success(),
            "mount: {}",
            String::from_utf8_lossy(&done.stderr)
        );
        Ok(Self { path: path.to_owned() })
    }

    /// A path on the disk.
    #[must_use]
    pub fn join(&self, name: &str) -> PathBuf {
        self.path.join(name)
    }

    /// Takes all space that is left.
    ///
    /// # Errors
    /// When the disk cannot be written for another reason.
    pub fn fill(&self) -> Result<()> {
        let mut ballast = fs::File::options().create(true).append(true).open(self.ballast())?;
        for size in [64 * 1024, 4096, 1] {
            loop {
                match ballast.write_all(&vec![0; size]) {
                    Ok(()) => {}
                    Err(error) if error.kind() == ErrorKind::StorageFull => break,
                    Err(error) => bail!("cannot fill the disk: {error}"),
                }
            }
        }
        Ok(())
    }

    /// Gives the space back.
    ///
    /// # Errors
    /// When it was not filled.
    pub fn free(&self) -> Result<()> {
        fs::remove_file(self.ballast()).context("the ballast")
    }

    fn ballast(&self) -> PathBuf {
        self.join("ballast")
    }
}

impl Drop for SmallDisk {
    #[expect(clippy::print_stderr, reason = "a mount that stays is in the way of later runs")]
    fn drop(&mut self) {
        let unmounted = Command::new("umount").arg("-l").arg(&self.path).status();
        if !unmounted.is_ok_and(|status| status.success()) {
            eprintln!("{} stays mounted", self.path.display());
        }
    }
}
