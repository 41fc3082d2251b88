//! Waiting times between attempts.
//!
//! Owns the growth, the jitter and the reset. Must not sleep: it only says how long.

use std::hash::{BuildHasher, Hasher, RandomState};
use std::time::Duration;

/// Doubling waiting times with jitter: each is drawn between half and the whole of the step.
/// An attempt that lasted `healthy` or longer resets the growth.
#[derive(Debug, Clone)]
pub struct Backoff {
    base: Duration,
    max: Duration,
    healthy: Duration,
    failures: u32,
}

impl Default for Backoff {
    /// 250 ms doubling up to 30 s, reset by a healthy minute.
    fn default() -> Self {
        Self::new(
            Duration::from_millis(250),
            Duration::from_secs(30),
            Duration::from_secs(60),
        )
    }
}

impl Backoff {
    /// A back-off that starts at `base`, ends at `max` and is reset by `healthy`.
    #[must_use]
    pub const fn new(base: Duration, max: Duration, healthy: Duration) -> Self {
        Self {
            base,
            max,
            healthy,
            failures: 0,
        }
    }

    /// The time to wait after an attempt that ran for `ran`, jittered from the process's entropy.
    pub fn after(&mut self, ran: Duration) -> Duration {
        self.after_with(ran, entropy())
    }

    /// Like [`Backoff::after`] with the random number given.
    pub fn after_with(&mut self, ran: Duration, random: u64) -> Duration {
        if ran >= self.healthy {
            self.failures = 0;
        }
        let factor = 1_u32.checked_shl(self.failures).unwrap_or(u32::MAX);
        let step = self.base.saturating_mul(factor).min(self.max);
        self.failures = self.failures.saturating_add(1);
        let half = u64::try_from((step / 2).as_nanos()).unwrap_or(u64::MAX);
        let jitter = if half == 0 { 0 } else { random % half };
        Duration::from_nanos(half.saturating_add(jitter))
    }

    /// Forgets all failures.
    pub const fn reset(&mut self) {
        self.failures = 0;
    }
}

/// A random number from the seed that the standard library takes from the operating system.
fn entropy() -> u64 {
    RandomState::new().build_hasher().finish()
}

#[cfg(test)]
mod tests {
    use super::*;

    const BRIEF: Duration = Duration::from_millis(1);

    #[test]
    fn waits_double_up_to_the_limit_and_a_healthy_minute_resets() {
        let mut backoff = Backoff::default();
        let mut halves = Vec::new();
        for _ in 0..10 {
            halves.push(backoff.after_with(BRIEF, 0).as_millis());
        }
        assert_eq!(
            halves,
            [125, 250, 500, 1_000, 2_000, 4_000, 8_000, 15_000, 15_000, 15_000]
        );
        assert_eq!(backoff.after_with(Duration::from_secs(60), 0).as_millis(), 125);
    }

    proptest::proptest! {
        #[test]
        fn a_wait_is_never_zero_nor_longer_than_the_limit(random: u64, failures in 0_u32..100) {
            let mut backoff = Backoff { failures, ..Backoff::default() };
            let wait = backoff.after_with(BRIEF, random);
            proptest::prop_assert!(wait >= Duration::from_millis(125) && wait <= Duration::from_secs(30));
        }
    }
}
