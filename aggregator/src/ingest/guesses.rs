//! How often a source may present a wrong secret.
//!
//! Counted for each source, not for all together: a limit for all would let one attacker stop every enrolment. Pure.

use std::{collections::HashMap, time::Duration};

use tokio::time::Instant;

use crate::door::{Bucket, Budget, Source};

/// Ten wrong ones at once, then one in ten seconds: enough for a person with an old file, useless for guessing.
const WRONG: Budget = Budget {
    burst: 10,
    refill: Duration::from_secs(10),
};
/// Sources remembered; further ones share one budget.
const MAX_SOURCES: usize = 4_096;

/// Least time between two searches for sources that can be forgotten: a search looks at all of them.
const SWEEP_EVERY: Duration = Duration::from_secs(1);

/// Wrong secrets by source.
#[derive(Debug, Default)]
pub(super) struct Guesses {
    wrong: HashMap<Source, Bucket>,
    swept: Option<Instant>,
}

impl Guesses {
    /// Whether this source may present a secret now. Asked before the secret is looked at, so that the answer tells
    /// nothing about it.
    pub(super) fn may_try(&mut self, source: Source, now: Instant) -> bool {
        let place = self.place(source);
        self.wrong
            .get_mut(&place)
            .is_none_or(|bucket| !bucket.is_spent(WRONG, now))
    }

    /// The secret was wrong.
    pub(super) fn wrong(&mut self, source: Source, now: Instant) {
        let rested = self
            .swept
            .is_none_or(|swept| now.saturating_duration_since(swept) >= SWEEP_EVERY);
        if self.wrong.len() >= MAX_SOURCES && rested {
            self.wrong.retain(|_, bucket| !bucket.is_full(WRONG, now));
            self.swept = Some(now);
        }
        let place = self.place(source);
        self.wrong
            .entry(place)
            .or_insert_with(|| Bucket::new(now))
            .spend(WRONG, now);
    }

    fn place(&self, source: Source) -> Source {
        if self.wrong.contains_key(&source) || self.wrong.len() < MAX_SOURCES {
            source
        } else {
            Source::Other
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn guessing_is_slowed_down_for_the_guesser_only_and_ends_with_time() {
        let (mut guesses, now) = (Guesses::default(), Instant::now());
        let (bad, good) = (Source::V4([10, 0, 1]), Source::V4([10, 0, 2]));
        for _ in 0..10 {
            assert!(guesses.may_try(bad, now));
            guesses.wrong(bad, now);
        }
        assert!(!guesses.may_try(bad, now));
        assert!(guesses.may_try(good, now));
        assert!(guesses.may_try(bad, now + Duration::from_secs(10)));
    }

    #[test]
    fn a_guesser_with_many_networks_does_not_fill_the_memory() {
        let (mut guesses, now) = (Guesses::default(), Instant::now());
        for n in 0..10_000_u32 {
            let [_, a, b, c] = n.to_be_bytes();
            guesses.wrong(Source::V4([a, b, c]), now);
        }
        assert!(guesses.wrong.len() <= MAX_SOURCES + 1);
        assert!(!guesses.may_try(Source::V4([9, 9, 9]), now));
    }
}
