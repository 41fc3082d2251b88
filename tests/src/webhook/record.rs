//! What the receiver remembers of a request.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

/// Why a request was refused before the script was asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Refusal {
    /// A header of the signature is missing.
    Unsigned,
    /// No signature in the header is right.
    BadSignature,
    /// The time stamp is more than 5 minutes off, or none.
    Stale,
    /// The body is over the limit.
    TooLarge,
    /// The body is not JSON, or ended early.
    NotJson,
}

/// What was done with a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Answer {
    /// Answered with this status, as the script said.
    Status(u16),
    /// Refused with 401, 413 or 400.
    Refused(Refusal),
    /// Never answered.
    Hung,
    /// The connection was reset.
    Reset,
    /// Taken in; then the connection was reset.
    TakenThenReset,
    /// Taken in; answered with success after this time.
    TakenLate(Duration),
}

impl Answer {
    /// Whether the sender was told that the request arrived.
    #[must_use]
    pub fn is_success(self) -> bool {
        matches!(self, Self::Status(200..=299))
    }

    /// Whether the message had its effect at the receiver.
    #[must_use]
    pub fn is_taken(self) -> bool {
        self.is_success() || matches!(self, Self::TakenThenReset | Self::TakenLate(_))
    }
}

/// One request.
#[derive(Debug, Clone)]
pub struct Received {
    /// When the first byte of the body was there.
    pub at: Instant,
    /// The same moment in nanoseconds of `CLOCK_MONOTONIC`.
    pub monotonic_nanos: u64,
    /// Path and query.
    pub path: String,
    /// Headers with lower-case names; of repeated ones the last.
    pub headers: BTreeMap<String, String>,
    /// The body; null if it is not JSON.
    pub body: serde_json::Value,
    /// Size of the body in bytes, as far as it was read.
    pub body_bytes: usize,
    /// What was done with it.
    pub answer: Answer,
}

impl Received {
    /// A header by its lower-case name; empty if it is not there.
    #[must_use]
    pub fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", String::as_str)
    }
}
