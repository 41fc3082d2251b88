//! The proto3 JSON mapping of our messages, from the same descriptors that the aggregator's reflection service shows.
//!
//! Source: the ProtoJSON format of protobuf.dev.

use std::sync::LazyLock;

use prost::Message;
use prost_reflect::{DescriptorError, DescriptorPool, DynamicMessage};
use thiserror::Error;

static POOL: LazyLock<Result<DescriptorPool, DescriptorError>> =
    LazyLock::new(|| DescriptorPool::decode(inquest_proto::DESCRIPTORS));

/// Why a message has no JSON form; a defect of the build, so retrying never helps.
#[derive(Debug, Error)]
pub(crate) enum JsonError {
    /// The descriptors built into the program do not decode.
    #[error("the built-in message descriptors are damaged")]
    Descriptors(#[source] &'static DescriptorError),
    /// No such message in our protocols.
    #[error("there is no message {0}")]
    NoMessage(String),
    /// The name and the type do not belong together.
    #[error("the message does not fit its descriptor")]
    Mismatch(#[from] prost::DecodeError),
    /// A value that JSON cannot hold.
    #[error("the message has no JSON form")]
    Mapping(#[from] serde_json::Error),
}

/// The JSON form of a message; `full_name` is its proto name, such as `inquest.query.v1.Incident`.
pub(crate) fn to_json<M: Message>(full_name: &str, message: &M) -> Result<serde_json::Value, JsonError> {
    let pool = POOL.as_ref().map_err(JsonError::Descriptors)?;
    let descriptor = pool
        .get_message_by_name(full_name)
        .ok_or_else(|| JsonError::NoMessage(full_name.to_owned()))?;
    let dynamic = DynamicMessage::decode(descriptor, message.encode_to_vec().as_slice())?;
    Ok(serde_json::to_value(&dynamic)?)
}
