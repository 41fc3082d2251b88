//! The life of one connection: lists, events, inspections and log tails, none of which waits for another.

use std::{
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
    model::{RuntimeExit, Untrusted, clean_name},
    tail::Tail,
};
use tokio::time::{Instant, sleep_until};
use tonic::{Status, transport::Channel};

use super::{
    Containerd, Outputs,
    bare::Bare,
    call::CallError,
    describe,
    events::{self, RuntimeEvent},
    feed::{is_unsupported, polling, receive, subscribe},
    table::Table,
    work::{Ask, Inspection, Later, Reply, Tailed, Work},
};
use crate::{
    host::procfs,
    observation::{Container, Exit, Observation},
    source::{
        SourceHealth,
        cri::{Dialect, Runtime},
        kill_counter::announce,
        log_tail::read_tail,
    },
};

/// The runtime's log pump may lag behind the exit event by this much.
const LATE_LOG: Duration = Duration::from_millis(200);
/// The reason of an exit may turn into OOMKilled later (containerd `internal/cri/server/events.go`).
const LATE_REASON: Duration = Duration::from_secs(2);
/// Lists at the polling period after a connection: the subscription takes effect at an unknown moment.
const QUICK_LISTS: u32 = 3;
/// How soon the list is read again after an event was dropped or a call failed.
const SOON: Duration = Duration::from_millis(100);
/// How often a runtime that sends events is asked whether it still answers; with the deadline of a call, a hang is known
/// after ten seconds.
pub(super) const ALIVE: Duration = Duration::from_secs(5);

/// State that outlives connections, so that a restarted runtime causes no false news.
pub(super) struct Follower {
    table: Table,
    bare: Bare,
    outputs: Outputs,
    work: Work,
    runtime: Runtime,
    /// What is shown while the runtime answers.
    health: SourceHealth,
    /// No list was taken since the connection was made: ends in it are not live.
    first_list: bool,
    live: bool,
}

impl Follower {
    pub(super) fn new(outputs: Outputs) -> Self {
        Self {
            table: Table::default(),
            bare: Bare::default(),
            outputs,
            work: Work::default(),
            runtime: Runtime::Containerd,
            health: SourceHealth::live(""),
            first_list: true,
            live: false,
        }
    }

    /// Whether a list was taken since the last call.
    pub(super) fn take_live(&mut self) -> bool {
        std::mem::take(&mut self.live)
    }

    /// The runtime answers.
    pub(super) const fn set_live(&mut self) {
        self.live = true;
    }

    /// Follows one connection until it is lost.
    pub(super) async fn follow(&mut self, source: &Containerd, channel: Channel, dialect: &Dialect) {
        self.work.reconnected();
        self.first_list = true;
        self.runtime = dialect.runtime;
        let overflowed = Arc::new(AtomicBool::new(false));
        let mut events = subscribe(source, &channel, dialect, &overflowed);
        self.health = match events {
            Some(_) => SourceHealth::live(dialect.version.clone()),
            None => polling(source, dialect),
        };
        source.statuses.set(source.name, self.health.clone());
        let mut quick_lists = QUICK_LISTS;
        self.work.ask(Ask::List);
        self.work.at(ALIVE, Later::Ask(Ask::Alive));
        loop {
            self.work.start_calls(&channel);
            let next = self.work.due();
            let connected = tokio::select! {
                biased;
                event = receive(&mut events) => match event {
                    Some(Ok(event)) => { self.on_event(source, event).await; true }
                    Some(Err(status)) if is_unsupported(&status) => {
                        events = None;
                        self.on_no_events(source, dialect, &status)
                    }
                    Some(Err(_)) | None => false,
                },
                reply = self.work.next() => {
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
                    "events of the runtime dropped, reading the list instead"
                );
                self.work.ask(Ask::List);
            }
            if !connected {
                return;
            }
        }
    }

    fn on_no_events(&mut self, source: &Containerd, dialect: &Dialect, status: &Status) -> bool {
        tracing::warn!(%status, "no event stream; polling");
        self.health = polling(source, dialect);
        source.statuses.set(source.name, self.health.clone());
        self.work.at(SOON, Later::Ask(Ask::List));
        true
    }

    pub(super) async fn on_event(&mut self, source: &Containerd, event: RuntimeEvent) {
        match event {
            RuntimeEvent::Started { id, pid } if !self.table.is_sandbox(&id) => {
                if let Some(entry) = self.table.entry(&id) {
                    entry.pid = Some(pid);
                    self.work.ask(Ask::Inspect(id));
                }
            }
            RuntimeEvent::Exited { id, exit_code, at } if !self.table.is_sandbox(&id) => {
                let Some(entry) = self.table.entry(&id) else { return };
                if entry.exited {
                    return;
                }
                let Some(container) = entry.facts.clone() else {
                    entry.pending_exit = Some((exit_code, at));
                    self.work.ask(Ask::Inspect(id));
                    return;
                };
                entry.exited = true;
                if entry.ephemeral {
                    return;
                }
                self.told_by_event(source, container, exit_code, at, true);
            }
            RuntimeEvent::Oom { id, at } if !self.table.is_sandbox(&id) => {
                let notice = Observation::RuntimeOom {
                    instance: clean_name(&id),
                    at,
                    source: self.runtime.evidence(),
                };
                self.outputs.tell(notice).await;
            }
            RuntimeEvent::Changed { id, ended } if !self.table.is_sandbox(&id) => self.on_changed(id, ended),
            RuntimeEvent::Bare(event) => {
                for observation in self
                    .bare
                    .on_event(event, |pid| procfs::memory_cgroup(&source.paths, pid).ok())
                {
                    self.outputs.tell(observation).await;
                }
                self.publish_running(source);
            }
            RuntimeEvent::OfDocker(end) => {
                let _listeners = source.early_ends.send(end);
            }
            _ => {}
        }
    }

    /// The runtime's own list and status are asked in any case; what the event said is for a container that is gone by then.
    fn on_changed(&mut self, id: String, ended: Option<Box<events::Ended>>) {
        let Some(entry) = self.table.entry(&id).filter(|entry| !entry.exited) else {
            return;
        };
        if ended.is_some() {
            entry.ended = ended;
        } else {
            self.work.at(SOON, Later::Ask(Ask::List));
        }
        self.work.ask(Ask::Inspect(id));
    }

    /// An end known from an event: read the log, tell both, ask for the reason later.
    fn told_by_event(&mut self, source: &Containerd, container: Container, exit_code: i32, at: UnixNanos, live: bool) {
        let id = container.subject.instance.clone();
        let record = RuntimeExit {
            exit_code,
            started_at: container.started,
            finished_at: at,
            reason: Untrusted::default(),
            message: Untrusted::default(),
            memory_limit_bytes: container.memory_limit,
        };
        let exit = Exit {
            instance: id.clone(),
            record,
            source: self.runtime.evidence(),
            live,
        };
        self.read_tail(source, container, at, Some(exit));
        self.work.at(LATE_REASON, Later::Ask(Ask::Recheck(id)));
    }

    /// Reads the log off the loop; the exit is told with it.
    fn read_tail(&mut self, source: &Containerd, container: Container, finished_at: UnixNanos, exit: Option<Exit>) {
        let (limits, redactor) = (source.tail, Arc::clone(&source.redactor));
        let path: Option<PathBuf> = container.log_path.clone();
        self.work.read(move || {
            let tail = path.map(|path| read_tail(&path, limits, &redactor));
            let tail = tail.unwrap_or_else(|| Ok(Tail::default())).unwrap_or_else(|error| {
                tracing::debug!(error = %error, cause = %error.source, "no log tail");
                Tail::default()
            });
            Tailed {
                container,
                finished_at,
                tail,
                exit,
            }
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
            Ok(Reply::Listed(Err(error))) => {
                self.work.answered(&Ask::List);
                self.work.at(SOON, Later::Ask(Ask::List));
                return self.on_silence(source, &error);
            }
            Ok(Reply::Alive(answer)) => {
                self.work.answered(&Ask::Alive);
                self.work.at(ALIVE, Later::Ask(Ask::Alive));
                match answer {
                    Ok(()) => source.statuses.set(source.name, self.health.clone()),
                    Err(error) => return self.on_silence(source, &error),
                }
            }
            Ok(Reply::Inspected(id, answer)) => self.on_inspected(source, id, *answer).await,
            Ok(Reply::Rechecked(id, answer)) => self.on_rechecked(id, *answer).await,
            Ok(Reply::Tailed(tailed)) => self.on_tail(source, *tailed).await,
            Err(failed) => tracing::error!(%failed, "a call to the runtime ended badly"),
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
        self.work.answered(&Ask::List);
        self.live = true;
        source.statuses.set(source.name, self.health.clone());
        let changes = self.table.reconcile(containers, sandboxes);
        for id in changes.removed {
            self.outputs.tell(Observation::Removed(clean_name(&id))).await;
        }
        for id in changes.inspect {
            self.work.ask(Ask::Inspect(id));
        }
        self.publish_running(source);
        self.work.at(period, Later::Ask(Ask::List));
    }

    /// A call failed. A runtime that hangs may go on later over the same connection; any other failure means a new one.
    fn on_silence(&self, source: &Containerd, error: &CallError) -> bool {
        source.blind(error);
        matches!(error, CallError::Deadline { .. })
    }

    /// What is known of a container now: the answer, or what an event said when the runtime has forgotten it.
    fn inspection(&mut self, id: &str, answer: Result<Inspection, CallError>) -> Option<Inspection> {
        let ended = self.table.entry(id).and_then(|entry| entry.ended.take());
        let ended = ended.map(|ended| {
            let info = std::collections::HashMap::new();
            let status = Some(ended.status);
            (cri::ContainerStatusResponse { status, info }, ended.sandbox)
        });
        match answer {
            Ok((mut response, sandbox)) => {
                // Asked before the end, answered after it was told.
                let runs = response.status.as_ref().is_some_and(is_running);
                if let Some((ended, _)) = ended.filter(|_| runs) {
                    response.status = ended.status;
                }
                Some((response, sandbox))
            }
            Err(error) if error.is_not_found() => {
                if ended.is_none() {
                    self.table.forget(id);
                }
                ended
            }
            Err(error) => {
                tracing::warn!(id, %error, "cannot inspect a container");
                self.work.at(SOON, Later::Ask(Ask::List));
                None
            }
        }
    }

    async fn on_inspected(&mut self, source: &Containerd, id: String, answer: Result<Inspection, CallError>) {
        self.work.answered(&Ask::Inspect(id.clone()));
        let Some((response, sandbox)) = self.inspection(&id, answer) else {
            return;
        };
        let Some(status) = &response.status else { return };
        let Some(mut container) = describe::container(self.runtime, &response, sandbox.as_ref()) else {
            return;
        };
        let first_list = self.first_list;
        let Some(entry) = self.table.entry(&id) else { return };
        container.pid = container.pid.or(entry.pid);
        add_cgroup(source, &mut container);
        let limit = container.memory_limit;
        entry.facts = Some(container.clone());
        entry.ephemeral = describe::is_ephemeral(&response);
        let ended = describe::exit(self.runtime, status, limit, !first_list).filter(|_| !entry.exited);
        let pending = entry.pending_exit.take().filter(|_| !entry.exited && ended.is_none());
        entry.exited |= ended.is_some() || pending.is_some();
        let no_news = entry.ephemeral;
        self.outputs.tell(Observation::Container(container.clone())).await;
        if no_news {
            tracing::debug!(id, "a container for looking into a pod");
        } else if let Some(exit) = ended {
            if exit.live {
                self.work.at(LATE_REASON, Later::Ask(Ask::Recheck(id)));
            }
            self.read_tail(source, container, exit.record.finished_at, Some(exit));
        } else if let Some((code, at)) = pending {
            self.told_by_event(source, container, code, at, true);
        }
        if !self.work.is_inspecting() {
            self.first_list = false;
        }
        self.publish_running(source);
    }

    async fn on_rechecked(&mut self, id: String, answer: Result<cri::ContainerStatusResponse, CallError>) {
        let limit = self
            .table
            .get(&id)
            .and_then(|e| e.facts.as_ref())
            .and_then(|f| f.memory_limit);
        self.work.answered(&Ask::Recheck(id));
        match answer {
            Ok(answer) => {
                let exit = answer.status.as_ref();
                let exit = exit.and_then(|status| describe::exit(self.runtime, status, limit, true));
                if let Some(exit) = exit {
                    self.outputs.tell(Observation::Exit(exit)).await;
                }
            }
            Err(error) => tracing::debug!(%error, "no late reason"),
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
            self.outputs
                .tell(Observation::Log {
                    instance: instance.clone(),
                    finished_at,
                    excerpt,
                })
                .await;
        }
        if let Some(exit) = exit {
            self.outputs.tell(Observation::Exit(exit)).await;
        }
        if first {
            self.work.at(LATE_LOG, Later::Tail(Box::new(container), finished_at));
        } else if !tail.lines.is_empty() {
            self.outputs
                .log(&instance, finished_at, &tail, source.clock.now())
                .await;
        }
    }

    fn on_time(&mut self, source: &Containerd) {
        match self.work.take_due() {
            Some(Later::Ask(ask)) => self.work.ask(ask),
            Some(Later::Tail(container, finished_at)) => self.read_tail(source, *container, finished_at, None),
            None => {}
        }
    }

    fn publish_running(&self, source: &Containerd) {
        let mut running = self.table.running();
        running.extend(self.bare.running());
        announce(&source.running, source.name, running);
    }
}

/// Runtimes that do not tell the cgroup (cri-dockerd) tell the pid.
fn add_cgroup(source: &Containerd, container: &mut Container) {
    if !container.subject.cgroup.is_empty() {
        return;
    }
    let path = container
        .pid
        .and_then(|pid| procfs::memory_cgroup(&source.paths, pid).ok());
    container.subject.cgroup = path.unwrap_or_default();
}

fn is_running(status: &cri::ContainerStatus) -> bool {
    status.state() == cri::ContainerState::ContainerRunning
}
