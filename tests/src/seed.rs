//! Chance that can be repeated.

use std::{
    fmt,
    hash::{BuildHasher as _, RandomState},
};

/// How often experiments are repeated; 1 when unset.
const REPEAT: &str = "INQUEST_TEST_REPEAT";
/// The seed of a run that is to be repeated.
const SEED: &str = "INQUEST_TEST_SEED";

/// The seed of a run. Shows itself as the variable that repeats the run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Seed(u64);

impl Seed {
    /// The seed that the environment names, else a new one.
    #[must_use]
    pub fn of_run() -> Self {
        Self(number(SEED).unwrap_or_else(|| RandomState::new().hash_one(SEED) >> 32))
    }

    /// How often experiments are to be repeated.
    #[must_use]
    pub fn rounds(self) -> u64 {
        number(REPEAT).unwrap_or(1)
    }

    /// A number from 1 to `most`, the same for the same seed, name and round.
    #[must_use]
    pub fn pick(self, name: &str, round: u64, most: u64) -> u64 {
        let mut mixed = self.0 ^ round.wrapping_mul(0x9e37_79b9_7f4a_7c15);
        for byte in name.bytes() {
            mixed = (mixed ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
        }
        // the lowest bits of a product depend on few bits only
        1 + (mixed >> 24) % most.max(1)
    }
}

impl fmt::Display for Seed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{SEED}={}", self.0)
    }
}

fn number(variable: &str) -> Option<u64> {
    std::env::var(variable).ok()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn a_seed_repeats_its_choices_and_covers_all_of_them() {
        let seed = Seed(7);
        assert_eq!(seed.pick("point", 3, 5), seed.pick("point", 3, 5));
        let chosen: BTreeSet<_> = (0..50).map(|round| seed.pick("point", round, 3)).collect();
        assert_eq!(chosen, [1, 2, 3].into());
    }
}
