//! What the host must have before a private runtime can start.
//!
//! Owns the search for programs. Must not start anything.

use std::fmt;
use std::fs::File;
use std::io::Read;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

/// System folders that the `PATH` of an ordinary user often lacks.
const SYSTEM_DIRS: [&str; 4] = ["/usr/sbin", "/usr/bin", "/sbin", "/bin"];

/// Programs that are started by name. containerd finds the shim and runc itself, through the same folders.
const PROGRAMS: [&str; 4] = ["containerd", "containerd-shim-runc-v2", "ctr", "runc"];

/// What keeps a private runtime from starting, with the remedy.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub struct Missing {
    /// Whether the process lacks root rights.
    pub root: bool,
    /// Programs that were not found.
    pub programs: Vec<&'static str>,
}

impl fmt::Display for Missing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.root {
            f.write_str("needs root")?;
        }
        if !self.programs.is_empty() {
            let separator = if self.root { "; " } else { "" };
            write!(
                f,
                "{separator}not found: {} (apt-get install containerd runc busybox-static)",
                self.programs.join(", ")
            )?;
        }
        Ok(())
    }
}

/// Where the needed programs are.
#[derive(Debug, Clone)]
pub(super) struct Programs {
    pub(super) containerd: PathBuf,
    pub(super) ctr: PathBuf,
    pub(super) busybox: PathBuf,
}

/// Finds the programs, or says all that is missing at once.
pub(super) fn find_programs() -> Result<Programs, Missing> {
    let dirs = search_path();
    let root = !rustix::process::geteuid().is_root();
    let mut programs: Vec<&'static str> = PROGRAMS
        .into_iter()
        .filter(|name| find_in(&dirs, name).is_none())
        .collect();
    let busybox = find_in(&dirs, "busybox").filter(|path| is_static(path));
    if busybox.is_none() {
        programs.push("busybox (static)");
    }
    match (find_in(&dirs, "containerd"), find_in(&dirs, "ctr"), busybox) {
        (Some(containerd), Some(ctr), Some(busybox)) if !root && programs.is_empty() => Ok(Programs {
            containerd,
            ctr,
            busybox,
        }),
        _ => Err(Missing { root, programs }),
    }
}

/// The `PATH` of this process with the system folders at its end.
pub(super) fn search_path() -> Vec<PathBuf> {
    let own = std::env::var_os("PATH").unwrap_or_default();
    let mut dirs: Vec<PathBuf> = std::env::split_paths(&own).filter(|dir| dir.is_absolute()).collect();
    for dir in SYSTEM_DIRS.map(PathBuf::from) {
        if !dirs.contains(&dir) {
            dirs.push(dir);
        }
    }
    dirs
}

fn find_in(dirs: &[PathBuf], name: &str) -> Option<PathBuf> {
    dirs.iter().map(|dir| dir.join(name)).find(|path| is_executable(path))
}

fn is_executable(path: &Path) -> bool {
    path.metadata()
        .is_ok_and(|meta| meta.is_file() && meta.permissions().mode() & 0o111 != 0)
}

/// Whether a program runs without a dynamic loader, which an image with nothing else in it does not have.
///
/// A dynamic ELF file names its loader right after the program headers, so the first 4 KiB tell.
fn is_static(path: &Path) -> bool {
    let mut head = Vec::with_capacity(4096);
    let read = File::open(path).and_then(|file| file.take(4096).read_to_end(&mut head));
    read.is_ok() && head.starts_with(b"\x7fELF") && !head.windows(4).any(|bytes| bytes == b"/ld-")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_missing_is_said_with_the_remedy() {
        let missing = Missing {
            root: true,
            programs: vec!["containerd", "ctr"],
        };
        let text = "needs root; not found: containerd, ctr (apt-get install containerd runc busybox-static)";
        assert_eq!(missing.to_string(), text);
        assert_eq!(
            Missing {
                root: true,
                programs: vec![]
            }
            .to_string(),
            "needs root"
        );
    }

    #[test]
    fn a_program_with_a_loader_is_not_taken_for_static() {
        let dir = tempfile::tempdir().unwrap();
        let write = |name: &str, bytes: &[u8]| {
            let path = dir.path().join(name);
            std::fs::write(&path, bytes).unwrap();
            path
        };
        assert!(!is_static(&write(
            "dynamic",
            b"\x7fELF\x02..../lib64/ld-linux-x86-64.so.2\0"
        )));
        assert!(!is_static(&write("script", b"#!/bin/sh\n")));
        assert!(is_static(&write("static", b"\x7fELF\x02....")));
    }

    #[test]
    fn system_folders_are_searched_whatever_the_path_says() {
        let dirs = search_path();
        assert!(SYSTEM_DIRS.iter().all(|dir| dirs.contains(&PathBuf::from(dir))));
    }
}
