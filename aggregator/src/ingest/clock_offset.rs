//! How far the clock of a node is from the aggregator's.
//!
//! Owns the estimate. A status says when it was written; the difference to its arrival is the offset less the time that
//! it spent on the way. Waiting only ever makes a node seem to be behind, so the largest of the last differences is the
//! nearest to the truth. Pure; must not know what the offset is used for.

use std::collections::VecDeque;

use inquest_shared::clock::UnixNanos;

/// Statuses that are looked at: one minute of heartbeats, so that a clock that was set shows within that time.
const KEPT: usize = 6;

/// See the module.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ClockOffset {
    last: VecDeque<i64>,
}

impl ClockOffset {
    /// Compares the node's clock at the writing of a message with the aggregator's at its arrival. A message that does
    /// not say when it was written is ignored.
    pub fn note(&mut self, written: UnixNanos, arrived: UnixNanos) {
        if written == UnixNanos::EPOCH {
            return;
        }
        while self.last.len() >= KEPT {
            self.last.pop_front();
        }
        self.last.push_back(written.0.saturating_sub(arrived.0));
    }

    /// Nanoseconds by which the node is ahead, negative when it is behind; `None` before the first message.
    #[must_use]
    pub fn nanos(&self) -> Option<i64> {
        self.last.iter().max().copied()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn noted(pairs: impl IntoIterator<Item = (i64, i64)>) -> ClockOffset {
        let mut offset = ClockOffset::default();
        for (written, arrived) in pairs {
            offset.note(UnixNanos(written), UnixNanos(arrived));
        }
        offset
    }

    #[test]
    fn a_node_that_said_nothing_has_no_offset() {
        assert_eq!(noted([]).nanos(), None);
        assert_eq!(noted([(0, 500)]).nanos(), None, "an old agent without the time");
    }

    #[test]
    fn a_clock_that_was_set_back_shows_after_a_minute_of_heartbeats() {
        let ahead = (1..=6).map(|n| (n * 100 + 90, n * 100));
        let right = (7..=12).map(|n| (n * 100, n * 100));
        assert_eq!(noted(ahead.clone()).nanos(), Some(90));
        assert_eq!(noted(ahead.chain(right)).nanos(), Some(0));
    }

    proptest! {
        /// A busy network must not look like a wrong clock as long as one of the messages came through quickly.
        #[test]
        fn delay_never_makes_a_node_seem_to_be_ahead(
            truth in -1_000_000..1_000_000i64,
            delays in prop::collection::vec(1..10_000i64, 1..6),
        ) {
            let pairs = (1..).zip(&delays).map(|(n, delay)| (n * 10_000_000 + truth, n * 10_000_000 + delay));
            let least = delays.iter().min().unwrap();
            prop_assert_eq!(noted(pairs).nanos(), Some(truth - least));
        }

        #[test]
        fn no_pair_of_times_breaks_it(pairs in prop::collection::vec(any::<(i64, i64)>(), 0..20)) {
            let seen = pairs.iter().any(|(written, _)| *written != 0);
            prop_assert_eq!(noted(pairs).nanos().is_some(), seen);
        }
    }
}
