//! Figures of a sample. Owns the definition of a percentile; must not know what was measured.

use serde::Serialize;

/// The usual figures, in the unit of the sample.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize)]
pub(super) struct Figures {
    /// Size of the sample.
    pub(super) n: usize,
    /// Half of the sample is not larger. Missing for an empty sample, as the others.
    pub(super) p50: Option<f64>,
    /// Nine tenths of the sample are not larger.
    pub(super) p90: Option<f64>,
    /// 99 of 100 are not larger.
    pub(super) p99: Option<f64>,
    /// The largest.
    pub(super) max: Option<f64>,
    /// The average, where it is what counts.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) mean: Option<f64>,
}

/// Figures of nanoseconds, in milliseconds. Every figure is a value that was measured: nothing is interpolated, nothing
/// is left out.
pub(super) fn milliseconds(nanos: &[u64]) -> Figures {
    plain(&nanos.iter().map(|nanos| to_milliseconds(*nanos)).collect::<Vec<_>>())
}

/// Figures of values in their own unit, likewise.
pub(super) fn plain(values: &[f64]) -> Figures {
    let mut sorted = values.to_vec();
    sorted.sort_unstable_by(f64::total_cmp);
    let at = |percent| nearest_rank(&sorted, percent);
    Figures {
        n: sorted.len(),
        p50: at(50),
        p90: at(90),
        p99: at(99),
        max: at(100),
        mean: None,
    }
}

/// The smallest value that `percent` of the sample do not exceed (nearest rank).
fn nearest_rank<T: Copy>(sorted: &[T], percent: usize) -> Option<T> {
    let rank = (sorted.len() * percent).div_ceil(100);
    sorted.get(rank.saturating_sub(1)).copied()
}

/// Whole microseconds are as fine as the kernel's own time stamps.
fn to_milliseconds(nanos: u64) -> f64 {
    nanos.div_ceil(1000) as f64 / 1000.0
}

/// The value in the middle, and how far apart the middle nine tenths are. None for an empty sample.
pub(super) fn median_and_spread(values: &[i64]) -> Option<(i64, i64)> {
    let mut sorted = values.to_vec();
    sorted.sort_unstable();
    let at = |percent| nearest_rank(&sorted, percent);
    Some((at(50)?, at(95)?.saturating_sub(at(5)?)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_values_that_were_measured() {
        let nanos: Vec<u64> = (1..=300).rev().map(|ms| ms * 1_000_000).collect();
        let figures = milliseconds(&nanos);
        let expected = Figures {
            n: 300,
            p50: Some(150.0),
            p90: Some(270.0),
            p99: Some(297.0),
            max: Some(300.0),
            mean: None,
        };
        assert_eq!(figures, expected);
    }

    #[test]
    fn one_slow_value_of_a_hundred_is_the_maximum_and_not_the_99th_percentile() {
        let mut nanos = vec![1_000_000; 99];
        nanos.push(900_000_000);
        let figures = milliseconds(&nanos);
        assert_eq!((figures.p99, figures.max), (Some(1.0), Some(900.0)));
        nanos.push(800_000_000);
        assert_eq!(milliseconds(&nanos).p99, Some(800.0));
    }

    #[test]
    fn small_samples_have_figures_and_empty_ones_have_none() {
        let one = milliseconds(&[2_500_001]);
        assert_eq!(
            (one.p50, one.p99, one.max),
            (Some(2.501), Some(2.501), Some(2.501)),
            "rounded up, never down"
        );
        let none = milliseconds(&[]);
        assert_eq!((none.n, none.p50, none.max), (0, None, None));
    }

    #[test]
    fn the_spread_leaves_out_the_outer_tenth() {
        let mut values: Vec<i64> = (0..100).collect();
        values.push(1_000_000);
        assert_eq!(median_and_spread(&values), Some((50, 90)));
        assert_eq!(median_and_spread(&[]), None);
    }
}
