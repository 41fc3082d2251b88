//! Finds the memory controller. Owns the mount table's format and the join of a cgroup path to a folder.
use std::path::{Component, Path, PathBuf};

use crate::host::file::{FileError, read_text};
use crate::host::paths::HostPaths;

/// Generation of the memory controller's hierarchy.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Version {
    /// Own hierarchy; also where a unified hierarchy exists without the memory controller (hybrid).
    V1,
    /// The unified hierarchy.
    V2,
}

/// Where the memory controller is mounted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MemoryMount {
    /// Generation.
    pub version: Version,
    /// Folder of the root cgroup.
    pub root: PathBuf,
}

impl MemoryMount {
    /// Looks in the mount table for the controller below the cgroup folder.
    ///
    /// # Errors
    /// [`FileError`]; [`FileError::Format`] when no memory controller is mounted there. Retrying helps after a mount.
    pub fn find(paths: &HostPaths) -> Result<Self, FileError> {
        let table = paths.proc.join("self/mountinfo");
        parse(&read_text(&table)?, &paths.cgroup).ok_or_else(|| FileError::format(&table, "memory controller"))
    }

    /// The folder of a cgroup path as the kernel prints it; `None` when the path would leave the hierarchy.
    #[must_use]
    pub fn folder(&self, path: &str) -> Option<PathBuf> {
        let relative = Path::new(path.trim_start_matches('/'));
        let inside = relative.components().all(|c| matches!(c, Component::Normal(_)));
        (inside && !path.contains('\0')).then(|| self.root.join(relative))
    }
}

/// `mountinfo` lines are `id parent dev root mountpoint options [optional…] - type source super-options`, see proc(5).
fn parse(table: &str, below: &Path) -> Option<MemoryMount> {
    let mut unified = None;
    for (root, kind, options) in table.lines().filter_map(mount) {
        if !root.starts_with(below) {
            continue;
        }
        if kind == "cgroup" && options.split(',').any(|option| option == "memory") {
            return Some(MemoryMount {
                version: Version::V1,
                root,
            });
        }
        if kind == "cgroup2" && unified.is_none() {
            unified = Some(MemoryMount {
                version: Version::V2,
                root,
            });
        }
    }
    unified
}

fn mount(line: &str) -> Option<(PathBuf, &str, &str)> {
    let (place, kind) = line.split_once(" - ")?;
    let point = place.split(' ').nth(4)?.replace("\\040", " ");
    let mut kind = kind.split(' ');
    let name = kind.next()?;
    Some((point.into(), name, kind.nth(1).unwrap_or_default()))
}

#[cfg(test)]
mod tests {
    use super::*;

    const HYBRID: &str = "31 23 0:28 / /sys/fs/cgroup rw - tmpfs tmpfs rw,mode=755
35 31 0:32 / /sys/fs/cgroup/memory rw,relatime shared:9 - cgroup cgroup rw,memory
41 31 0:38 / /sys/fs/cgroup/unified rw,relatime - cgroup2 cgroup2 rw";

    #[test]
    fn a_hybrid_host_keeps_its_memory_counters_in_the_old_hierarchy() {
        let found = parse(HYBRID, Path::new("/sys/fs/cgroup")).unwrap();
        assert_eq!(
            found,
            MemoryMount {
                version: Version::V1,
                root: "/sys/fs/cgroup/memory".into()
            }
        );
    }

    #[test]
    fn the_hosts_mount_is_taken_not_the_containers_own() {
        let table =
            "30 1 0:26 / /sys/fs/cgroup ro - cgroup2 cgroup rw\n90 1 0:26 / /host/cgroup ro - cgroup2 cgroup rw";
        let found = parse(table, Path::new("/host/cgroup")).unwrap();
        assert_eq!(
            found,
            MemoryMount {
                version: Version::V2,
                root: "/host/cgroup".into()
            }
        );
        assert_eq!(parse(table, Path::new("/elsewhere")), None);
    }

    #[test]
    fn a_path_cannot_lead_out_of_the_hierarchy() {
        let mount = MemoryMount {
            version: Version::V2,
            root: "/c".into(),
        };
        assert_eq!(mount.folder("/a/b"), Some("/c/a/b".into()));
        assert_eq!(mount.folder("/"), Some("/c".into()));
        assert_eq!(mount.folder("/../etc"), None);
        assert_eq!(mount.folder("/a/../../etc"), None);
    }
}
