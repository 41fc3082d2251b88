//! How often a source may present a wrong proof.
//!
//! Counted for each source, not for all together: a limit for all would let one attacker stop every enrolment. Pure.

use std::{collections::HashMap, time::Duration};

use tokio::time::Instant;

use crate::door::{Bucket, Budget, Source};

/// Ten wrong secrets at once, then one in ten seconds: enough for a person with an old file, useless for guessing.
const SECRETS: Budget = Budget {
    burst: 10,
    refill: Duration::from_secs(10),
};
/// Nobody guesses a signature: this only keeps strangers from making us press on the apiserver. Agents of one network that
/// all start with an old token still get through.
const TOKENS: Budget = Budget {
    burst: 64,
    refill: Duration::from_secs(1),
};
/// Sources remembered; further ones share one budget.
const MAX_SOURCES: usize = 4_096;

/// Least time between two searches for sources that can be forgotten: a search looks at all of them.
const SWEEP_EVERY: Duration = Duration::from_secs(1);

/// Wrong proofs of one kind by source.
#[derive(Debug)]
pub(super) struct Guesses {
    budget: Budget,
    wrong: HashMap<Source, Bucket>,
    swept: Option<Instant>,
}

impl Guesses {
    /// Of bootstrap secrets.
    pub(super) fn of_secrets() -> Self {
        Self::within(SECRETS)
    }

    /// Of ServiceAccount tokens.
    pub(super) fn of_tokens() -> Self {
        Self::within(TOKENS)
    }

    fn within(budget: Budget) -> Self {
        Self {
            budget,
            wrong: HashMap::new(),
            swept: None,
        }
    }

    /// Whether this source may present a proof now. Asked before the proof is looked at, so that the answer tells
    /// nothing about it.
    pub(super) fn may_try(&mut self, source: Source, now: Instant) -> bool {
        let (place, budget) = (self.place(source), self.budget);
        self.wrong
            .get_mut(&place)
            .is_none_or(|bucket| !bucket.is_spent(budget, now))
    }

    /// The proof was wrong.
    pub(super) fn wrong(&mut self, source: Source, now: Instant) {
        let rested = self
            .swept
            .is_none_or(|swept| now.saturating_duration_since(swept) >= SWEEP_EVERY);
        let budget = self.budget;
        if self.wrong.len() >= MAX_SOURCES && rested {
            self.wrong.retain(|_, bucket| !bucket.is_full(budget, now));
            self.swept = Some(now);
        }
        let place = self.place(source);
        self.wrong
            .entry(place)
            .or_insert_with(|| Bucket::new(now))
            .spend(budget, now);
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
        let (mut guesses, now) = (Guesses::of_secrets(), Instant::now());
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
        let (mut guesses, now) = (Guesses::of_secrets(), Instant::now());
        for n in 0..10_000_u32 {
            let [_, a, b, c] = n.to_be_bytes();
            guesses.wrong(Source::V4([a, b, c]), now);
        }
        assert!(guesses.wrong.len() <= MAX_SOURCES + 1);
        assert!(!guesses.may_try(Source::V4([9, 9, 9]), now));
    }
}
