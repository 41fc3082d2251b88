//! Which event of an incident is the latest, and what is known about it.
//!
//! The newest by the node's clock wins, whatever the order of arrival; equal times are told apart by key.

use inquest_shared::{cause, model::Occurrence};

use super::arrival::Arrival;

/// Lets the latest event follow an arrival. Returns whether the arrival is now part of it.
pub(super) fn follow(latest: &mut Occurrence, arrival: &Arrival<'_>) -> bool {
    let same_node = latest.node_name == arrival.node.name;
    if same_node && latest.cites.contains(&arrival.finding.key) {
        add(latest, arrival);
        return true;
    }
    let mut event = arrival.occurrence();
    if same_node && (latest.key == event.key || event.cites.contains(&latest.key)) {
        event.subject.merge(&latest.subject);
        event.evidence.merge(&latest.evidence);
        event.verdict = cause::judge(&event.evidence);
        *latest = event;
        return true;
    }
    let newer = (event.at, event.key) > (latest.at, latest.key);
    if newer {
        *latest = event;
    }
    newer
}

/// A kill that the latest exit cites tells more about it.
fn add(latest: &mut Occurrence, kill: &Arrival<'_>) {
    latest.subject.merge(&kill.subject);
    latest.evidence.merge(&kill.evidence);
    latest.verdict = cause::judge(&latest.evidence);
}
