//! From a key to the slots of a table.
//!
//! Owns pairs of a 32-bit hash and a slot, in order. A key that hashes like another gives its slots too, so whoever asks
//! compares the records; that is the price for about a dozen bytes for each entry instead of the key itself. Must not know
//! the keys.

use std::{
    collections::{BTreeSet, btree_set::Range},
    hash::{BuildHasher, Hash, RandomState},
    iter::Map,
};

/// Slots that may hold a key.
pub(super) type Candidates<'a> = Map<Range<'a, (u32, u32)>, fn(&(u32, u32)) -> u32>;

/// A multimap from keys to slots. The hash is seeded from the operating system: nobody outside can make keys collide.
#[derive(Default)]
pub(super) struct Slots {
    seed: RandomState,
    pairs: BTreeSet<(u32, u32)>,
}

impl Slots {
    fn hash(&self, key: &(impl Hash + ?Sized)) -> u32 {
        let hash = self.seed.hash_one(key);
        u32::try_from(hash >> 32).unwrap_or_default()
    }

    /// Adds a slot under a key, or takes it away.
    pub(super) fn set(&mut self, key: &(impl Hash + ?Sized), slot: u32, present: bool) {
        let pair = (self.hash(key), slot);
        if present {
            self.pairs.insert(pair);
        } else {
            self.pairs.remove(&pair);
        }
    }

    /// The slots that may hold the key.
    pub(super) fn of(&self, key: &(impl Hash + ?Sized)) -> Candidates<'_> {
        let hash = self.hash(key);
        self.pairs.range((hash, 0)..=(hash, u32::MAX)).map(|(_, slot)| *slot)
    }

    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        self.pairs.len()
    }
}
