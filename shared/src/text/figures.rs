//! Sizes, spans and times as people read them.

use std::time::Duration;

use jiff::{Timestamp, Zoned, tz::TimeZone};

use super::Lang;
use crate::{clock::UnixNanos, model::Untrusted};

const KIB: u128 = 1 << 10;
const MIB: u128 = 1 << 20;

/// Bytes as MiB with one decimal; below a tenth of a MiB as whole KiB.
#[must_use]
pub fn size(bytes: u64) -> String {
    let bytes = u128::from(bytes);
    if bytes > 0 && bytes * 10 < MIB {
        return format!("{} KiB", bytes.div_ceil(KIB));
    }
    let tenths = (bytes * 10 + MIB / 2) / MIB;
    format!("{}.{} MiB", tenths / 10, tenths % 10)
}

/// A span with the two largest units that say something.
#[must_use]
pub fn duration(span: Duration, lang: Lang) -> String {
    let (ms, s, min) = (lang.pick("ms", "毫秒"), lang.pick("s", "秒"), lang.pick("min", "分"));
    let (h, d) = (lang.pick("h", "小时"), lang.pick("d", "天"));
    let secs = span.as_secs();
    match secs {
        0 if span.as_micros() < 10_000 => tenths(span.as_micros() / 100, ms),
        0 => format!("{} {ms}", span.as_millis()),
        1..60 => tenths(span.as_millis() / 100, s),
        60..3600 => two(secs / 60, min, secs % 60, s),
        3600..86_400 => two(secs / 3600, h, secs % 3600 / 60, min),
        _ => two(secs / 86_400, d, secs % 86_400 / 3600, h),
    }
}

fn tenths(value: u128, unit: &str) -> String {
    match value % 10 {
        0 => format!("{} {unit}", value / 10),
        tenth => format!("{}.{tenth} {unit}", value / 10),
    }
}

fn two(large: u64, large_unit: &str, small: u64, small_unit: &str) -> String {
    match small {
        0 => format!("{large} {large_unit}"),
        _ => format!("{large} {large_unit} {small} {small_unit}"),
    }
}

fn local(at: UnixNanos, zone: &TimeZone) -> Option<Zoned> {
    Timestamp::from_nanosecond(i128::from(at.0))
        .ok()
        .map(|t| t.to_zoned(zone.clone()))
}

/// Local time of day with milliseconds, such as "12:01:07.183".
#[must_use]
pub fn clock_time(at: UnixNanos, zone: &TimeZone) -> String {
    local(at, zone).map_or_else(|| at.to_string(), |t| t.strftime("%H:%M:%S%.3f").to_string())
}

/// Local date and time with milliseconds and offset, such as "2026-03-01 12:01:07.183 +01:00".
#[must_use]
pub fn date_time(at: UnixNanos, zone: &TimeZone) -> String {
    local(at, zone).map_or_else(
        || at.to_string(),
        |t| t.strftime("%Y-%m-%d %H:%M:%S%.3f %:z").to_string(),
    )
}

/// `later` as time of day when it is on the same local day as `near`, else with its date.
pub(super) fn near_time(later: UnixNanos, near: UnixNanos, zone: &TimeZone) -> String {
    let day = |at| local(at, zone).map(|t| t.date());
    if day(later) == day(near) {
        clock_time(later, zone)
    } else {
        date_time(later, zone)
    }
}

/// Text from outside for one line of output: bounded, then escaped, with a mark when it was cut.
pub(super) fn shown(text: &str, max_bytes: usize) -> String {
    let bounded = Untrusted::bounded(text, max_bytes);
    let mark = if bounded.raw().len() < text.len() { "…" } else { "" };
    format!("{}{mark}", bounded.escaped())
}

/// The same in quotes.
pub(super) fn quoted(text: &str, max_bytes: usize) -> String {
    format!("\"{}\"", shown(text, max_bytes))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_round_to_the_tenth_of_a_mebibyte() {
        let table = [
            (0, "0.0 MiB"),
            (1, "1 KiB"),
            (4096, "4 KiB"),
            (20_447_232, "19.5 MiB"),
            (20_971_520, "20.0 MiB"),
            (1 << 30, "1024.0 MiB"),
            (u64::MAX, "17592186044416.0 MiB"),
        ];
        for (bytes, text) in table {
            assert_eq!(size(bytes), text);
        }
    }

    #[test]
    fn spans_are_short_in_both_languages() {
        let table = [
            (400, "0.4 ms", "0.4 毫秒"),
            (4_020, "4 ms", "4 毫秒"),
            (183_000, "183 ms", "183 毫秒"),
            (3_290_000, "3.2 s", "3.2 秒"),
            (60_000_000, "1 min", "1 分"),
            (725_000_000, "12 min 5 s", "12 分 5 秒"),
            (11_520_000_000, "3 h 12 min", "3 小时 12 分"),
            (183_600_000_000, "2 d 3 h", "2 天 3 小时"),
        ];
        for (micros, en, zh) in table {
            let span = Duration::from_micros(micros);
            assert_eq!(
                (duration(span, Lang::En).as_str(), duration(span, Lang::Zh).as_str()),
                (en, zh)
            );
        }
    }

    #[test]
    fn times_are_local_and_impossible_ones_stay_readable() {
        let at = UnixNanos(1_700_000_000_183_000_000);
        assert_eq!(clock_time(at, &TimeZone::UTC), "22:13:20.183");
        let east = TimeZone::fixed(jiff::tz::offset(8));
        assert_eq!(date_time(at, &east), "2023-11-15 06:13:20.183 +08:00");
        assert_eq!(near_time(at, at, &east), "06:13:20.183");
        assert_eq!(
            near_time(UnixNanos(0), at, &TimeZone::UTC),
            "1970-01-01 00:00:00.000 +00:00"
        );
        assert!(!clock_time(UnixNanos(i64::MIN), &TimeZone::UTC).is_empty());
    }

    #[test]
    fn what_was_cut_is_marked_and_what_deceives_is_escaped() {
        assert_eq!(quoted("a\u{1b}[31m", 64), "\"a\\u{1b}[31m\"");
        assert_eq!(shown("abcdef", 3), "abc…");
    }
}
