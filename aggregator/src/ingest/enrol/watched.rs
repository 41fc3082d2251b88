//! The pods of a cluster index, as admission asks for them.

use super::review::{Owner, PodIndex, PodLookup};
use crate::cluster::{ClusterIndex, Kind};

impl PodIndex for ClusterIndex {
    fn pod(&self, uid: &str) -> PodLookup {
        let Some(pod) = Self::pod(self, uid) else {
            return if self.synced(Kind::Pods) {
                PodLookup::Unknown
            } else {
                PodLookup::NotSynced
            };
        };
        let node = pod.node.as_deref().unwrap_or_default().to_owned();
        let leaves = pod.rare.as_deref().is_some_and(|rare| rare.deletion.is_some());
        if pod.gone.is_some() || leaves {
            return PodLookup::Deleted { node };
        }
        PodLookup::Present {
            node,
            namespace: pod.namespace.to_string(),
            service_account: None,
            owner: pod.owner.as_deref().map(|owner| Owner {
                kind: owner.kind.to_string(),
                name: owner.name.to_string(),
            }),
        }
    }
}
