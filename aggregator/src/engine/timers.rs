//! When an incident is announced, and when it counts as over.
//!
//! All times are of the aggregator's clock. Must not know findings.

use std::time::Duration;

use inquest_shared::{
    clock::UnixNanos,
    model::{Incident, IncidentState, MAX_GAPS},
};

use super::Rules;

/// Longest quiet period that measured gaps may lead to.
const MAX_QUIET: Duration = Duration::from_secs(6 * 60 * 60);
/// A measured quiet period is this many median gaps. The kubelet's restart back-off is configurable, so the gaps are
/// measured instead of assumed.
const QUIET_GAPS: u32 = 3;
/// A clock that steps back less than this is taken to stand still: time servers slew by milliseconds.
const BACKWARD_TOLERANCE: Duration = Duration::from_secs(1);
/// An event that comes this long after the deadline at which a tick was due shows that the clock leapt, or that the
/// machine slept: in both cases nobody was watching.
const FORWARD_TOLERANCE: Duration = Duration::from_secs(60 * 60);
/// After a start incidents stay open at least this long, so that agents can deliver what they hold.
const START_GRACE: Duration = Duration::from_secs(60);

/// How the time of an event relates to that of the event before.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Passage {
    /// The first event of this process.
    Start,
    /// Time went on as it should; this is the time to use.
    Normal(UnixNanos),
    /// The clock jumped by this many nanoseconds.
    Jump(i64),
}

/// Compares the time with that of the last event and with the deadline that was known then.
pub(super) fn passage(last: Option<UnixNanos>, deadline: Option<UnixNanos>, now: UnixNanos) -> Passage {
    let Some(last) = last else { return Passage::Start };
    if last.since(now) > BACKWARD_TOLERANCE {
        return Passage::Jump(now.0.saturating_sub(last.0));
    }
    match deadline {
        Some(due) if now.since(due.max(last)) > FORWARD_TOLERANCE => Passage::Jump(now.0.saturating_sub(last.0)),
        _ => Passage::Normal(now.max(last)),
    }
}

/// Moves the timers with the clock, so that as much time is left as before the jump.
pub(super) fn rebase(incident: &mut Incident, shift: i64) {
    let moved = |at: UnixNanos| UnixNanos(at.0.saturating_add(shift));
    incident.last_arrival = moved(incident.last_arrival);
    incident.quiet_until = moved(incident.quiet_until);
    incident.announce_at = incident.announce_at.map(moved);
}

/// Adapts the timers of an incident that was loaded: the time that this program was away is no quiet time, and the
/// clock may have been set back meanwhile.
pub(super) fn resume(incident: &mut Incident, rules: &Rules, now: UnixNanos) {
    if incident.last_arrival > now {
        rebase(incident, now.0.saturating_sub(incident.last_arrival.0));
    }
    let least = now.saturating_add(START_GRACE.min(rules.quiet_period));
    incident.quiet_until = incident.quiet_until.max(least);
}

/// Notes that a new occurrence arrived.
pub(super) fn arrived(incident: &mut Incident, rules: &Rules, now: UnixNanos) {
    incident.gaps.push(now.0.saturating_sub(incident.last_arrival.0).max(0));
    let surplus = incident.gaps.len().saturating_sub(MAX_GAPS);
    incident.gaps.drain(..surplus);
    restart(incident, rules, now);
}

/// Starts the quiet period anew.
pub(super) fn restart(incident: &mut Incident, rules: &Rules, now: UnixNanos) {
    incident.last_arrival = now;
    restart_quiet(incident, rules, now);
}

/// Starts the quiet period anew without an occurrence.
pub(super) fn restart_quiet(incident: &mut Incident, rules: &Rules, now: UnixNanos) {
    incident.quiet_until = now.saturating_add(quiet_period(rules, incident));
}

/// Whether less than half of the quiet period is left. Whoever holds it open writes then only, not with each look.
pub(super) fn is_half_over(incident: &Incident, rules: &Rules, now: UnixNanos) -> bool {
    incident.quiet_until.since(now) < quiet_period(rules, incident) / 2
}

/// The configured quiet period, or three median gaps when that is longer; at most six hours unless configured longer. Each
/// return doubles it: what comes and goes all day is told less and less often, and still told.
pub(super) fn quiet_period(rules: &Rules, incident: &Incident) -> Duration {
    let mut sorted = incident.gaps.clone();
    sorted.sort_unstable();
    let median = sorted.get(sorted.len() / 2).copied().unwrap_or(0);
    let measured = Duration::from_nanos(u64::try_from(median).unwrap_or(0)).saturating_mul(QUIET_GAPS);
    let doubled = rules
        .quiet_period
        .saturating_mul(1_u32.checked_shl(incident.reopened).unwrap_or(u32::MAX));
    rules.quiet_period.max(measured.max(doubled).min(MAX_QUIET))
}

/// When an open incident wants a tick.
pub(super) fn due(incident: &Incident) -> Option<UnixNanos> {
    match incident.state {
        IncidentState::Open if incident.standing.is_empty() => {
            Some(incident.announce_at.unwrap_or(incident.quiet_until))
        }
        IncidentState::Open => incident.announce_at,
        IncidentState::Resolved => None,
    }
}
