//! The proto3 JSON mapping of our messages, from the same descriptors that the reflection service shows.
//!
//! Owns names of fields in JSON: lowerCamelCase, 64-bit integers as strings, bytes as base64, enums by name, fields with
//! default values left out. Must not know what a message is used for. Source: the ProtoJSON format of protobuf.dev.

use std::sync::LazyLock;

use prost::Message;
use prost_reflect::{DescriptorError, DescriptorPool, DynamicMessage, MessageDescriptor};
use thiserror::Error;

static POOL: LazyLock<Result<DescriptorPool, DescriptorError>> =
    LazyLock::new(|| DescriptorPool::decode(inquest_proto::DESCRIPTORS));

/// Why a message and its JSON could not be turned into each other. Trying again with the same input never helps.
#[derive(Debug, Error)]
pub enum JsonError {
    /// The descriptors built into the program do not decode: a defect of the build.
    #[error("the built-in message descriptors are damaged")]
    Descriptors {
        /// What is wrong with them.
        #[source]
        source: &'static DescriptorError,
    },
    /// No such message in our protocols.
    #[error("there is no message {name}")]
    NoMessage {
        /// Full name that was asked for.
        name: String,
    },
    /// The bytes are not that message: the name and the type do not belong together.
    #[error("{name} does not fit its descriptor")]
    Mismatch {
        /// Full name of the message.
        name: String,
        /// What did not decode.
        #[source]
        source: prost::DecodeError,
    },
    /// The JSON is not that message, or the message cannot be written as JSON.
    #[error("no valid JSON form of {name}")]
    Mapping {
        /// Full name of the message.
        name: String,
        /// Which field and why.
        #[source]
        source: serde_json::Error,
    },
}

/// The JSON form of a message; `full_name` is its proto name, such as `inquest.query.v1.Incident`.
///
/// # Errors
/// [`JsonError`]; the same message fails again.
pub fn to_json<M: Message>(full_name: &str, msg: &M) -> Result<serde_json::Value, JsonError> {
    let bytes = msg.encode_to_vec();
    let message =
        DynamicMessage::decode(descriptor(full_name)?, bytes.as_slice()).map_err(|source| JsonError::Mismatch {
            name: full_name.to_owned(),
            source,
        })?;
    serde_json::to_value(&message).map_err(|source| JsonError::Mapping {
        name: full_name.to_owned(),
        source,
    })
}

/// The message of a JSON form; unknown fields are refused.
///
/// # Errors
/// [`JsonError::Mapping`] names the field that is wrong; the same input fails again.
pub fn from_json<M: Message + Default>(full_name: &str, json: serde_json::Value) -> Result<M, JsonError> {
    let message = DynamicMessage::deserialize(descriptor(full_name)?, json).map_err(|source| JsonError::Mapping {
        name: full_name.to_owned(),
        source,
    })?;
    message.transcode_to().map_err(|source| JsonError::Mismatch {
        name: full_name.to_owned(),
        source,
    })
}

fn descriptor(full_name: &str) -> Result<MessageDescriptor, JsonError> {
    let pool = POOL.as_ref().map_err(|source| JsonError::Descriptors { source })?;
    pool.get_message_by_name(full_name).ok_or_else(|| JsonError::NoMessage {
        name: full_name.to_owned(),
    })
}

#[cfg(test)]
mod tests {
    use inquest_proto::query::v1::{Filter, Incident, IncidentState};
    use serde_json::json;

    use super::*;

    const INCIDENT: &str = "inquest.query.v1.Incident";

    #[test]
    fn a_message_survives_its_json_form() {
        let incident = Incident {
            id: "01J".to_owned(),
            state: IncidentState::Open.into(),
            opened_at_ns: i64::MAX,
            fingerprint: vec![0, 255],
            ..Incident::default()
        };
        let json = to_json(INCIDENT, &incident).unwrap();
        let expected = json!({
            "id": "01J", "state": "INCIDENT_STATE_OPEN", "openedAtNs": "9223372036854775807", "fingerprint": "AP8=",
        });
        assert_eq!(json, expected);
        assert_eq!(from_json::<Incident>(INCIDENT, json).unwrap(), incident);
    }

    #[test]
    fn a_misspelt_field_is_named_instead_of_ignored() {
        let error = from_json::<Filter>("inquest.query.v1.Filter", json!({"namespce": "shop"})).unwrap_err();
        let JsonError::Mapping { source, .. } = error else {
            panic!("{error}")
        };
        assert!(source.to_string().contains("namespce"), "{source}");
    }

    #[test]
    fn an_unknown_message_is_an_error() {
        let error = to_json("inquest.query.v1.Nothing", &Filter::default()).unwrap_err();
        assert_eq!(error.to_string(), "there is no message inquest.query.v1.Nothing");
    }
}
