//! Ids of incidents and notifications.

use std::hash::{BuildHasher as _, RandomState};

use inquest_shared::clock::UnixNanos;
use ulid::Ulid;

/// Source of ids, given the time.
pub type Ids = Box<dyn FnMut(UnixNanos) -> Ulid + Send>;

/// ULIDs that rise even within one millisecond and when the clock steps back. Random bits come from the seeds that the
/// standard library takes from the operating system.
#[must_use]
pub fn monotonic_ids() -> Ids {
    let mut last = Ulid::nil();
    let seed = RandomState::new();
    Box::new(move |now| {
        let millis = u64::try_from(now.as_millis()).unwrap_or(0);
        let random = (u128::from(seed.hash_one((millis, 0_u8))) << 64) | u128::from(seed.hash_one((millis, 1_u8)));
        let fresh = Ulid::from_parts(millis, random);
        last = if fresh.timestamp_ms() > last.timestamp_ms() {
            fresh
        } else {
            last.increment().unwrap_or(fresh)
        };
        last
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_rise_within_a_millisecond_and_when_the_clock_steps_back() {
        let mut ids = monotonic_ids();
        let times = [5, 5, 5, 3, 6].map(|ms| ids(UnixNanos::from_millis(ms)));
        assert!(times.is_sorted_by(|a, b| a < b), "{times:?}");
        assert_eq!(times[4].timestamp_ms(), 6);
    }

    #[test]
    fn two_programs_do_not_make_the_same_ids() {
        let now = UnixNanos::from_secs(1);
        assert_ne!(monotonic_ids()(now), monotonic_ids()(now));
    }
}
