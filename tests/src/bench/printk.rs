//! The kernel's printing settings for the time of a bench. Owns both files and puts them back.
//!
//! `printk_devkmsg` must be `on`, or the markers that calibrate the clock are rate-limited
//! (`Documentation/admin-guide/sysctl/kernel.rst`). The console is silenced because a serial one makes the kernel wait
//! for every character.

use std::{
    fs,
    path::{Path, PathBuf},
};

use anyhow::{Context as _, Result};

/// Old settings, put back on drop.
#[derive(Debug)]
pub(super) struct Printk {
    old: Vec<(PathBuf, String)>,
}

impl Printk {
    /// Lets markers through, and only emergencies to the console unless `console_default`.
    ///
    /// # Errors
    /// Without root, or where the boot command line fixed `printk.devkmsg`.
    pub(super) fn prepare(console_default: bool) -> Result<Self> {
        let mut guard = Self { old: Vec::new() };
        guard.set(Path::new("/proc/sys/kernel/printk_devkmsg"), |_| "on".to_owned())?;
        if !console_default {
            guard.set(Path::new("/proc/sys/kernel/printk"), silent)?;
        }
        Ok(guard)
    }

    fn set(&mut self, path: &Path, new: impl FnOnce(&str) -> String) -> Result<()> {
        let old = fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))?;
        let new = new(old.trim());
        if old.trim() != new {
            // `printk_devkmsg` takes a word only with the end of its line
            fs::write(path, format!("{new}\n")).with_context(|| format!("cannot write {}", path.display()))?;
            self.old.push((path.to_owned(), old));
        }
        Ok(())
    }
}

impl Drop for Printk {
    fn drop(&mut self) {
        for (path, old) in &self.old {
            if let Err(error) = fs::write(path, old) {
                super::say(&format!(
                    "{} stays changed, it was {}: {error}",
                    path.display(),
                    old.trim()
                ));
            }
        }
    }
}

/// The four levels with the first, that of the console, at 1.
fn silent(levels: &str) -> String {
    let rest = levels.split_whitespace().skip(1);
    std::iter::once("1").chain(rest).collect::<Vec<_>>().join("\t")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_level_of_the_console_changes() {
        assert_eq!(silent("4\t4\t1\t7"), "1\t4\t1\t7");
    }

    #[test]
    fn settings_come_back_when_the_bench_ends() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("printk");
        fs::write(&path, "7\t4\t1\t7\n").unwrap();
        let mut guard = Printk { old: Vec::new() };
        guard.set(&path, silent).unwrap();
        assert_eq!(fs::read_to_string(&path).unwrap(), "1\t4\t1\t7\n");
        drop(guard);
        assert_eq!(fs::read_to_string(&path).unwrap(), "7\t4\t1\t7\n");
    }
}
