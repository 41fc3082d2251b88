//! What was asked of Docker before an end. Docker sends an event for every signal that its API sends; a signal that reached
//! the process in another way has none.

use std::{collections::VecDeque, time::Duration};

use inquest_shared::{
    cause::Signal,
    clock::UnixNanos,
    model::{EvidenceSource, RequestKind, RuntimeRequest},
};

use super::super::describe::Settings;
use crate::observation::Observation;

/// Requests kept for one container, the newest.
const MAX_REQUESTS: usize = 8;
/// A signal that ends a process ends it within this time; beyond it the end has another reason.
const PROMPT: Duration = Duration::from_secs(5);
/// The event of a signal may carry a later time than the end that it caused.
const EVENT_LAG: Duration = Duration::from_secs(1);
/// Exit codes above it name a signal.
const SIGNALLED: i32 = 128;
/// Docker says that a stop is done within this time after the end.
const STOP_DONE: Duration = Duration::from_secs(60);

/// A request as an event tells it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Request {
    /// Docker's API sent a signal.
    Signal(u8),
    /// A stop came to its end.
    Stop,
    /// The container was removed.
    Remove,
}

/// A request that explains the end of a run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in super::super) struct Asked {
    /// Which run.
    pub(in super::super) instance: String,
    /// What.
    pub(in super::super) request: RuntimeRequest,
    /// When.
    pub(in super::super) at: UnixNanos,
}

impl From<Asked> for Observation {
    fn from(asked: Asked) -> Self {
        Self::RuntimeRequest {
            instance: asked.instance,
            request: asked.request,
            at: asked.at,
            source: EvidenceSource::Docker,
        }
    }
}

/// The last requests of one container.
#[derive(Debug, Default)]
pub(super) struct Requests(VecDeque<(Request, UnixNanos)>);

impl Requests {
    pub(super) fn push(&mut self, request: Request, at: UnixNanos) {
        if self.0.contains(&(request, at)) {
            return;
        }
        if self.0.len() >= MAX_REQUESTS {
            self.0.pop_front();
        }
        self.0.push_back((request, at));
    }

    /// The requests that explain the end of a run. What a kubelet asks explains nothing without the cluster's view.
    pub(super) fn of_run(
        &self,
        settings: &Settings,
        started: UnixNanos,
        ended: UnixNanos,
    ) -> Vec<(RuntimeRequest, UnixNanos)> {
        if settings.kubernetes {
            return Vec::new();
        }
        let explains = |(request, at): &(Request, UnixNanos)| {
            let told = explained(*request, *at, settings, started, ended)?;
            Some((told, *at))
        };
        self.0.iter().filter_map(explains).collect()
    }
}

fn explained(
    request: Request,
    at: UnixNanos,
    settings: &Settings,
    started: UnixNanos,
    ended: UnixNanos,
) -> Option<RuntimeRequest> {
    let before = |limit: Duration| at >= started && ended.since(at) <= limit && at.since(ended) <= EVENT_LAG;
    let after = |limit: Duration| at >= ended && at.since(ended) <= limit;
    let (kind, signal, fits) = match request {
        Request::Signal(number) if asks_to_stop(number, settings) => {
            (RequestKind::Stop, number, before(settings.grace.saturating_add(PROMPT)))
        }
        Request::Signal(number) => (RequestKind::Kill, number, before(PROMPT)),
        Request::Stop => (RequestKind::Stop, 0, after(STOP_DONE)),
        Request::Remove => (RequestKind::Remove, 0, !settings.auto_remove && after(PROMPT)),
    };
    fits.then_some(RuntimeRequest { kind, signal })
}

/// Whether an exit code names a signal that Docker sends when it is asked to end a container.
pub(super) fn may_send(exit_code: i32, settings: &Settings) -> bool {
    let number = exit_code
        .checked_sub(SIGNALLED)
        .and_then(|number| u8::try_from(number).ok());
    number.is_some_and(|number| number == Signal::KILL.number() || asks_to_stop(number, settings))
}

fn asks_to_stop(number: u8, settings: &Settings) -> bool {
    let stops = [Signal::TERM, Signal::INT, settings.stop_signal];
    number != Signal::KILL.number() && stops.iter().any(|signal| signal.number() == number)
}
