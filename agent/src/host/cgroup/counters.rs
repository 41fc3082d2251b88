//! What the memory controller counted. Owns the formats of its files (`Documentation/admin-guide/cgroup-v2.rst` and
//! `cgroup-v1/memory.rst` of the kernel); knows nothing of who is in the cgroup.
use std::path::Path;

use super::mount::{MemoryMount, Version};
use crate::host::file::{FileError, read_text};
use crate::host::paths::HostPaths;

/// From here on a v1 limit means "none": the kernel writes the largest `long` rounded down to a page.
const V1_NO_LIMIT: u64 = 1 << 62;

/// `memory.events`, and `memory.events.local` without the children.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct MemoryEvents {
    /// Reclaimed although below `memory.low`.
    pub low: u64,
    /// Throttled above `memory.high`.
    pub high: u64,
    /// Allocations that met `memory.max`.
    pub max: u64,
    /// Times the limit was hit and reclaim failed.
    pub oom: u64,
    /// Processes killed.
    pub oom_kill: u64,
    /// Times the whole group was killed; `None` before Linux 5.17.
    pub oom_group_kill: Option<u64>,
}

/// `memory.oom_control` of the old hierarchy.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct OomControl {
    /// Killing is switched off: tasks wait instead.
    pub kill_disabled: bool,
    /// Tasks are waiting for memory right now.
    pub under_oom: bool,
    /// Processes of this very cgroup killed, children not included; `None` before Linux 4.13.
    pub oom_kill: Option<u64>,
}

/// Everything read of one cgroup. Sizes are bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Memory {
    /// Kills counted: with children on v2, without on v1; `None` where the kernel does not count.
    pub oom_kill: Option<u64>,
    /// Times this cgroup's own limit was hit: `oom` of `memory.events.local` on v2, `memory.failcnt` tells less and is not used.
    pub oom_local: Option<u64>,
    /// The limit; `None` means no limit.
    pub limit: Option<u64>,
    /// In use now.
    pub usage: u64,
    /// Most ever in use; `None` on v2 before Linux 5.19.
    pub peak: Option<u64>,
}

/// Reads the counters of the cgroup in `folder`.
///
/// # Errors
/// [`FileError::Gone`] when the cgroup was removed, which is common right after its last process died; retrying does not help.
pub fn read(version: Version, folder: &Path) -> Result<Memory, FileError> {
    match version {
        Version::V1 => read_v1(folder),
        Version::V2 => read_v2(folder),
    }
}

/// Reads the counters of a cgroup by the path that the kernel prints.
///
/// # Errors
/// As [`read`]; a path that would leave the hierarchy counts as gone.
pub fn read_path(mount: &MemoryMount, path: &str) -> Result<Memory, FileError> {
    let folder = mount
        .folder(path)
        .ok_or_else(|| FileError::Gone { path: path.into() })?;
    read(mount.version, &folder)
}

fn read_v2(folder: &Path) -> Result<Memory, FileError> {
    let events = events(&folder.join("memory.events"))?;
    Ok(Memory {
        oom_kill: Some(events.oom_kill),
        oom_local: optional(self::events(&folder.join("memory.events.local")))?.map(|local| local.oom),
        limit: limit(&folder.join("memory.max"))?,
        usage: value(&folder.join("memory.current"))?,
        peak: optional(value(&folder.join("memory.peak")))?,
    })
}

fn read_v1(folder: &Path) -> Result<Memory, FileError> {
    let path = folder.join("memory.oom_control");
    let control = parse_oom_control(&read_text(&path)?).ok_or_else(|| FileError::format(&path, "oom control"))?;
    Ok(Memory {
        oom_kill: control.oom_kill,
        oom_local: None,
        limit: limit(&folder.join("memory.limit_in_bytes"))?,
        usage: value(&folder.join("memory.usage_in_bytes"))?,
        peak: Some(value(&folder.join("memory.max_usage_in_bytes"))?),
    })
}

/// Processes killed for memory on the whole node since boot; `None` before Linux 4.13.
///
/// # Errors
/// [`FileError`] when the file cannot be read.
pub fn node_oom_kills(paths: &HostPaths) -> Result<Option<u64>, FileError> {
    read_text(&paths.vmstat()).map(|text| field(&text, "oom_kill"))
}

fn optional<T>(read: Result<T, FileError>) -> Result<Option<T>, FileError> {
    match read {
        Err(error) if error.is_gone() => Ok(None),
        read => read.map(Some),
    }
}

fn events(path: &Path) -> Result<MemoryEvents, FileError> {
    parse_memory_events(&read_text(path)?).ok_or_else(|| FileError::format(path, "memory events"))
}

fn limit(path: &Path) -> Result<Option<u64>, FileError> {
    parse_limit(&read_text(path)?).ok_or_else(|| FileError::format(path, "limit"))
}

fn value(path: &Path) -> Result<u64, FileError> {
    read_text(path)?
        .trim()
        .parse()
        .map_err(|_| FileError::format(path, "number"))
}

/// Reads `memory.events`; `None` when it counts no kills.
#[must_use]
pub fn parse_memory_events(text: &str) -> Option<MemoryEvents> {
    let or_zero = |name| field(text, name).unwrap_or_default();
    Some(MemoryEvents {
        low: or_zero("low"),
        high: or_zero("high"),
        max: or_zero("max"),
        oom: or_zero("oom"),
        oom_kill: field(text, "oom_kill")?,
        oom_group_kill: field(text, "oom_group_kill"),
    })
}

/// Reads `memory.oom_control`; `None` when it is not that file.
#[must_use]
pub fn parse_oom_control(text: &str) -> Option<OomControl> {
    Some(OomControl {
        kill_disabled: field(text, "oom_kill_disable")? != 0,
        under_oom: field(text, "under_oom").unwrap_or_default() != 0,
        oom_kill: field(text, "oom_kill"),
    })
}

/// Reads a limit of either generation: outer `None` when it is no limit, inner `None` for "no limit".
#[must_use]
pub fn parse_limit(text: &str) -> Option<Option<u64>> {
    match text.trim() {
        "max" => Some(None),
        number => number
            .parse()
            .ok()
            .map(|bytes| Some(bytes).filter(|bytes| *bytes < V1_NO_LIMIT)),
    }
}

/// Value of `name value` on a line of its own.
fn field(text: &str, name: &str) -> Option<u64> {
    text.lines()
        .find_map(|line| line.strip_prefix(name)?.strip_prefix(' ')?.trim().parse().ok())
}

#[cfg(test)]
mod tests;
