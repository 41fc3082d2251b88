//! Two lanes: findings that open incidents, and repeats. A crash storm of one workload must not delay the first news of
//! another.

use std::{collections::VecDeque, sync::Arc};

use super::{AckSink, Received};
use crate::record::NodeIdentity;

/// Most findings in one transaction.
pub(super) const BATCH: usize = 1_000;
/// Places of a batch that openers cannot take, so that repeats move on in any storm.
const REPEATS_SHARE: usize = BATCH / 4;

/// One finding in a lane.
#[derive(Debug)]
pub(super) struct Item {
    pub node: Arc<NodeIdentity>,
    pub sink: Option<Arc<AckSink>>,
    pub received: Received,
    pub opens: bool,
}

/// What waits for the next transaction. Bounded by its feeder, which stops at [`Lanes::is_full`].
#[derive(Debug, Default)]
pub(super) struct Lanes {
    openers: VecDeque<Item>,
    repeats: VecDeque<Item>,
}

impl Lanes {
    pub fn push(&mut self, item: Item) {
        if item.opens {
            self.openers.push_back(item)
        } else {
            self.repeats.push_back(item)
        }
    }

    /// Gives back what was taken and not stored, in its old place.
    pub fn put_back(&mut self, items: Vec<Item>) {
        for item in items.into_iter().rev() {
            if item.opens {
                self.openers.push_front(item)
            } else {
                self.repeats.push_front(item)
            }
        }
    }

    /// The next batch of at most `limit`, openers first.
    pub fn take(&mut self, limit: usize) -> Vec<Item> {
        let reserved = self.repeats.len().min(REPEATS_SHARE.min(limit / 4));
        let openers = self.openers.len().min(limit.saturating_sub(reserved));
        let repeats = self.repeats.len().min(limit.saturating_sub(openers));
        self.openers
            .drain(..openers)
            .chain(self.repeats.drain(..repeats))
            .collect()
    }

    pub fn len(&self) -> usize {
        self.openers.len().saturating_add(self.repeats.len())
    }

    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    pub fn is_full(&self) -> bool {
        self.len() >= 2 * BATCH
    }
}
