//! Records as stored bytes and back. The conversions themselves are `inquest_shared::wire`.

use inquest_proto::{ingest::v1 as ingest, query::v1 as query};
use inquest_shared::{
    model::{Finding, Incident},
    wire::decode_incident,
};
use prost::Message as _;

use super::error::{UnknownPayload, damaged};
use crate::store::StoreError;

/// Recipe of the payloads written by this release.
pub(super) const VERSION: i64 = 1;

/// An incident as bytes.
pub(super) fn of_incident(incident: &Incident) -> Vec<u8> {
    query::Incident::from(incident).encode_to_vec()
}

/// A finding back from its bytes. Not held to the limit for one arriving finding: merged ones may be larger.
pub(super) fn finding(what: &'static str, version: i64, bytes: &[u8]) -> Result<Finding, StoreError> {
    check(what, version)?;
    let message = ingest::Finding::decode(bytes).map_err(|e| damaged(what, e))?;
    Finding::try_from(message).map_err(|e| damaged(what, e))
}

/// An incident back from its bytes.
pub(super) fn incident(what: &'static str, version: i64, bytes: &[u8]) -> Result<Incident, StoreError> {
    check(what, version)?;
    decode_incident(bytes).map_err(|e| damaged(what, e))
}

fn check(what: &'static str, version: i64) -> Result<(), StoreError> {
    if version == VERSION {
        Ok(())
    } else {
        Err(damaged(what, UnknownPayload(version)))
    }
}
