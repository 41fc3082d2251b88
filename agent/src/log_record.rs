//! A log tail on its way to the aggregator: one record of the log spool.

use inquest_proto::ingest::v1 as pb;
use inquest_shared::{clock::UnixNanos, model::Key};
use prost::Message as _;

/// Most bytes of one tail; one chunk of the log stream.
pub const MAX_LOG_BYTES: usize = 64 * 1024;

/// The redacted tail of one container's log, captured at its end.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LogRecord {
    /// The exit that it belongs to.
    pub finding: Key,
    /// Text, at most [`MAX_LOG_BYTES`].
    pub data: Vec<u8>,
    /// When it was read.
    pub captured_at: UnixNanos,
    /// Secrets taken out.
    pub redactions: u32,
    /// Older lines exist.
    pub truncated: bool,
}

impl LogRecord {
    /// The payload of the spool: the message as sent, without epoch and number.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let data = self.data.get(..MAX_LOG_BYTES).unwrap_or(&self.data);
        pb::SendLogsRequest {
            finding_key: self.finding.as_bytes().to_vec(),
            last: true,
            data: data.to_vec(),
            captured_at_ns: self.captured_at.0,
            redactions: self.redactions,
            truncated: self.truncated || data.len() < self.data.len(),
            ..pb::SendLogsRequest::default()
        }
        .encode_to_vec()
    }
}
