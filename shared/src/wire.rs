//! Conversions between the model and its protobuf messages. The wire is not trusted: every length, number and count is
//! checked on the way in, and names are cleaned.
//!
//! Knows the model and the generated messages; must not know transports.

mod fact;
mod finding;
mod incident;
#[cfg(feature = "testkit")]
mod orderless;
mod pod_context;
mod report;
mod rollout_context;

use inquest_proto::ingest::v1 as pb;
use prost::Message as _;
use thiserror::Error;

pub use finding::{MAX_FINDING_BYTES, decode_finding};
pub use incident::{decode_incident, delivery_to_wire};
#[cfg(feature = "testkit")]
pub use orderless::orderless;

use crate::model::{BadKey, Evidence};

/// A message that cannot be taken. Sending it again does not help.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum WireError {
    /// A part without which the message means nothing.
    #[error("{0} is missing")]
    Missing(&'static str),
    /// An enum number that this version does not know, or the unspecified one.
    #[error("{field} has no meaning: {number}")]
    Number {
        /// Which field.
        field: &'static str,
        /// What it held.
        number: i32,
    },
    /// A key of the wrong length.
    #[error("{field}: {source}")]
    Key {
        /// Which field.
        field: &'static str,
        /// Why.
        source: BadKey,
    },
    /// More than this side accepts.
    #[error("{field} is too large: {size}, at most {limit}")]
    TooLarge {
        /// Which field.
        field: &'static str,
        /// Its size.
        size: usize,
        /// What is accepted.
        limit: usize,
    },
    /// Not a ULID.
    #[error("{field} is not a ULID")]
    Ulid {
        /// Which field.
        field: &'static str,
    },
    /// Not protobuf at all.
    #[error("not a protobuf message")]
    Decode(#[from] prost::DecodeError),
}

/// Bytes of one fact for comparing versions of it; the same for equal facts.
pub(crate) fn encode_fact(evidence: &Evidence) -> Vec<u8> {
    pb::Evidence {
        at_ns: evidence.at.0,
        fact: Some((&evidence.fact).into()),
        ..pb::Evidence::default()
    }
    .encode_to_vec()
}

/// Refuses more than `limit` of something.
fn at_most(field: &'static str, size: usize, limit: usize) -> Result<(), WireError> {
    if size > limit {
        return Err(WireError::TooLarge { field, size, limit });
    }
    Ok(())
}
