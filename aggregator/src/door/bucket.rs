//! A token bucket. Pure.

use std::time::Duration;

use tokio::time::Instant;

/// `burst` at once, one more every `refill`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Budget {
    /// Most at once.
    pub burst: u32,
    /// Time for one more.
    pub refill: Duration,
}

/// What one party has used of its budget.
#[derive(Debug, Clone, Copy)]
pub struct Bucket {
    spent: u32,
    since: Instant,
}

impl Bucket {
    /// Nothing is used.
    #[must_use]
    pub const fn new(now: Instant) -> Self {
        Self { spent: 0, since: now }
    }

    /// Uses one; `false` when there was none left.
    pub fn spend(&mut self, budget: Budget, now: Instant) -> bool {
        if self.is_spent(budget, now) {
            return false;
        }
        self.spent += 1;
        true
    }

    /// Whether none is left now.
    pub fn is_spent(&mut self, budget: Budget, now: Instant) -> bool {
        self.refill(budget, now);
        self.spent >= budget.burst
    }

    /// Whether all are left now.
    pub fn is_full(&mut self, budget: Budget, now: Instant) -> bool {
        self.refill(budget, now);
        self.spent == 0
    }

    /// Gives back what the time since has earned.
    fn refill(&mut self, budget: Budget, now: Instant) {
        let passed = now.saturating_duration_since(self.since).as_nanos();
        let earned = passed / budget.refill.as_nanos().max(1);
        let earned = u32::try_from(earned).unwrap_or(u32::MAX);
        if earned >= self.spent {
            (self.spent, self.since) = (0, now);
        } else {
            self.spent -= earned;
            self.since += budget.refill.saturating_mul(earned);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bucket_gives_its_burst_and_then_one_for_each_refill() {
        let budget = Budget {
            burst: 3,
            refill: Duration::from_secs(2),
        };
        let now = Instant::now();
        let mut bucket = Bucket::new(now);
        assert_eq!((0..5).filter(|_| bucket.spend(budget, now)).count(), 3);
        let later = now + Duration::from_secs(5);
        assert_eq!((0..5).filter(|_| bucket.spend(budget, later)).count(), 2);
        assert!(bucket.is_full(budget, later + Duration::from_secs(6)));
    }
}
