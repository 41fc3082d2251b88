//! Durations and sizes that must carry their unit, so that `30` can never be read as the wrong thing.
//!
//! Owns the two types and their spelling. Must not know where they are used.

use std::fmt;
use std::time::Duration;

/// A length of time such as `500ms`, `30s`, `10m`, `1h30m` or `30d`. A bare number is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ConfigDuration(pub Duration);

/// An amount of memory or disk such as `512B`, `16KiB`, `64MiB` or `10GB`. A bare number is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ByteSize(pub u64);

/// Units of time, longest first, in nanoseconds.
const TIME_UNITS: [(&str, u64); 7] = [
    ("d", 86_400_000_000_000),
    ("h", 3_600_000_000_000),
    ("m", 60_000_000_000),
    ("s", 1_000_000_000),
    ("ms", 1_000_000),
    ("us", 1_000),
    ("ns", 1),
];

/// Units of size, largest first, in bytes. `KB` is 1000 bytes and `KiB` is 1024, as in IEC 80000-13.
const SIZE_UNITS: [(&str, u64); 9] = [
    ("TiB", 1 << 40),
    ("TB", 1_000_000_000_000),
    ("GiB", 1 << 30),
    ("GB", 1_000_000_000),
    ("MiB", 1 << 20),
    ("MB", 1_000_000),
    ("KiB", 1 << 10),
    ("KB", 1_000),
    ("B", 1),
];

impl ConfigDuration {
    /// A number of whole seconds.
    #[must_use]
    pub const fn from_secs(secs: u64) -> Self {
        Self(Duration::from_secs(secs))
    }

    /// The length of time.
    #[must_use]
    pub const fn get(self) -> Duration {
        self.0
    }

    /// Reads a duration; several parts are added up, largest unit first, each unit at most once.
    ///
    /// # Errors
    /// Says what is missing. Trying again does not help.
    pub fn parse(text: &str) -> Result<Self, UnitError> {
        let mut rest = text;
        let mut nanos: u64 = 0;
        let mut smallest = u64::MAX;
        while !rest.is_empty() {
            let (count, unit, tail) = next_part(rest)?;
            let (_, scale) = find(&TIME_UNITS, unit)?;
            if scale >= smallest {
                return Err(UnitError::Order);
            }
            smallest = scale;
            let part = count.checked_mul(scale).ok_or(UnitError::TooLarge)?;
            nanos = nanos.checked_add(part).ok_or(UnitError::TooLarge)?;
            rest = tail;
        }
        if smallest == u64::MAX {
            return Err(UnitError::NotANumber);
        }
        Ok(Self(Duration::from_nanos(nanos)))
    }
}

impl ByteSize {
    /// A number of mebibytes.
    #[must_use]
    pub const fn mib(count: u64) -> Self {
        Self(count.saturating_mul(1 << 20))
    }

    /// A number of kibibytes.
    #[must_use]
    pub const fn kib(count: u64) -> Self {
        Self(count.saturating_mul(1 << 10))
    }

    /// The size in bytes.
    #[must_use]
    pub const fn bytes(self) -> u64 {
        self.0
    }

    /// Reads a size.
    ///
    /// # Errors
    /// Says what is missing. Trying again does not help.
    pub fn parse(text: &str) -> Result<Self, UnitError> {
        let (count, unit, tail) = next_part(text)?;
        if !tail.is_empty() {
            return Err(UnitError::UnknownUnit);
        }
        let (_, scale) = find(&SIZE_UNITS, unit)?;
        Ok(Self(count.checked_mul(scale).ok_or(UnitError::TooLarge)?))
    }
}

/// Why a duration or a size could not be read; a spelling has to change, trying again does not help.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum UnitError {
    /// The text does not start with digits.
    #[error("is not a number with a unit")]
    NotANumber,
    /// The number stands alone.
    #[error("has no unit")]
    NoUnit,
    /// The letters after the number are no unit that we know.
    #[error("has an unknown unit")]
    UnknownUnit,
    /// `10s5m`, or the same unit twice.
    #[error("has its units in the wrong order")]
    Order,
    /// More than 2^64 nanoseconds (584 years) or bytes.
    #[error("is too large")]
    TooLarge,
}

/// Splits `10m30s` into `10`, `m` and `30s`.
fn next_part(text: &str) -> Result<(u64, &str, &str), UnitError> {
    let digits = text.find(|char: char| !char.is_ascii_digit()).unwrap_or(text.len());
    let (number, rest) = text.split_at_checked(digits).ok_or(UnitError::NotANumber)?;
    if number.is_empty() {
        return Err(UnitError::NotANumber);
    }
    let count = number.parse().map_err(|_| UnitError::TooLarge)?;
    let letters = rest.find(|char: char| char.is_ascii_digit()).unwrap_or(rest.len());
    let (unit, tail) = rest.split_at_checked(letters).ok_or(UnitError::UnknownUnit)?;
    if unit.is_empty() {
        return Err(UnitError::NoUnit);
    }
    Ok((count, unit, tail))
}

fn find(units: &[(&'static str, u64)], unit: &str) -> Result<(&'static str, u64), UnitError> {
    units
        .iter()
        .find(|(name, _)| *name == unit)
        .copied()
        .ok_or(UnitError::UnknownUnit)
}

impl fmt::Display for ConfigDuration {
    /// The shortest spelling that [`ConfigDuration::parse`] reads back.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut rest = u64::try_from(self.0.as_nanos()).unwrap_or(u64::MAX);
        if rest == 0 {
            return f.write_str("0s");
        }
        for (unit, scale) in TIME_UNITS {
            if rest >= scale {
                write!(f, "{}{unit}", rest / scale)?;
                rest %= scale;
            }
        }
        Ok(())
    }
}

impl fmt::Display for ByteSize {
    /// The largest unit that needs no fraction; [`ByteSize::parse`] reads it back.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let whole = |(_, scale): &&(&str, u64)| self.0.is_multiple_of(*scale);
        let (unit, scale) = SIZE_UNITS.iter().find(whole).copied().unwrap_or(("B", 1));
        if self.0 == 0 {
            f.write_str("0B")
        } else {
            write!(f, "{}{unit}", self.0 / scale)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_read_as_an_operator_means_them() {
        let table = [
            ("30s", 30_000),
            ("500ms", 500),
            ("10m", 600_000),
            ("1h30m", 5_400_000),
            ("30d", 2_592_000_000),
            ("0s", 0),
        ];
        for (text, millis) in table {
            assert_eq!(
                ConfigDuration::parse(text).unwrap().get(),
                Duration::from_millis(millis),
                "{text}"
            );
        }
    }

    #[test]
    fn sizes_tell_1000_from_1024() {
        let table = [
            ("64MiB", 64 << 20),
            ("16KiB", 16_384),
            ("10KB", 10_000),
            ("7B", 7),
            ("1GiB", 1 << 30),
        ];
        for (text, bytes) in table {
            assert_eq!(ByteSize::parse(text).unwrap().bytes(), bytes, "{text}");
        }
    }

    #[test]
    fn a_value_without_a_sound_unit_is_refused_with_the_reason() {
        let durations = [
            ("30", UnitError::NoUnit),
            ("", UnitError::NotANumber),
            ("-5s", UnitError::NotANumber),
            ("5 s", UnitError::UnknownUnit),
            ("5y", UnitError::UnknownUnit),
            ("5s10m", UnitError::Order),
            ("5s5s", UnitError::Order),
            ("5m30", UnitError::NoUnit),
            ("99999999999999999999s", UnitError::TooLarge),
            ("9999999999d", UnitError::TooLarge),
        ];
        for (text, reason) in durations {
            assert_eq!(ConfigDuration::parse(text), Err(reason), "{text:?}");
        }
        let sizes = [
            ("64", UnitError::NoUnit),
            ("64M", UnitError::UnknownUnit),
            ("1MiB5B", UnitError::UnknownUnit),
            ("99999999TiB", UnitError::TooLarge),
        ];
        for (text, reason) in sizes {
            assert_eq!(ByteSize::parse(text), Err(reason), "{text:?}");
        }
    }

    proptest::proptest! {
        #[test]
        fn what_is_shown_reads_back_equal(nanos: u64) {
            let duration = ConfigDuration(Duration::from_nanos(nanos));
            proptest::prop_assert_eq!(ConfigDuration::parse(&duration.to_string()), Ok(duration));
            let size = ByteSize(nanos);
            proptest::prop_assert_eq!(ByteSize::parse(&size.to_string()), Ok(size));
        }

        #[test]
        fn any_text_is_answered_without_panic(text in "\\PC*") {
            let answers = (ConfigDuration::parse(&text), ByteSize::parse(&text));
            proptest::prop_assert!(answers.0.is_err() || answers.1.is_err() || !text.is_empty());
        }
    }
}
