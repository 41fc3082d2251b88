//! The runs of each container: what an event, an inspection or a list adds to what was told. Pure.
//!
//! An end is told once, from the inspection that follows its event: only that has the times that name a run. When the
//! container was started again or removed before the inspection, the event and what is left of the record stand in.

use std::{
    collections::{HashMap, VecDeque},
    path::PathBuf,
    time::Duration,
};

use inquest_shared::{
    clock::UnixNanos,
    model::{EvidenceSource, RuntimeExit, Untrusted, clean_name},
};

use super::{
    EarlyEnd,
    describe::{self, Ending, Look, Phase, Settings},
    events::{Event, What},
    log::Window,
};
use crate::{
    observation::{Container, Exit},
    source::kill_counter::{Running, Watched},
};

mod request;

pub(super) use request::Asked;
use request::Request;

/// Most containers followed.
const MAX_CONTAINERS: usize = 8192;
/// Ends of one container that may wait for an inspection; restarts are at least 100 ms apart.
const MAX_DIES: usize = 64;
/// Docker notes a start after the process began, so first lines may be older than it; on a busy machine by this much.
const START_LAG: Duration = Duration::from_secs(1);

/// What the source tells, in order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum News {
    /// A run began, or more is known of it.
    Runs(Container),
    /// Somebody asked Docker to end a run.
    Asked(Asked),
    /// Docker's out-of-memory notice.
    Oom { instance: String, at: UnixNanos },
    /// A run ended; the window says which lines of the log are its own. An end that containerd told early is told again when
    /// Docker has confirmed it.
    Ended {
        exit: Exit,
        log: Window,
        /// Docker's own file of the log, for an early end: while it cleans up Docker does not give the log.
        file: Option<PathBuf>,
        confirmed: bool,
    },
    /// The run will not be spoken of again.
    Over(String),
}

/// An end that only an event told yet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Die {
    exit_code: i32,
    at: UnixNanos,
}

/// One run of a container.
#[derive(Debug, Clone)]
struct Run {
    container: Container,
    started: UnixNanos,
    /// The end as containerd told it, until Docker confirms it.
    early: Option<UnixNanos>,
    ended: Option<UnixNanos>,
}

impl Run {
    fn new(id: &str, mut container: Container, started: UnixNanos) -> Self {
        container.subject.instance = format!("{}@{}", clean_name(id), started.0);
        container.started = Some(started);
        Self {
            container,
            started,
            early: None,
            ended: None,
        }
    }
}

/// One container.
#[derive(Debug, Default)]
struct Entry {
    run: Option<Run>,
    settings: Option<Settings>,
    dies: VecDeque<Die>,
    /// Time of the last start event.
    started: Option<UnixNanos>,
    /// End of the run before the present one.
    last_end: Option<UnixNanos>,
    requests: request::Requests,
    attributes: HashMap<String, String>,
    gone: bool,
}

/// All containers by id.
#[derive(Debug, Default)]
pub(super) struct Table {
    entries: HashMap<String, Entry>,
}

/// What to do after a list.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Changes {
    /// Containers to inspect.
    pub(super) inspect: Vec<String>,
    /// Containers that Docker no longer has.
    pub(super) removed: Vec<String>,
}

impl Table {
    /// Takes an event; says what it makes known and whether the container is to be inspected.
    pub(super) fn event(&mut self, event: Event) -> (Vec<News>, bool) {
        let (at, id) = (event.at, event.id);
        let Some(entry) = self.entry(&id) else {
            return (Vec::new(), false);
        };
        entry.attributes = event.attributes;
        let mut news = Vec::new();
        let inspect = match event.what {
            What::Created => false,
            What::Started => {
                entry.started = Some(at);
                true
            }
            What::Died { exit_code } => {
                if entry.dies.len() < MAX_DIES {
                    entry.dies.push_back(Die { exit_code, at });
                }
                true
            }
            What::Oom => {
                let running = entry.run.as_ref().filter(|run| run.ended.is_none());
                news.extend(running.map(|run| News::Oom {
                    instance: run.container.subject.instance.clone(),
                    at,
                }));
                false
            }
            What::Signalled { signal } => {
                news.extend(entry.request(Request::Signal(signal), at));
                false
            }
            What::Stopped => {
                news.extend(entry.request(Request::Stop, at));
                false
            }
            What::Destroyed => {
                entry.gone = true;
                news.extend(entry.request(Request::Remove, at));
                false
            }
        };
        news.extend(self.bury(&id));
        (news, inspect)
    }

    /// A request of before the connection, which may explain an end that is told later.
    pub(super) fn past_request(&mut self, event: Event) -> Option<News> {
        let request = match event.what {
            What::Signalled { signal } => Request::Signal(signal),
            What::Stopped => Request::Stop,
            _ => return None,
        };
        self.entry(&event.id)?.request(request, event.at)
    }

    /// Takes an inspection.
    pub(super) fn look(&mut self, look: Look, live: bool) -> Vec<News> {
        let Some(entry) = self.entry(&look.id) else {
            return Vec::new();
        };
        entry.settings = Some(look.settings);
        let mut news = Vec::new();
        let (begun, ending) = match &look.phase {
            Phase::Fresh => return news,
            Phase::Refused(ending) => (look.created, Some(ending)),
            Phase::Running => (look.started.unwrap_or_default(), None),
            Phase::Ended(ending) => (look.started.unwrap_or_default(), Some(ending)),
        };
        entry.supersede(&look, begun, live, &mut news);
        let run = Run::new(&look.id, look.facts, begun);
        entry.begin(run, &mut news);
        if let Some(ending) = ending {
            let at = look.finished.or_else(|| entry.dies.front().map(|die| die.at));
            // The log may be read only after the next run has begun to write.
            let until = entry.dies.back().map(|die| die.at);
            entry.dies.clear();
            entry.end(at.unwrap_or(begun), ending, until, live, &mut news);
        }
        news.extend(self.bury(&look.id));
        news
    }

    /// Takes an end that containerd told. One that Docker told first, or of a run that is not known yet, is left to Docker; so
    /// is one by a signal that Docker may have been asked to send, as long as it has not said so.
    pub(super) fn early_end(&mut self, end: &EarlyEnd) -> Vec<News> {
        let mut news = Vec::new();
        let Some(entry) = self.entries.get_mut(&end.id).filter(|entry| entry.dies.is_empty()) else {
            return news;
        };
        let expects = |run: &&mut Run| run.ended.is_none() && run.early.is_none() && run.started <= end.at;
        let settings = entry.settings;
        if let Some(run) = entry.run.as_mut().filter(expects) {
            let asked = |settings: &Settings| !entry.requests.of_run(settings, run.started, end.at).is_empty();
            let may_be_asked = settings.is_none_or(|s| request::may_send(end.exit_code, &s) && !asked(&s));
            if may_be_asked {
                return news;
            }
            run.early = Some(end.at);
            let ending = describe::early(end.exit_code);
            entry.tell_end(end.at, &ending, None, true, &mut news);
        }
        news
    }

    /// Docker does not know the container any more: what is left of it is told, then it is forgotten.
    pub(super) fn missing(&mut self, id: &str, live: bool) -> Vec<News> {
        let mut news = Vec::new();
        if let Some(entry) = self.entries.get_mut(id) {
            while let Some(die) = entry.dies.pop_front() {
                entry.end_by_event(id, die, die.at, live, &mut news);
            }
            entry.gone = true;
        }
        news.extend(self.bury(id));
        news
    }

    /// Takes a list of ids, each with whether it runs. With `all`, whatever may have changed unseen is inspected.
    pub(super) fn reconcile(&mut self, listed: &HashMap<String, bool>, all: bool) -> Changes {
        let gone = |(id, entry): (&String, &Entry)| {
            ((all || entry.run.is_some()) && !listed.contains_key(id.as_str())).then(|| id.clone())
        };
        let look = |(id, runs): (&String, &bool)| {
            let run = self.entries.get(id).and_then(|entry| entry.run.as_ref());
            let settled = run.is_some_and(|run| run.ended.is_some() && !*runs);
            (all || !settled).then(|| id.clone())
        };
        Changes {
            removed: self.entries.iter().filter_map(gone).collect(),
            inspect: listed.iter().filter_map(look).collect(),
        }
    }

    /// Runs that have not ended, with their cgroup.
    pub(super) fn running(&self) -> Running {
        let runs = self.entries.values().filter_map(|entry| entry.run.as_ref());
        let live = runs.filter(|run| run.ended.is_none());
        live.filter_map(|run| Watched::of(&run.container)).collect()
    }

    /// The entry of a container, made when absent; `None` when the table is full.
    fn entry(&mut self, id: &str) -> Option<&mut Entry> {
        if !self.entries.contains_key(id) && self.entries.len() >= MAX_CONTAINERS {
            return None;
        }
        Some(self.entries.entry(id.to_owned()).or_default())
    }

    /// Forgets a container that was removed, once its end is told.
    fn bury(&mut self, id: &str) -> Option<News> {
        let entry = self.entries.get(id)?;
        if !entry.gone || !entry.dies.is_empty() {
            return None;
        }
        let entry = self.entries.remove(id)?;
        Some(News::Over(entry.run?.container.subject.instance))
    }
}

impl Entry {
    /// Tells runs that were over before the one that an inspection shows.
    fn supersede(&mut self, look: &Look, begun: UnixNanos, live: bool, news: &mut Vec<News>) {
        if self.run.as_ref().is_none_or(|run| run.started == begun) && self.dies.iter().all(|die| die.at >= begun) {
            return;
        }
        // While the container runs, the last end on record is that of the run before.
        let recorded = look.finished.filter(|_| look.phase == Phase::Running);
        while let Some(die) = self.dies.pop_front_if(|die| die.at < begun) {
            let last = self.dies.front().is_none_or(|next| next.at >= begun);
            let at = recorded.filter(|_| last).unwrap_or(die.at);
            self.end_by_event(&look.id, die, at, live, news);
        }
        if let Some(run) = self.run.as_ref().filter(|run| run.started != begun) {
            if run.ended.is_none() {
                // Started again, and no event told of the end: its status is lost.
                let at = recorded.unwrap_or(begun);
                let lost = ending(-1);
                self.end(at, &lost, Some(begun), live, news);
            }
            self.close(news);
        }
    }

    /// Tells an end by its event; of the present run, or of one that nobody saw begin.
    fn end_by_event(&mut self, id: &str, die: Die, at: UnixNanos, live: bool, news: &mut Vec<News>) {
        if self.run.as_ref().is_none_or(|run| run.ended.is_some()) {
            self.close(news);
            let facts = describe::from_attributes(&self.attributes);
            let begun = self.started.filter(|at| *at < die.at).unwrap_or(die.at);
            self.begin(Run::new(id, facts, begun), news);
        }
        // Docker sends the event after it has copied everything that the process wrote.
        self.end(at, &ending(die.exit_code), Some(die.at), live, news);
    }

    /// Makes a run the present one, or adds to what is known of it.
    fn begin(&mut self, run: Run, news: &mut Vec<News>) {
        match &mut self.run {
            Some(held) if held.started == run.started => {
                let mut facts = run.container;
                facts.pid = facts.pid.or(held.container.pid);
                // At the end of a run Docker counts the restart that follows already.
                facts.subject.attempt = facts.subject.attempt.min(held.container.subject.attempt);
                if facts.subject.cgroup.is_empty() {
                    facts.subject.cgroup.clone_from(&held.container.subject.cgroup);
                }
                if facts != held.container {
                    news.push(News::Runs(facts.clone()));
                    held.container = facts;
                }
            }
            _ => {
                news.push(News::Runs(run.container.clone()));
                self.run = Some(run);
            }
        }
    }

    /// Tells the end of the present run once. All its lines are `until` then in the log, when a newer run may write to it.
    fn end(&mut self, at: UnixNanos, ending: &Ending, until: Option<UnixNanos>, live: bool, news: &mut Vec<News>) {
        let Some(run) = self.run.as_mut().filter(|run| run.ended.is_none()) else {
            return;
        };
        // One end, one time: it is part of the finding's key.
        let at = run.early.unwrap_or(at);
        run.ended = Some(at);
        self.tell_end(at, ending, until, live, news);
    }

    fn tell_end(&self, at: UnixNanos, ending: &Ending, until: Option<UnixNanos>, live: bool, news: &mut Vec<News>) {
        let Some(run) = &self.run else { return };
        let container = &run.container;
        let instance = container.subject.instance.clone();
        let restarted = container.subject.attempt > 0;
        let before = restarted.then(|| run.started.saturating_sub(START_LAG));
        let exit = Exit {
            record: RuntimeExit {
                exit_code: ending.exit_code,
                started_at: Some(run.started),
                finished_at: at,
                reason: Untrusted::bounded(ending.reason, ending.reason.len()),
                message: ending.message.clone(),
                memory_limit_bytes: container.memory_limit,
            },
            instance: instance.clone(),
            source: EvidenceSource::Docker,
            live,
        };
        let log = Window {
            after: self.last_end.or(before),
            until,
        };
        if let Some(settings) = &self.settings {
            let asked = self.requests.of_run(settings, run.started, at);
            news.extend(asked.into_iter().map(|(request, at)| {
                News::Asked(Asked {
                    instance: instance.clone(),
                    request,
                    at,
                })
            }));
        }
        let confirmed = run.ended.is_some();
        let file = container.log_path.clone().filter(|_| !confirmed);
        news.push(News::Ended {
            exit,
            log,
            file,
            confirmed,
        });
    }

    /// Lets go of the present run.
    fn close(&mut self, news: &mut Vec<News>) {
        if let Some(run) = self.run.take() {
            self.last_end = run.ended;
            news.push(News::Over(run.container.subject.instance));
        }
    }

    /// Keeps a request; tells it when the end that it explains is told already.
    fn request(&mut self, request: Request, at: UnixNanos) -> Option<News> {
        self.requests.push(request, at);
        let (run, settings) = (self.run.as_ref()?, self.settings.as_ref()?);
        let asked = self.requests.of_run(settings, run.started, run.ended.or(run.early)?);
        let (request, at) = asked.into_iter().find(|(_, when)| *when == at)?;
        let instance = run.container.subject.instance.clone();
        Some(News::Asked(Asked { instance, request, at }))
    }
}

fn ending(exit_code: i32) -> Ending {
    Ending {
        exit_code,
        reason: "",
        message: Untrusted::default(),
    }
}

#[cfg(test)]
mod tests;
