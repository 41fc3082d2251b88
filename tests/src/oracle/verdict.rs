//! The comparison of what happened with what was kept and told. Pure.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
};

use super::{Cause, Entry, Fault};
use crate::world::Program;

/// Attempts that a receiver may have in flight when the aggregator dies; each may arrive a second time.
const IN_FLIGHT: usize = 4;

/// A stored finding.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct SeenFinding {
    /// Hex of its key.
    pub key: String,
    /// Cgroups that its evidence names.
    pub cgroups: BTreeSet<String>,
    /// Pod of its subject; empty for a process outside containers.
    pub pod: String,
    /// Whether it is the end of a container.
    pub is_exit: bool,
    /// The stored log tail; empty without one.
    pub log: String,
}

/// A kept incident.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct SeenIncident {
    /// Its id.
    pub id: String,
    /// Deaths that it counts.
    pub occurrences: u64,
    /// Transitions whose notification was delivered, as the store says.
    pub delivered: BTreeSet<u32>,
    /// Transitions whose notification is neither delivered nor replaced by a newer one.
    pub undelivered: BTreeSet<u32>,
}

/// A notification that the receiver has accepted, once for each time.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct SeenAlert {
    /// Its idempotency key: incident id, "-", transition.
    pub key: String,
    /// Type of its event.
    pub kind: String,
}

/// Two sums that have to be equal.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Law {
    /// What they mean.
    pub name: String,
    /// What came in.
    pub left: u64,
    /// What became of it.
    pub right: u64,
}

/// Everything that was kept and told.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Seen {
    /// The store's findings.
    pub findings: Vec<SeenFinding>,
    /// The store's incidents.
    pub incidents: Vec<SeenIncident>,
    /// What the receiver accepted.
    pub alerts: Vec<SeenAlert>,
    /// The programs' own sums.
    pub laws: Vec<Law>,
}

/// What is wrong; empty lists mean that nothing is.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Verdict {
    /// Happened, and is not there.
    pub lost: Vec<String>,
    /// There more than once where once is promised.
    pub duplicate: Vec<String>,
    /// There, and never happened.
    pub phantom: Vec<String>,
    /// A law does not add up.
    pub unaccounted: Vec<String>,
}

impl Verdict {
    /// Nothing is wrong.
    #[must_use]
    pub fn is_clean(&self) -> bool {
        *self == Self::default()
    }
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let lists = [
            ("lost", &self.lost),
            ("duplicate", &self.duplicate),
            ("phantom", &self.phantom),
            ("unaccounted", &self.unaccounted),
        ];
        for (name, list) in lists {
            writeln!(f, "{name}: {}", list.len())?;
            for entry in list {
                writeln!(f, "  {entry}")?;
            }
        }
        Ok(())
    }
}

/// Compares the journal with what was seen.
#[must_use]
pub fn judge(journal: &[Entry], seen: &Seen) -> Verdict {
    let mut verdict = Verdict::default();
    findings(journal, seen, &mut verdict);
    counts(journal, seen, &mut verdict);
    alerts(journal, seen, &mut verdict);
    let broken = seen.laws.iter().filter(|law| law.left != law.right);
    verdict.unaccounted = broken
        .map(|law| format!("{}: {} came in, {} are accounted for", law.name, law.left, law.right))
        .collect();
    verdict
}

fn causes(journal: &[Entry]) -> impl Iterator<Item = &Cause> {
    journal.iter().filter_map(|entry| match entry {
        Entry::Cause(cause) => Some(cause),
        Entry::Fault(_) => None,
    })
}

/// Each cause has exactly one finding with its proof; each finding has a cause.
fn findings(journal: &[Entry], seen: &Seen, verdict: &mut Verdict) {
    let mut explained = BTreeSet::new();
    for cause in causes(journal) {
        let keys: Vec<_> = seen.findings.iter().filter(|finding| tells(finding, cause)).collect();
        explained.extend(keys.iter().map(|finding| finding.key.clone()));
        match keys.as_slice() {
            [] => verdict.lost.push(format!("{cause:?} has no finding")),
            [one] => verdict.lost.extend(lost_log(cause, one)),
            many => verdict.duplicate.push(format!("{cause:?} has {} findings", many.len())),
        }
    }
    let phantoms = seen.findings.iter().filter(|finding| !explained.contains(&finding.key));
    verdict.phantom.extend(phantoms.map(|finding| format!("{finding:?}")));
}

fn tells(finding: &SeenFinding, cause: &Cause) -> bool {
    match cause {
        Cause::Kill { cgroup } => !finding.is_exit && finding.cgroups.contains(cgroup),
        Cause::Exit { pod, .. } => finding.is_exit && finding.pod == *pod,
    }
}

fn lost_log(cause: &Cause, finding: &SeenFinding) -> Option<String> {
    match cause {
        Cause::Exit { line, .. } if !finding.log.contains(line) => {
            Some(format!("{cause:?}: the log of {} is {:?}", finding.key, finding.log))
        }
        _ => None,
    }
}

/// Incidents count each cause once.
fn counts(journal: &[Entry], seen: &Seen, verdict: &mut Verdict) {
    let happened = u64::try_from(causes(journal).count()).unwrap_or(u64::MAX);
    let counted: u64 = seen.incidents.iter().map(|incident| incident.occurrences).sum();
    let text = format!("{happened} deaths happened, incidents count {counted}");
    if counted < happened {
        verdict.lost.push(text);
    } else if counted > happened {
        verdict.duplicate.push(text);
    }
}

/// What the store calls delivered has arrived, and nothing else has; a receiver that knows keys sees each once, and one
/// that does not sees no more repeats than were in flight at deaths of the aggregator.
fn alerts(journal: &[Entry], seen: &Seen, verdict: &mut Verdict) {
    let mut times: BTreeMap<&str, usize> = BTreeMap::new();
    let mut kinds: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
    for alert in &seen.alerts {
        *times.entry(&alert.key).or_default() += 1;
        kinds.entry(&alert.key).or_default().insert(&alert.kind);
    }
    let mut known = BTreeSet::new();
    for incident in &seen.incidents {
        for transition in &incident.delivered {
            let key = format!("{}-{transition}", incident.id);
            if !times.contains_key(key.as_str()) {
                verdict
                    .lost
                    .push(format!("notification {key} is delivered but did not arrive"));
            }
            known.insert(key);
        }
        for transition in &incident.undelivered {
            verdict
                .lost
                .push(format!("notification {}-{transition} was not delivered", incident.id));
        }
        if incident.delivered.is_empty() {
            verdict
                .lost
                .push(format!("nobody was told of incident {}", incident.id));
        }
    }
    let strangers = times.keys().filter(|key| !known.contains(**key));
    verdict
        .phantom
        .extend(strangers.map(|key| format!("notification {key}")));
    let mixed = kinds.iter().filter(|(_, kinds)| kinds.len() > 1);
    verdict
        .duplicate
        .extend(mixed.map(|(key, kinds)| format!("notification {key} came as {kinds:?}")));
    let repeats: usize = times.values().map(|times| times - 1).sum();
    let allowed = deaths_of_aggregator(journal) * IN_FLIGHT;
    if repeats > allowed {
        verdict
            .duplicate
            .push(format!("{repeats} repeated notifications, {allowed} may be"));
    }
}

fn deaths_of_aggregator(journal: &[Entry]) -> usize {
    let is_death = |entry: &&Entry| {
        matches!(
            entry,
            Entry::Fault(Fault::Death {
                program: Program::Aggregator,
                ..
            })
        )
    };
    journal.iter().filter(is_death).count()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn kill(cgroup: &str) -> Entry {
        Entry::Cause(Cause::Kill { cgroup: cgroup.into() })
    }

    fn exit(pod: &str) -> Entry {
        Entry::Cause(Cause::Exit {
            pod: pod.into(),
            line: "goodbye".into(),
        })
    }

    fn death(program: Program) -> Entry {
        Entry::Fault(Fault::Death {
            program,
            point: String::new(),
        })
    }

    fn finding(key: &str, cgroup: &str) -> SeenFinding {
        SeenFinding {
            key: key.into(),
            cgroups: [cgroup.to_owned()].into(),
            ..SeenFinding::default()
        }
    }

    fn incident(id: &str, occurrences: u64) -> SeenIncident {
        SeenIncident {
            id: id.into(),
            occurrences,
            delivered: [1].into(),
            ..SeenIncident::default()
        }
    }

    fn alert(key: &str) -> SeenAlert {
        SeenAlert {
            key: key.into(),
            kind: "opened".into(),
        }
    }

    /// Two kills and one exit, all well.
    fn well() -> (Vec<Entry>, Seen) {
        let end = SeenFinding {
            key: "3".into(),
            pod: "web".into(),
            is_exit: true,
            log: "hello\ngoodbye\n".into(),
            ..SeenFinding::default()
        };
        let seen = Seen {
            findings: vec![finding("1", "/a"), finding("2", "/b"), end],
            incidents: vec![incident("I", 2), incident("J", 1)],
            alerts: vec![alert("I-1"), alert("J-1")],
            laws: vec![Law {
                name: "findings".into(),
                left: 3,
                right: 3,
            }],
        };
        (vec![kill("/a"), kill("/b"), exit("web")], seen)
    }

    /// The verdict after one change to a world in which all was well.
    fn after(change: impl FnOnce(&mut Vec<Entry>, &mut Seen)) -> Verdict {
        let (mut journal, mut seen) = well();
        change(&mut journal, &mut seen);
        judge(&journal, &seen)
    }

    #[test]
    fn nothing_is_wrong_when_all_was_told_once() {
        let verdict = after(|_, _| {});
        assert!(verdict.is_clean(), "{verdict}");
    }

    #[test]
    fn planted_losses_are_found() {
        assert_eq!(after(|_, seen| drop(seen.findings.remove(0))).lost.len(), 1);
        assert_eq!(after(|_, seen| seen.incidents[0].occurrences = 1).lost.len(), 1);
        assert_eq!(after(|_, seen| drop(seen.alerts.remove(0))).lost.len(), 1);
        assert_eq!(after(|_, seen| seen.findings[2].log.clear()).lost.len(), 1);
        let untold = after(|_, seen| {
            seen.incidents[1].delivered.clear();
            seen.incidents[1].undelivered.insert(1);
        });
        assert_eq!(untold.lost.len(), 2, "{untold}");
    }

    #[test]
    fn planted_duplicates_are_found() {
        assert_eq!(
            after(|_, seen| seen.findings.push(finding("4", "/a"))).duplicate.len(),
            1
        );
        assert_eq!(after(|_, seen| seen.incidents[0].occurrences = 3).duplicate.len(), 1);
        assert_eq!(after(|_, seen| seen.alerts.push(alert("I-1"))).duplicate.len(), 1);
        let mixed = after(|journal, seen| {
            journal.push(death(Program::Aggregator));
            seen.alerts.push(SeenAlert {
                kind: "updated".into(),
                ..alert("I-1")
            });
        });
        assert_eq!(mixed.duplicate.len(), 1, "{mixed}");
    }

    #[test]
    fn what_was_in_flight_at_a_death_may_arrive_twice() {
        let repeated = |program| {
            after(|journal, seen| {
                journal.push(death(program));
                seen.alerts.push(alert("I-1"));
            })
        };
        assert!(repeated(Program::Aggregator).is_clean());
        assert_eq!(repeated(Program::Agent).duplicate.len(), 1);
    }

    #[test]
    fn planted_phantoms_are_found() {
        assert_eq!(
            after(|_, seen| seen.findings.push(finding("4", "/other")))
                .phantom
                .len(),
            1
        );
        assert_eq!(after(|_, seen| seen.alerts.push(alert("K-1"))).phantom.len(), 1);
    }

    #[test]
    fn a_law_that_does_not_add_up_is_found() {
        let verdict = after(|_, seen| seen.laws[0].right = 2);
        assert_eq!(verdict.unaccounted.len(), 1);
        assert!(
            verdict.to_string().contains("findings: 3 came in, 2 are accounted for"),
            "{verdict}"
        );
    }
}
