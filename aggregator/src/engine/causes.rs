//! Which of the causes of an incident is *the* cause.
//!
//! A cause that says strictly more takes over; others stand beside it, except those that a known cause says strictly
//! more than: a SIGKILL without evidence is no second cause beside a proved memory kill.

use inquest_shared::{
    cause::more_specific,
    model::{Incident, Verdict},
};

/// Weighs the verdict on one event. Returns whether the cause of the incident changed.
///
/// As long as an incident consists of one event its cause is what the evidence of that event says, be it more or less
/// specific than what was known before.
pub(super) fn weigh(incident: &mut Incident, verdict: Verdict) -> bool {
    let sole = incident.occurrences <= 1;
    let old = incident.cause;
    if verdict.cause == old {
        let known = incident.confidence_percent;
        incident.confidence_percent = if sole {
            verdict.confidence_percent
        } else {
            known.max(verdict.confidence_percent)
        };
    } else if sole {
        incident.cause = verdict.cause;
        incident.confidence_percent = verdict.confidence_percent;
    } else if more_specific(verdict.cause, old) {
        take_over(incident, verdict);
    } else {
        incident.secondary_causes.insert(verdict.cause);
    }
    prune(incident);
    incident.cause != old
}

/// Makes a verdict the cause; the former one stays beside it unless the new one says strictly more.
pub(super) fn take_over(incident: &mut Incident, verdict: Verdict) {
    incident.secondary_causes.insert(incident.cause);
    incident.secondary_causes.remove(&verdict.cause);
    incident.cause = verdict.cause;
    incident.confidence_percent = verdict.confidence_percent;
    prune(incident);
}

fn prune(incident: &mut Incident) {
    let mut known = incident.secondary_causes.clone();
    known.insert(incident.cause);
    incident
        .secondary_causes
        .retain(|cause| !known.iter().any(|other| more_specific(*other, *cause)));
}
