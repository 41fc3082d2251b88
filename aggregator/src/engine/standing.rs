//! States that hold until they are mended, and keep their incident open as long.
//!
//! Owns their names and their list in an incident. A state is named by workload, container and kind, not by pod: what a
//! controller makes anew over and over is one state. Must not know clocks or where states are seen.

use std::collections::BTreeSet;

use inquest_shared::model::{Finding, Incident, Key, MAX_STANDING, ReportKind, Subject};

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
