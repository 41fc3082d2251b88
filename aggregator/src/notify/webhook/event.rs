//! The body of a webhook: a CloudEvents 1.0 event in structured JSON, the incident as its data.
//!
//! Owns names and shape of the event. Source: the CloudEvents specification 1.0 and its JSON format.

use std::fmt::Write as _;

use inquest_proto::{ingest::v1::evidence::Fact, query::v1 as pb};
use inquest_shared::clock::UnixNanos;
use inquest_shared::model::Incident;
use inquest_shared::text::{self, Lang};
use serde_json::{Value, json};
use thiserror::Error;

use crate::json::{JsonError, to_json};
use crate::notify::Message;
use crate::record::Slot;

/// Log lines that a brief message keeps: the last ones tell most.
const BRIEF_LINES: usize = 3;

/// Why an event could not be written. Trying again does not help.
#[derive(Debug, Error)]
pub(super) enum EventError {
    /// The incident has no JSON form.
    #[error(transparent)]
    Incident(#[from] JsonError),
    /// The event has no JSON form.
    #[error("cannot write the event")]
    Event(#[source] serde_json::Error),
}

/// The body of a message.
pub(super) fn encode(message: &Message, key: &str) -> Result<Vec<u8>, EventError> {
    let incident = &message.notice.incident;
    let event = json!({
        "specversion": "1.0",
        "id": key,
        "source": format!("inquest/{}", uri_segment(&incident.cluster)),
        "type": event_type(message.slot()),
        "time": happened_at(incident).to_string(),
        "subject": subject(incident),
        "datacontenttype": "application/json",
        "data": data(incident, message.brief)?,
    });
    serde_json::to_vec(&event).map_err(EventError::Event)
}

const fn event_type(slot: Slot) -> &'static str {
    match slot {
        Slot::Open => "io.inquest.incident.opened",
        Slot::Update => "io.inquest.incident.updated",
        Slot::Resolve => "io.inquest.incident.resolved",
    }
}

/// When the thing happened that is told, which is not when it is sent.
fn happened_at(incident: &Incident) -> UnixNanos {
    incident.resolved_at.unwrap_or(incident.latest.at)
}

/// namespace/kind/workload/container, without what is unknown.
fn subject(incident: &Incident) -> String {
    let workload = &incident.workload;
    let parts = [
        &workload.namespace,
        &workload.owner.kind,
        &workload.owner.name,
        &workload.container,
    ];
    parts
        .into_iter()
        .filter(|part| !part.is_empty())
        .map(String::as_str)
        .collect::<Vec<_>>()
        .join("/")
}

fn data(incident: &Incident, brief: bool) -> Result<Value, JsonError> {
    let mut message = pb::Incident::from(incident);
    // State of the engine that only a restart of the aggregator needs.
    (message.counted, message.gaps_ns, message.announce_at_ns) = (Vec::new(), Vec::new(), 0);
    if brief {
        shorten(&mut message);
    }
    let mut data = to_json("inquest.query.v1.Incident", &message)?;
    if let Some(fields) = data.as_object_mut() {
        let words = json!({
            "headline": text::headline(incident, Lang::En),
            "why": text::why(&incident.latest, Lang::En),
        });
        fields.insert("text".to_owned(), words);
    }
    Ok(data)
}

/// Keeps the last lines of each log tail and says that older ones exist.
fn shorten(incident: &mut pb::Incident) {
    for evidence in incident.latest.iter_mut().flat_map(|latest| &mut latest.evidence) {
        if let Some(Fact::LogExcerpt(log)) = &mut evidence.fact {
            let older = log.lines.len().saturating_sub(BRIEF_LINES);
            log.lines.drain(..older);
            log.truncated |= older > 0;
        }
    }
}

/// A name as one segment of a URI: everything but unreserved characters (RFC 3986, section 2.3) is percent-encoded.
fn uri_segment(name: &str) -> String {
    let mut segment = String::with_capacity(name.len());
    for byte in name.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            segment.push(char::from(byte));
        } else {
            let _infallible = write!(segment, "%{byte:02X}");
        }
    }
    segment
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cluster_with_a_strange_name_still_gives_a_valid_source() {
        assert_eq!(uri_segment("prod-eu_1.x~"), "prod-eu_1.x~");
        assert_eq!(uri_segment("a b/ü?"), "a%20b%2F%C3%BC%3F");
    }
}
