//! The life of one connection: events, inspections, lists and logs, none of which waits for another.

use std::{
    collections::{BTreeMap, HashMap, HashSet, VecDeque},
    path::PathBuf,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use bollard::{
    Docker as Client,
    models::{ContainerInspectResponse, ContainerSummary, ContainerSummaryStateEnum},
};
use inquest_shared::{clock::UnixNanos, model::EvidenceSource, tail::Tail};
use tokio::{
    task::{JoinError, JoinSet},
    time::{Instant, sleep_until},
};

use super::{
    Docker, EarlyEnd, NAME,
    call::{self, CallError},
    describe,
    events::{self, Event, What},
    log,
    table::{News, Table},
};
use crate::{
    host::procfs,
    observation::{Exit, Observation},
    source::{SourceHealth, SourceState, containerd::Outputs, kill_counter::announce},
};

/// Calls under way at once; the rest waits in order.
const MAX_CALLS: usize = 8;
/// How soon the list is read after the subscription, which takes effect at an unknown moment.
const FIRST_LIST: Duration = Duration::from_millis(50);
/// How soon the list is read again after a call failed.
const SOON: Duration = Duration::from_millis(200);
/// A start that fails sends no event (moby `daemon/start.go`); a container that was made is looked at after this time.
const FIRST_LOOK: Duration = Duration::from_secs(3);
/// Docker tells of a signal after it has sent it, so the end that it caused can be heard of first; this is time enough to
/// know that it was asked for.
const ASKED_BY: Duration = Duration::from_millis(10);
/// How far back requests are asked for on the first connection: they may explain ends of before it.
const LOOK_BACK: Duration = Duration::from_secs(600);

/// An answer.
enum Reply {
    Listed(Result<Vec<ContainerSummary>, CallError>),
    Inspected(String, Box<Result<ContainerInspectResponse, CallError>>),
    /// With whether Docker confirmed the end, so that the log is whole.
    Tailed(Box<Exit>, Tail, bool),
}

/// Something to do later.
enum Later {
    List,
    Inspect(String),
    Early(EarlyEnd),
}

/// State that outlives connections, so that a restarted engine causes no false news.
pub(super) struct Follower {
    table: Table,
    outputs: Outputs,
    calls: JoinSet<Reply>,
    /// Containers whose inspection waits or is under way.
    asked: HashSet<String>,
    /// Of those, the ones with news since: what is under way may be old.
    again: HashSet<String>,
    waiting: VecDeque<String>,
    later: BTreeMap<(Instant, u64), Later>,
    order: u64,
    /// Time of the newest event; the next connection asks for what came after it.
    through: Option<UnixNanos>,
    dropped: Arc<AtomicU64>,
    /// Drops that a list has made up for.
    made_up: u64,
    /// Containers of the first list that are not inspected yet: their ends are not live.
    backlog: HashSet<String>,
    first_list: bool,
    live: bool,
}

impl Follower {
    pub(super) fn new(outputs: Outputs) -> Self {
        Self {
            table: Table::default(),
            outputs,
            calls: JoinSet::new(),
            asked: HashSet::new(),
            again: HashSet::new(),
            waiting: VecDeque::new(),
            later: BTreeMap::new(),
            order: 0,
            through: None,
            dropped: Arc::new(AtomicU64::new(0)),
            made_up: 0,
            backlog: HashSet::new(),
            first_list: true,
            live: false,
        }
    }

    /// Whether a list was taken since the last call.
    pub(super) fn take_live(&mut self) -> bool {
        std::mem::take(&mut self.live)
    }

    /// Adds the number of events that were dropped.
    pub(super) fn with_losses(&self, health: SourceHealth) -> SourceHealth {
        SourceHealth {
            lost: self.dropped.load(Ordering::Relaxed),
            ..health
        }
    }

    /// Follows one connection until it is lost.
    pub(super) async fn follow(&mut self, source: &Docker, client: &Client) {
        self.drop_calls(source).await;
        let connected = source.clock.now();
        let since = self.through.unwrap_or_else(|| connected.saturating_sub(LOOK_BACK));
        let past = if self.through.is_none() { connected } else { since };
        let mut events = events::subscribe(client, since, Arc::clone(&self.dropped));
        let mut early_ends = source.early_ends.subscribe();
        self.at(FIRST_LIST, Later::List);
        loop {
            self.start_calls(client);
            let next = self.later.first_key_value().map(|((at, _), _)| *at);
            tokio::select! {
                biased;
                event = events.recv() => match event {
                    Some(event) => self.on_event(source, client, event, past).await,
                    None => return,
                },
                Ok(end) = early_ends.recv() => self.at(ASKED_BY, Later::Early(end)),
                Some(reply) = self.calls.join_next() => {
                    if !self.on_reply(source, client, reply).await {
                        return;
                    }
                }
                () = sleep_until(next.unwrap_or_else(Instant::now)), if next.is_some() => self.on_time(source, client).await,
            }
            self.make_up();
        }
    }

    /// Ends what a lost connection left under way. Logs are waited for, since their exits are told with them.
    async fn drop_calls(&mut self, source: &Docker) {
        let mut calls = std::mem::take(&mut self.calls);
        while let Some(reply) = calls.join_next().await {
            if let Ok(Reply::Tailed(exit, tail, confirmed)) = reply {
                self.on_tail(source, *exit, tail, confirmed).await;
            }
        }
        self.asked.clear();
        self.again.clear();
        self.waiting.clear();
        self.later.clear();
        self.backlog.clear();
        self.first_list = true;
    }

    /// After a drop every container is looked at again.
    fn make_up(&mut self) {
        let dropped = self.dropped.load(Ordering::Relaxed);
        if dropped > self.made_up {
            tracing::warn!(
                dropped,
                queue = events::QUEUE,
                "Docker's events were dropped, inspecting all"
            );
            self.made_up = dropped;
            self.first_list = true;
            self.at(SOON, Later::List);
        }
    }

    fn inspect(&mut self, id: String) {
        if self.asked.insert(id.clone()) {
            self.waiting.push_back(id);
        } else if !self.waiting.contains(&id) {
            self.again.insert(id);
        }
    }

    fn at(&mut self, wait: Duration, later: Later) {
        self.order = self.order.wrapping_add(1);
        self.later.insert((Instant::now() + wait, self.order), later);
    }

    fn start_calls(&mut self, client: &Client) {
        while self.calls.len() < MAX_CALLS {
            let Some(id) = self.waiting.pop_front() else { return };
            let client = client.clone();
            self.calls.spawn(async move {
                let answer = call::inspect(client, id.clone()).await;
                Reply::Inspected(id, Box::new(answer))
            });
        }
    }

    async fn on_time(&mut self, source: &Docker, client: &Client) {
        match self.later.pop_first() {
            Some((_, Later::List)) => {
                let client = client.clone();
                self.calls.spawn(async move { Reply::Listed(call::list(client).await) });
            }
            Some((_, Later::Inspect(id))) => self.inspect(id),
            Some((_, Later::Early(end))) => {
                let news = self.table.early_end(&end);
                self.publish(source, client, news).await;
            }
            None => {}
        }
    }

    async fn on_event(&mut self, source: &Docker, client: &Client, event: Event, past: UnixNanos) {
        self.through = self.through.max(Some(event.at));
        if event.at <= past {
            if let Some(News::Asked(asked)) = self.table.past_request(event) {
                self.outputs.tell(asked.into()).await;
            }
            return;
        }
        let id = event.id.clone();
        if event.what == What::Created {
            self.at(FIRST_LOOK, Later::Inspect(id.clone()));
        }
        let (news, inspect) = self.table.event(event);
        if inspect {
            self.inspect(id.clone());
        }
        self.publish(source, client, news).await;
    }

    /// Takes an answer; false when the connection is of no more use.
    async fn on_reply(&mut self, source: &Docker, client: &Client, reply: Result<Reply, JoinError>) -> bool {
        match reply {
            Ok(Reply::Listed(Ok(list))) => self.on_list(source, client, &list).await,
            Ok(Reply::Listed(Err(error))) => {
                let health = SourceHealth::not(SourceState::Blind, error.to_string(), error.remedy());
                source.statuses.set(NAME, self.with_losses(health));
                return false;
            }
            Ok(Reply::Inspected(id, answer)) => self.on_inspected(source, client, id, *answer).await,
            Ok(Reply::Tailed(exit, tail, confirmed)) => self.on_tail(source, *exit, tail, confirmed).await,
            Err(failed) => tracing::error!(%failed, "a call to Docker ended badly"),
        }
        true
    }

    async fn on_list(&mut self, source: &Docker, client: &Client, list: &[ContainerSummary]) {
        use ContainerSummaryStateEnum as State;
        self.live = true;
        let runs = |c: &ContainerSummary| matches!(c.state, Some(State::RUNNING | State::PAUSED));
        let listed: HashMap<String, bool> = list.iter().filter_map(|c| Some((c.id.clone()?, runs(c)))).collect();
        let all = std::mem::take(&mut self.first_list);
        let changes = self.table.reconcile(&listed, all);
        if all {
            self.backlog = changes.inspect.iter().cloned().collect();
        }
        for id in changes.removed {
            let news = self.table.missing(&id, !all);
            self.publish(source, client, news).await;
        }
        for id in changes.inspect {
            self.inspect(id);
        }
        self.at(source.reconcile, Later::List);
    }

    async fn on_inspected(
        &mut self,
        source: &Docker,
        client: &Client,
        id: String,
        answer: Result<ContainerInspectResponse, CallError>,
    ) {
        self.asked.remove(&id);
        let live = !self.backlog.remove(&id);
        if self.again.remove(&id) {
            self.inspect(id.clone());
        }
        let news = match answer {
            Ok(answer) => describe::look(answer).map(|mut look| {
                let cgroup = look
                    .facts
                    .pid
                    .and_then(|pid| procfs::memory_cgroup(&source.paths, pid).ok());
                look.facts.subject.cgroup = cgroup.filter(|path| path != "/").unwrap_or_default();
                self.table.look(look, live)
            }),
            Err(error) if error.is_not_found() => Some(self.table.missing(&id, live)),
            Err(error) => {
                tracing::warn!(id, %error, "cannot inspect a container");
                self.at(SOON, Later::Inspect(id));
                None
            }
        };
        self.publish(source, client, news.unwrap_or_default()).await;
    }

    async fn publish(&mut self, source: &Docker, client: &Client, news: Vec<News>) {
        let changes = news
            .iter()
            .any(|item| !matches!(item, News::Asked(_) | News::Oom { .. }));
        for item in news {
            match item {
                News::Runs(container) => self.outputs.tell(Observation::Container(container)).await,
                News::Asked(asked) => self.outputs.tell(asked.into()).await,
                News::Oom { instance, at } => {
                    let source = EvidenceSource::Docker;
                    self.outputs
                        .tell(Observation::RuntimeOom { instance, at, source })
                        .await;
                }
                News::Ended {
                    exit,
                    log,
                    file,
                    confirmed,
                } => {
                    tracing::debug!(instance = exit.instance, confirmed, "ended");
                    self.read_tail(source, client, exit, log, file, confirmed);
                }
                News::Over(instance) => self.outputs.tell(Observation::Removed(instance)).await,
            }
        }
        if changes {
            announce(&source.running, NAME, self.table.running());
        }
    }

    /// Reads the log off the loop; the exit is told with it. While Docker cleans up after an end it does not give the log, so
    /// an early end takes the lines from the `file` where it can be seen.
    fn read_tail(
        &mut self,
        source: &Docker,
        client: &Client,
        exit: Exit,
        window: log::Window,
        file: Option<PathBuf>,
        confirmed: bool,
    ) {
        let (limits, redactor, client) = (source.tail, Arc::clone(&source.redactor), client.clone());
        let deadline = if confirmed { log::DEADLINE } else { log::EARLY_DEADLINE };
        self.calls.spawn(async move {
            let id = exit.instance.split('@').next().unwrap_or_default();
            let of_file = match file {
                Some(path) => log::read_file(path, window, limits, Arc::clone(&redactor)).await,
                None => None,
            };
            let tail = match of_file {
                Some(tail) => tail,
                None => log::read(&client, id, window, (limits, deadline), &redactor).await,
            };
            Reply::Tailed(Box::new(exit), tail, confirmed)
        });
    }

    async fn on_tail(&mut self, source: &Docker, exit: Exit, tail: Tail, confirmed: bool) {
        let (instance, finished_at) = (exit.instance.clone(), exit.record.finished_at);
        if !tail.lines.is_empty() {
            let log = Observation::Log {
                instance: instance.clone(),
                finished_at,
                excerpt: tail.excerpt(),
            };
            self.outputs.tell(log).await;
        }
        self.outputs.tell(Observation::Exit(exit)).await;
        if tail.lines.is_empty() || !confirmed {
            return;
        }
        self.outputs
            .log(&instance, finished_at, &tail, source.clock.now())
            .await;
    }
}
