//! Containers that run, and tombstones of those that are gone: the kernel may speak of them later.

use std::{
    collections::{HashMap, VecDeque},
    time::Duration,
};

use inquest_shared::{
    clock::UnixNanos,
    model::{EvidenceSource, LogExcerpt, RuntimeRequest, SignalSent},
};

use crate::observation::Container;

/// How long a removed container is remembered.
const TOMBSTONE_US: u64 = 600_000_000;
/// Most tombstones; the oldest goes first.
const MAX_TOMBSTONES: usize = 1024;
/// Most containers, tombstones included: what the sources follow and their tombstones. Beyond it the one that was named
/// longest ago goes.
const MAX_KNOWN: usize = 8192 + MAX_TOMBSTONES;

/// Facts by instance.
#[derive(Debug, Default)]
pub(super) struct Containers {
    known: HashMap<String, Entry>,
    /// Instances of containers that keep their id over restarts (`<id>@<start>`), by id, oldest first.
    runs: HashMap<String, Vec<String>>,
    graves: VecDeque<(u64, String)>,
    named: u64,
    forgotten: u64,
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
    /// Signals that its processes got, oldest first.
    signals: Vec<Sent>,
    /// End of the run.
    ended: Option<UnixNanos>,
    buried: bool,
    /// Rises with every container that is named.
    order: u64,
}

/// Position, time and content of a signal.
pub(super) type Sent = (String, UnixNanos, SignalSent);

/// Most signals kept of one run: a stop has two, and what children got gives way.
const MAX_SIGNALS: usize = 8;
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
        if self.known.len() >= MAX_KNOWN {
            self.make_room();
        }
        self.named += 1;
        self.known.insert(
            instance,
            Entry {
                container,
                log: None,
                oom: None,
                requests: Vec::new(),
                signals: Vec::new(),
                ended: None,
                buried: false,
                order: self.named,
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

    /// Whether a run is known and no end of it.
    pub(super) fn runs(&self, instance: &str) -> bool {
        self.known.get(instance).is_some_and(|entry| entry.ended.is_none())
    }

    /// Keeps what was asked of the runtime until the end comes.
    pub(super) fn note_request(&mut self, instance: &str, asked: (EvidenceSource, RuntimeRequest, UnixNanos)) {
        if let Some(entry) = self.known.get_mut(instance)
            && entry.requests.len() < MAX_REQUESTS
            && !entry.requests.contains(&asked)
        {
            entry.requests.push(asked);
        }
    }

    /// What was asked of the runtime.
    pub(super) fn requests(&self, instance: &str) -> &[(EvidenceSource, RuntimeRequest, UnixNanos)] {
        self.known.get(instance).map_or(&[], |entry| &entry.requests)
    }

    /// The run whose first process has this pid and had not ended.
    pub(super) fn run_of_pid(&self, pid: u32, at: UnixNanos) -> Option<&Container> {
        let runs = self.known.values().filter(|entry| entry.container.pid == Some(pid));
        let mut open = runs.filter(|entry| entry.ended.is_none_or(|end| at <= end.saturating_add(RUN_SLACK)));
        open.next().map(|entry| &entry.container)
    }

    /// Keeps a signal until the end comes.
    pub(super) fn note_signal(&mut self, instance: &str, sent: Sent) {
        let Some(entry) = self.known.get_mut(instance) else {
            return;
        };
        if entry.signals.iter().any(|(position, _, _)| *position == sent.0) {
            return;
        }
        if entry.signals.len() >= MAX_SIGNALS {
            let of_child = |(_, _, sent): &Sent| sent.main_process != Some(true);
            let gone = entry.signals.iter().position(of_child).unwrap_or_default();
            entry.signals.remove(gone);
        }
        entry.signals.push(sent);
    }

    /// Signals that its processes got.
    pub(super) fn signals(&self, instance: &str) -> &[Sent] {
        self.known.get(instance).map_or(&[], |entry| &entry.signals)
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
            self.forgotten += 1;
            self.drop_oldest();
        }
    }

    /// Forgets old tombstones; gives the instances that nobody knows any more.
    pub(super) fn expire(&mut self, now_us: u64) -> Vec<String> {
        let mut gone = Vec::new();
        while self.graves.front().is_some_and(|(until, _)| *until <= now_us) {
            gone.extend(self.drop_oldest());
        }
        gone
    }

    /// Containers forgotten before their time since the last call.
    pub(super) fn take_forgotten(&mut self) -> u64 {
        std::mem::take(&mut self.forgotten)
    }

    fn make_room(&mut self) {
        self.forgotten += 1;
        if self.drop_oldest().is_none() {
            let oldest = self.known.iter().min_by_key(|(_, entry)| entry.order);
            if let Some(instance) = oldest.map(|(instance, _)| instance.clone()) {
                self.remove(&instance);
            }
        }
    }

    fn drop_oldest(&mut self) -> Option<String> {
        let (_, instance) = self.graves.pop_front()?;
        self.remove(&instance);
        Some(instance)
    }

    fn remove(&mut self, instance: &str) {
        self.known.remove(instance);
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

#[cfg(test)]
mod tests {
    use inquest_shared::model::Subject;

    use super::*;

    fn container(n: usize) -> Container {
        Container {
            subject: Subject {
                instance: n.to_string(),
                ..Subject::default()
            },
            pid: None,
            log_path: None,
            memory_limit: None,
            started: None,
        }
    }

    /// A runtime that names containers and never takes one back must not fill the agent's memory.
    #[test]
    fn containers_beyond_the_limit_push_out_the_dead_and_then_the_oldest() {
        let mut containers = Containers::default();
        for n in 0..MAX_KNOWN {
            containers.put(container(n));
        }
        containers.bury("7", 0);
        containers.put(container(MAX_KNOWN));
        assert!(!containers.known.contains_key("7") && containers.known.contains_key("0"));
        containers.put(container(MAX_KNOWN + 1));
        assert!(!containers.known.contains_key("0") && containers.known.contains_key("1"));
        assert_eq!((containers.known.len(), containers.take_forgotten()), (MAX_KNOWN, 2));
    }

    #[test]
    fn tombstones_beyond_the_limit_go_the_oldest_first_and_are_counted() {
        let mut containers = Containers::default();
        for n in 0..MAX_TOMBSTONES + 3 {
            containers.put(container(n));
            containers.bury(&n.to_string(), 0);
        }
        assert!(!containers.known.contains_key("2") && containers.known.contains_key("3"));
        assert_eq!(containers.take_forgotten(), 3);
    }
}
