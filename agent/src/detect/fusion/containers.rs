//! Containers that run, and tombstones of those that are gone: the kernel may speak of them later.

use std::{
    collections::{HashMap, VecDeque},
    time::Duration,
};

use inquest_shared::{
    clock::UnixNanos,
    model::{EvidenceSource, LogExcerpt, RuntimeRequest},
};

use crate::observation::Container;

/// How long a removed container is remembered.
const TOMBSTONE_US: u64 = 600_000_000;
/// Most tombstones; the oldest goes first.
const MAX_TOMBSTONES: usize = 1024;

/// Facts by instance.
#[derive(Debug, Default)]
pub(super) struct Containers {
    known: HashMap<String, Entry>,
    /// Instances of containers that keep their id over restarts (`<id>@<start>`), by id, oldest first.
    runs: HashMap<String, Vec<String>>,
    graves: VecDeque<(u64, String)>,
}

#[derive(Debug)]
struct Entry {
    container: Container,
    /// Log lines that came before their exit.
    log: Option<(UnixNanos, LogExcerpt)>,
    /// Time of the runtime's last out-of-memory notice.
    oom: Option<UnixNanos>,
    /// What was asked of the runtime, and when.
    requests: Vec<(EvidenceSource, RuntimeRequest, UnixNanos)>,
    /// End of the run.
    ended: Option<UnixNanos>,
    buried: bool,
}

/// Most requests kept of one run.
const MAX_REQUESTS: usize = 8;
/// A kernel record may be stamped this much later than the end that it caused: both read the same clock, but not in order.
/// Runs of one container are further apart.
const RUN_SLACK: Duration = Duration::from_millis(20);

impl Containers {
    /// Notes facts; keeps a pid, a limit and a log path that the newer telling lacks.
    pub(super) fn put(&mut self, mut container: Container) {
        let instance = container.subject.instance.clone();
        if let Some(held) = self.known.get_mut(&instance) {
            container.pid = container.pid.or(held.container.pid);
            container.memory_limit = container.memory_limit.or(held.container.memory_limit);
            held.container = container;
            return;
        }
        if let Some((id, _)) = instance.split_once('@') {
            self.runs.entry(id.to_owned()).or_default().push(instance.clone());
        }
        self.known.insert(
            instance,
            Entry {
                container,
                log: None,
                oom: None,
                requests: Vec::new(),
                ended: None,
                buried: false,
            },
        );
    }

    /// Facts of an instance, buried or not.
    pub(super) fn get(&self, instance: &str) -> Option<&Container> {
        self.known.get(instance).map(|entry| &entry.container)
    }

    /// Whether the runtime spoke of a container of this id, in whatever run.
    pub(super) fn knows_id(&self, id: &str) -> bool {
        self.known.contains_key(id) || self.runs.contains_key(id)
    }

    /// The run of a container that something at this time was part of: the first that had not ended.
    pub(super) fn run_at(&self, id: &str, at: UnixNanos) -> Option<&Container> {
        if let Some(entry) = self.known.get(id) {
            return Some(&entry.container);
        }
        let runs = self.runs.get(id)?.iter().filter_map(|run| self.known.get(run));
        let mut open = runs.filter(|entry| entry.ended.is_none_or(|end| at <= end.saturating_add(RUN_SLACK)));
        open.next().map(|entry| &entry.container)
    }

    /// Notes the end of a run.
    pub(super) fn note_end(&mut self, instance: &str, at: UnixNanos) {
        if let Some(entry) = self.known.get_mut(instance) {
            entry.ended = Some(at);
        }
    }

    /// Keeps what was asked of the runtime until the end comes.
    pub(super) fn note_request(&mut self, instance: &str, asked: (EvidenceSource, RuntimeRequest, UnixNanos)) {
        if let Some(entry) = self.known.get_mut(instance)
            && entry.requests.len() < MAX_REQUESTS
        {
            entry.requests.push(asked);
        }
    }

    /// What was asked of the runtime.
    pub(super) fn requests(&self, instance: &str) -> &[(EvidenceSource, RuntimeRequest, UnixNanos)] {
        self.known.get(instance).map_or(&[], |entry| &entry.requests)
    }

    /// Containers of a pod that are not gone.
    pub(super) fn of_pod<'a>(&'a self, pod_uid: &'a str) -> impl Iterator<Item = &'a Container> {
        let live = self.known.values().filter(|entry| !entry.buried);
        live.map(|entry| &entry.container)
            .filter(move |c| c.subject.pod_uid == pod_uid)
    }

    /// Keeps log lines until their exit comes.
    pub(super) fn note_log(&mut self, instance: &str, finished_at: UnixNanos, excerpt: LogExcerpt) {
        if let Some(entry) = self.known.get_mut(instance) {
            entry.log = Some((finished_at, excerpt));
        }
    }

    /// Log lines of the run that ended at `finished_at`.
    pub(super) fn log(&self, instance: &str, finished_at: UnixNanos) -> Option<&LogExcerpt> {
        let (at, excerpt) = self.known.get(instance)?.log.as_ref()?;
        (*at == finished_at).then_some(excerpt)
    }

    /// Keeps the time of an out-of-memory notice.
    pub(super) fn note_oom(&mut self, instance: &str, at: UnixNanos) {
        if let Some(entry) = self.known.get_mut(instance) {
            entry.oom = Some(at);
        }
    }

    /// Time of the last out-of-memory notice.
    pub(super) fn oom(&self, instance: &str) -> Option<UnixNanos> {
        self.known.get(instance)?.oom
    }

    /// Makes a tombstone.
    pub(super) fn bury(&mut self, instance: &str, now_us: u64) {
        let Some(entry) = self.known.get_mut(instance) else {
            return;
        };
        if !std::mem::replace(&mut entry.buried, true) {
            self.graves
                .push_back((now_us.saturating_add(TOMBSTONE_US), instance.to_owned()));
        }
        if self.graves.len() > MAX_TOMBSTONES {
            self.drop_oldest();
        }
    }

    /// Forgets old tombstones.
    pub(super) fn expire(&mut self, now_us: u64) {
        while self.graves.front().is_some_and(|(until, _)| *until <= now_us) {
            self.drop_oldest();
        }
    }

    fn drop_oldest(&mut self) {
        if let Some((_, instance)) = self.graves.pop_front() {
            self.known.remove(&instance);
            self.forget_run(&instance);
        }
    }

    fn forget_run(&mut self, instance: &str) {
        let Some((id, _)) = instance.split_once('@') else {
            return;
        };
        let Some(runs) = self.runs.get_mut(id) else { return };
        runs.retain(|run| run != instance);
        if runs.is_empty() {
            self.runs.remove(id);
        }
    }
}
