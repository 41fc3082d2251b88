//! A few facts of procfs. Owns the formats of those files; the processes belong to others and may vanish at any time.
use crate::host::file::{FileError, read_bytes, read_text};
use crate::host::paths::HostPaths;

/// `AT_PAGESZ` of the auxiliary vector, see getauxval(3).
const AT_PAGESZ: usize = 6;

/// The id of this boot, 36 characters.
///
/// # Errors
/// [`FileError`]; retrying does not help.
pub fn boot_id(paths: &HostPaths) -> Result<String, FileError> {
    let path = paths.boot_id();
    let id = read_text(&path)?.trim().to_owned();
    if id.is_empty() || id.len() > 64 {
        Err(FileError::format(&path, "boot id"))
    } else {
        Ok(id)
    }
}

/// The cgroup that the memory of a process is charged to, as seen from this process' cgroup namespace.
///
/// # Errors
/// [`FileError::Gone`] when the process has ended.
pub fn memory_cgroup(paths: &HostPaths, pid: u32) -> Result<String, FileError> {
    let path = paths.process(pid, "cgroup");
    parse_cgroup(&read_text(&path)?).ok_or_else(|| FileError::format(&path, "memory cgroup"))
}

/// The pids of a process from the outermost namespace that we see to its own; the last is 1 for the main process of a container.
///
/// # Errors
/// [`FileError::Gone`] when the process has ended.
pub fn namespace_pids(paths: &HostPaths, pid: u32) -> Result<Vec<u32>, FileError> {
    let path = paths.process(pid, "status");
    parse_ns_pids(&read_text(&path)?).ok_or_else(|| FileError::format(&path, "NSpid"))
}

/// Name of a process, at most 15 bytes of anything, and its effective user.
///
/// # Errors
/// [`FileError::Gone`] when the process has ended.
pub fn comm_and_uid(paths: &HostPaths, pid: u32) -> Result<(Vec<u8>, Option<u32>), FileError> {
    let mut comm = read_bytes(&paths.process(pid, "comm"))?;
    if comm.last() == Some(&b'\n') {
        comm.pop();
    }
    let uid = read_text(&paths.process(pid, "status")).ok();
    Ok((comm, uid.as_deref().and_then(parse_uid)))
}

/// Whether this procfs shows the initial pid namespace, whose pids the kernel prints. There, pid 2 is the parent of all
/// kernel threads (`rest_init` in the kernel's `init/main.c`).
///
/// # Errors
/// [`FileError`]; retrying does not help.
pub fn is_of_the_host(paths: &HostPaths) -> Result<bool, FileError> {
    match read_text(&paths.process(2, "comm")) {
        Ok(comm) => Ok(comm.trim_end() == "kthreadd"),
        Err(error) if error.is_gone() => Ok(false),
        Err(error) => Err(error),
    }
}

/// Bytes in a page of memory.
///
/// # Errors
/// [`FileError`]; retrying does not help.
pub fn page_bytes(paths: &HostPaths) -> Result<u64, FileError> {
    let path = paths.proc.join("self/auxv");
    parse_page_bytes(&read_bytes(&path)?).ok_or_else(|| FileError::format(&path, "page size"))
}

/// Lines are `id:controllers:path`; the unified hierarchy has id 0 and no controllers. The old controller wins where both exist.
fn parse_cgroup(text: &str) -> Option<String> {
    let mut unified = None;
    for line in text.lines() {
        let mut parts = line.splitn(3, ':');
        let (Some(id), Some(controllers), Some(path)) = (parts.next(), parts.next(), parts.next()) else {
            continue;
        };
        if controllers.split(',').any(|controller| controller == "memory") {
            return Some(path.to_owned());
        }
        if id == "0" && controllers.is_empty() {
            unified = Some(path.to_owned());
        }
    }
    // a process that outlived its cgroup
    unified.map(|path| path.strip_suffix(" (deleted)").unwrap_or(&path).to_owned())
}

fn parse_ns_pids(text: &str) -> Option<Vec<u32>> {
    let line = text.lines().find_map(|line| line.strip_prefix("NSpid:"))?;
    line.split_whitespace().map(|pid| pid.parse().ok()).collect()
}

/// `Uid:` has the real, effective, saved and file system user.
fn parse_uid(status: &str) -> Option<u32> {
    let line = status.lines().find_map(|line| line.strip_prefix("Uid:"))?;
    line.split_whitespace().nth(1)?.parse().ok()
}

/// Pairs of machine words: kind, value.
fn parse_page_bytes(bytes: &[u8]) -> Option<u64> {
    let words: Vec<usize> = bytes
        .as_chunks()
        .0
        .iter()
        .map(|word| usize::from_ne_bytes(*word))
        .collect();
    let size = words
        .chunks_exact(2)
        .find(|pair| pair.first() == Some(&AT_PAGESZ))?
        .get(1)
        .copied()?;
    u64::try_from(size).ok().filter(|size| size.is_power_of_two())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn the_memory_cgroup_is_the_old_controllers_where_it_exists() {
        let hybrid = "9:name=systemd:/a\n4:memory:/kubepods/podx/c:1\n0::/u\n";
        assert_eq!(parse_cgroup(hybrid).as_deref(), Some("/kubepods/podx/c:1"));
        assert_eq!(
            parse_cgroup("0::/system.slice/a.service (deleted)\n").as_deref(),
            Some("/system.slice/a.service")
        );
        assert_eq!(parse_cgroup("5:cpu,cpuacct:/\n"), None);
    }

    #[test]
    fn the_main_process_of_a_container_is_one_in_its_own_namespace() {
        assert_eq!(
            parse_ns_pids("Name:\ttail\nNSpid:\t11219\t77\t1\n"),
            Some(vec![11219, 77, 1])
        );
        assert_eq!(parse_ns_pids("Name:\tNSpid: 1\n"), None);
    }

    #[test]
    fn the_user_of_a_process_is_the_one_whose_rights_it_has() {
        assert_eq!(parse_uid("Name:\tsu\nUid:\t1000\t0\t0\t0\n"), Some(0));
        assert_eq!(parse_uid("Name:\tUid: 7\n"), None);
    }

    #[test]
    fn a_procfs_without_kernel_threads_is_not_the_hosts() {
        let folder = tempfile::tempdir().unwrap();
        let paths = HostPaths {
            proc: folder.path().to_owned(),
            ..HostPaths::default()
        };
        assert!(!is_of_the_host(&paths).unwrap());
        std::fs::create_dir(folder.path().join("2")).unwrap();
        std::fs::write(folder.path().join("2/comm"), "kthreadd\n").unwrap();
        assert!(is_of_the_host(&paths).unwrap());
    }

    #[test]
    fn this_very_process_can_be_read() {
        let paths = HostPaths::default();
        let own = std::process::id();
        assert!(memory_cgroup(&paths, own).unwrap().starts_with('/'));
        assert!(namespace_pids(&paths, own).unwrap().contains(&own));
        assert_eq!(boot_id(&paths).unwrap().len(), 36);
        assert!(page_bytes(&paths).unwrap() >= 4096);
        assert!(memory_cgroup(&paths, u32::MAX).unwrap_err().is_gone());
    }

    proptest! {
        #[test]
        fn any_content_is_read_without_panic(text in ".{0,200}", bytes in proptest::collection::vec(any::<u8>(), 0..100)) {
            parse_cgroup(&text);
            parse_ns_pids(&text);
            parse_uid(&text);
            parse_page_bytes(&bytes);
        }
    }
}
