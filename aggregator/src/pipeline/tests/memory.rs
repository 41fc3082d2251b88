//! A store in memory whose refusals a test controls.

use std::{
    collections::BTreeMap,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU32, Ordering},
    },
};

use futures::FutureExt as _;
use inquest_shared::{
    clock::UnixNanos,
    model::{Delivery, DeliveryState, Incident, Key},
};
use tokio::sync::{Semaphore, watch};
use ulid::Ulid;

use crate::{
    record::{
        Commit, Cursor, Filter, NodeIdentity, OutboxRow, OutboxTotals, Scope, StoredLog, StoredNode, StoredOccurrence,
    },
    store::{Pruned, Store, StoreError, StoreFigures, StoreFuture},
};

/// What is "on disk".
#[derive(Default)]
pub(crate) struct Disk {
    pub occurrences: BTreeMap<(NodeIdentity, Key), StoredOccurrence>,
    pub incidents: BTreeMap<Ulid, Incident>,
    pub outbox: Vec<OutboxRow>,
    pub marks: BTreeMap<(NodeIdentity, u64), u64>,
    pub logs: BTreeMap<(NodeIdentity, Key, u32), Vec<u8>>,
    pub nodes: Vec<NodeIdentity>,
    /// Which findings were committed together, in order.
    pub batches: Vec<Vec<Key>>,
}

pub(crate) struct MemoryStore {
    disk: Mutex<Disk>,
    /// So many commits are refused.
    pub refuse: AtomicU32,
    /// So many commits happen, but say that their outcome is unknown.
    pub doubt: AtomicU32,
    /// Looking this finding up says that it is damaged.
    pub damaged: Mutex<Option<Key>>,
    /// A commit needs a permit of this gate and gives it back.
    pub gate: Semaphore,
    pub commits: watch::Sender<u32>,
}

impl MemoryStore {
    pub fn new() -> Arc<Self> {
        Arc::new(Self {
            disk: Mutex::default(),
            refuse: AtomicU32::new(0),
            doubt: AtomicU32::new(0),
            damaged: Mutex::default(),
            gate: Semaphore::new(1),
            commits: watch::Sender::new(0),
        })
    }

    pub fn disk(&self) -> MutexGuard<'_, Disk> {
        self.disk.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn error(what: &'static str) -> Box<dyn std::error::Error + Send + Sync> {
    what.into()
}

fn take_one(counter: &AtomicU32) -> bool {
    counter
        .fetch_update(Ordering::SeqCst, Ordering::SeqCst, |n| n.checked_sub(1))
        .is_ok()
}

impl Store for MemoryStore {
    fn findings<'a>(&'a self, keys: &'a [(NodeIdentity, Key)]) -> StoreFuture<'a, Vec<StoredOccurrence>> {
        async {
            let damaged = *self.damaged.lock().unwrap();
            if keys.iter().any(|(_, key)| Some(*key) == damaged) {
                return Err(StoreError::Damaged {
                    what: "findings",
                    source: error("torn"),
                });
            }
            let disk = self.disk();
            Ok(keys
                .iter()
                .filter_map(|key| disk.occurrences.get(key).cloned())
                .collect())
        }
        .boxed()
    }

    fn commit<'a>(&'a self, commit: &'a Commit) -> StoreFuture<'a, ()> {
        async {
            let _open = self.gate.acquire().await.unwrap();
            if take_one(&self.refuse) {
                return Err(StoreError::Refused {
                    what: "commit",
                    source: error("disk full"),
                });
            }
            {
                let mut disk = self.disk();
                disk.batches
                    .push(commit.occurrences.iter().map(|o| o.finding.key).collect());
                for stored in &commit.occurrences {
                    disk.occurrences
                        .insert((stored.node.clone(), stored.finding.key), stored.clone());
                }
                for incident in &commit.incidents {
                    disk.incidents.insert(incident.id, incident.clone());
                }
                disk.outbox.extend(commit.outbox.iter().cloned());
                for (node, epoch, seq) in &commit.marks {
                    disk.marks.insert((node.clone(), *epoch), *seq);
                }
            }
            self.commits.send_modify(|n| *n += 1);
            if take_one(&self.doubt) {
                return Err(StoreError::Doubtful {
                    what: "commit",
                    source: error("fsync failed"),
                });
            }
            Ok(())
        }
        .boxed()
    }

    fn live_incidents(&self, _: UnixNanos) -> StoreFuture<'_, Vec<Incident>> {
        async { Ok(self.disk().incidents.values().cloned().collect()) }.boxed()
    }

    fn open_incidents(&self) -> StoreFuture<'_, u64> {
        async { Ok(0) }.boxed()
    }

    fn mark<'a>(&'a self, node: &'a NodeIdentity, epoch: u64) -> StoreFuture<'a, u64> {
        async move { Ok(self.disk().marks.get(&(node.clone(), epoch)).copied().unwrap_or(0)) }.boxed()
    }

    fn put_log<'a>(
        &'a self,
        node: &'a NodeIdentity,
        key: Key,
        at: u32,
        log: &'a StoredLog,
        _: UnixNanos,
    ) -> StoreFuture<'a, ()> {
        async move {
            self.disk().logs.insert((node.clone(), key, at), log.data.clone());
            Ok(())
        }
        .boxed()
    }

    fn put_node<'a>(&'a self, node: &'a NodeIdentity, _: UnixNanos) -> StoreFuture<'a, ()> {
        self.disk().nodes.push(node.clone());
        async { Ok(()) }.boxed()
    }

    fn put_status<'a>(&'a self, _: &'a NodeIdentity, _: UnixNanos, _: &'a [u8]) -> StoreFuture<'a, ()> {
        async { Ok(()) }.boxed()
    }

    fn outbox_page<'a>(&'a self, _: &'a str, _: Option<Ulid>, _: u32) -> StoreFuture<'a, Vec<OutboxRow>> {
        async { Ok(Vec::new()) }.boxed()
    }

    fn outbox_receivers(&self) -> StoreFuture<'_, Vec<String>> {
        async { Ok(Vec::new()) }.boxed()
    }

    fn put_outcome<'a>(&'a self, _: &'a OutboxRow) -> StoreFuture<'a, ()> {
        async { Ok(()) }.boxed()
    }

    fn outbox_totals(&self) -> StoreFuture<'_, OutboxTotals> {
        async { Ok(OutboxTotals::default()) }.boxed()
    }

    fn list_deliveries<'a>(
        &'a self,
        _: &'a Scope,
        _: Option<DeliveryState>,
        _: &'a str,
        _: Option<&'a Cursor>,
        _: u32,
    ) -> StoreFuture<'a, Vec<OutboxRow>> {
        Box::pin(async { Ok(Vec::new()) })
    }

    fn deliveries(&self, _: Ulid) -> StoreFuture<'_, Vec<Delivery>> {
        async { Ok(Vec::new()) }.boxed()
    }

    fn list_incidents<'a>(
        &'a self,
        _: &'a Scope,
        _: &'a Filter,
        _: Option<&'a Cursor>,
        _: u32,
    ) -> StoreFuture<'a, Vec<Incident>> {
        async { Ok(Vec::new()) }.boxed()
    }

    fn find_incidents<'a>(&'a self, _: &'a Scope, _: &'a str) -> StoreFuture<'a, Vec<Incident>> {
        async { Ok(Vec::new()) }.boxed()
    }

    fn list_findings<'a>(
        &'a self,
        _: &'a Scope,
        _: &'a Filter,
        _: Option<&'a Cursor>,
        _: u32,
    ) -> StoreFuture<'a, Vec<(StoredOccurrence, bool)>> {
        async { Ok(Vec::new()) }.boxed()
    }

    fn log<'a>(&'a self, _: &'a Scope, _: Key) -> StoreFuture<'a, Option<StoredLog>> {
        async { Ok(None) }.boxed()
    }

    fn nodes<'a>(&'a self, _: &'a str, _: Option<&'a NodeIdentity>, _: u32) -> StoreFuture<'a, Vec<StoredNode>> {
        async { Ok(Vec::new()) }.boxed()
    }

    fn prune(&self, _: UnixNanos, _: u32) -> StoreFuture<'_, Pruned> {
        async { Ok(Pruned::default()) }.boxed()
    }

    fn oldest(&self, _: u32) -> StoreFuture<'_, Option<UnixNanos>> {
        async { Ok(None) }.boxed()
    }

    fn figures(&self) -> StoreFuture<'_, StoreFigures> {
        async { Ok(StoreFigures::default()) }.boxed()
    }

    fn probe(&self) -> StoreFuture<'_, ()> {
        async { Ok(()) }.boxed()
    }

    fn describe(&self) -> (String, u32) {
        ("memory".to_owned(), 0)
    }
}
