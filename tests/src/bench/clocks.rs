//! Three clocks as one: the kernel log's, wall time, and `CLOCK_MONOTONIC`, in which everything is measured.
//!
//! The kernel stamps its records from `local_clock()`, which is neither of the other two and drifts against them by tens
//! of microseconds in minutes. It is calibrated with markers, each written between two looks at `CLOCK_MONOTONIC`.

use std::time::Duration;

use anyhow::{Context as _, Result};
use rustix::time::{ClockId, Timespec, clock_gettime};

use super::{kernel_log::KernelLog, statistics::median_and_spread};
use crate::wait::{monotonic_nanos, wait_for};

/// Markers of one calibration.
const MARKERS: u32 = 100;

/// One calibration; nanoseconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Calibration {
    /// When, on `CLOCK_MONOTONIC`.
    at: u64,
    /// `CLOCK_MONOTONIC` less the kernel log's clock, median of all markers.
    offset: i64,
    /// 5th to 95th percentile of the markers.
    spread: i64,
}

/// The kernel log's clock, calibrated repeatedly.
#[derive(Debug, Default)]
pub(super) struct KernelClock {
    calibrations: Vec<Calibration>,
    markers: u32,
}

impl KernelClock {
    /// Writes markers and reads them back.
    ///
    /// # Errors
    /// When a marker cannot be written or does not come back.
    pub(super) async fn calibrate(&mut self, log: &mut KernelLog) -> Result<()> {
        let mut written = Vec::new();
        for number in (self.markers..).take(usize::try_from(MARKERS)?) {
            let before = monotonic_nanos();
            log.mark(number)?;
            let after = monotonic_nanos();
            written.push((number, before.midpoint(after)));
        }
        self.markers = self.markers.saturating_add(MARKERS);
        let offsets = wait_for("the markers in the kernel log", Duration::from_secs(10), async || {
            let offset = |(number, at): &(u32, u64)| Some(offset(*at, log.marked(*number)?));
            let offsets: Option<Vec<i64>> = written.iter().map(offset).collect();
            offsets.context("some are missing; printk_devkmsg must be on")
        });
        let (offset, spread) = median_and_spread(&offsets.await?).context("no markers")?;
        self.calibrations.push(Calibration {
            at: monotonic_nanos(),
            offset,
            spread,
        });
        Ok(())
    }

    /// A stamp of the kernel log in nanoseconds of `CLOCK_MONOTONIC`, by the calibration nearest to it in time. None
    /// before the first one.
    pub(super) fn monotonic(&self, stamp_us: u64) -> Option<u64> {
        let by = |calibration: &Calibration| to_nanos(stamp_us).checked_add_signed(calibration.offset);
        let distance = |calibration: &&Calibration| by(calibration).map(|at| at.abs_diff(calibration.at));
        by(self
            .calibrations
            .iter()
            .min_by_key(|calibration| distance(calibration).unwrap_or(u64::MAX))?)
    }

    /// How good the calibration was, for the notes of a result.
    pub(super) fn quality(&self) -> String {
        let spread = self
            .calibrations
            .iter()
            .map(|calibration| calibration.spread)
            .max()
            .unwrap_or(0);
        let offsets = || self.calibrations.iter().map(|calibration| calibration.offset);
        let drift = offsets()
            .max()
            .unwrap_or(0)
            .saturating_sub(offsets().min().unwrap_or(0));
        format!(
            "kernel clock: {} calibrations of {MARKERS} markers, widest 5-95 % spread {} us, drift {} us",
            self.calibrations.len(),
            spread / 1000,
            drift / 1000,
        )
    }
}

fn offset(at: u64, stamp_us: u64) -> i64 {
    let (at, stamp) = (
        i64::try_from(at).unwrap_or(i64::MAX),
        i64::try_from(to_nanos(stamp_us)).unwrap_or(i64::MAX),
    );
    at.saturating_sub(stamp)
}

/// The kernel cuts its stamps to microseconds; the middle of one is right on average.
const fn to_nanos(stamp_us: u64) -> u64 {
    stamp_us.saturating_mul(1000).saturating_add(500)
}

/// Wall time less `CLOCK_MONOTONIC` at this moment, nanoseconds. Taken anew for each event, since wall time is adjusted.
pub(super) fn wall_offset() -> i64 {
    let before = monotonic_nanos();
    let wall = nanos(clock_gettime(ClockId::Realtime));
    let middle = before.midpoint(monotonic_nanos());
    wall.saturating_sub(i64::try_from(middle).unwrap_or(i64::MAX))
}

fn nanos(time: Timespec) -> i64 {
    time.tv_sec.saturating_mul(1_000_000_000).saturating_add(time.tv_nsec)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stamp_is_converted_by_the_nearest_calibration() {
        let clock = KernelClock {
            calibrations: vec![
                Calibration {
                    at: 1_000_000_000,
                    offset: 10_000,
                    spread: 0,
                },
                Calibration {
                    at: 9_000_000_000,
                    offset: 90_000,
                    spread: 2_000,
                },
            ],
            markers: 0,
        };
        assert_eq!(clock.monotonic(1_500_000), Some(1_500_000_500 + 10_000));
        assert_eq!(clock.monotonic(8_000_000), Some(8_000_000_500 + 90_000));
        assert!(
            clock.quality().ends_with("spread 2 us, drift 80 us"),
            "{}",
            clock.quality()
        );
        assert_eq!(KernelClock::default().monotonic(1), None);
    }

    #[test]
    fn a_kernel_clock_that_is_ahead_gives_a_negative_offset() {
        assert_eq!(offset(1_000_000, 2_000), -1_000_500);
    }
}
