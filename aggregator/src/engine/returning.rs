//! The events of a return between its beginning and the moment when people are told.
//!
//! None of their causes may be lost: the event that began it can be older than what the incident shows as its latest, and
//! something that was known before can be the first certain word. Must not know clocks.

use inquest_shared::model::{Incident, Key, MAX_RETURNING, Returning, TransitionKind, Verdict};

use super::episode;

/// Takes what is known of an event now. One beyond the bound is not remembered.
pub(super) fn note(incident: &mut Incident, key: Key, verdict: Verdict) {
    let room = incident.returning.len() < MAX_RETURNING;
    let known = incident.returning.iter_mut().find(|event| event.key == key);
    match known {
        Some(event) => event.verdict = verdict,
        None if room => incident.returning.push(Returning { key, verdict }),
        None => {}
    }
}

/// Tells of the return: as soon as one event of it is certain, or when its time has come. The cause is that of the event which
/// began it, unless another one says more.
pub(super) fn announce(incident: &mut Incident) -> TransitionKind {
    let events = std::mem::take(&mut incident.returning);
    let mut verdicts = events.into_iter().map(|event| event.verdict);
    let first = verdicts.next().unwrap_or(incident.latest.verdict);
    let kind = episode::announce(incident, first);
    for verdict in verdicts {
        episode::reassess(incident, verdict);
    }
    kind
}
