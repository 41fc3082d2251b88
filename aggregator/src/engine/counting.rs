//! How often: an exit and the kills that it cites count once, in any order of arrival.
//!
//! An incident remembers kills only, as an exit is known by its stored finding: kills that count by themselves, and kills
//! that an exit cites, arrived or not. At most [`MAX_COUNTED`] are remembered; a kill and its exit that are further apart
//! than that count twice.

use inquest_shared::model::{CountedKey, Finding, FindingKind, Incident, Key, MAX_COUNTED};

use super::arrival::Arrival;

/// Most exit codes that are told apart; exits with further ones count as occurrences only.
const MAX_EXIT_CODES: usize = 16;

/// Whether a finding that this incident has not seen is a further occurrence.
pub(super) fn is_further(incident: &Incident, finding: &Finding) -> bool {
    match finding.kind {
        FindingKind::Exit => !incident
            .counted
            .iter()
            .any(|kill| !kill.cited && finding.cites.contains(&kill.key)),
        FindingKind::Kill | FindingKind::UnexplainedKills | FindingKind::Report => !remembers(incident, finding.key),
    }
}

/// Whether the incident counted this kill, or an exit of it cites the kill.
pub(super) fn remembers(incident: &Incident, kill: Key) -> bool {
    incident.counted.iter().any(|counted| counted.key == kill)
}

/// Counts the first version of a finding.
pub(super) fn count(incident: &mut Incident, finding: &Finding) {
    match finding.kind {
        FindingKind::Exit => {
            incident.occurrences = incident.occurrences.saturating_add(1);
            cite(incident, finding);
        }
        FindingKind::Kill | FindingKind::UnexplainedKills | FindingKind::Report => {
            if !remembers(incident, finding.key) {
                incident.occurrences = incident.occurrences.saturating_add(1);
                remember(
                    incident,
                    CountedKey {
                        key: finding.key,
                        kind: finding.kind,
                        cited: false,
                    },
                );
            }
        }
    }
}

/// Kills that an exit cites no longer count by themselves.
pub(super) fn cite(incident: &mut Incident, exit: &Finding) {
    for key in &exit.cites {
        match incident.counted.iter_mut().find(|counted| counted.key == *key) {
            Some(counted) if !counted.cited => {
                counted.cited = true;
                incident.occurrences = incident.occurrences.saturating_sub(1);
            }
            Some(_) => {}
            None => remember(
                incident,
                CountedKey {
                    key: *key,
                    kind: FindingKind::Kill,
                    cited: true,
                },
            ),
        }
    }
}

/// Takes back what [`count`] did.
pub(super) fn uncount(incident: &mut Incident, arrival: &Arrival<'_>) {
    let counts = match arrival.finding.kind {
        FindingKind::Exit => true,
        FindingKind::Kill | FindingKind::UnexplainedKills | FindingKind::Report => incident
            .counted
            .iter()
            .any(|kill| kill.key == arrival.finding.key && !kill.cited),
    };
    if counts {
        incident.occurrences = incident.occurrences.saturating_sub(1);
        incident.counted.retain(|kill| kill.key != arrival.finding.key);
    }
    forget_code(incident, arrival.code_before);
}

/// Counts exits by code; a richer version of an exit may correct its code.
pub(super) fn note_code(incident: &mut Incident, arrival: &Arrival<'_>, first: bool) {
    let before = arrival.code_before.filter(|_| !first);
    let code = arrival.code();
    if before == code {
        return;
    }
    forget_code(incident, before);
    let Some(code) = code else { return };
    if incident.exit_codes.len() < MAX_EXIT_CODES || incident.exit_codes.contains_key(&code) {
        *incident.exit_codes.entry(code).or_default() += 1;
    }
}

/// Exits that were counted by code.
pub(super) fn exits(incident: &Incident) -> u64 {
    incident.exit_codes.values().sum()
}

fn forget_code(incident: &mut Incident, code: Option<i32>) {
    let Some(code) = code else { return };
    let Some(count) = incident.exit_codes.get_mut(&code) else {
        return;
    };
    *count = count.saturating_sub(1);
    if *count == 0 {
        incident.exit_codes.remove(&code);
    }
}

fn remember(incident: &mut Incident, kill: CountedKey) {
    incident.counted.push(kill);
    let surplus = incident.counted.len().saturating_sub(MAX_COUNTED);
    incident.counted.drain(..surplus);
}
