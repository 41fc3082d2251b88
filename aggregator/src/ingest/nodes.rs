//! Which agents are connected and what they said last.
//!
//! Owns the live view of nodes and the rule that the newest stream of a node wins. The store gets a coarse copy, so that
//! heartbeats do not turn into disk writes.

mod metrics;
mod skew;

use std::{
    collections::BTreeMap,
    net::IpAddr,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use inquest_proto::ingest::v1::{AgentStatus, Hello};
use inquest_shared::{
    clock::{Clock, UnixNanos},
    model::Untrusted,
};
use prost::Message as _;
use thiserror::Error;
use tokio_util::sync::CancellationToken;

pub use metrics::NodesMetrics;
pub use skew::Skew;

use super::clock_offset::ClockOffset;
use crate::{
    record::{NodeIdentity, StoredNode},
    store::{Store, StoreError},
};

/// Most nodes known at once: twice what one aggregator is meant for.
const MAX_NODES: usize = 10_000;
/// Longest age of the stored copy of a node that still talks.
const STORE_EVERY: Duration = Duration::from_secs(60);
/// How often due copies are written.
const FLUSH_EVERY: Duration = Duration::from_secs(1);
/// Three heartbeats of 10 s: a node that said nothing for so long is silent.
const SILENCE: Duration = Duration::from_secs(30);
/// Longest version text kept.
const MAX_VERSION: usize = 64;
/// Longest status kept, encoded: five sources need about 1 KiB.
const MAX_STATUS: usize = 16 * 1024;
/// Nodes read from the store at once.
const PAGE: u32 = 500;

/// Too many nodes; trying again helps once nodes that are gone were forgotten.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[error("{MAX_NODES} nodes are known, no more fit")]
pub struct NodesFull;

/// One node as seen now.
#[derive(Debug, Clone, PartialEq)]
pub struct NodeView {
    /// Identity.
    pub node: NodeIdentity,
    /// Its stream is open.
    pub connected: bool,
    /// Aggregator clock of the last message.
    pub last_seen: UnixNanos,
    /// Version of the agent as it says; untrusted.
    pub agent_version: String,
    /// The same against ours.
    pub skew: Skew,
    /// Nothing was heard of it for three heartbeats.
    pub silent: bool,
    /// Last status; `None` before the first.
    pub status: Option<AgentStatus>,
    /// Nanoseconds by which the node's clock is ahead of the aggregator's; `None` before the first status of a stream.
    pub clock_offset: Option<i64>,
}

struct Entry {
    view: NodeView,
    clock: ClockOffset,
    stream: Option<(u64, CancellationToken, IpAddr)>,
    stored_at: UnixNanos,
    due: bool,
}

#[derive(Default)]
struct State {
    nodes: BTreeMap<(String, String), Entry>,
    streams: u64,
    /// Nobody could be heard before.
    listens_since: UnixNanos,
}

/// All nodes; clones are the same nodes.
#[derive(Clone, Default)]
pub struct Nodes(Arc<Mutex<State>>);

/// The place of the one stream that a node may have. Dropping it leaves the place.
pub struct Seat {
    nodes: Nodes,
    key: (String, String),
    number: u64,
    replaced: CancellationToken,
    other_address: Option<IpAddr>,
}

impl Nodes {
    /// Nodes as they were stored before the start at `now`.
    #[must_use]
    pub fn load(stored: Vec<StoredNode>, now: UnixNanos) -> Self {
        let nodes = Self::default();
        nodes.state().listens_since = now;
        for known in stored.into_iter().take(MAX_NODES) {
            let status = AgentStatus::decode(known.status.as_slice())
                .ok()
                .filter(|_| !known.status.is_empty());
            let version = status.as_ref().map(|s| bounded(&s.agent_version)).unwrap_or_default();
            let mut entry = Entry::new(known.node, known.last_seen, version);
            (entry.view.status, entry.stored_at) = (status, known.last_seen);
            nodes.state().nodes.insert(key_of(&entry.view.node), entry);
        }
        nodes
    }

    /// Reads the nodes of an earlier life of the program.
    ///
    /// # Errors
    /// [`StoreError`] of the reading.
    pub async fn restore(store: &dyn Store, now: UnixNanos) -> Result<Self, StoreError> {
        let mut stored = Vec::new();
        while stored.len() < MAX_NODES {
            let page = store
                .nodes("", stored.last().map(|known: &StoredNode| &known.node), PAGE)
                .await?;
            if page.is_empty() {
                break;
            }
            stored.extend(page);
        }
        Ok(Self::load(stored, now))
    }

    /// Makes place for a node that enrols, so that the table of nodes is bounded too.
    ///
    /// # Errors
    /// [`NodesFull`] for a new node when too many are known.
    pub fn admit(&self, node: &NodeIdentity, now: UnixNanos) -> Result<(), NodesFull> {
        let mut state = self.state();
        let key = key_of(node);
        if state.nodes.len() >= MAX_NODES && !state.nodes.contains_key(&key) {
            return Err(NodesFull);
        }
        let entry = || Entry::new(node.clone(), now, String::new());
        state.nodes.entry(key).or_insert_with(entry);
        Ok(())
    }

    /// Forgets nodes that are away and were not seen since `before`.
    pub fn forget(&self, before: UnixNanos) {
        let gone = |entry: &Entry| entry.stream.is_none() && entry.view.last_seen < before;
        self.state().nodes.retain(|_, entry| !gone(entry));
    }

    /// All nodes, by cluster and uid.
    #[must_use]
    pub fn snapshot(&self) -> Vec<NodeView> {
        self.state().nodes.values().map(|entry| entry.view.clone()).collect()
    }

    /// The nodes of a cluster that are silent.
    #[must_use]
    pub fn silent_in(&self, cluster: &str) -> Vec<NodeView> {
        let state = self.state();
        let views = state.nodes.values().map(|entry| &entry.view);
        views
            .filter(|view| view.silent && view.node.cluster == cluster)
            .cloned()
            .collect()
    }

    /// Takes the place of the node's stream; an older stream learns that it was replaced.
    ///
    /// # Errors
    /// [`NodesFull`] for a new node when too many are known.
    pub fn connect(&self, node: &NodeIdentity, from: IpAddr, hello: &Hello, now: UnixNanos) -> Result<Seat, NodesFull> {
        let mut state = self.state();
        let key = key_of(node);
        if state.nodes.len() >= MAX_NODES && !state.nodes.contains_key(&key) {
            return Err(NodesFull);
        }
        state.streams = state.streams.saturating_add(1);
        let (number, replaced) = (state.streams, CancellationToken::new());
        let version = bounded(&hello.agent_version);
        let entry = state
            .nodes
            .entry(key.clone())
            .or_insert_with(|| Entry::new(node.clone(), now, version.clone()));
        let older = entry.stream.replace((number, replaced.clone(), from));
        let other_address = older.and_then(|(_, older, address)| {
            older.cancel();
            (address != from).then_some(address)
        });
        // The clock may have been set while the node was away.
        entry.clock = ClockOffset::default();
        let view = &mut entry.view;
        view.clock_offset = None;
        view.skew = Skew::of(&version);
        (view.node, view.connected, view.last_seen, view.agent_version) = (node.clone(), true, now, version);
        drop(state);
        Ok(Seat {
            nodes: self.clone(),
            key,
            number,
            replaced,
            other_address,
        })
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Marks the nodes that are silent now, and counts them and their versions.
    fn listen(&self, now: UnixNanos) -> Census {
        let mut state = self.state();
        let (since, mut census) = (state.listens_since, Census::default());
        for entry in state.nodes.values_mut() {
            let view = &mut entry.view;
            let silent = now.since(view.last_seen.max(since)) >= SILENCE;
            if silent && !view.silent {
                census.fell_silent.push(view.node.name.clone());
            }
            view.silent = silent;
            census.silent += i64::from(silent);
            *census.skews.entry(view.skew).or_default() += 1;
        }
        census
    }

    /// Copies that the store should get now.
    fn take_due(&self, now: UnixNanos) -> Vec<(NodeIdentity, UnixNanos, Vec<u8>)> {
        let mut due = Vec::new();
        for entry in self.state().nodes.values_mut() {
            let Some(status) = entry.view.status.as_ref() else {
                continue;
            };
            let old = entry.view.last_seen > entry.stored_at && now.since(entry.stored_at) >= STORE_EVERY;
            if entry.due || old {
                (entry.due, entry.stored_at) = (false, now);
                due.push((entry.view.node.clone(), entry.view.last_seen, status.encode_to_vec()));
            }
        }
        due
    }

    fn put_back(&self, node: &NodeIdentity) {
        if let Some(entry) = self.state().nodes.get_mut(&key_of(node)) {
            entry.due = true;
        }
    }
}

impl Entry {
    fn new(node: NodeIdentity, last_seen: UnixNanos, agent_version: String) -> Self {
        let view = NodeView {
            node,
            connected: false,
            last_seen,
            skew: Skew::of(&agent_version),
            silent: false,
            agent_version,
            status: None,
            clock_offset: None,
        };
        Self {
            view,
            clock: ClockOffset::default(),
            stream: None,
            stored_at: UnixNanos::EPOCH,
            due: false,
        }
    }
}

impl Seat {
    /// Where the stream came from that this one replaced while it was open, when that was another address. Either the
    /// agent moved, or somebody has its key.
    #[must_use]
    pub const fn other_address(&self) -> Option<IpAddr> {
        self.other_address
    }

    /// Resolves when a newer stream of the same node took over.
    pub async fn replaced(&self) {
        self.replaced.cancelled().await;
    }

    /// The node said something.
    pub fn seen(&self, now: UnixNanos) {
        self.edit(|entry| entry.view.last_seen = now);
    }

    /// The node sent its status. One that is too large is dropped; the node counts as alive all the same. Returns the
    /// offset of its clock as far as it is known now.
    pub fn status(&self, status: AgentStatus, now: UnixNanos) -> Option<i64> {
        if status.encoded_len() > MAX_STATUS {
            tracing::warn!(node = self.key.1, "a status is too large and is dropped");
            self.seen(now);
            return None;
        }
        let mut offset = None;
        self.edit(|entry| {
            entry.clock.note(UnixNanos(status.at_ns), now);
            offset = entry.clock.nanos();
            entry.view.clock_offset = offset;
            let before = entry.view.status.as_ref();
            entry.due |= before.is_none_or(|before| before.sources != status.sources);
            entry.view.last_seen = now;
            entry.view.status = Some(status);
        });
        offset
    }

    fn edit(&self, change: impl FnOnce(&mut Entry)) {
        if let Some(entry) = self.nodes.state().nodes.get_mut(&self.key) {
            let before = entry.view.last_seen;
            change(entry);
            // Whoever speaks is not silent; the next look would say so only a second later.
            entry.view.silent &= entry.view.last_seen == before;
        }
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        self.edit(|entry| {
            if entry.stream.as_ref().is_some_and(|(number, ..)| *number == self.number) {
                entry.stream = None;
                entry.view.connected = false;
            }
        });
    }
}

fn key_of(node: &NodeIdentity) -> (String, String) {
    (node.cluster.clone(), node.uid.clone())
}

fn bounded(text: &str) -> String {
    Untrusted::bounded(text, MAX_VERSION).escaped()
}

/// What a look at all nodes found.
#[derive(Debug, Default, PartialEq, Eq)]
struct Census {
    silent: i64,
    /// Names of those that were not silent at the look before.
    fell_silent: Vec<String>,
    skews: BTreeMap<Skew, i64>,
}

/// Writes changed statuses to the store until `stop` is cancelled: at once when a source changed, else once a minute per
/// node. A refused write comes up again. Notices silent nodes meanwhile.
pub async fn keep_statuses(
    nodes: Nodes,
    store: Arc<dyn Store>,
    clock: Arc<dyn Clock>,
    metrics: NodesMetrics,
    stop: CancellationToken,
) {
    loop {
        tokio::select! {
            () = stop.cancelled() => return,
            () = tokio::time::sleep(FLUSH_EVERY) => {}
        }
        metrics.show(&nodes.listen(clock.now()));
        let mut due = nodes.take_due(clock.now()).into_iter();
        for (node, at, status) in due.by_ref() {
            if stop.is_cancelled() {
                return;
            }
            if let Err(error) = store.put_status(&node, at, &status).await {
                tracing::warn!(node = node.name, %error, "statuses of nodes were not stored");
                nodes.put_back(&node);
                break;
            }
        }
        // A store that refuses one refuses the next: they wait, and the log has one line for all.
        for (node, ..) in due {
            nodes.put_back(&node);
        }
    }
}

#[cfg(test)]
mod tests;
