//! Events whose cause may still change: what is said of them waits for a better word.
//!
//! None of their causes may be lost: the event that begins a return can be older than what the incident shows as its latest,
//! and something that was known before can be the first certain word. And none may be told too soon: a SIGKILL that turns
//! out to be an eviction a second later must not wake anybody a second time.

use std::time::Duration;

use inquest_shared::{
    cause,
    clock::UnixNanos,
    model::{Incident, Key, MAX_UNCERTAIN, TransitionKind, Uncertain, Verdict},
};

use super::episode;

/// Whether the cause cannot become another one any more.
pub(super) fn is_definite(verdict: Verdict) -> bool {
    cause::settle(verdict.cause) == Duration::ZERO
}

/// Takes what is known of an event now; false for one beyond the bound, which does not wait.
pub(super) fn note(incident: &mut Incident, key: Key, verdict: Verdict) -> bool {
    let room = incident.uncertain.len() < MAX_UNCERTAIN;
    let known = incident.uncertain.iter_mut().find(|event| event.key == key);
    match known {
        Some(event) => event.verdict = verdict,
        None if room => incident.uncertain.push(Uncertain { key, verdict }),
        None => return false,
    }
    true
}

/// Lets an event that may change what people know wait for its time; false for one beyond the bound.
pub(super) fn hold(incident: &mut Incident, key: Key, verdict: Verdict, now: UnixNanos) -> bool {
    let kept = note(incident, key, verdict);
    let until = now.saturating_add(cause::settle(verdict.cause));
    incident.announce_at.get_or_insert(until);
    kept
}

/// Whether an event waits.
pub(super) fn has(incident: &Incident, key: Key) -> bool {
    incident.uncertain.iter().any(|event| event.key == key)
}

/// Lets go of an event: its cause is certain now, or it is no trouble.
pub(super) fn forget(incident: &mut Incident, key: Key) {
    incident.uncertain.retain(|event| event.key != key);
    if incident.uncertain.is_empty() && !episode::is_untold(incident) {
        incident.announce_at = None;
    }
}

/// Tells of a return: as soon as one event of it is certain, or when its time has come. The cause is that of the event which
/// began it, unless another one says more.
pub(super) fn announce(incident: &mut Incident) -> TransitionKind {
    let events = std::mem::take(&mut incident.uncertain);
    let mut verdicts = events.into_iter().map(|event| event.verdict);
    let first = verdicts.next().unwrap_or(incident.latest.verdict);
    let kind = episode::announce(incident, first);
    for verdict in verdicts {
        episode::reassess(incident, verdict);
    }
    kind
}

/// The time of the events of an incident that people know has come: no better word came for them.
pub(super) fn settle(incident: &mut Incident) -> Option<TransitionKind> {
    incident.announce_at = None;
    let (severity, mut reclassified) = (incident.severity, false);
    for event in std::mem::take(&mut incident.uncertain) {
        reclassified |= episode::reassess(incident, event.verdict);
    }
    episode::tell_more(incident, reclassified, severity, incident.occurrences)
}
