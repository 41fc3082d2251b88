//! The `Retry-After` header: seconds, a fraction of them, or an HTTP date.
//!
//! Owns the two forms (RFC 9110, sections 5.6.7 and 10.2.3; fractions are not in the RFC, chat services send them).

use std::time::Duration;

use inquest_shared::clock::UnixNanos;

/// Longest time that a receiver may silence us.
pub(crate) const MAX_RETRY_AFTER: Duration = Duration::from_secs(15 * 60);

const MONTHS: [&str; 12] = [
    "Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec",
];

/// How long to wait, at most 15 minutes; `None` when the header makes no sense. A date that has passed means zero.
pub(super) fn parse(header: &str, now: UnixNanos) -> Option<Duration> {
    let header = header.trim();
    let wait = match header.parse::<f64>() {
        Ok(secs) if secs >= 0.0 => Duration::try_from_secs_f64(secs.min(MAX_RETRY_AFTER.as_secs_f64())).ok()?,
        Ok(_) => return None,
        Err(_) => UnixNanos::from_secs(http_date(header)?).since(now),
    };
    Some(wait.min(MAX_RETRY_AFTER))
}

/// Seconds since the epoch of an IMF-fixdate: `Sun, 06 Nov 1994 08:49:37 GMT`.
fn http_date(text: &str) -> Option<i64> {
    let (_, date) = text.split_once(", ")?;
    let mut parts = date.split(' ');
    let day: i64 = parts.next()?.parse().ok().filter(|day| (1..=31).contains(day))?;
    let name = parts.next()?;
    let month = i64::try_from(MONTHS.iter().position(|month| *month == name)?).ok()? + 1;
    let year: i64 = parts.next()?.parse().ok().filter(|year| (1970..=9999).contains(year))?;
    let mut clock = parts
        .next()?
        .split(':')
        .map(|part| part.parse::<i64>().ok().filter(|n| (0..=60).contains(n)));
    let (hour, minute, second) = (clock.next()??, clock.next()??, clock.next()??);
    (parts.next()? == "GMT").then(|| days(year, month, day) * 86_400 + hour * 3_600 + minute * 60 + second)
}

/// Days since 1970-01-01 in the Gregorian calendar, years counted from March so that leap days come last.
fn days(year: i64, month: i64, day: i64) -> i64 {
    let year = if month <= 2 { year - 1 } else { year };
    let day_of_year = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
    year * 365 + year / 4 - year / 100 + year / 400 + day_of_year - 719_468
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: UnixNanos = UnixNanos::from_secs(784_111_777);

    #[test]
    fn seconds_fractions_and_dates_are_understood() {
        for (header, expected) in [
            ("0", Some(Duration::ZERO)),
            ("120", Some(Duration::from_secs(120))),
            (" 1.5 ", Some(Duration::from_millis(1_500))),
            ("Sun, 06 Nov 1994 08:49:37 GMT", Some(Duration::ZERO)),
            ("Sun, 06 Nov 1994 08:50:37 GMT", Some(Duration::from_secs(60))),
            ("Thu, 29 Feb 1996 00:00:00 GMT", Some(MAX_RETRY_AFTER)),
            ("Sat, 01 Jan 1994 00:00:00 GMT", Some(Duration::ZERO)),
        ] {
            assert_eq!(parse(header, NOW), expected, "{header}");
        }
    }

    #[test]
    fn a_receiver_cannot_silence_us_for_a_year() {
        assert_eq!(parse("31536000", NOW), Some(MAX_RETRY_AFTER));
        assert_eq!(parse("inf", NOW), Some(MAX_RETRY_AFTER));
    }

    #[test]
    fn nonsense_is_no_time() {
        for header in [
            "",
            "-1",
            "NaN",
            "soon",
            "Sun, 06 Nov 1994",
            "Sun, 99 Nov 1994 08:49:37 GMT",
            "Sun, 06 Nov 1994 08:49:37 CET",
        ] {
            assert_eq!(parse(header, NOW), None, "{header}");
        }
    }

    #[test]
    fn days_agree_with_the_calendar() {
        assert_eq!(days(1970, 1, 1), 0);
        assert_eq!(days(2000, 3, 1), 11_017);
        assert_eq!(days(2024, 12, 31), 20_088);
    }
}
