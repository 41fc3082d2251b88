//! What the follower has under way: calls to the runtime, reads of logs, and things to do later. Owns order and bounds; must
//! not know what an answer means.

use std::{
    collections::{BTreeMap, HashSet, VecDeque},
    time::Duration,
};

use inquest_proto::runtime::v1 as cri;
use inquest_shared::{clock::UnixNanos, tail::Tail};
use tokio::{
    task::{JoinError, JoinSet},
    time::Instant,
};
use tonic::transport::Channel;

use super::call::{self, CallError};
use crate::observation::{Container, Exit};

/// Calls under way at once; the rest waits in order.
const MAX_CALLS: usize = 8;

/// Something to ask the runtime.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) enum Ask {
    /// Everything there is.
    List,
    /// Everything about one container.
    Inspect(String),
    /// Status of a container whose end is already told, for reason and message.
    Recheck(String),
    /// Whether it answers at all.
    Alive,
}

/// A container's status and its sandbox.
pub(super) type Inspection = (cri::ContainerStatusResponse, Option<cri::PodSandbox>);

/// An answer.
pub(super) enum Reply {
    Listed(Result<(Vec<cri::Container>, Vec<cri::PodSandbox>), CallError>),
    Inspected(String, Box<Result<Inspection, CallError>>),
    Rechecked(String, Box<Result<cri::ContainerStatusResponse, CallError>>),
    Alive(Result<(), CallError>),
    Tailed(Box<Tailed>),
}

/// A log tail that was read, with the exit that waits for it or, the second time, without.
pub(super) struct Tailed {
    pub(super) container: Container,
    pub(super) finished_at: UnixNanos,
    pub(super) tail: Tail,
    pub(super) exit: Option<Exit>,
}

/// Something to do later.
pub(super) enum Later {
    Ask(Ask),
    Tail(Box<Container>, UnixNanos),
}

/// Calls, reads and the agenda.
#[derive(Default)]
pub(super) struct Work {
    calls: JoinSet<Reply>,
    /// Reads of logs outlive a connection: an exit that was told by it waits for one.
    reads: JoinSet<Reply>,
    asked: HashSet<Ask>,
    waiting: VecDeque<Ask>,
    later: BTreeMap<(Instant, u64), Later>,
    order: u64,
}

impl Work {
    /// Forgets what was asked over a connection that is gone. Rechecks and tails stay on the agenda.
    pub(super) fn reconnected(&mut self) {
        self.calls = JoinSet::new();
        self.asked.clear();
        self.waiting.clear();
        self.later
            .retain(|_, later| !matches!(later, Later::Ask(Ask::List | Ask::Alive)));
    }

    /// Asks, unless the same is asked already.
    pub(super) fn ask(&mut self, ask: Ask) {
        if self.asked.insert(ask.clone()) {
            self.waiting.push_back(ask);
        }
    }

    /// The answer is here; it may be asked again.
    pub(super) fn answered(&mut self, ask: &Ask) {
        self.asked.remove(ask);
    }

    /// Whether any container waits to be inspected.
    pub(super) fn is_inspecting(&self) -> bool {
        self.asked.iter().any(|ask| matches!(ask, Ask::Inspect(_)))
    }

    /// Puts something on the agenda.
    pub(super) fn at(&mut self, wait: Duration, later: Later) {
        self.order = self.order.wrapping_add(1);
        self.later.insert((Instant::now() + wait, self.order), later);
    }

    /// When the agenda has something.
    pub(super) fn due(&self) -> Option<Instant> {
        self.later.first_key_value().map(|((at, _), _)| *at)
    }

    /// The first of the agenda.
    pub(super) fn take_due(&mut self) -> Option<Later> {
        self.later.pop_first().map(|(_, later)| later)
    }

    /// Starts what waits, as far as the bound allows.
    pub(super) fn start_calls(&mut self, channel: &Channel) {
        while self.calls.len() < MAX_CALLS {
            let Some(ask) = self.waiting.pop_front() else { return };
            let channel = channel.clone();
            self.calls.spawn(async move {
                match ask {
                    Ask::List => Reply::Listed(call::list(channel).await),
                    Ask::Inspect(id) => Reply::Inspected(id.clone(), Box::new(call::inspect(channel, id).await)),
                    Ask::Recheck(id) => Reply::Rechecked(id.clone(), Box::new(call::status(channel, id).await)),
                    Ask::Alive => Reply::Alive(call::version(channel).await.map(drop)),
                }
            });
        }
    }

    /// Reads off the loop.
    pub(super) fn read(&mut self, read: impl FnOnce() -> Tailed + Send + 'static) {
        self.reads.spawn_blocking(move || Reply::Tailed(Box::new(read())));
    }

    /// The next answer; pends while nothing is under way. Dropping the future loses nothing.
    pub(super) async fn next(&mut self) -> Result<Reply, JoinError> {
        let (calls, reads) = (&mut self.calls, &mut self.reads);
        tokio::select! {
            Some(reply) = reads.join_next() => reply,
            Some(reply) = calls.join_next() => reply,
            else => std::future::pending().await,
        }
    }
}
