//! Wall time: the one place that asks the operating system what time it is.
//!
//! Owns the time stamp type and the clock that every component is given. Must not know what the
//! time is used for. Timers inside one process use tokio's monotonic clock, never this one.

use std::fmt;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde::{Deserialize, Serialize};

/// Wall time in nanoseconds since 1970-01-01T00:00:00Z; negative before that.
///
/// The range is about ±292 years around 1970; arithmetic saturates at both ends.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct UnixNanos(pub i64);

impl UnixNanos {
    /// 1970-01-01T00:00:00Z.
    pub const EPOCH: Self = Self(0);

    /// Builds a time stamp from whole seconds since the epoch.
    #[must_use]
    pub const fn from_secs(secs: i64) -> Self {
        Self(secs.saturating_mul(1_000_000_000))
    }

    /// Builds a time stamp from milliseconds since the epoch.
    #[must_use]
    pub const fn from_millis(millis: i64) -> Self {
        Self(millis.saturating_mul(1_000_000))
    }

    /// Nanoseconds since the epoch.
    #[must_use]
    pub const fn as_nanos(self) -> i64 {
        self.0
    }

    /// Whole milliseconds since the epoch, rounded down.
    #[must_use]
    pub const fn as_millis(self) -> i64 {
        self.0.div_euclid(1_000_000)
    }

    /// Reads RFC 3339, as runtimes write it; `None` for anything else and for years that 64 bits cannot hold.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let stamp: jiff::Timestamp = text.parse().ok()?;
        i64::try_from(stamp.as_nanosecond()).ok().map(Self)
    }

    /// Whole seconds since the epoch, rounded down.
    #[must_use]
    pub const fn as_secs(self) -> i64 {
        self.0.div_euclid(1_000_000_000)
    }

    /// This time plus `span`, or the last representable time.
    #[must_use]
    pub fn saturating_add(self, span: Duration) -> Self {
        Self(self.0.saturating_add(nanos_of(span)))
    }

    /// This time minus `span`, or the first representable time.
    #[must_use]
    pub fn saturating_sub(self, span: Duration) -> Self {
        Self(self.0.saturating_sub(nanos_of(span)))
    }

    /// Time that passed from `earlier` to this one; zero if `earlier` is later.
    #[must_use]
    pub fn since(self, earlier: Self) -> Duration {
        let nanos = i128::from(self.0) - i128::from(earlier.0);
        Duration::from_nanos(u64::try_from(nanos).unwrap_or(0))
    }

    /// Distance between two times, whichever is earlier.
    #[must_use]
    pub fn abs_diff(self, other: Self) -> Duration {
        Duration::from_nanos(self.0.abs_diff(other.0))
    }
}

impl fmt::Display for UnixNanos {
    /// RFC 3339 in UTC; a time that the calendar cannot hold is shown as `@<nanoseconds>ns`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match jiff::Timestamp::from_nanosecond(i128::from(self.0)) {
            Ok(timestamp) => fmt::Display::fmt(&timestamp, f),
            Err(_) => write!(f, "@{}ns", self.0),
        }
    }
}

impl From<SystemTime> for UnixNanos {
    /// Converts a time of the operating system (for example a file's), saturating.
    fn from(time: SystemTime) -> Self {
        match time.duration_since(UNIX_EPOCH) {
            Ok(after) => Self(nanos_of(after)),
            Err(before) => Self(nanos_of(before.duration()).saturating_neg()),
        }
    }
}

fn nanos_of(span: Duration) -> i64 {
    i64::try_from(span.as_nanos()).unwrap_or(i64::MAX)
}

/// Tells the wall time. Passed to every component, so that tests decide what time it is.
pub trait Clock: Send + Sync {
    /// The wall time now. May jump in both directions when an operator or NTP sets it.
    fn now(&self) -> UnixNanos;
}

impl<C: Clock + ?Sized> Clock for std::sync::Arc<C> {
    fn now(&self) -> UnixNanos {
        (**self).now()
    }
}

/// The operating system's real-time clock.
#[derive(Clone, Copy, Debug, Default)]
pub struct SystemClock;

impl Clock for SystemClock {
    #[expect(
        clippy::disallowed_methods,
        reason = "the one place that reads the system's wall clock"
    )]
    fn now(&self) -> UnixNanos {
        SystemTime::now().into()
    }
}

/// A clock that stands still until a test moves it. Clones share the same time.
#[cfg(any(test, feature = "testkit"))]
#[derive(Clone, Debug, Default)]
pub struct FakeClock(std::sync::Arc<std::sync::atomic::AtomicI64>);

#[cfg(any(test, feature = "testkit"))]
impl FakeClock {
    /// A clock that shows `now`.
    #[must_use]
    pub fn at(now: UnixNanos) -> Self {
        let clock = Self::default();
        clock.set(now);
        clock
    }

    /// Sets the time, forwards or backwards.
    pub fn set(&self, now: UnixNanos) {
        self.0.store(now.0, std::sync::atomic::Ordering::SeqCst);
    }

    /// Moves the time forwards by `span`.
    pub fn advance(&self, span: Duration) {
        self.0.fetch_add(nanos_of(span), std::sync::atomic::Ordering::SeqCst);
    }
}

#[cfg(any(test, feature = "testkit"))]
impl Clock for FakeClock {
    fn now(&self) -> UnixNanos {
        UnixNanos(self.0.load(std::sync::atomic::Ordering::SeqCst))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_shown_as_rfc_3339_in_utc() {
        let time = UnixNanos(1_700_000_000_183_000_000);
        assert_eq!(time.to_string(), "2023-11-14T22:13:20.183Z");
        assert_eq!(UnixNanos::EPOCH.to_string(), "1970-01-01T00:00:00Z");
    }

    #[test]
    fn extreme_times_saturate_instead_of_wrapping() {
        let last = UnixNanos(i64::MAX);
        let first = UnixNanos(i64::MIN);
        assert_eq!(last.saturating_add(Duration::MAX), last);
        assert_eq!(first.saturating_sub(Duration::from_nanos(1)), first);
        assert_eq!(last.abs_diff(first), Duration::from_nanos(u64::MAX));
        assert_eq!(last.since(first), Duration::from_nanos(u64::MAX));
        assert!(!last.to_string().is_empty() && !first.to_string().is_empty());
    }

    #[test]
    fn a_clock_that_stepped_back_gives_zero_elapsed_time() {
        assert_eq!(UnixNanos(5).since(UnixNanos(9)), Duration::ZERO);
        assert_eq!(UnixNanos(9).since(UnixNanos(5)), Duration::from_nanos(4));
    }

    #[test]
    fn milliseconds_and_seconds_round_down_before_1970_too() {
        assert_eq!(UnixNanos(-1).as_millis(), -1);
        assert_eq!(UnixNanos(-1).as_secs(), -1);
        assert_eq!(UnixNanos::from_millis(1_500).as_secs(), 1);
        assert_eq!(UnixNanos::from_secs(2).as_nanos(), 2_000_000_000);
    }

    #[test]
    fn a_fake_clock_moves_only_when_told_and_clones_agree() {
        let clock = FakeClock::at(UnixNanos::from_secs(10));
        let other = clock.clone();
        other.advance(Duration::from_secs(5));
        assert_eq!(clock.now(), UnixNanos::from_secs(15));
        clock.set(UnixNanos::from_secs(1));
        assert_eq!(other.now(), UnixNanos::from_secs(1));
    }

    #[test]
    fn the_system_clock_agrees_with_the_operating_system() {
        assert!(SystemClock.now() > UnixNanos::from_secs(1_600_000_000));
    }
}
