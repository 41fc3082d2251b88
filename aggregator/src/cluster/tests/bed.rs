//! An index that follows a fake apiserver, on a paused clock.

use std::{sync::Arc, time::Duration};

use inquest_shared::clock::{Clock, FakeClock, UnixNanos};
use tokio::{task::JoinSet, time::sleep};
use tokio_util::sync::CancellationToken;

use super::fake::{Fake, keep_bookmarks};
use crate::cluster::{ClusterIndex, ClusterMetrics, Found, Kind, WatchState, clusters::start, watch::decode};

pub(super) const NOW: UnixNanos = UnixNanos::from_secs(1_780_000_000);

pub(super) struct Bed {
    pub(super) fake: Fake,
    pub(super) index: ClusterIndex,
    watches: JoinSet<()>,
}

impl Bed {
    /// Nothing is asked before the test waits for the first time.
    pub(super) fn new(fake: &Fake, namespaces: &[&str]) -> Self {
        let clock = FakeClock::at(NOW);
        let index = ClusterIndex::new("c1", Arc::new(clock), ClusterMetrics::default());
        let mut watches = JoinSet::new();
        let names: Vec<String> = namespaces.iter().map(|name| (*name).to_owned()).collect();
        start(&mut watches, &index, &fake.client(), &names, &CancellationToken::new());
        watches.spawn(keep_bookmarks(fake.clone()));
        Self {
            fake: fake.clone(),
            index,
            watches,
        }
    }

    /// Lets the (paused) time pass until something holds, for at most two hours of it.
    pub(super) async fn until(&self, what: &str, holds: impl Fn(&Self) -> bool) {
        for _ in 0..14_400 {
            if holds(self) {
                return;
            }
            sleep(Duration::from_millis(500)).await;
        }
        panic!("never: {what}; {:?}", self.index.status());
    }

    pub(super) async fn until_live(&self) {
        let live = |bed: &Self| bed.index.status().iter().all(|status| status.state == WatchState::Live);
        self.until("all watches are live", live).await;
    }

    /// What an index says that lists the same server now.
    pub(super) fn fresh(fake: &Fake) -> std::collections::BTreeMap<String, String> {
        let clock: Arc<dyn Clock> = Arc::new(FakeClock::at(NOW));
        let index = ClusterIndex::new("fresh", clock, ClusterMetrics::default());
        for kind in Kind::ALL {
            let (_, items) = decode::page(kind, &fake.page(kind.name())).unwrap();
            index.put(&items, index.next_epoch(), Found::Baseline);
        }
        index.read(|state| state.dump())
    }

    pub(super) fn dump(&self) -> std::collections::BTreeMap<String, String> {
        self.index.read(|state| state.dump())
    }

    pub(super) fn state(&self, kind: Kind) -> (WatchState, String) {
        let status = self
            .index
            .status()
            .into_iter()
            .find(|status| status.kind == kind)
            .unwrap();
        (status.state, status.reason)
    }

    pub(super) async fn stop(mut self) {
        self.watches.shutdown().await;
    }
}
