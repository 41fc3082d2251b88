//! The life of one incident: opened, told, counted, resolved, reopened.
//!
//! Pure functions on an incident. Must not know other incidents.

use std::collections::{BTreeMap, BTreeSet};

use inquest_shared::{
    cause::{self, more_specific},
    clock::UnixNanos,
    model::{FindingKind, Incident, IncidentState, MAX_NAMES, Names, Severity, TransitionKind, Verdict},
};
use ulid::Ulid;

use super::{Rules, arrival::Arrival, causes, counting, identity::Identity, latest, live, standing, timers, uncertain};

/// Occurrences at which people are told again.
const MILESTONES: [u64; 5] = [3, 10, 50, 250, 1000];
/// From this many exits on an incident is a loop.
const LOOP_EXITS: u64 = 3;

/// How an arrival enters an incident.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Entry {
    /// First version of the event that begins an episode.
    Begins,
    /// First version of a finding in a running episode.
    New,
    /// Another version of a finding that the incident has.
    Known,
}

/// An incident without occurrences; [`attach`] adds the first.
pub(super) fn open(identity: &Identity, arrival: &Arrival<'_>, id: Ulid, now: UnixNanos) -> Incident {
    let (verdict, at) = (arrival.verdict, arrival.finding.observed_at);
    Incident {
        id,
        fingerprint: identity.fingerprint(verdict.cause, &arrival.evidence),
        state: IncidentState::Open,
        cause: verdict.cause,
        severity: verdict.severity,
        confidence_percent: verdict.confidence_percent,
        cluster: identity.cluster.clone(),
        workload: identity.workload.clone(),
        opened_at: now,
        first_seen: at,
        last_seen: at,
        last_arrival: now,
        resolved_at: None,
        quiet_until: now,
        occurrences: 0,
        transition: 0,
        transition_kind: TransitionKind::Opened,
        reopened: 0,
        merged_into: None,
        pods: Names::default(),
        nodes: Names::default(),
        exit_codes: BTreeMap::new(),
        secondary_causes: BTreeSet::new(),
        latest: arrival.occurrence(),
        gaps: Vec::new(),
        counted: Vec::new(),
        looping: false,
        announce_at: Some(now.saturating_add(cause::settle(verdict.cause))),
        uncertain: Vec::new(),
        standing: BTreeSet::new(),
    }
}

/// Whether a resolved incident may come back.
pub(super) fn may_reopen(incident: &Incident, rules: &Rules, now: UnixNanos) -> bool {
    let told = incident.transition > 0 && incident.merged_into.is_none();
    told && incident
        .resolved_at
        .is_some_and(|at| now < at.saturating_add(rules.reopen_window))
}

/// Begins a new episode; [`attach`] adds the event that begins it.
pub(super) fn reopen(incident: &mut Incident, arrival: &Arrival<'_>, now: UnixNanos) {
    incident.state = IncidentState::Open;
    incident.resolved_at = None;
    incident.reopened = incident.reopened.saturating_add(1);
    incident.announce_at = Some(now.saturating_add(cause::settle(arrival.verdict.cause)));
}

/// Adds an arrival and says what people are to be told.
pub(super) fn attach(
    incident: &mut Incident,
    arrival: &Arrival<'_>,
    entry: Entry,
    rules: &Rules,
    now: UnixNanos,
) -> Option<TransitionKind> {
    let (occurrences, severity) = (incident.occurrences, incident.severity);
    tally(incident, arrival, entry);
    standing::note(incident, arrival.finding);
    if entry == Entry::Begins {
        timers::restart(incident, rules, now);
    } else if incident.occurrences > occurrences {
        timers::arrived(incident, rules, now);
    }
    // That a rollout is stuck explains nothing where its crash is known.
    let lesser = arrival.finding.kind == FindingKind::Report && more_specific(incident.cause, arrival.verdict.cause);
    let part_of_latest = !lesser && latest::follow(&mut incident.latest, arrival);
    let verdict = if part_of_latest {
        incident.latest.verdict
    } else {
        arrival.verdict
    };
    let definite = uncertain::is_definite(verdict);
    let key = if part_of_latest {
        incident.latest.key
    } else {
        arrival.finding.key
    };
    if is_untold(incident) {
        if incident.transition > 0 {
            let kept = uncertain::note(incident, key, verdict);
            return (definite || !kept).then(|| {
                let kind = uncertain::announce(incident);
                reassess(incident, verdict);
                kind
            });
        }
        reassess(incident, verdict);
        return definite.then(|| announce(incident, verdict));
    }
    let over = incident.state == IncidentState::Resolved;
    let waits = !(definite || over || says_nothing_new(incident, verdict));
    let reclassified = if waits && uncertain::hold(incident, key, verdict, now) {
        false
    } else {
        uncertain::forget(incident, key);
        reassess(incident, verdict)
    };
    // One more pod in the same state is no new news, as one more crash is.
    let of_report = arrival.finding.kind == FindingKind::Report;
    let occurrences = if of_report { incident.occurrences } else { occurrences };
    tell_more(incident, reclassified, severity, occurrences)
}

/// Whether people wait to be told of the present episode.
pub(super) fn is_untold(incident: &Incident) -> bool {
    let before_this_episode = incident.transition == 0 || incident.transition_kind == TransitionKind::Resolved;
    incident.announce_at.is_some() && incident.state == IncidentState::Open && before_this_episode
}

fn says_nothing_new(incident: &Incident, verdict: Verdict) -> bool {
    let known = verdict.cause == incident.cause || incident.secondary_causes.contains(&verdict.cause);
    known && verdict.severity <= incident.severity
}

/// Tells what is worth telling about an incident that people know already.
pub(super) fn tell_more(
    incident: &mut Incident,
    reclassified: bool,
    severity: Severity,
    occurrences: u64,
) -> Option<TransitionKind> {
    let kind = further_notice(incident, reclassified, severity, occurrences)?;
    tell(incident, kind);
    Some(kind)
}

/// Counts an end that went with its node. People know of the node, so there is nothing to tell.
pub(super) fn add_member(incident: &mut Incident, arrival: &Arrival<'_>) {
    counting::count(incident, arrival.finding);
    incident.pods.note(&arrival.subject.pod);
    incident.last_seen = incident.last_seen.max(arrival.finding.observed_at);
}

/// Weighs the verdict on one event; returns whether the cause changed. Until people are told, the alias follows.
pub(super) fn reassess(incident: &mut Incident, verdict: Verdict) -> bool {
    let reclassified = causes::weigh(incident, verdict);
    let untold = incident.transition == 0;
    incident.severity = if untold && incident.occurrences <= 1 {
        verdict.severity
    } else {
        incident.severity.max(verdict.severity)
    };
    if untold {
        incident.fingerprint = live::identity(incident).fingerprint(incident.cause, &incident.latest.evidence);
    }
    reclassified
}

/// What is worth telling about an incident that people know already.
fn further_notice(
    incident: &Incident,
    reclassified: bool,
    severity: Severity,
    occurrences: u64,
) -> Option<TransitionKind> {
    let milestone = MILESTONES
        .iter()
        .any(|m| occurrences < *m && *m <= incident.occurrences);
    if incident.state == IncidentState::Resolved {
        None
    } else if reclassified {
        Some(TransitionKind::Reclassified)
    } else if incident.severity > severity {
        Some(TransitionKind::SeverityRaised)
    } else {
        milestone.then_some(TransitionKind::Milestone)
    }
}

/// Counts and lists; nothing here depends on the order of arrival.
fn tally(incident: &mut Incident, arrival: &Arrival<'_>, entry: Entry) {
    let occurrences = incident.occurrences;
    let first = entry != Entry::Known;
    if first {
        counting::count(incident, arrival.finding);
    } else {
        counting::cite(incident, arrival.finding);
    }
    counting::note_code(incident, arrival, first);
    incident.looping |= counting::exits(incident) >= LOOP_EXITS;
    let further = incident.occurrences > occurrences;
    for (names, name) in [
        (&mut incident.pods, &arrival.subject.pod),
        (&mut incident.nodes, &arrival.node.name),
    ] {
        if further || names.names.len() < MAX_NAMES {
            names.note(name);
        }
    }
    incident.first_seen = incident.first_seen.min(arrival.finding.observed_at);
    incident.last_seen = incident.last_seen.max(arrival.finding.observed_at);
}

/// Tells of the beginning of an episode. A new episode takes the cause of the event that began it, and only now: an
/// episode that turns out to be no trouble leaves what people were told as it was.
pub(super) fn announce(incident: &mut Incident, verdict: Verdict) -> TransitionKind {
    incident.announce_at = None;
    let kind = if incident.transition == 0 {
        TransitionKind::Opened
    } else {
        causes::take_over(incident, verdict);
        incident.severity = incident.severity.max(verdict.severity);
        TransitionKind::Reopened
    };
    tell(incident, kind);
    kind
}

/// Ends an incident that nobody needs to hear of any more: its trouble is none, or is another incident's.
/// People who were told of this episode are told of its end.
pub(super) fn close(incident: &mut Incident, now: UnixNanos) -> Option<TransitionKind> {
    let untold = is_untold(incident);
    incident.announce_at = None;
    incident.uncertain.clear();
    if !untold {
        return Some(resolve(incident, now));
    }
    incident.state = IncidentState::Resolved;
    incident.resolved_at = Some(now);
    if incident.transition > 0 {
        incident.reopened = incident.reopened.saturating_sub(1);
    }
    None
}

/// Ends an incident after its quiet period.
pub(super) fn resolve(incident: &mut Incident, now: UnixNanos) -> TransitionKind {
    incident.state = IncidentState::Resolved;
    incident.resolved_at = Some(now);
    tell(incident, TransitionKind::Resolved);
    TransitionKind::Resolved
}

/// Takes out a finding that turned out to be no trouble before anybody was told. Returns whether nothing is left of the
/// episode.
pub(super) fn withdraw(incident: &mut Incident, arrival: &Arrival<'_>) -> bool {
    counting::uncount(incident, arrival);
    let returns = incident.transition > 0 && is_untold(incident);
    uncertain::forget(incident, arrival.finding.key);
    incident.occurrences == 0 || (returns && incident.uncertain.is_empty())
}

fn tell(incident: &mut Incident, kind: TransitionKind) {
    incident.transition = incident.transition.saturating_add(1);
    incident.transition_kind = kind;
}
