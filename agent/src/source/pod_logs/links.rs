//! The kubelet's links as containers, and what a fresh look at them changes.

use std::{
    collections::{BTreeMap, HashMap},
    fs, io,
    path::{Path, PathBuf},
    time::UNIX_EPOCH,
};

use inquest_shared::{
    clock::UnixNanos,
    model::{Subject, clean_name, guess_owner},
};

use crate::{
    observation::Container,
    source::kill_counter::{Running, Watched},
};

/// Most links read in one look; the kubelet keeps one for each container and one for its last end.
const MAX_LINKS: usize = 8192;
/// A container's cgroup lies at most this deep below the root: slices of class and pod, scope, and nesting for kind.
const MAX_DEPTH: u32 = 8;
/// Most cgroup folders looked at for one container.
const MAX_FOLDERS: u32 = 20_000;

/// An attempt that ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Ended {
    pub(super) container: Container,
    pub(super) at: UnixNanos,
    pub(super) live: bool,
}

/// What a look changed.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Changes {
    pub(super) started: Vec<Container>,
    pub(super) ended: Vec<Ended>,
    pub(super) removed: Vec<String>,
    pub(super) any: bool,
}

#[derive(Debug)]
struct Known {
    container: Container,
    ended: bool,
}

/// All links by container id. Pure.
#[derive(Debug, Default)]
pub(super) struct Links {
    known: HashMap<String, Known>,
    looked: bool,
}

impl Links {
    /// Takes a fresh look.
    pub(super) fn take(&mut self, found: Vec<Container>) -> Changes {
        let mut changes = Changes::default();
        let live = std::mem::replace(&mut self.looked, true);
        let gone = |id: &String| !found.iter().any(|container| container.subject.instance == *id);
        changes.removed = self.known.keys().filter(|id| gone(id)).cloned().collect();
        let mut starts: BTreeMap<(String, String, u32), Option<UnixNanos>> = BTreeMap::new();
        for container in found {
            let subject = &container.subject;
            starts.insert(attempt_of(subject, subject.attempt), container.started);
            if !self.known.contains_key(&subject.instance) {
                changes.started.push(container.clone());
                let known = Known {
                    container,
                    ended: false,
                };
                self.known.insert(known.container.subject.instance.clone(), known);
            }
        }
        for known in self.known.values_mut().filter(|known| !known.ended) {
            let subject = &known.container.subject;
            let next = starts.get(&attempt_of(subject, subject.attempt.saturating_add(1)));
            if let Some(Some(at)) = next {
                known.ended = true;
                let (container, at) = (known.container.clone(), *at);
                changes.ended.push(Ended { container, at, live });
            }
        }
        for id in &changes.removed {
            self.known.remove(id);
        }
        changes.any = !(changes.started.is_empty() && changes.ended.is_empty() && changes.removed.is_empty());
        changes
    }

    /// Keeps where a container's counters are.
    pub(super) fn note_cgroup(&mut self, container: &Container) {
        if let Some(known) = self.known.get_mut(&container.subject.instance) {
            known.container.subject.cgroup.clone_from(&container.subject.cgroup);
        }
    }

    /// Those that have not ended, with their cgroup.
    pub(super) fn running(&self) -> Running {
        let live = self.known.values().filter(|known| !known.ended);
        live.filter_map(|known| Watched::of(&known.container)).collect()
    }
}

fn attempt_of(subject: &Subject, attempt: u32) -> (String, String, u32) {
    (subject.pod_uid.clone(), subject.container.clone(), attempt)
}

/// Reads the folder.
///
/// # Errors
/// When it is not there or may not be read.
pub(super) fn read(folder: &Path) -> io::Result<Vec<Container>> {
    let mut links = Vec::new();
    for entry in fs::read_dir(folder)?.take(MAX_LINKS).flatten() {
        let name = entry.file_name();
        let Ok(target) = fs::read_link(entry.path()) else {
            continue;
        };
        if let Some(mut container) = name.to_str().and_then(|name| parse(name, &target)) {
            // The log file is made when the attempt starts.
            container.started = fs::metadata(&target).ok().and_then(|m| made(&m));
            links.push(container);
        }
    }
    Ok(links)
}

/// When a file was made; on a file system that does not say, when it was last written.
fn made(metadata: &fs::Metadata) -> Option<UnixNanos> {
    let time = metadata.created().or_else(|_| metadata.modified()).ok()?;
    let since = time.duration_since(UNIX_EPOCH).ok()?;
    i64::try_from(since.as_nanos()).ok().map(UnixNanos)
}

/// A link's name and target as a container; `None` for anything that the kubelet would not write.
fn parse(name: &str, target: &Path) -> Option<Container> {
    let (names, id) = name.strip_suffix(".log")?.rsplit_once('-')?;
    let is_id = id.len() == 64 && id.bytes().all(|b| b.is_ascii_hexdigit());
    let mut names = names.splitn(3, '_');
    let (pod, namespace, container) = (names.next()?, names.next()?, names.next()?);
    let mut parts = target.iter().rev().map(|part| part.to_str());
    let (file, folder, pod_folder) = (parts.next()??, parts.next()??, parts.next()??);
    let attempt: u32 = file.strip_suffix(".log")?.parse().ok()?;
    let uid = pod_folder.strip_prefix(&format!("{namespace}_{pod}_"))?;
    if !is_id || folder != container {
        return None;
    }
    let pod = clean_name(pod);
    Some(Container {
        subject: Subject {
            namespace: clean_name(namespace),
            // The labels that would name the owner are the runtime's.
            owner: guess_owner(&pod, |_| None),
            pod,
            pod_uid: clean_name(uid),
            container: clean_name(container),
            instance: id.to_owned(),
            attempt,
            ..Subject::default()
        },
        pid: None,
        log_path: Some(PathBuf::from(target)),
        memory_limit: None,
        started: None,
    })
}

/// The cgroup of a container, found by the id in its name.
pub(super) fn cgroup_of(root: &Path, id: &str) -> Option<String> {
    let mut left = MAX_FOLDERS;
    let folder = find(root, id, MAX_DEPTH, &mut left)?;
    let path = folder.strip_prefix(root).ok()?.to_str()?;
    Some(format!("/{path}"))
}

fn find(folder: &Path, id: &str, depth: u32, left: &mut u32) -> Option<PathBuf> {
    for entry in fs::read_dir(folder).ok()?.flatten() {
        if !entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            continue;
        }
        *left = left.checked_sub(1)?;
        let path = entry.path();
        if entry.file_name().to_str().is_some_and(|name| name.contains(id)) {
            return Some(path);
        }
        if depth > 0
            && let Some(found) = find(&path, id, depth - 1, left)
        {
            return Some(found);
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const UID: &str = "0b6f2d1e-4a57-4f0e-9a55-6c1f0a7d9e21";

    fn link(attempt: u32, started: i64) -> Container {
        let id = format!("{attempt:064x}");
        let target = format!("/var/log/pods/shop_web-1_{UID}/app/{attempt}.log");
        let container = parse(&format!("web-1_shop_app-{id}.log"), Path::new(&target)).unwrap();
        Container {
            started: Some(UnixNanos(started)),
            ..container
        }
    }

    #[test]
    fn a_link_names_pod_namespace_container_attempt_and_id() {
        let subject = link(3, 1).subject;
        assert_eq!(
            (
                subject.pod.as_str(),
                subject.namespace.as_str(),
                subject.container.as_str()
            ),
            ("web-1", "shop", "app")
        );
        assert_eq!(
            (subject.pod_uid.as_str(), subject.attempt, subject.instance.len()),
            (UID, 3, 64)
        );
    }

    /// An init container that makes way for the next one is no restart; a container that was removed with its pod neither.
    #[test]
    fn only_a_later_attempt_of_the_same_container_is_an_end() {
        let mut links = Links::default();
        assert_eq!(links.take(vec![link(0, 10)]).started.len(), 1);
        let restarted = links.take(vec![link(0, 10), link(1, 20)]);
        let ended: Vec<_> = restarted
            .ended
            .iter()
            .map(|e| (e.container.subject.attempt, e.at, e.live))
            .collect();
        assert_eq!(ended, [(0, UnixNanos(20), true)]);
        assert!(!links.take(vec![link(0, 10), link(1, 20)]).any, "told once");
        let gone = links.take(Vec::new());
        assert_eq!((gone.ended.len(), gone.removed.len()), (0, 2));
    }

    #[test]
    fn a_restart_before_the_agent_came_is_not_live_and_has_the_same_time() {
        let first = Links::default().take(vec![link(0, 10), link(1, 20)]).ended;
        let second = Links::default().take(vec![link(1, 20), link(0, 10)]).ended;
        assert_eq!(first, second);
        assert!(!first[0].live);
    }

    #[test]
    fn the_cgroup_of_a_container_is_found_by_its_id() {
        let root = tempfile::tempdir().unwrap();
        let id = "ab".repeat(32);
        let scope = format!("kubepods.slice/pod1.slice/cri-containerd-{id}.scope");
        fs::create_dir_all(root.path().join(&scope)).unwrap();
        assert_eq!(cgroup_of(root.path(), &id), Some(format!("/{scope}")));
        assert_eq!(cgroup_of(root.path(), "cd"), None);
    }

    proptest! {
        /// Anybody who may write into the folder can make links of any name.
        #[test]
        fn any_link_is_left_out_or_bounded(name in ".{0,300}", target in ".{0,300}") {
            if let Some(container) = parse(&name, Path::new(&target)) {
                prop_assert_eq!(container.subject.instance.len(), 64);
                prop_assert!(container.subject.pod.is_ascii());
            }
        }
    }
}
