//! The body of a webhook: a CloudEvents 1.0 event in structured JSON, the incident as its data.
//!
//! Owns names and shape of the event. Source: the CloudEvents specification 1.0 and its JSON format.

use std::fmt::Write as _;

use inquest_proto::query::v1 as pb;
use inquest_shared::clock::UnixNanos;
use inquest_shared::model::Incident;
use inquest_shared::text::{self, Lang};
use serde_json::{Value, json};
use thiserror::Error;

use super::fit::{Fit, MAX_EVENT_BYTES};
use crate::json::{JsonError, to_json};
use crate::notify::Message;
use crate::record::Slot;

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

/// The body of a message, with as much of the incident as [`MAX_EVENT_BYTES`] allows.
pub(super) fn encode(message: &Message, key: &str) -> Result<Vec<u8>, EventError> {
    let most = if message.brief { Fit::FewLines } else { Fit::Whole };
    let mut body = Vec::new();
    for fit in most.downwards() {
        body = encode_as(fit, message, key)?;
        if body.len() <= MAX_EVENT_BYTES {
            break;
        }
    }
    Ok(body)
}

fn encode_as(fit: Fit, message: &Message, key: &str) -> Result<Vec<u8>, EventError> {
    let incident = &message.notice.incident;
    let event = json!({
        "specversion": "1.0",
        "id": key,
        "source": format!("inquest/{}", uri_segment(&incident.cluster)),
        "type": event_type(message.slot()),
        "time": happened_at(incident).to_string(),
        "subject": subject(incident),
        "datacontenttype": "application/json",
        "data": data(incident, fit)?,
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

fn data(incident: &Incident, fit: Fit) -> Result<Value, JsonError> {
    let mut message = pb::Incident::from(incident);
    // State of the engine that only a restart of the aggregator needs.
    (message.counted, message.gaps_ns, message.announce_at_ns) = (Vec::new(), Vec::new(), 0);
    message.uncertain.clear();
    fit.apply(&mut message);
    let mut data = to_json("inquest.query.v1.Incident", &message)?;
    if let Some(fields) = data.as_object_mut() {
        let mut words = json!({
            "headline": text::headline(incident, Lang::En),
            "why": text::why(&incident.latest, Lang::En),
        });
        if let Some(changed) = text::changed(incident, Lang::En) {
            words["changed"] = changed.into();
        }
        fields.insert("text".to_owned(), words);
    }
    Ok(data)
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
    use std::sync::Arc;

    use inquest_shared::model::{Evidence, EvidenceSource, Fact, LogExcerpt, RuntimeExit, TransitionKind, Untrusted};
    use proptest::prelude::*;

    use super::*;
    use crate::alert::sample::{AT, row};

    /// A message whose facts quote `text` as often and as long as the model allows.
    fn quoting(text: &str, facts: usize, brief: bool) -> Message {
        let mut notice = row(1, "hook", 7, TransitionKind::Opened).notice;
        let words = Untrusted::bounded(text, 4096);
        let latest = &mut Arc::make_mut(&mut notice).incident.latest;
        for n in 0..facts {
            let exit = Fact::RuntimeExit(RuntimeExit {
                reason: words.clone(),
                message: words.clone(),
                ..RuntimeExit::default()
            });
            let log = Fact::LogExcerpt(LogExcerpt {
                lines: vec![words.clone(); 20],
                ..LogExcerpt::default()
            });
            for (source, fact) in [(EvidenceSource::Containerd, exit), (EvidenceSource::Log, log)] {
                latest
                    .evidence
                    .insert(source, format!("{n}"), Evidence { at: AT, fact });
            }
        }
        Message { notice, brief }
    }

    fn fields(body: &[u8]) -> Value {
        serde_json::from_slice(body).unwrap()
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]

        #[test]
        fn no_event_is_larger_than_consumers_accept_or_invalid(text in "\\PC{0,4000}|[\u{0}-\u{1f}\"\\\\]{0,4000}", facts in 0_usize..20, brief: bool) {
            let body = encode(&quoting(&text, facts, brief), "key").unwrap();
            prop_assert!(body.len() <= MAX_EVENT_BYTES, "{}", body.len());
            let event = fields(&body);
            prop_assert_eq!(&event["data"]["cause"], "CAUSE_OOM_LIMIT");
            prop_assert!(event["data"]["text"]["headline"].as_str().is_some_and(|words| !words.is_empty()));
        }
    }

    #[test]
    fn log_lines_go_before_facts() {
        let event = fields(&encode(&quoting(&"x".repeat(4096), 1, false), "key").unwrap());
        let evidence = event["data"]["latest"]["evidence"].to_string();
        assert!(evidence.contains("runtimeExit"), "{evidence}");
        assert!(evidence.contains("\"truncated\":true"), "{evidence}");
    }

    #[test]
    fn a_cluster_with_a_strange_name_still_gives_a_valid_source() {
        assert_eq!(uri_segment("prod-eu_1.x~"), "prod-eu_1.x~");
        assert_eq!(uri_segment("a b/ü?"), "a%20b%2F%C3%BC%3F");
    }
}
