//! Kill counters of the node and of containers: the audit of the kernel log, and the first witness where it is blind.
//!
//! `/proc/vmstat` counts every kill of the node (kernel 4.13 and later), so the counters of containers are read only when
//! it moved: an idle node costs one small read a second.

use std::{
    collections::{BTreeMap, HashMap},
    sync::Arc,
    time::Duration,
};

use inquest_shared::clock::{Clock, UnixNanos};
use tokio::{
    sync::{mpsc, watch},
    time::{MissedTickBehavior, interval},
};
use tokio_util::sync::CancellationToken;

use super::{SourceHealth, SourceState, Statuses};
use crate::{
    host::{
        cgroup::{
            counters,
            mount::{MemoryMount, Version},
            notice::Ringers,
        },
        file::FileError,
        paths::HostPaths,
    },
    observation::{Container, KillCounter, Observation},
};

/// Name of the source in statuses and metrics.
pub const NAME: &str = "cgroups";

/// A running instance as its runtime tells it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Watched {
    /// Its memory cgroup path.
    pub cgroup: String,
    /// When it began; `None` when nobody says.
    pub started: Option<UnixNanos>,
}

impl Watched {
    /// An instance and where its counters are; `None` when that is not known.
    #[must_use]
    pub fn of(container: &Container) -> Option<(String, Self)> {
        let subject = &container.subject;
        (!subject.cgroup.is_empty()).then(|| {
            let watched = Self {
                cgroup: subject.cgroup.clone(),
                started: container.started,
            };
            (subject.instance.clone(), watched)
        })
    }
}

/// Instances that run.
pub type Running = BTreeMap<String, Watched>;

/// What each runtime says that it runs, by the name of its source.
pub type Announced = BTreeMap<&'static str, Running>;

/// Replaces what one source says; wakes nobody when nothing changed.
pub fn announce(all: &watch::Sender<Announced>, source: &'static str, running: Running) {
    all.send_if_modified(|held| {
        let changed = held.get(source) != Some(&running);
        held.insert(source, running);
        changed
    });
}

/// What the source needs.
#[derive(Clone)]
pub struct KillCounters {
    /// Where the host's files are.
    pub paths: HostPaths,
    /// How often to look.
    pub poll: Duration,
    /// Wall time.
    pub clock: Arc<dyn Clock>,
    /// Containers to audit.
    pub running: watch::Receiver<Announced>,
    /// Cgroups that tell the kernel log's reader when to look.
    pub ringers: Ringers,
    /// Who is told what is live.
    pub statuses: Statuses,
}

/// How many looks pass before the mounts are read again: they change only when the agent's container is set up wrongly.
const LOOKS_BETWEEN_MOUNTS: u32 = 60;

impl KillCounters {
    /// Polls until the token ends. Overflow policy: a full observation queue delays the next look.
    pub async fn run(mut self, out: mpsc::Sender<Observation>, token: CancellationToken) {
        let mut ticks = interval(self.poll);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Skip);
        let mut audit = Audit::since(self.clock.now());
        loop {
            let mount = MemoryMount::find(&self.paths);
            let looks = if mount.is_ok() { LOOKS_BETWEEN_MOUNTS } else { 1 };
            for _ in 0..looks {
                // A container that is new rings at once, not at the next tick.
                tokio::select! {
                    () = token.cancelled() => return,
                    _ = ticks.tick() => {}
                    Ok(()) = self.running.changed() => self.running.mark_changed(),
                }
                for step in self.look(&mount, &mut audit) {
                    if out.send(Observation::KillCounter(step)).await.is_err() {
                        return;
                    }
                }
            }
        }
    }

    /// One look: at the node's counter, and at the containers when it moved or when they changed.
    fn look(&mut self, mount: &Result<MemoryMount, FileError>, audit: &mut Audit) -> Vec<KillCounter> {
        let node = counters::node_oom_kills(&self.paths);
        self.statuses.set(NAME, health(mount, &node));
        let moved = audit.node_moved(node.ok().flatten());
        let mut steps = Vec::new();
        if moved || self.running.has_changed().unwrap_or(false) {
            steps = self.look_at_containers(mount.as_ref().ok(), moved, audit);
        }
        if let Some(step) = audit.take_node_step() {
            steps.push(self.step("", "", step));
        }
        steps
    }

    fn look_at_containers(&mut self, mount: Option<&MemoryMount>, moved: bool, audit: &mut Audit) -> Vec<KillCounter> {
        let announced = self.running.borrow_and_update().clone();
        let running: Running = announced.into_values().flatten().collect();
        audit.forget_all_but(&running);
        self.let_ring(mount, &running);
        let mut steps = Vec::new();
        for (instance, watched) in &running {
            if !moved && audit.knows(instance) {
                continue;
            }
            // A cgroup that is gone takes its counter along; the node's counter still tells of its kills.
            let memory = mount.and_then(|mount| counters::read_path(mount, &watched.cgroup).ok());
            let step = memory
                .and_then(|m| m.oom_kill)
                .and_then(|value| audit.step(instance, watched, value));
            steps.extend(step.map(|step| self.step(instance, &watched.cgroup, step)));
        }
        steps
    }

    fn let_ring(&mut self, mount: Option<&MemoryMount>, running: &Running) {
        self.ringers.keep(|instance| running.contains_key(instance));
        let Some(mount) = mount else { return };
        for (instance, watched) in running {
            if let Some(folder) = mount.folder(&watched.cgroup) {
                self.ringers.add(instance, mount.version, &folder);
            }
        }
    }

    fn step(&self, instance: &str, cgroup: &str, (before, after): (u64, u64)) -> KillCounter {
        let (instance, cgroup) = (instance.to_owned(), cgroup.to_owned());
        KillCounter {
            instance,
            cgroup,
            before,
            after,
            at: self.clock.now(),
        }
    }
}

fn health<E: std::fmt::Display>(mount: &Result<MemoryMount, E>, node: &Result<Option<u64>, E>) -> SourceHealth {
    let version = |v: &Version| match v {
        Version::V1 => "v1",
        Version::V2 => "v2",
    };
    match (mount, node) {
        (Ok(mount), Ok(Some(_))) => SourceHealth::live(version(&mount.version)),
        (Ok(mount), _) => SourceHealth::not(
            SourceState::Degraded,
            format!("{}, no node-wide kill counter", version(&mount.version)),
            "a kernel of 4.13 or later counts kills in /proc/vmstat",
        ),
        (Err(why), _) => SourceHealth::not(
            SourceState::Blind,
            why.to_string(),
            "mount the host's cgroup file system read-only and name it in sources.cgroup.root",
        ),
    }
}

/// Last values of the counters. Pure.
#[derive(Debug)]
struct Audit {
    /// When the source began to look.
    since: UnixNanos,
    node: Option<u64>,
    node_step: Option<(u64, u64)>,
    containers: HashMap<String, u64>,
}

impl Audit {
    fn since(since: UnixNanos) -> Self {
        Self {
            since,
            node: None,
            node_step: None,
            containers: HashMap::new(),
        }
    }

    /// Notes the node's counter; says whether containers have to be read.
    fn node_moved(&mut self, value: Option<u64>) -> bool {
        let Some(value) = value else { return true };
        let before = self.node.replace(value);
        if let Some(before) = before.filter(|before| value > *before) {
            self.node_step = Some((before, value));
        }
        before.is_none_or(|before| before != value)
    }

    fn take_node_step(&mut self) -> Option<(u64, u64)> {
        self.node_step.take()
    }

    fn knows(&self, instance: &str) -> bool {
        self.containers.contains_key(instance)
    }

    /// Notes a container's counter; a step when it rose. A container that began after the source did began at 0: a process
    /// of it may be killed before the first look. Of an older one the first look is where the audit begins.
    fn step(&mut self, instance: &str, watched: &Watched, value: u64) -> Option<(u64, u64)> {
        let before = self.containers.insert(instance.to_owned(), value);
        let newborn = watched.started.is_some_and(|started| started >= self.since);
        let before = before.or(newborn.then_some(0))?;
        (value > before).then_some((before, value))
    }

    fn forget_all_but(&mut self, running: &Running) {
        self.containers.retain(|instance, _| running.contains_key(instance));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SINCE: UnixNanos = UnixNanos(1_000);

    fn began(at: i64) -> Watched {
        Watched {
            cgroup: "/pod/a".to_owned(),
            started: Some(UnixNanos(at)),
        }
    }

    #[test]
    fn a_child_that_is_killed_before_the_first_look_is_counted() {
        let mut audit = Audit::since(SINCE);
        assert_eq!(audit.step("new", &began(1_001), 1), Some((0, 1)));
        assert_eq!(audit.step("new", &began(1_001), 1), None, "told once");
        assert_eq!(audit.step("quiet", &began(1_001), 0), None);
        let unknown = Watched {
            started: None,
            ..began(0)
        };
        assert_eq!(audit.step("unknown", &unknown, 1), None);
    }

    #[test]
    fn a_counter_that_was_high_before_the_agent_came_is_no_kill() {
        let old = began(999);
        let mut audit = Audit::since(SINCE);
        assert!(audit.node_moved(Some(395)));
        assert_eq!(audit.take_node_step(), None);
        assert_eq!(audit.step("a", &old, 3), None);
        assert!(!audit.node_moved(Some(395)));
        assert!(audit.node_moved(Some(397)));
        assert_eq!(audit.take_node_step(), Some((395, 397)));
        assert_eq!(audit.step("a", &old, 5), Some((3, 5)));
        assert_eq!(audit.step("a", &old, 5), None);
    }

    #[test]
    fn gone_containers_leave_no_memory_behind() {
        let mut audit = Audit::since(SINCE);
        audit.step("a", &began(0), 1);
        audit.forget_all_but(&Running::new());
        assert!(!audit.knows("a"));
    }
}
