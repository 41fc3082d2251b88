//! The stable name of a finding.

use std::{fmt, str::FromStr};

use thiserror::Error;
use xxhash_rust::xxh3::Xxh3Default;

use crate::clock::UnixNanos;

/// Version of the key recipes below; a change of a recipe changes it.
const RECIPE: &[u8] = b"1";

/// 128-bit name of a finding. It never changes, never spans kinds, and comes out alike when a ring is read again or a
/// program restarts. It is unique within one node; the store adds cluster and node.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Key([u8; 16]);

/// Not 16 bytes, or not 32 hexadecimal digits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[error("a finding key is 16 bytes (32 hexadecimal digits)")]
pub struct BadKey;

impl Key {
    /// Names the end of one instance, by the time that the runtime recorded.
    #[must_use]
    pub fn exit(instance: &str, finished_at: UnixNanos) -> Self {
        Self::of(b"exit", &[instance.as_bytes(), &finished_at.0.to_le_bytes()])
    }

    /// Names a kernel kill by its position in the first live witness: `position` is the kmsg sequence number of the
    /// `Killed process` record, else the trace event, else cgroup and counter value; `witness` says which.
    #[must_use]
    pub fn kill(boot_id: &str, witness: &str, position: &str) -> Self {
        Self::of(b"kill", &[boot_id.as_bytes(), witness.as_bytes(), position.as_bytes()])
    }

    /// Names kills that a counter shows and no other witness does: the counter value that it had reached.
    #[must_use]
    pub fn unexplained(boot_id: &str, cgroup: &str, counter_value: u64) -> Self {
        Self::of(
            b"unexplained",
            &[boot_id.as_bytes(), cgroup.as_bytes(), &counter_value.to_le_bytes()],
        )
    }

    /// Hashes any parts under a kind; parts are length-prefixed, so that no two lists collide by concatenation.
    #[must_use]
    pub fn of(kind: &[u8], parts: &[&[u8]]) -> Self {
        let mut hash = Xxh3Default::new();
        for part in [RECIPE, kind].iter().chain(parts) {
            hash.update(&(part.len() as u64).to_le_bytes());
            hash.update(part);
        }
        Self(hash.digest128().to_be_bytes())
    }

    /// The raw bytes, as sent and stored.
    #[must_use]
    pub const fn as_bytes(&self) -> &[u8; 16] {
        &self.0
    }
}

impl TryFrom<&[u8]> for Key {
    type Error = BadKey;

    fn try_from(bytes: &[u8]) -> Result<Self, BadKey> {
        bytes.try_into().map(Self).map_err(|_| BadKey)
    }
}

impl FromStr for Key {
    type Err = BadKey;

    fn from_str(text: &str) -> Result<Self, BadKey> {
        if text.len() != 32 || !text.bytes().all(|b| b.is_ascii_hexdigit()) {
            return Err(BadKey);
        }
        u128::from_str_radix(text, 16)
            .map(|n| Self(n.to_be_bytes()))
            .map_err(|_| BadKey)
    }
}

impl fmt::Display for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:032x}", u128::from_be_bytes(self.0))
    }
}

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A changed recipe would make every agent report its history anew.
    #[test]
    fn keys_stay_what_they_were_in_earlier_releases() {
        let key = Key::exit("abc", UnixNanos(5));
        assert_eq!(key, Key::exit("abc", UnixNanos(5)));
        assert_ne!(key, Key::exit("abc", UnixNanos(6)));
        assert_eq!(key.to_string().parse::<Key>(), Ok(key));
        assert_eq!(
            Key::kill("boot", "kmsg", "2273").to_string(),
            "f6d372c8efdb4a7c0722f3fca7a5abeb"
        );
    }

    #[test]
    fn parts_cannot_be_shifted_into_each_other() {
        assert_ne!(Key::kill("ab", "c", "d"), Key::kill("a", "bc", "d"));
        assert_ne!(Key::of(b"exit", &[b"x"]), Key::of(b"kill", &[b"x"]));
    }

    #[test]
    fn malformed_text_is_refused() {
        for text in [
            "",
            "12",
            "+0000000000000000000000000000000",
            "zz000000000000000000000000000000",
        ] {
            assert_eq!(text.parse::<Key>(), Err(BadKey), "{text}");
        }
    }
}
