//! Cumulative acknowledgements of one stream.
//!
//! Owns what was received, what is settled, and how much credit goes back. Must not know what a finding says. Lanes let
//! findings overtake each other, so a number is acknowledged only when all before it are settled too.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Mutex, MutexGuard, PoisonError},
};

use thiserror::Error;
use tokio::sync::Notify;

/// Bytes of findings that one stream may have on the way.
pub const WINDOW_BYTES: u64 = 256 * 1024;
/// Findings that one stream may have on the way: bounds the tracker against a peer that sends empty ones.
const WINDOW_FINDINGS: usize = 16 * 1024;

/// A peer broke the rules of the stream; it has to connect again.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum Overdraw {
    /// Sequence numbers rise within a stream.
    #[error("sequence number {seq} follows {highest}: numbers must rise within a stream")]
    NotRising {
        /// What came.
        seq: u64,
        /// What came before.
        highest: u64,
    },
    /// More bytes than there was credit for.
    #[error("{bytes} bytes of findings are on the way, the credit is {limit}")]
    Bytes {
        /// On the way.
        bytes: u64,
        /// Allowed.
        limit: u64,
    },
    /// More findings than a stream may have on the way.
    #[error("more than {limit} findings are on the way")]
    Findings {
        /// Allowed.
        limit: usize,
    },
}

/// Which sequence numbers of a stream are settled. Pure.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct AckTracker {
    acked: u64,
    highest: Option<u64>,
    open: BTreeMap<u64, bool>,
}

impl AckTracker {
    /// Starts where the store's mark is.
    #[must_use]
    pub const fn new(acked: u64) -> Self {
        Self {
            acked,
            highest: None,
            open: BTreeMap::new(),
        }
    }

    /// Notes a received number. Numbers may skip, never fall.
    ///
    /// # Errors
    /// [`Overdraw::NotRising`] and [`Overdraw::Findings`]; the stream has to end.
    pub fn receive(&mut self, seq: u64) -> Result<(), Overdraw> {
        if let Some(highest) = self.highest.filter(|highest| *highest >= seq) {
            return Err(Overdraw::NotRising { seq, highest });
        }
        if self.open.len() >= WINDOW_FINDINGS {
            return Err(Overdraw::Findings { limit: WINDOW_FINDINGS });
        }
        self.highest = Some(seq);
        self.open.insert(seq, false);
        Ok(())
    }

    /// The acknowledgement that would hold if these were settled as well.
    #[must_use]
    pub fn after(&self, settled: &BTreeSet<u64>) -> u64 {
        let prefix = self
            .open
            .iter()
            .take_while(|(seq, done)| **done || settled.contains(*seq));
        prefix.last().map_or(self.acked, |(seq, _)| self.acked.max(*seq))
    }

    /// Settles these numbers and returns the acknowledgement.
    pub fn settle(&mut self, settled: &BTreeSet<u64>) -> u64 {
        for seq in settled {
            if let Some(done) = self.open.get_mut(seq) {
                *done = true;
            }
        }
        while let Some(first) = self.open.first_entry().filter(|first| *first.get()) {
            self.acked = self.acked.max(*first.key());
            first.remove();
        }
        self.acked
    }

    /// Everything received is settled.
    #[must_use]
    pub fn is_idle(&self) -> bool {
        self.open.is_empty()
    }
}

/// What a peer is to be told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct AckNews {
    /// Everything up to here is on disk.
    pub acked: u64,
    /// More bytes that the peer may send.
    pub credit: u64,
    /// Nothing is on the way any more.
    pub idle: bool,
}

#[derive(Debug)]
struct State {
    tracker: AckTracker,
    on_the_way: u64,
    told: AckNews,
    now: AckNews,
}

/// The end of one stream that the writer reports to. News are merged, so it needs no queue; a dropped stream loses
/// nothing, as the agent sends again what was not acknowledged.
#[derive(Debug)]
pub struct AckSink {
    epoch: u64,
    state: Mutex<State>,
    changed: Notify,
}

impl AckSink {
    /// For a stream of this epoch whose findings are stored up to `acked`.
    #[must_use]
    pub fn new(epoch: u64, acked: u64) -> Self {
        let news = AckNews {
            acked,
            credit: 0,
            idle: true,
        };
        let state = State {
            tracker: AckTracker::new(acked),
            on_the_way: 0,
            told: news,
            now: news,
        };
        Self {
            epoch,
            state: Mutex::new(state),
            changed: Notify::new(),
        }
    }

    /// Epoch of the agent's spool.
    #[must_use]
    pub const fn epoch(&self) -> u64 {
        self.epoch
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Notes a received finding of this encoded size.
    ///
    /// # Errors
    /// [`Overdraw`]; the stream has to end.
    pub fn receive(&self, seq: u64, bytes: u64) -> Result<(), Overdraw> {
        let mut state = self.state();
        let on_the_way = state.on_the_way.saturating_add(bytes);
        if on_the_way > WINDOW_BYTES {
            return Err(Overdraw::Bytes {
                bytes: on_the_way,
                limit: WINDOW_BYTES,
            });
        }
        state.tracker.receive(seq)?;
        state.on_the_way = on_the_way;
        state.now.idle = false;
        Ok(())
    }

    /// The acknowledgement that would hold if these were settled: the mark of the transaction that stores them.
    #[must_use]
    pub fn after(&self, settled: &BTreeSet<u64>) -> u64 {
        self.state().tracker.after(settled)
    }

    /// These are on disk, or will never be: acknowledge them and give their credit back.
    pub fn settle(&self, settled: &BTreeSet<u64>, bytes: u64) {
        let mut state = self.state();
        state.now.acked = state.tracker.settle(settled);
        state.now.idle = state.tracker.is_idle();
        state.now.credit = state.now.credit.saturating_add(bytes);
        state.on_the_way = state.on_the_way.saturating_sub(bytes);
        drop(state);
        self.changed.notify_one();
    }

    /// Waits for something to tell. Cancel-safe: news that were not returned come with the next call. One waiter at a
    /// time.
    pub async fn news(&self) -> AckNews {
        loop {
            if let Some(news) = self.take_news() {
                return news;
            }
            self.changed.notified().await;
        }
    }

    fn take_news(&self) -> Option<AckNews> {
        let mut state = self.state();
        if state.now.credit == 0 && state.now.acked == state.told.acked {
            return None;
        }
        let news = state.now;
        state.now.credit = 0;
        state.told = state.now;
        Some(news)
    }

    /// Everything received is settled and told.
    #[must_use]
    pub fn is_idle(&self) -> bool {
        let state = self.state();
        state.tracker.is_idle() && state.now.credit == 0 && state.now.acked == state.told.acked
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn set(list: &[u64]) -> BTreeSet<u64> {
        list.iter().copied().collect()
    }

    #[test]
    fn a_number_is_acknowledged_only_when_all_before_it_are_settled() {
        let mut tracker = AckTracker::new(4);
        for seq in [5, 7, 9] {
            tracker.receive(seq).unwrap();
        }
        assert_eq!(tracker.settle(&set(&[9])), 4);
        assert_eq!(tracker.after(&set(&[5])), 5);
        assert_eq!(tracker.settle(&set(&[5])), 5);
        assert_eq!(tracker.after(&set(&[7])), 9);
        assert_eq!(tracker.settle(&set(&[7])), 9);
        assert!(tracker.is_idle());
    }

    #[test]
    fn a_replay_below_the_mark_never_takes_the_acknowledgement_back() {
        let mut tracker = AckTracker::new(40);
        tracker.receive(3).unwrap();
        assert_eq!(tracker.settle(&set(&[3])), 40);
        assert_eq!(tracker.receive(3), Err(Overdraw::NotRising { seq: 3, highest: 3 }));
    }

    #[test]
    fn a_window_that_is_overdrawn_is_refused_and_returns_with_settling() {
        let sink = AckSink::new(1, 0);
        sink.receive(1, WINDOW_BYTES).unwrap();
        assert_eq!(
            sink.receive(2, 1),
            Err(Overdraw::Bytes {
                bytes: WINDOW_BYTES + 1,
                limit: WINDOW_BYTES
            })
        );
        sink.settle(&set(&[1]), WINDOW_BYTES);
        assert_eq!(
            sink.take_news(),
            Some(AckNews {
                acked: 1,
                credit: WINDOW_BYTES,
                idle: true
            })
        );
        assert_eq!(sink.take_news(), None);
        sink.receive(2, 1).unwrap();
    }

    #[test]
    fn empty_findings_cannot_fill_the_memory() {
        let mut tracker = AckTracker::new(0);
        let taken = (1..).take_while(|seq| tracker.receive(*seq).is_ok()).count();
        assert_eq!(taken, WINDOW_FINDINGS);
    }

    proptest! {
        /// Acknowledged too early, a finding would be lost with the aggregator's memory.
        #[test]
        fn whatever_the_order_only_settled_prefixes_are_acknowledged(
            gaps in prop::collection::vec(1..5_u64, 1..40),
            order in prop::collection::vec(any::<prop::sample::Index>(), 40),
        ) {
            let seqs: Vec<u64> = gaps.iter().scan(0, |sum, gap| { *sum += gap; Some(*sum) }).collect();
            let mut tracker = AckTracker::new(0);
            for seq in &seqs {
                tracker.receive(*seq).unwrap();
            }
            let mut left = seqs.clone();
            for index in order {
                if left.is_empty() { break; }
                let seq = left.remove(index.index(left.len()));
                let promised = tracker.after(&set(&[seq]));
                let acked = tracker.settle(&set(&[seq]));
                prop_assert_eq!(acked, promised);
                prop_assert!(left.iter().all(|open| *open > acked));
                let first_open = left.first().copied().unwrap_or(u64::MAX);
                let expected = seqs.iter().copied().filter(|s| *s < first_open).max().unwrap_or(0);
                prop_assert_eq!(acked, expected);
            }
        }
    }
}
