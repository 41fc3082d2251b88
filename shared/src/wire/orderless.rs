//! What of an incident does not depend on the order in which its findings arrived. For tests that compare two runs.

use inquest_proto::{ingest::v1 as ingest, query::v1 as pb};

use crate::{cause::more_specific, model::Cause};

/// The incident without its id, the times of the aggregator's clock, and the order of its lists.
///
/// An incident of several events also loses what follows the order of arrival by design, since people are told what is
/// known by then: how often and of what they were told, the alias under which they were told, and which cause came first;
/// its causes become one set. An incident of one event keeps all of that, unless `late` says that findings came after it
/// was resolved: then it was told and reopened, `state` follows the order too, and the new episode took the cause of the
/// event that began it, also one that says less than what was known.
#[must_use]
pub fn orderless(mut incident: pb::Incident, late: bool) -> pb::Incident {
    incident.id.clear();
    (incident.opened_at_ns, incident.last_arrival_ns, incident.quiet_until_ns) = (0, 0, 0);
    incident.gaps_ns.clear();
    incident.deliveries.clear();
    incident.pods.sort();
    incident.nodes.sort();
    incident.counted.sort_by(|a, b| a.key.cmp(&b.key));
    // A cited kill is remembered as a kill whether it came before its exit or after.
    for kill in incident.counted.iter_mut().filter(|kill| kill.cited) {
        kill.kind = ingest::FindingKind::Kill.into();
    }
    if late || incident.occurrences > 1 || !incident.secondary_causes.is_empty() {
        let mut causes = std::mem::take(&mut incident.secondary_causes);
        causes.push(incident.cause);
        causes.sort_unstable();
        causes.dedup();
        if late {
            let all = causes.clone();
            causes.retain(|cause| !all.iter().any(|other| says_more(*other, *cause)));
        }
        (incident.secondary_causes, incident.cause) = (causes, 0);
        (incident.transition, incident.transition_kind, incident.announce_at_ns) = (0, 0, 0);
        incident.confidence_percent = 0;
        incident.uncertain.clear();
        incident.fingerprint.clear();
    }
    if late {
        (incident.state, incident.resolved_at_ns, incident.reopened) = (0, 0, 0);
    }
    incident
}

fn says_more(new: i32, old: i32) -> bool {
    let causes = Cause::from_number(new).zip(Cause::from_number(old));
    causes.is_some_and(|(new, old)| more_specific(new, old))
}
