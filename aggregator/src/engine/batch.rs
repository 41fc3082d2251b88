//! One batch of events, folded over an overlay of the engine.
//!
//! Owns the way of an event to the incident that it concerns. What an incident does with it is the business of `episode`.

mod overlay;

use inquest_shared::{
    cause,
    clock::UnixNanos,
    model::{Discovery, Finding, FindingKind, Incident, IncidentState, TransitionKind},
};
use ulid::Ulid;

use self::overlay::Overlay;
use super::{
    Delta, Engine, Event, Rules,
    arrival::Arrival,
    counting,
    episode::{self, Entry},
    identity::{self, Identity},
    standing::{self, Standing},
    timers::{self, Passage},
    uncertain,
};
use crate::record::{NodeIdentity, Notice, StoredOccurrence};

/// Changes that are not committed yet. Dropping it undoes them.
#[derive(Debug)]
pub struct Batch<'a> {
    overlay: Overlay<'a>,
    rules: Rules,
    new_rules: bool,
    notices: Vec<Notice>,
    now: Option<UnixNanos>,
}

impl<'a> Batch<'a> {
    pub(super) fn new(engine: &'a Engine) -> Self {
        Self {
            overlay: Overlay::new(&engine.live),
            rules: engine.rules.clone(),
            new_rules: false,
            notices: Vec::new(),
            now: engine.now,
        }
    }

    /// Shows the batch a stored finding that events may refer to: the stored version of a finding that comes again, and
    /// those of the kills that an exit cites. Without the latter, an exit that arrives after other exits of its workload
    /// is judged without its kills.
    pub fn recall(&mut self, stored: StoredOccurrence) {
        self.overlay.recall(stored);
    }

    /// Folds one event. `now` is the aggregator's clock; `ids` gives a new ULID for a time.
    pub fn fold(&mut self, event: Event, now: UnixNanos, ids: &mut dyn FnMut(UnixNanos) -> Ulid) {
        let now = self.pass_time(now);
        match event {
            Event::Finding { node, finding, known } => {
                if let Some(known) = known {
                    self.overlay.recall(known);
                }
                self.finding(&node, &finding, now, ids);
            }
            Event::Standing { cluster, now: standing } => self.standing(&cluster, &standing, now),
            Event::Tick => self.tick(now),
            Event::Rules(rules) => self.change_rules(rules),
        }
    }

    /// What the batch changes.
    #[must_use]
    pub fn into_delta(self) -> Delta {
        let (occurrences, incidents, forgotten) = self.overlay.into_parts();
        let rules = self.new_rules.then_some(self.rules);
        Delta {
            occurrences,
            incidents,
            notices: self.notices,
            rules,
            forgotten,
            now: self.now,
        }
    }

    /// Notices jumps of the clock: timers keep the time that they had left, since nobody was watching meanwhile. Small
    /// steps back are taken as standing still. Resolved incidents keep their times; after a jump backwards those that
    /// resolved "in the future" are forgotten, so a return opens a new incident.
    fn pass_time(&mut self, now: UnixNanos) -> UnixNanos {
        let (now, shift) = match timers::passage(self.now, self.overlay.base().next_timer(), now) {
            Passage::Normal(now) => (now, None),
            Passage::Start => (now, Some(None)),
            Passage::Jump(shift) => (now, Some(Some(shift))),
        };
        if let Some(shift) = shift {
            for id in self.overlay.open_ids() {
                let rules = self.rules.clone();
                self.overlay.edit(id, |incident| match shift {
                    Some(shift) => timers::rebase(incident, shift),
                    None => timers::resume(incident, &rules, now),
                });
            }
            self.overlay.forget_resolved(|at| at > now);
        }
        self.now = Some(now);
        now
    }

    fn tick(&mut self, now: UnixNanos) {
        for id in self.overlay.due(now) {
            let Some(mut incident) = self.overlay.take(id) else {
                continue;
            };
            let kind = match incident.announce_at {
                Some(_) if episode::is_untold(&incident) => Some(uncertain::announce(&mut incident)),
                Some(_) => uncertain::settle(&mut incident),
                None => Some(episode::resolve(&mut incident, now)),
            };
            self.put(incident, kind);
        }
        let window = self.rules.reopen_window;
        self.overlay.forget_resolved(|at| at.saturating_add(window) <= now);
    }

    /// What no longer holds stops to keep its incident open; the quiet period begins. On a node that nobody hears of it does
    /// not run: silence is not health.
    fn standing(&mut self, cluster: &str, standing: &Standing, now: UnixNanos) {
        let rules = self.rules.clone();
        let concerned = |incident: &Incident| {
            let blind = standing.is_blind_for(incident) && timers::is_half_over(incident, &rules, now);
            incident.cluster == cluster && (blind || standing.ends_some_of(incident))
        };
        for id in self.overlay.open_ids() {
            if self.overlay.get(id).is_some_and(concerned) {
                self.overlay.edit(id, |incident| {
                    let mended = standing::keep(incident, &standing.keys);
                    if mended || standing.is_blind_for(incident) {
                        timers::restart_quiet(incident, &rules, now);
                    }
                });
            }
        }
    }

    fn change_rules(&mut self, rules: Rules) {
        for id in self.overlay.open_ids() {
            self.overlay.edit(id, |incident| {
                let quiet = timers::quiet_period(&rules, incident);
                incident.quiet_until = incident.last_arrival.saturating_add(quiet);
            });
        }
        self.rules = rules;
        self.new_rules = true;
    }

    /// Folds a version of a finding, as [`Event::Finding`] does.
    pub fn arrive(
        &mut self,
        node: &NodeIdentity,
        finding: &Finding,
        now: UnixNanos,
        ids: &mut dyn FnMut(UnixNanos) -> Ulid,
    ) {
        let now = self.pass_time(now);
        self.finding(node, finding, now, ids);
    }

    fn finding(
        &mut self,
        node: &NodeIdentity,
        finding: &Finding,
        now: UnixNanos,
        ids: &mut dyn FnMut(UnixNanos) -> Ulid,
    ) {
        let before = self.overlay.occurrence(node, finding.key).cloned();
        let mut stored = match &before {
            None => StoredOccurrence {
                node: node.clone(),
                finding: finding.clone(),
                incident: None,
                stored_at: now,
            },
            Some(before) => {
                let mut stored = before.clone();
                if !stored.finding.merge(finding) {
                    // Said once more it changes nothing, but that it holds.
                    let holds = |incident: &mut Incident| standing::note(incident, finding);
                    stored.incident.into_iter().for_each(|id| self.overlay.edit(id, holds));
                    return;
                }
                stored
            }
        };
        let cited = stored
            .finding
            .cites
            .iter()
            .filter_map(|kill| self.overlay.occurrence(node, *kill));
        let kills = cited.map(|kill| &kill.finding);
        let arrival = Arrival::new(node, before.as_ref().map(|b| &b.finding), &stored.finding, kills);
        let incident = match stored.incident {
            Some(id) => self.known(id, &arrival, now),
            None if stored.finding.discovery == Discovery::Lookback => None,
            None => self.new_event(&arrival, now, ids),
        };
        stored.incident = incident;
        self.overlay.store(stored);
    }

    /// Another version of a finding that an incident has. Returns the incident that has it now.
    fn known(&mut self, id: Ulid, arrival: &Arrival<'_>, now: UnixNanos) -> Option<Ulid> {
        let Some(mut incident) = self.overlay.take(id) else {
            return Some(id);
        };
        let open_question = episode::is_untold(&incident) || uncertain::has(&incident, arrival.finding.key);
        if open_question && !cause::alerts(arrival.verdict.cause) {
            let over = episode::withdraw(&mut incident, arrival);
            let kind = if over { episode::close(&mut incident, now) } else { None };
            self.put(incident, kind);
            return None;
        }
        if identity::is_member(&incident, arrival) {
            self.put(incident, None);
            return Some(id);
        }
        let (mut incident, moved) = self.rehome(incident, arrival, now);
        let entry = if moved { Entry::New } else { Entry::Known };
        let id = incident.id;
        let kind = episode::attach(&mut incident, arrival, entry, &self.rules, now);
        self.put(incident, kind);
        Some(id)
    }

    /// First version of a finding, or the first that is trouble. Returns the incident that counts it.
    fn new_event(
        &mut self,
        arrival: &Arrival<'_>,
        now: UnixNanos,
        ids: &mut dyn FnMut(UnixNanos) -> Ulid,
    ) -> Option<Ulid> {
        let target = Identity::of(arrival.node, arrival.finding);
        if let Some(incident) = self.related(&target, arrival, now) {
            return Some(self.join(incident, arrival, now));
        }
        if !cause::alerts(arrival.verdict.cause) {
            return None;
        }
        if let Some(mut lost) = self.lost_node(arrival, now) {
            let id = lost.id;
            episode::add_member(&mut lost, arrival);
            self.put(lost, None);
            return Some(id);
        }
        let target = self.with_room(target, now);
        let relative = self.relative(&target, arrival, now);
        let held = relative.or_else(|| self.overlay.holder(&target, &self.rules, now));
        let (mut incident, entry) = match held {
            Some(held) if held.state == IncidentState::Open => (held, Entry::New),
            Some(mut held) => {
                episode::reopen(&mut held, arrival, now);
                (held, Entry::Begins)
            }
            None => (episode::open(&target, arrival, ids(now), now), Entry::Begins),
        };
        let id = incident.id;
        let kind = episode::attach(&mut incident, arrival, entry, &self.rules, now);
        self.put(incident, kind);
        Some(id)
    }

    /// The open incident of the node, if the node was lost and that explains this end: one message for the node, not one for
    /// each of its pods.
    fn lost_node(&mut self, arrival: &Arrival<'_>, now: UnixNanos) -> Option<Incident> {
        let node = Identity::of_node(arrival.node);
        let lost = self.overlay.find(&node, &self.rules, now)?;
        let id = (lost.state == IncidentState::Open && identity::is_member(lost, arrival)).then_some(lost.id)?;
        self.overlay.take(id)
    }

    /// The open incident of the same trouble under another name: a workload that does not get on, and the container that keeps
    /// it from it, are one incident whichever was seen first.
    fn relative(&mut self, target: &Identity, arrival: &Arrival<'_>, now: UnixNanos) -> Option<Incident> {
        let is_open = |incident: &&Incident| incident.state == IncidentState::Open;
        if self
            .overlay
            .find(target, &self.rules, now)
            .is_some_and(|held| is_open(&held))
        {
            return None;
        }
        let cause = arrival.verdict.cause;
        let id = if !target.workload.container.is_empty() {
            let whole = self.overlay.find(&target.whole(), &self.rules, now).filter(is_open);
            whole.filter(|whole| cause::more_specific(cause, whole.cause))?.id
        } else if arrival.finding.kind == FindingKind::Report {
            let explains = |held: &Incident| held.cause == cause || cause::more_specific(held.cause, cause);
            self.overlay.open_of_owner(target).find(|held| explains(held))?.id
        } else {
            return None;
        };
        self.overlay.take(id)
    }

    /// An incident that has part of this event already: a kill that this exit cites, or the exit that cites this kill.
    /// It gets the rest of the event even when it has resolved or is not the one of the workload.
    fn related(&mut self, target: &Identity, arrival: &Arrival<'_>, now: UnixNanos) -> Option<Incident> {
        let key = arrival.finding.key;
        let of_kill = arrival.finding.cites.iter().find_map(|kill| {
            let id = self.overlay.occurrence(arrival.node, *kill)?.incident?;
            let held = self.overlay.get(id)?;
            (identity::may_hold(held, target) && !counting::is_further(held, arrival.finding)).then_some(id)
        });
        let id = of_kill.or_else(|| {
            let held = self.overlay.find(target, &self.rules, now)?;
            (!counting::is_further(held, arrival.finding)).then_some(held.id)
        });
        let id = id.or_else(|| {
            let lost = target.workload.container.is_empty() && arrival.finding.kind != FindingKind::Report;
            lost.then(|| self.overlay.citing(arrival.node, key)).flatten()
        });
        self.overlay.take(id?)
    }

    /// Adds the rest of an event to the incident that has a part of it.
    fn join(&mut self, incident: Incident, arrival: &Arrival<'_>, now: UnixNanos) -> Ulid {
        let (mut incident, moved) = self.rehome(incident, arrival, now);
        if moved {
            self.overlay.move_kills(arrival, incident.id);
        }
        let id = incident.id;
        let kind = episode::attach(&mut incident, arrival, Entry::New, &self.rules, now);
        self.put(incident, kind);
        id
    }

    /// An event that was put down to its node, as its container was not known yet, moves to its workload: into the open
    /// incident of the workload if there is one (the younger is closed and points to it), else by giving the incident
    /// its true subject. Returns the incident to go on with, and whether it is another one.
    fn rehome(&mut self, mut incident: Incident, arrival: &Arrival<'_>, now: UnixNanos) -> (Incident, bool) {
        let target = Identity::of(arrival.node, arrival.finding);
        if identity::is_node(&target.workload) || !identity::may_move(&incident) {
            return (incident, false);
        }
        let open = self
            .overlay
            .find(&target, &self.rules, now)
            .filter(|held| held.state == IncidentState::Open);
        let Some(home) = open.map(|held| held.id).and_then(|id| self.overlay.take(id)) else {
            incident.workload = target.workload;
            return (incident, false);
        };
        incident.merged_into = Some(home.id);
        let kind = episode::close(&mut incident, now);
        self.put(incident, kind);
        (home, true)
    }

    /// The identity under which a new incident may open: its own, or that of the overflow incident.
    fn with_room(&self, target: Identity, now: UnixNanos) -> Identity {
        let held = self.overlay.find(&target, &self.rules, now);
        if held.is_some_and(|incident| incident.state == IncidentState::Open) {
            return target;
        }
        let place = (target.cluster.clone(), target.workload.namespace.clone());
        if self.overlay.open() >= self.rules.max_open {
            target.cluster_overflow()
        } else if self.overlay.open_in(&place) >= self.rules.max_open_per_namespace {
            target.namespace_overflow()
        } else {
            target
        }
    }

    fn put(&mut self, incident: Incident, kind: Option<TransitionKind>) {
        if let Some(kind) = kind {
            self.notices.push(Notice {
                incident: incident.clone(),
                kind,
            });
        }
        self.overlay.put(incident);
    }
}
