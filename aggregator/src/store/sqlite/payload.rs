//! Records as stored bytes and back. The conversions themselves are `inquest_shared::wire`.

use inquest_proto::{ingest::v1 as ingest, query::v1 as query};
use inquest_shared::{
    model::{Finding, Incident},
    wire::decode_incident,
};
use prost::Message as _;

use super::error::{BadChecksum, UnknownPayload, damaged};
use crate::store::StoreError;

/// Recipe of the payloads written by this release: the message, then its CRC-32 (IEEE 802.3), little-endian. SQLite keeps
/// no checksum of a page, and many a flipped bit still decodes.
pub(super) const VERSION: i64 = 2;
/// The message alone, as the first release wrote it.
const PLAIN: i64 = 1;

/// An incident as bytes.
pub(super) fn of_incident(incident: &Incident) -> Vec<u8> {
    seal(query::Incident::from(incident).encode_to_vec())
}

/// A finding as bytes.
pub(super) fn of_finding(message: &ingest::Finding) -> Vec<u8> {
    seal(message.encode_to_vec())
}

fn seal(mut message: Vec<u8>) -> Vec<u8> {
    let sum = crc32fast::hash(&message);
    message.extend_from_slice(&sum.to_le_bytes());
    message
}

/// A finding back from its bytes. Not held to the limit for one arriving finding: merged ones may be larger.
pub(super) fn finding(what: &'static str, version: i64, bytes: &[u8]) -> Result<Finding, StoreError> {
    let bytes = check(what, version, bytes)?;
    let message = ingest::Finding::decode(bytes).map_err(|e| damaged(what, e))?;
    Finding::try_from(message).map_err(|e| damaged(what, e))
}

/// An incident back from its bytes.
pub(super) fn incident(what: &'static str, version: i64, bytes: &[u8]) -> Result<Incident, StoreError> {
    decode_incident(check(what, version, bytes)?).map_err(|e| damaged(what, e))
}

/// The message inside a payload.
fn check<'a>(what: &'static str, version: i64, bytes: &'a [u8]) -> Result<&'a [u8], StoreError> {
    match version {
        PLAIN => Ok(bytes),
        VERSION => bytes
            .split_last_chunk()
            .filter(|(message, sum)| crc32fast::hash(message).to_le_bytes() == **sum)
            .map(|(message, _)| message)
            .ok_or_else(|| damaged(what, BadChecksum)),
        unknown => Err(damaged(what, UnknownPayload(unknown))),
    }
}
