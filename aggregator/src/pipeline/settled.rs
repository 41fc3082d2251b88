//! What was committed a short while ago, so that an agent that sends it again after a broken connection costs no look into
//! the store.
//!
//! Owns digests only. A finding whose bytes were folded and committed changes nothing when it is folded again; one that is not
//! remembered here is looked up, so forgetting costs time and nothing else.

use std::{
    collections::HashSet,
    mem,
    sync::{Mutex, PoisonError},
};

use inquest_proto::ingest::v1 as pb;
use inquest_shared::model::Key;
use prost::Message as _;

use crate::record::NodeIdentity;

/// Digests of one generation; two are kept, 16 bytes and a slot each: about 6 MiB when full.
const GENERATION: usize = 131_072;

/// Name of a finding as one node sent it, content included.
///
/// The hash is not one that resists forgery: a node that forged one would lose its own finding and no other's.
#[must_use]
pub fn digest(node: &NodeIdentity, finding: &pb::Finding) -> Key {
    let bytes = finding.encode_to_vec();
    Key::of(b"received", &[node.cluster.as_bytes(), node.uid.as_bytes(), &bytes])
}

/// The newest digests.
#[derive(Debug, Default)]
pub(super) struct Settled(Mutex<Generations>);

#[derive(Debug, Default)]
struct Generations {
    young: HashSet<Key>,
    old: HashSet<Key>,
}

impl Settled {
    /// Whether exactly this was committed.
    pub(super) fn holds(&self, digest: &Key) -> bool {
        let held = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        held.young.contains(digest) || held.old.contains(digest)
    }

    /// These are on disk.
    pub(super) fn add(&self, digests: impl Iterator<Item = Key>) {
        let mut held = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        for digest in digests {
            if held.young.len() >= GENERATION {
                held.old = mem::take(&mut held.young);
            }
            held.young.insert(digest);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn node(uid: &str) -> NodeIdentity {
        NodeIdentity {
            cluster: "c".into(),
            uid: uid.into(),
            name: "n".into(),
        }
    }

    #[test]
    fn only_the_same_bytes_of_the_same_node_are_the_same() {
        let finding = pb::Finding {
            revision: 1,
            ..pb::Finding::default()
        };
        let newer = pb::Finding {
            revision: 2,
            ..finding.clone()
        };
        let settled = Settled::default();
        settled.add([digest(&node("a"), &finding)].into_iter());
        assert!(settled.holds(&digest(&node("a"), &finding)));
        assert!(!settled.holds(&digest(&node("a"), &newer)));
        assert!(!settled.holds(&digest(&node("b"), &finding)));
    }

    #[test]
    fn memory_is_bounded_and_the_newest_stay() {
        let settled = Settled::default();
        let key = |n: usize| Key::of(b"test", &[&n.to_le_bytes()]);
        settled.add((0..3 * GENERATION).map(key));
        let held = settled.0.lock().unwrap();
        assert!(held.young.len() + held.old.len() <= 2 * GENERATION);
        assert!(held.old.contains(&key(3 * GENERATION - GENERATION - 1)) || held.young.contains(&key(2 * GENERATION)));
        assert!(!held.old.contains(&key(0)) && !held.young.contains(&key(0)));
    }
}
