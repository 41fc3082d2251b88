//! States that hold until they are mended, and keep their incident open as long.
//!
//! Owns their names and their list in an incident. A state is named by workload, container and kind, not by pod: what a
//! controller makes anew over and over is one state. Must not know clocks or where states are seen.

use std::collections::BTreeSet;

use inquest_shared::model::{Finding, Incident, Key, MAX_STANDING, ReportKind, Subject};

/// What holds in a cluster at present.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Standing {
    /// Names of the states, as [`standing_key`] makes them.
    pub keys: BTreeSet<Key>,
    /// Nodes whose agents are silent: what happens there is not heard of.
    pub blind: BTreeSet<String>,
}

impl Standing {
    /// Whether a state that the incident holds on to does not hold any more.
    pub(super) fn ends_some_of(&self, incident: &Incident) -> bool {
        !incident.standing.is_subset(&self.keys)
    }

    /// Whether the incident may go on unheard.
    pub(super) fn is_blind_for(&self, incident: &Incident) -> bool {
        incident.nodes.names.iter().any(|node| self.blind.contains(node))
    }
}

/// Names a state of a subject.
#[must_use]
pub fn standing_key(subject: &Subject, kind: ReportKind) -> Key {
    let parts = [
        &*subject.namespace,
        &*subject.owner.kind,
        &*subject.owner.name,
        &*subject.container,
        kind.code(),
    ];
    Key::of(b"standing", &parts.map(str::as_bytes))
}

/// Notes that a state holds, if the finding tells of one. Beyond [`MAX_STANDING`] further ones are left out: the incident is
/// kept open by the others.
pub(super) fn note(incident: &mut Incident, finding: &Finding) {
    let kind = finding.evidence.report().map(|report| report.kind);
    if let Some(kind) = kind.filter(|kind| kind.lasts() && incident.standing.len() < MAX_STANDING) {
        incident.standing.insert(standing_key(&finding.subject, kind));
    }
}

/// Takes out what does not hold any more. Returns whether that was the last.
pub(super) fn keep(incident: &mut Incident, holding: &BTreeSet<Key>) -> bool {
    let before = incident.standing.len();
    incident.standing.retain(|key| holding.contains(key));
    before > 0 && incident.standing.is_empty()
}
