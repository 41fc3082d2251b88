//! What is known of each container, and what a fresh list changes. Pure.

use std::collections::{HashMap, HashSet};

use inquest_proto::runtime::v1 as cri;

use super::events::Ended;
use crate::{
    observation::Container,
    source::kill_counter::{Running, Watched},
};

/// Most containers followed; a node of 500 pods has fewer.
const MAX_CONTAINERS: usize = 8192;

/// Life of one container as far as this source has told it.
#[derive(Debug, Clone, Default)]
pub(super) struct Entry {
    /// Facts, once inspected.
    pub(super) facts: Option<Container>,
    /// Pid from the start event, which may come before the inspection.
    pub(super) pid: Option<u32>,
    /// Whether the end was told.
    pub(super) exited: bool,
    /// An end that waits for the inspection: exit code and time from the event.
    pub(super) pending_exit: Option<(i32, inquest_shared::clock::UnixNanos)>,
    /// An end as an event described it, in case the runtime has forgotten the container when it is asked.
    pub(super) ended: Option<Box<Ended>>,
    /// Its end is no news: somebody's look into a running pod.
    pub(super) ephemeral: bool,
}

/// All containers by id.
#[derive(Debug, Default)]
pub(super) struct Table {
    entries: HashMap<String, Entry>,
    sandboxes: HashSet<String>,
    /// The log says once that the table is full.
    full: bool,
}

/// What to do after a list.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Changes {
    /// Containers to inspect: new ones, and ones that ended unseen.
    pub(super) inspect: Vec<String>,
    /// Containers that the runtime no longer has.
    pub(super) removed: Vec<String>,
}

impl Table {
    /// Takes a fresh list.
    pub(super) fn reconcile(&mut self, containers: &[cri::Container], sandboxes: Vec<cri::PodSandbox>) -> Changes {
        self.sandboxes = sandboxes.into_iter().map(|s| s.id).collect();
        let listed: HashSet<&str> = containers.iter().map(|c| c.id.as_str()).collect();
        let removed: Vec<String> = self
            .entries
            .keys()
            .filter(|id| !listed.contains(id.as_str()))
            .cloned()
            .collect();
        for id in &removed {
            self.entries.remove(id);
        }
        let inspect = containers
            .iter()
            .filter(|c| self.needs_look(c))
            .map(|c| c.id.clone())
            .collect();
        Changes { inspect, removed }
    }

    fn needs_look(&self, container: &cri::Container) -> bool {
        let ended = container.state() == cri::ContainerState::ContainerExited;
        match self.entries.get(&container.id) {
            None => true,
            Some(entry) => entry.facts.is_none() || (ended && !entry.exited),
        }
    }

    /// The entry of a container, made when absent; `None` when the table is full.
    pub(super) fn entry(&mut self, id: &str) -> Option<&mut Entry> {
        if !self.entries.contains_key(id) && self.entries.len() >= MAX_CONTAINERS {
            if !std::mem::replace(&mut self.full, true) {
                tracing::warn!(
                    limit = MAX_CONTAINERS,
                    "too many containers: further ones are not followed"
                );
            }
            return None;
        }
        Some(self.entries.entry(id.to_owned()).or_default())
    }

    /// The entry of a known container.
    pub(super) fn get(&self, id: &str) -> Option<&Entry> {
        self.entries.get(id)
    }

    /// Forgets a container that turned out not to be one.
    pub(super) fn forget(&mut self, id: &str) {
        self.entries.remove(id);
    }

    /// Whether the id is a sandbox and not a container.
    pub(super) fn is_sandbox(&self, id: &str) -> bool {
        self.sandboxes.contains(id)
    }

    /// Containers that run, with their cgroup.
    pub(super) fn running(&self) -> Running {
        let live = self.entries.iter().filter(|(_, entry)| !entry.exited);
        live.filter_map(|(_, entry)| Watched::of(entry.facts.as_ref()?))
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn listed(id: &str, state: cri::ContainerState) -> cri::Container {
        cri::Container {
            id: id.into(),
            state: state.into(),
            ..cri::Container::default()
        }
    }

    #[test]
    fn a_restarted_runtime_with_the_same_list_changes_nothing() {
        let mut table = Table::default();
        let running = [listed("a", cri::ContainerState::ContainerRunning)];
        assert_eq!(table.reconcile(&running, vec![]).inspect, ["a"]);
        table.entry("a").unwrap().facts = Some(Container {
            subject: Default::default(),
            pid: None,
            log_path: None,
            memory_limit: None,
            started: None,
        });
        assert_eq!(table.reconcile(&running, vec![]), Changes::default());
    }

    #[test]
    fn containers_beyond_the_limit_are_not_followed_until_others_are_gone() {
        let mut table = Table::default();
        for n in 0..MAX_CONTAINERS {
            assert!(table.entry(&n.to_string()).is_some());
        }
        assert!(table.entry("one more").is_none() && table.entry("7").is_some());
        table.forget("7");
        assert!(table.entry("one more").is_some());
    }

    #[test]
    fn an_end_that_no_event_told_is_found_by_the_list_once() {
        let mut table = Table::default();
        let ended = [listed("a", cri::ContainerState::ContainerExited)];
        assert_eq!(table.reconcile(&ended, vec![]).inspect, ["a"]);
        let entry = table.entry("a").unwrap();
        entry.exited = true;
        entry.facts = Some(Container {
            subject: Default::default(),
            pid: None,
            log_path: None,
            memory_limit: None,
            started: None,
        });
        assert_eq!(table.reconcile(&ended, vec![]), Changes::default());
        assert_eq!(table.reconcile(&[], vec![]).removed, ["a"]);
    }
}
