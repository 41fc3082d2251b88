//! The bytes of one record.
//!
//! Owns layout and checksum. Must not know files.
//!
//! ```text
//! length u32 | checksum u32 | number u64 | payload          all little-endian
//! ```
//! The checksum is CRC-32 (IEEE 802.3) over spool id, length, number and payload. With the random
//! spool id inside, bytes that a process wrote into its log cannot pass for a record when the
//! reader looks for the next one behind a damaged place.

/// Bytes in front of every payload.
pub(super) const HEADER: usize = 16;
/// The same, for offsets in a file.
pub(super) const HEADER_BYTES: u64 = 16;

/// Length, checksum and number of a record, not yet verified.
#[derive(Debug, Clone, Copy)]
pub(super) struct Header {
    pub(super) len: u32,
    crc: u32,
    pub(super) seq: u64,
}

impl Header {
    pub(super) fn parse(bytes: &[u8]) -> Option<Self> {
        let (len, rest) = bytes.split_first_chunk()?;
        let (crc, rest) = rest.split_first_chunk()?;
        let (seq, _) = rest.split_first_chunk()?;
        Some(Self {
            len: u32::from_le_bytes(*len),
            crc: u32::from_le_bytes(*crc),
            seq: u64::from_le_bytes(*seq),
        })
    }

    pub(super) fn matches(&self, key: u64, payload: &[u8]) -> bool {
        self.crc == checksum(key, self.len, self.seq, payload)
    }
}

/// Replaces the content of `out` by the record.
pub(super) fn encode(out: &mut Vec<u8>, key: u64, seq: u64, len: u32, payload: &[u8]) {
    out.clear();
    out.extend_from_slice(&len.to_le_bytes());
    out.extend_from_slice(&checksum(key, len, seq, payload).to_le_bytes());
    out.extend_from_slice(&seq.to_le_bytes());
    out.extend_from_slice(payload);
}

fn checksum(key: u64, len: u32, seq: u64, payload: &[u8]) -> u32 {
    let mut hasher = crc32fast::Hasher::new();
    hasher.update(&key.to_le_bytes());
    hasher.update(&len.to_le_bytes());
    hasher.update(&seq.to_le_bytes());
    hasher.update(payload);
    hasher.finalize()
}
