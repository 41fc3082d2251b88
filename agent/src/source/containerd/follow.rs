//! The life of one connection: lists, events, inspections and log tails, none of which waits for another.

use std::{
    collections::{BTreeMap, HashSet, VecDeque},
    path::PathBuf,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use inquest_proto::runtime::v1 as cri;
use inquest_shared::{
    clock::UnixNanos,
    model::{EvidenceSource, Key, RuntimeExit, Untrusted, clean_name},
};
use tokio::{
    sync::mpsc,
    task::JoinSet,
    time::{Instant, sleep_until},
};
use tonic::{Code, Status, transport::Channel};

use super::{
    Containerd, NAME, Outputs,
    call::{self, CallError},
    describe,
    events::{self, RuntimeEvent},
    table::Table,
};
use crate::{
    log_record::LogRecord,
    observation::{Container, Exit, Observation},
    source::{
        SourceHealth, SourceState,
        log_tail::{Tail, read_tail},
    },
};

/// Calls under way at once; the rest waits in order.
const MAX_CALLS: usize = 8;
/// The runtime's log pump may lag behind the exit event by this much.
const LATE_LOG: Duration = Duration::from_millis(200);
/// The reason of an exit may turn into OOMKilled later (containerd `internal/cri/server/events.go`).
const LATE_REASON: Duration = Duration::from_secs(2);
/// Lists at the polling period after a connection: the subscription takes effect at an unknown moment.
const QUICK_LISTS: u32 = 3;
/// How soon the list is read again after an event was dropped or a call failed.
const SOON: Duration = Duration::from_millis(100);

/// Something to ask the runtime.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
enum Ask {
    List,
    Inspect(String),
    /// Status of a container whose end is already told, for reason and message.
    Recheck(String),
}

/// A container's status and its sandbox.
type Inspection = (cri::ContainerStatusResponse, Option<cri::PodSandbox>);

/// An answer.
enum Reply {
    Listed(Result<(Vec<cri::Container>, Vec<cri::PodSandbox>), CallError>),
    Inspected(String, Box<Result<Inspection, CallError>>),
    Rechecked(Result<cri::ContainerStatusResponse, CallError>),
    Tailed(Tailed),
}

/// A log tail that was read, with the exit that waits for it or, the second time, without.
struct Tailed {
    container: Container,
    finished_at: UnixNanos,
    tail: Tail,
    exit: Option<Exit>,
}

/// Something to do later.
enum Later {
    List,
    Recheck(String),
    Tail(Box<Container>, UnixNanos),
}

/// State that outlives connections, so that a restarted runtime causes no false news.
pub(super) struct Follower {
    table: Table,
    outputs: Outputs,
    calls: JoinSet<Reply>,
    asked: HashSet<Ask>,
    waiting: VecDeque<Ask>,
    later: BTreeMap<(Instant, u64), Later>,
    order: u64,
    /// No list was taken since the connection was made: ends in it are not live.
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
            waiting: VecDeque::new(),
            later: BTreeMap::new(),
            order: 0,
            first_list: true,
            live: false,
        }
    }

    /// Whether a list was taken since the last call.
    pub(super) fn take_live(&mut self) -> bool {
        std::mem::take(&mut self.live)
    }

    /// Follows one connection until it is lost.
    pub(super) async fn follow(&mut self, source: &Containerd, channel: Channel) {
        self.calls.abort_all();
        self.calls = JoinSet::new();
        self.asked.clear();
        self.waiting.clear();
        self.later.retain(|_, later| !matches!(later, Later::List));
        self.first_list = true;
        let overflowed = Arc::new(AtomicBool::new(false));
        let mut events = source
            .events
            .then(|| events::subscribe(channel.clone(), Arc::clone(&overflowed)));
        let mut quick_lists = QUICK_LISTS;
        self.ask(Ask::List);
        loop {
            self.start_calls(&channel);
            let next = self.later.first_key_value().map(|((at, _), _)| *at);
            let connected = tokio::select! {
                biased;
                event = receive(&mut events) => match event {
                    Some(Ok(event)) => { self.on_event(source, event).await; true }
                    Some(Err(status)) if is_unsupported(&status) => {
                        events = None;
                        self.on_no_events(source, &status)
                    }
                    Some(Err(_)) | None => false,
                },
                Some(reply) = self.calls.join_next() => {
                    let slow = events.is_some() && quick_lists == 0;
                    let period = if slow { source.reconcile } else { source.poll };
                    quick_lists -= u32::from(quick_lists > 0 && matches!(reply, Ok(Reply::Listed(Ok(_)))));
                    self.on_reply(source, reply, period).await
                }
                () = sleep_until(next.unwrap_or_else(Instant::now)), if next.is_some() => { self.on_time(source); true }
            };
            if overflowed.swap(false, Ordering::Relaxed) {
                tracing::warn!(
                    queue = events::QUEUE,
                    "containerd events dropped, reading the list instead"
                );
                self.ask(Ask::List);
            }
            if !connected {
                return;
            }
        }
    }

    fn ask(&mut self, ask: Ask) {
        if self.asked.insert(ask.clone()) {
            self.waiting.push_back(ask);
        }
    }

    fn at(&mut self, wait: Duration, later: Later) {
        self.order = self.order.wrapping_add(1);
        self.later.insert((Instant::now() + wait, self.order), later);
    }

    fn start_calls(&mut self, channel: &Channel) {
        while self.calls.len() < MAX_CALLS {
            let Some(ask) = self.waiting.pop_front() else { return };
            let channel = channel.clone();
            self.calls.spawn(async move {
                match ask {
                    Ask::List => Reply::Listed(call::list(channel).await),
                    Ask::Inspect(id) => Reply::Inspected(id.clone(), Box::new(call::inspect(channel, id).await)),
                    Ask::Recheck(id) => Reply::Rechecked(call::status(channel, id).await),
                }
            });
        }
    }

    fn on_no_events(&mut self, source: &Containerd, status: &Status) -> bool {
        tracing::warn!(%status, "no event stream; polling");
        let remedy = "give the agent containerd's own socket, not a CRI proxy";
        source.statuses.set(
            NAME,
            SourceHealth::not(SourceState::Degraded, "polling, no event stream", remedy),
        );
        self.at(SOON, Later::List);
        true
    }

    async fn on_event(&mut self, source: &Containerd, event: RuntimeEvent) {
        match event {
            RuntimeEvent::Started { id, pid } if !self.table.is_sandbox(&id) => {
                if let Some(entry) = self.table.entry(&id) {
                    entry.pid = Some(pid);
                    self.ask(Ask::Inspect(id));
                }
            }
            RuntimeEvent::Exited { id, exit_code, at } if !self.table.is_sandbox(&id) => {
                let Some(entry) = self.table.entry(&id) else { return };
                if entry.exited {
                    return;
                }
                let Some(container) = entry.facts.clone() else {
                    entry.pending_exit = Some((exit_code, at));
                    self.ask(Ask::Inspect(id));
                    return;
                };
                entry.exited = true;
                self.told_by_event(source, container, exit_code, at, true);
            }
            RuntimeEvent::Oom { id, at } if !self.table.is_sandbox(&id) => {
                let notice = Observation::RuntimeOom {
                    instance: clean_name(&id),
                    at,
                    source: EvidenceSource::Containerd,
                };
                self.tell(notice).await;
            }
            _ => {}
        }
    }

    /// An end known from an event: read the log, tell both, ask for the reason later.
    fn told_by_event(&mut self, source: &Containerd, container: Container, exit_code: i32, at: UnixNanos, live: bool) {
        let id = container.subject.instance.clone();
        let record = RuntimeExit {
            exit_code,
            started_at: None,
            finished_at: at,
            reason: Untrusted::default(),
            message: Untrusted::default(),
            memory_limit_bytes: container.memory_limit,
        };
        let exit = Exit {
            instance: id.clone(),
            record,
            source: EvidenceSource::Containerd,
            live,
        };
        self.read_tail(source, container, at, Some(exit));
        self.at(LATE_REASON, Later::Recheck(id));
    }

    /// Reads the log off the loop; the exit is told with it.
    fn read_tail(&mut self, source: &Containerd, container: Container, finished_at: UnixNanos, exit: Option<Exit>) {
        let (limits, redactor) = (source.tail, Arc::clone(&source.redactor));
        let path: Option<PathBuf> = container.log_path.clone();
        self.calls.spawn_blocking(move || {
            let tail = path.map(|path| read_tail(&path, limits, &redactor));
            let tail = tail.unwrap_or_else(|| Ok(Tail::default())).unwrap_or_else(|error| {
                tracing::debug!(error = %error, cause = %error.source, "no log tail");
                Tail::default()
            });
            Reply::Tailed(Tailed {
                container,
                finished_at,
                tail,
                exit,
            })
        });
    }

    async fn on_reply(
        &mut self,
        source: &Containerd,
        reply: Result<Reply, tokio::task::JoinError>,
        period: Duration,
    ) -> bool {
        match reply {
            Ok(Reply::Listed(Ok((containers, sandboxes)))) => {
                self.on_list(source, &containers, sandboxes, period).await
            }
            Ok(Reply::Listed(Err(error))) => return self.on_list_error(source, &error),
            Ok(Reply::Inspected(id, answer)) => self.on_inspected(source, id, *answer).await,
            Ok(Reply::Rechecked(Ok(answer))) => self.on_rechecked(answer).await,
            Ok(Reply::Rechecked(Err(error))) => tracing::debug!(%error, "no late reason"),
            Ok(Reply::Tailed(tailed)) => self.on_tail(source, tailed).await,
            Err(failed) => tracing::error!(%failed, "a call to containerd ended badly"),
        }
        true
    }

    async fn on_list(
        &mut self,
        source: &Containerd,
        containers: &[cri::Container],
        sandboxes: Vec<cri::PodSandbox>,
        period: Duration,
    ) {
        self.asked.remove(&Ask::List);
        self.live = true;
        let changes = self.table.reconcile(containers, sandboxes);
        for id in changes.removed {
            self.tell(Observation::Removed(clean_name(&id))).await;
        }
        for id in changes.inspect {
            self.ask(Ask::Inspect(id));
        }
        self.publish_running(source);
        self.at(period, Later::List);
    }

    fn on_list_error(&mut self, source: &Containerd, error: &CallError) -> bool {
        self.asked.remove(&Ask::List);
        source.statuses.set(
            NAME,
            SourceHealth::not(SourceState::Blind, error.to_string(), error.remedy()),
        );
        self.at(SOON, Later::List);
        matches!(error, CallError::Deadline { .. })
    }

    async fn on_inspected(&mut self, source: &Containerd, id: String, answer: Result<Inspection, CallError>) {
        self.asked.remove(&Ask::Inspect(id.clone()));
        let (response, sandbox) = match answer {
            Ok(inspection) => inspection,
            Err(error) if error.is_not_found() => return self.table.forget(&id),
            Err(error) => {
                tracing::warn!(id, %error, "cannot inspect a container");
                return self.at(SOON, Later::List);
            }
        };
        let Some(status) = &response.status else { return };
        let Some(mut container) = describe::container(&response, sandbox.as_ref()) else {
            return;
        };
        let first_list = self.first_list;
        let Some(entry) = self.table.entry(&id) else { return };
        container.pid = container.pid.or(entry.pid);
        let limit = container.memory_limit;
        entry.facts = Some(container.clone());
        let ended = describe::exit(status, limit, !first_list).filter(|_| !entry.exited);
        let pending = entry.pending_exit.take().filter(|_| !entry.exited && ended.is_none());
        entry.exited |= ended.is_some() || pending.is_some();
        self.tell(Observation::Container(container.clone())).await;
        if let Some(exit) = ended {
            self.read_tail(source, container, exit.record.finished_at, Some(exit));
        } else if let Some((code, at)) = pending {
            self.told_by_event(source, container, code, at, true);
        }
        if !self.asked.iter().any(|ask| matches!(ask, Ask::Inspect(_))) {
            self.first_list = false;
        }
        self.publish_running(source);
    }

    async fn on_rechecked(&mut self, answer: cri::ContainerStatusResponse) {
        let Some(status) = &answer.status else { return };
        self.asked.remove(&Ask::Recheck(status.id.clone()));
        let limit = self
            .table
            .get(&status.id)
            .and_then(|e| e.facts.as_ref())
            .and_then(|f| f.memory_limit);
        if let Some(exit) = describe::exit(status, limit, true) {
            self.tell(Observation::Exit(exit)).await;
        }
    }

    async fn on_tail(&mut self, source: &Containerd, tailed: Tailed) {
        let Tailed {
            container,
            finished_at,
            tail,
            exit,
        } = tailed;
        let instance = container.subject.instance.clone();
        let first = exit.is_some();
        if !tail.lines.is_empty() {
            let excerpt = tail.excerpt();
            self.tell(Observation::Log {
                instance: instance.clone(),
                finished_at,
                excerpt,
            })
            .await;
        }
        if let Some(exit) = exit {
            self.tell(Observation::Exit(exit)).await;
        }
        if first {
            self.at(LATE_LOG, Later::Tail(Box::new(container), finished_at));
        } else if !tail.lines.is_empty() {
            let record = LogRecord {
                finding: Key::exit(&instance, finished_at),
                data: tail.text().into_bytes(),
                captured_at: source.clock.now(),
                redactions: tail.redactions,
                truncated: tail.truncated,
            };
            // The receiver is gone only while the agent stops.
            if self.outputs.logs.send(record).await.is_err() {
                tracing::debug!("log queue closed");
            }
        }
    }

    fn on_time(&mut self, source: &Containerd) {
        let Some((_, later)) = self.later.pop_first() else {
            return;
        };
        match later {
            Later::List => self.ask(Ask::List),
            Later::Recheck(id) => self.ask(Ask::Recheck(id)),
            Later::Tail(container, finished_at) => self.read_tail(source, *container, finished_at, None),
        }
    }

    fn publish_running(&self, source: &Containerd) {
        source.running.send_if_modified(|held| {
            let running = self.table.running();
            let changed = *held != running;
            *held = running;
            changed
        });
    }

    /// A full queue makes this source wait; its events then wait in their own queue.
    async fn tell(&self, observation: Observation) {
        if self.outputs.observations.send(observation).await.is_err() {
            tracing::debug!("observation queue closed");
        }
    }
}

/// Events, their refusal, or the end of the stream.
type Events = mpsc::Receiver<Result<RuntimeEvent, Status>>;

/// The next event; pends for ever when there is no stream.
async fn receive(events: &mut Option<Events>) -> Option<Result<RuntimeEvent, Status>> {
    match events {
        Some(events) => events.recv().await,
        None => std::future::pending().await,
    }
}

/// Whether the runtime offers no events at all, so that polling is the best there is.
fn is_unsupported(status: &Status) -> bool {
    matches!(status.code(), Code::Unimplemented | Code::PermissionDenied)
}
