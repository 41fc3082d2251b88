//! Indexes that hold given objects, for tests of those who read them.

use std::{collections::BTreeMap, sync::Arc};

use inquest_shared::clock::{Clock, FakeClock};
use serde_json::{Value, json};

use super::bed::NOW;
use crate::cluster::{ClusterIndex, ClusterMetrics, Clusters, Found, Kind, WatchState, watch::decode};

pub(crate) use super::{
    fake::Fake,
    sample::{container_id, crashed, node, pod, replica_set, uid, warning},
};

/// The index of a cluster `c1` that nothing fills but [`learn`], with its watches open.
pub(crate) fn index() -> ClusterIndex {
    let clock: Arc<dyn Clock> = Arc::new(FakeClock::at(NOW));
    let index = ClusterIndex::new("c1", clock, ClusterMetrics::default());
    for kind in Kind::ALL {
        index.announce(kind, None);
        index.heard(kind, None, None);
    }
    index
}

/// That cluster with its client, which needs a runtime.
pub(crate) fn clusters() -> Clusters {
    clusters_of(&Fake::new())
}

/// The same, with an apiserver that can be asked.
pub(crate) fn clusters_of(apiserver: &Fake) -> Clusters {
    let index = index();
    let entry = (Arc::clone(index.name()), (index, apiserver.client()));
    Clusters(Arc::new(BTreeMap::from([entry])))
}

/// The watch of pods goes down, or is open again.
pub(crate) fn reach(index: &ClusterIndex, there: bool) {
    if there {
        index.heard(Kind::Pods, None, None);
    } else {
        index.lost(Kind::Pods, None, WatchState::Degraded, &"away");
    }
}

/// The index learns of an object as from a watch.
pub(crate) fn learn(index: &ClusterIndex, kind: Kind, object: &Value) {
    let text = json!({"metadata": {}, "items": [object]}).to_string();
    let (_, items) = decode::page(kind, text.as_bytes()).unwrap();
    index.put(&items, 1, Found::Live);
}
