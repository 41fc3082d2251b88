//! Records of the kernel log as `/dev/kmsg` gives them. Owns the text format; knows nothing of what the lines mean.
//!
//! Format: `PRIO,SEQ,TS_US,FLAGS[,key=value…];TEXT\n[ KEY=value\n]*`, see `Documentation/ABI/testing/dev-kmsg` of the kernel.
pub mod filter;
pub mod pump;
pub mod reader;

use std::collections::BTreeMap;

pub use filter::Filter;
pub use pump::{Batch, Gap, Now, ReaderStats, Stamped};
pub use reader::{Blind, KmsgReader, ReaderConfig, SpawnError, Status};

/// Facility of records that the kernel itself wrote; everything else came from user space through the device.
pub const FACILITY_KERNEL: u8 = 0;

/// Most `KEY=value` lines kept of one record; the kernel writes two.
const MAX_FIELDS: usize = 16;

/// One record of the kernel log.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Record {
    /// Severity, 0 (emergency) to 7 (debug).
    pub level: u8,
    /// Who wrote it; see [`FACILITY_KERNEL`].
    pub facility: u8,
    /// Sequence number, one more for each record since boot.
    pub seq: u64,
    /// Microseconds since boot, not advancing in suspend.
    pub at_us: u64,
    /// The message with `\xNN` undone; bytes that are not UTF-8 became U+FFFD.
    pub text: String,
    /// Who printed, as the kernel writes it: `T` and a thread id, or `C` and a CPU (`CONFIG_PRINTK_CALLER`).
    pub caller: Option<String>,
    /// The `KEY=value` lines below the message, such as `SUBSYSTEM` and `DEVICE`.
    pub fields: BTreeMap<String, String>,
    /// Whether this is a fragment of a line printed in pieces.
    pub continued: bool,
}

/// Why bytes are no record. Retrying does not help: skip and count.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum RecordError {
    /// No `;` between header and text.
    #[error("kernel record without a header")]
    NoHeader,
    /// Priority, sequence or time is missing or not a number.
    #[error("kernel record whose {field} is no number")]
    Number {
        /// Which of the three.
        field: &'static str,
    },
}

/// The fixed part of a record, read without touching the text.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Header<'a> {
    priority: u16,
    pub(crate) seq: u64,
    at_us: u64,
    rest: &'a str,
    body: &'a [u8],
}

impl<'a> Header<'a> {
    pub(crate) fn parse(bytes: &'a [u8]) -> Result<Self, RecordError> {
        let end = bytes.iter().position(|b| *b == b';').ok_or(RecordError::NoHeader)?;
        let (head, body) = bytes.split_at(end);
        let head = std::str::from_utf8(head).map_err(|_| RecordError::NoHeader)?;
        let mut parts = head.splitn(4, ',');
        Ok(Self {
            priority: number(parts.next(), "priority")?,
            seq: number(parts.next(), "sequence")?,
            at_us: number(parts.next(), "time")?,
            rest: parts.next().unwrap_or_default(),
            body: body.get(1..).unwrap_or_default(),
        })
    }

    pub(crate) const fn facility(&self) -> u16 {
        self.priority >> 3
    }

    pub(crate) fn is_fragment(&self) -> bool {
        let flags = self.rest.split(',').next().unwrap_or_default();
        flags.contains(['c', '+'])
    }

    /// The message as it stands on the device, still escaped.
    pub(crate) fn raw_text(&self) -> &'a [u8] {
        self.body.split(|b| *b == b'\n').next().unwrap_or_default()
    }

    pub(crate) fn record(&self) -> Record {
        let caller = self.rest.split(',').find_map(|part| part.strip_prefix("caller="));
        Record {
            level: u8::try_from(self.priority & 7).unwrap_or(7),
            facility: u8::try_from(self.facility()).unwrap_or(u8::MAX),
            seq: self.seq,
            at_us: self.at_us,
            text: unescape(self.raw_text()),
            caller: caller.map(str::to_owned),
            fields: fields(self.body),
            continued: self.is_fragment(),
        }
    }
}

impl Record {
    /// Reads one record as one `read` of the device returns it. Unknown header fields are skipped.
    ///
    /// # Errors
    /// [`RecordError`] when the header is not one; the text may hold anything.
    pub fn parse(bytes: &[u8]) -> Result<Self, RecordError> {
        Header::parse(bytes).map(|header| header.record())
    }
}

fn number<T: std::str::FromStr>(part: Option<&str>, field: &'static str) -> Result<T, RecordError> {
    part.and_then(|text| text.parse().ok())
        .ok_or(RecordError::Number { field })
}

/// Lines after the first that start with one space and hold a `=`.
fn fields(body: &[u8]) -> BTreeMap<String, String> {
    body.split(|b| *b == b'\n')
        .skip(1)
        .filter_map(|line| {
            unescape(line.strip_prefix(b" ")?)
                .split_once('=')
                .map(|(k, v)| (k.to_owned(), v.to_owned()))
        })
        .take(MAX_FIELDS)
        .collect()
}

/// Undoes `\xNN`, which the kernel writes for every byte below 32, above 126 and for the backslash.
fn unescape(raw: &[u8]) -> String {
    let mut out = Vec::with_capacity(raw.len());
    let mut rest = raw;
    while let Some((first, tail)) = rest.split_first() {
        if let Some((byte, after)) = escaped(rest) {
            out.push(byte);
            rest = after;
        } else {
            out.push(*first);
            rest = tail;
        }
    }
    String::from_utf8(out).unwrap_or_else(|error| String::from_utf8_lossy(error.as_bytes()).into_owned())
}

fn escaped(bytes: &[u8]) -> Option<(u8, &[u8])> {
    let (head, after) = bytes.split_at_checked(4)?;
    let digits = std::str::from_utf8(head.strip_prefix(b"\\x")?).ok()?;
    digits.bytes().all(|b| b.is_ascii_hexdigit()).then_some(())?;
    Some((u8::from_str_radix(digits, 16).ok()?, after))
}

#[cfg(test)]
mod tests;
