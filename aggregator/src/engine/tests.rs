//! The engine against a store that is a map: what a user is told, and when.

mod lifecycle;
mod limits;
mod order;
mod standing;

use std::{collections::BTreeMap, time::Duration};

use inquest_shared::{
    clock::UnixNanos,
    model::{
        Discovery, Evidence, EvidenceSet, EvidenceSource, Fact, Finding, FindingKind, Incident, IncidentState,
        KernelKill, Key, LimitLevel, Owner, RuntimeExit, Subject, TransitionKind,
    },
};
use ulid::Ulid;

use super::{Delta, Engine, Event, Rules};
use crate::record::{NodeIdentity, StoredOccurrence};

const START: UnixNanos = UnixNanos::from_secs(1_000_000);

fn after(secs: u64) -> UnixNanos {
    START.saturating_add(Duration::from_secs(secs))
}

fn node(name: &str) -> NodeIdentity {
    NodeIdentity {
        cluster: "c".into(),
        uid: format!("uid-{name}"),
        name: name.into(),
    }
}

fn key(n: u32) -> Key {
    Key::of(b"test", &[&n.to_le_bytes()])
}

fn subject(workload: &str, pod: &str) -> Subject {
    Subject {
        namespace: "shop".into(),
        pod: format!("{workload}-{pod}"),
        container: "app".into(),
        owner: Owner {
            kind: "Deployment".into(),
            name: workload.into(),
        },
        ..Subject::default()
    }
}

fn finding(n: u32, kind: FindingKind, second: i64, source: EvidenceSource, fact: Fact) -> Finding {
    let mut evidence = EvidenceSet::default();
    evidence.insert(
        source,
        n.to_string(),
        Evidence {
            at: UnixNanos::from_secs(second),
            fact,
        },
    );
    Finding {
        key: key(n),
        kind,
        discovery: Discovery::Live,
        observed_at: UnixNanos::from_secs(second),
        subject: subject("web", "1"),
        evidence,
        cites: [].into(),
        revision: 0,
    }
}

/// A memory kill of a container's first process.
fn kill(n: u32, second: i64) -> Finding {
    let kill = KernelKill {
        pid: n,
        level: Some(LimitLevel::Container),
        main_process: Some(true),
        limit_bytes: Some(1 << 20),
        ..KernelKill::default()
    };
    finding(
        n,
        FindingKind::Kill,
        second,
        EvidenceSource::Kmsg,
        Fact::KernelKill(kill),
    )
}

/// The end of a container, explained by `cites`.
fn exit(n: u32, second: i64, code: i32, cites: &[u32]) -> Finding {
    let exit = RuntimeExit {
        exit_code: code,
        finished_at: UnixNanos::from_secs(second),
        ..RuntimeExit::default()
    };
    let finding = finding(
        n,
        FindingKind::Exit,
        second,
        EvidenceSource::Containerd,
        Fact::RuntimeExit(exit),
    );
    Finding {
        cites: cites.iter().map(|n| key(*n)).collect(),
        ..finding
    }
}

fn of(workload: &str, finding: Finding) -> Finding {
    Finding {
        subject: subject(workload, "1"),
        ..finding
    }
}

/// A finding whose container the node does not know.
fn lost(finding: Finding) -> Finding {
    Finding {
        subject: Subject::default(),
        ..finding
    }
}

/// An engine with its store.
struct World {
    engine: Engine,
    occurrences: BTreeMap<(NodeIdentity, Key), StoredOccurrence>,
    incidents: BTreeMap<Ulid, Incident>,
    ids: u128,
}

impl World {
    fn new() -> Self {
        Self::with(Rules::default())
    }

    fn with(rules: Rules) -> Self {
        let engine = Engine::new(rules, Vec::new());
        Self {
            engine,
            occurrences: BTreeMap::new(),
            incidents: BTreeMap::new(),
            ids: 0,
        }
    }

    /// Folds events in one batch without committing.
    fn fold(&mut self, events: Vec<Event>, now: UnixNanos) -> Delta {
        let mut batch = self.engine.batch();
        for event in events {
            if let Event::Finding { node, finding, .. } = &event {
                for kill in &finding.cites {
                    if let Some(stored) = self.occurrences.get(&(node.clone(), *kill)) {
                        batch.recall(stored.clone());
                    }
                }
            }
            batch.fold(event, now, &mut |_| {
                self.ids += 1;
                Ulid::from(self.ids)
            });
        }
        batch.into_delta()
    }

    /// Commits; returns what people are told.
    fn commit(&mut self, delta: &Delta) -> Vec<TransitionKind> {
        for stored in &delta.occurrences {
            self.occurrences
                .insert((stored.node.clone(), stored.finding.key), stored.clone());
        }
        self.incidents
            .extend(delta.incidents.iter().map(|incident| (incident.id, incident.clone())));
        self.engine.apply(delta);
        delta.notices.iter().map(|notice| notice.kind).collect()
    }

    fn event(&self, node: &NodeIdentity, finding: &Finding) -> Event {
        let known = self.occurrences.get(&(node.clone(), finding.key)).cloned();
        Event::Finding {
            node: node.clone(),
            finding: finding.clone(),
            known,
        }
    }

    fn send(&mut self, finding: &Finding, now: UnixNanos) -> Vec<TransitionKind> {
        self.send_from(&node("n1"), finding, now)
    }

    fn send_from(&mut self, node: &NodeIdentity, finding: &Finding, now: UnixNanos) -> Vec<TransitionKind> {
        let event = self.event(node, finding);
        let delta = self.fold(vec![event], now);
        self.commit(&delta)
    }

    fn tick(&mut self, now: UnixNanos) -> Vec<TransitionKind> {
        let delta = self.fold(vec![Event::Tick], now);
        self.commit(&delta)
    }

    /// Ticks at every deadline up to `now`, as the writer does.
    fn wait(&mut self, now: UnixNanos) -> Vec<TransitionKind> {
        let mut told = Vec::new();
        while let Some(due) = self.engine.next_deadline().filter(|due| *due <= now) {
            told.extend(self.tick(due));
        }
        told.extend(self.tick(now));
        told
    }

    /// The one incident that there is.
    fn only(&self) -> &Incident {
        assert_eq!(self.incidents.len(), 1, "{:#?}", self.incidents);
        self.incidents.values().next().unwrap()
    }

    fn open(&self) -> Vec<&Incident> {
        self.incidents
            .values()
            .filter(|incident| incident.state == IncidentState::Open)
            .collect()
    }

    /// The same store under a new process.
    fn restart(&mut self, rules: Rules) {
        self.engine = Engine::new(rules, self.incidents.values().cloned().collect());
    }
}
