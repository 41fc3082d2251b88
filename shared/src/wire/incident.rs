//! Incidents and deliveries.

use inquest_proto::{ingest::v1 as ingest, query::v1 as pb};
use prost::Message as _;
use ulid::Ulid;

use super::{
    WireError,
    fact::{cause, evidence_from_wire, evidence_to_wire, percent, severity},
    finding::{key, keys},
};
use crate::{
    clock::UnixNanos,
    model::{
        CountedKey, Delivery, FindingKind, Incident, IncidentState, Names, Occurrence, Owner, TransitionKind,
        Uncertain, Workload,
    },
};

impl From<&Incident> for pb::Incident {
    fn from(incident: &Incident) -> Self {
        Self {
            id: incident.id.to_string(),
            fingerprint: incident.fingerprint.as_bytes().to_vec(),
            state: incident.state.number(),
            cause: incident.cause.number(),
            severity: incident.severity.number(),
            confidence_percent: u32::from(incident.confidence_percent),
            cluster: incident.cluster.clone(),
            workload: Some((&incident.workload).into()),
            opened_at_ns: incident.opened_at.0,
            first_seen_ns: incident.first_seen.0,
            last_seen_ns: incident.last_seen.0,
            resolved_at_ns: incident.resolved_at.map_or(0, |t| t.0),
            quiet_until_ns: incident.quiet_until.0,
            occurrences: incident.occurrences,
            transition: incident.transition,
            transition_kind: incident.transition_kind.number(),
            reopened: incident.reopened,
            merged_into: incident.merged_into.map(|id| id.to_string()).unwrap_or_default(),
            pods: incident.pods.names.clone(),
            pods_total: incident.pods.total,
            nodes: incident.nodes.names.clone(),
            nodes_total: incident.nodes.total,
            exit_codes: incident
                .exit_codes
                .iter()
                .map(|(exit_code, count)| pb::ExitCodeCount {
                    exit_code: *exit_code,
                    count: *count,
                })
                .collect(),
            secondary_causes: incident.secondary_causes.iter().map(|c| c.number()).collect(),
            latest: Some((&incident.latest).into()),
            gaps_ns: incident.gaps.clone(),
            counted: incident
                .counted
                .iter()
                .map(|c| pb::CountedKey {
                    key: c.key.as_bytes().to_vec(),
                    kind: c.kind.number(),
                    cited: c.cited,
                })
                .collect(),
            deliveries: Vec::new(),
            looping: incident.looping,
            last_arrival_ns: incident.last_arrival.0,
            announce_at_ns: incident.announce_at.map_or(0, |t| t.0),
            standing: incident.standing.iter().map(|k| k.as_bytes().to_vec()).collect(),
            uncertain: incident.uncertain.iter().map(uncertain_to_wire).collect(),
        }
    }
}

impl TryFrom<pb::Incident> for Incident {
    type Error = WireError;

    fn try_from(incident: pb::Incident) -> Result<Self, WireError> {
        let number = |field, number| WireError::Number { field, number };
        Ok(Self {
            id: ulid("id", &incident.id)?,
            fingerprint: key("fingerprint", &incident.fingerprint)?,
            state: IncidentState::from_number(incident.state).ok_or_else(|| number("state", incident.state))?,
            cause: cause(incident.cause)?,
            severity: severity(incident.severity)?,
            confidence_percent: percent(incident.confidence_percent),
            cluster: incident.cluster,
            workload: incident.workload.ok_or(WireError::Missing("workload"))?.into(),
            opened_at: UnixNanos(incident.opened_at_ns),
            first_seen: UnixNanos(incident.first_seen_ns),
            last_seen: UnixNanos(incident.last_seen_ns),
            last_arrival: UnixNanos(incident.last_arrival_ns),
            resolved_at: (incident.resolved_at_ns != 0).then_some(UnixNanos(incident.resolved_at_ns)),
            quiet_until: UnixNanos(incident.quiet_until_ns),
            occurrences: incident.occurrences,
            transition: incident.transition,
            transition_kind: TransitionKind::from_number(incident.transition_kind)
                .ok_or_else(|| number("transition_kind", incident.transition_kind))?,
            reopened: incident.reopened,
            merged_into: match incident.merged_into.as_str() {
                "" => None,
                id => Some(ulid("merged_into", id)?),
            },
            pods: Names {
                names: incident.pods,
                total: incident.pods_total,
            },
            nodes: Names {
                names: incident.nodes,
                total: incident.nodes_total,
            },
            exit_codes: incident.exit_codes.iter().map(|c| (c.exit_code, c.count)).collect(),
            secondary_causes: incident
                .secondary_causes
                .into_iter()
                .map(cause)
                .collect::<Result<_, _>>()?,
            latest: incident.latest.ok_or(WireError::Missing("latest"))?.try_into()?,
            gaps: incident.gaps_ns,
            counted: incident.counted.iter().map(counted).collect::<Result<_, _>>()?,
            looping: incident.looping,
            announce_at: (incident.announce_at_ns != 0).then_some(UnixNanos(incident.announce_at_ns)),
            standing: keys("standing", &incident.standing)?,
            uncertain: incident
                .uncertain
                .into_iter()
                .map(uncertain)
                .collect::<Result<_, _>>()?,
        })
    }
}

fn uncertain_to_wire(event: &Uncertain) -> pb::Uncertain {
    pb::Uncertain {
        key: event.key.as_bytes().to_vec(),
        verdict: Some((&event.verdict).into()),
    }
}

fn uncertain(event: pb::Uncertain) -> Result<Uncertain, WireError> {
    Ok(Uncertain {
        key: key("uncertain.key", &event.key)?,
        verdict: event
            .verdict
            .ok_or(WireError::Missing("uncertain.verdict"))?
            .try_into()?,
    })
}

/// Decodes an incident as stored.
///
/// # Errors
/// [`WireError`]; the same bytes fail again.
pub fn decode_incident(bytes: &[u8]) -> Result<Incident, WireError> {
    pb::Incident::decode(bytes)?.try_into()
}

impl From<&Workload> for pb::Workload {
    fn from(workload: &Workload) -> Self {
        Self {
            namespace: workload.namespace.clone(),
            kind: workload.owner.kind.clone(),
            name: workload.owner.name.clone(),
            container: workload.container.clone(),
        }
    }
}

impl From<pb::Workload> for Workload {
    fn from(workload: pb::Workload) -> Self {
        Self {
            namespace: workload.namespace,
            owner: Owner {
                kind: workload.kind,
                name: workload.name,
            },
            container: workload.container,
        }
    }
}

impl From<&Occurrence> for pb::Occurrence {
    fn from(occurrence: &Occurrence) -> Self {
        Self {
            key: occurrence.key.as_bytes().to_vec(),
            kind: occurrence.kind.number(),
            at_ns: occurrence.at.0,
            subject: Some((&occurrence.subject).into()),
            evidence: evidence_to_wire(&occurrence.evidence),
            verdict: Some((&occurrence.verdict).into()),
            cites: occurrence.cites.iter().map(|k| k.as_bytes().to_vec()).collect(),
            node_name: occurrence.node_name.clone(),
        }
    }
}

impl TryFrom<pb::Occurrence> for Occurrence {
    type Error = WireError;

    fn try_from(occurrence: pb::Occurrence) -> Result<Self, WireError> {
        Ok(Self {
            key: key("latest.key", &occurrence.key)?,
            kind: kind(occurrence.kind)?,
            at: UnixNanos(occurrence.at_ns),
            subject: occurrence.subject.ok_or(WireError::Missing("latest.subject"))?.into(),
            evidence: evidence_from_wire(occurrence.evidence)?,
            verdict: occurrence
                .verdict
                .ok_or(WireError::Missing("latest.verdict"))?
                .try_into()?,
            cites: keys("latest.cites", &occurrence.cites)?,
            node_name: occurrence.node_name,
        })
    }
}

/// A delivery as a message.
#[must_use]
pub fn delivery_to_wire(delivery: &Delivery) -> pb::Delivery {
    pb::Delivery {
        receiver: delivery.receiver.clone(),
        transition: delivery.transition,
        kind: delivery.kind.number(),
        state: delivery.state.number(),
        attempts: delivery.attempts,
        planned_at_ns: delivery.planned_at.0,
        delivered_at_ns: delivery.delivered_at.map_or(0, |t| t.0),
        last_error: delivery.last_error.clone(),
    }
}

fn counted(counted: &pb::CountedKey) -> Result<CountedKey, WireError> {
    Ok(CountedKey {
        key: key("counted.key", &counted.key)?,
        kind: kind(counted.kind)?,
        cited: counted.cited,
    })
}

fn kind(number: i32) -> Result<FindingKind, WireError> {
    FindingKind::from_number(number).ok_or(WireError::Number { field: "kind", number })
}

fn ulid(field: &'static str, text: &str) -> Result<Ulid, WireError> {
    Ulid::from_string(text).map_err(|_| WireError::Ulid { field })
}

/// Keeps the two enums of one proto file in step with the model's.
const _: () = assert!(
    ingest::Cause::Unknown as i32 == crate::model::Cause::Unknown.number()
        && ingest::EvidenceSource::Log as i32 == crate::model::EvidenceSource::Log.number()
);
