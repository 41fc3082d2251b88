//! Deliveries that are repeated, out of order and an hour late, into the real store: its export must be byte-equal to that
//! of the orderly run.
//!
//! Findings are compared whole; of incidents, what [`orderless`] keeps.

use std::collections::BTreeMap;

use inquest_proto::{ingest::v1 as ingest, query::v1 as pb};
use inquest_shared::{
    model::{
        Discovery, Evidence, EvidenceSet, EvidenceSource, Fact, Finding, FindingKind, KernelKill, LimitLevel,
        LogExcerpt, TransitionKind, Untrusted,
    },
    wire::orderless,
};
use proptest::prelude::*;

use super::*;
use crate::{
    record::{Filter, Scope},
    store::SqliteStore,
};

/// One message about one finding.
type Delivery = (NodeIdentity, Finding);

/// What a mutator did to an orderly run.
#[derive(Debug, Clone)]
struct Mutated {
    prompt: Vec<Delivery>,
    /// Delivered an hour after the others.
    late: Vec<Delivery>,
}

fn kill(subject_of: &Finding, n: u32) -> Finding {
    let at = subject_of
        .observed_at
        .saturating_sub(Duration::from_millis(u64::from(n)));
    let report = KernelKill {
        pid: n,
        comm: Untrusted::bounded("hog", 15),
        level: Some(LimitLevel::Container),
        main_process: Some(true),
        limit_bytes: Some(1 << 20),
        ..KernelKill::default()
    };
    let mut kill = Finding {
        key: Key::kill("boot", "kmsg", &format!("{}-{n}", subject_of.subject.instance)),
        kind: FindingKind::Kill,
        discovery: Discovery::Live,
        observed_at: at,
        ..subject_of.clone()
    };
    kill.evidence = EvidenceSet::default();
    let fact = Fact::KernelKill(report);
    kill.evidence
        .insert(EvidenceSource::Kmsg, n.to_string(), Evidence { at, fact });
    kill
}

/// The versions of one death in the order in which a node makes them: its kills, the exit, the exit with its log.
fn death(workload: &str, n: u32, code: i32, kills: u32) -> Vec<Finding> {
    let mut exit = crash(workload, n * 10);
    let code = if kills > 0 { 137 } else { code };
    let mut evidence = EvidenceSet::default();
    for (source, position, fact) in exit.evidence.iter() {
        let mut fact = fact.clone();
        if let Fact::RuntimeExit(exit) = &mut fact.fact {
            exit.exit_code = code;
        }
        evidence.insert(source, position, fact);
    }
    exit.evidence = evidence;
    let kills: Vec<Finding> = (1..=kills).map(|k| kill(&exit, k)).collect();
    exit.cites = kills.iter().map(|kill| kill.key).collect();
    let mut told = exit.clone();
    let log = LogExcerpt {
        lines: vec![Untrusted::bounded("panic: out of luck", 256)],
        ..LogExcerpt::default()
    };
    let (at, fact) = (exit.observed_at, Fact::LogExcerpt(log));
    told.evidence.insert(EvidenceSource::Log, "tail", Evidence { at, fact });
    told.revision = 1;
    kills.into_iter().chain([exit, told]).collect()
}

fn orderly() -> impl Strategy<Value = Vec<Delivery>> {
    let one = (
        any::<bool>(),
        0..2u8,
        prop::sample::select(vec![1, 2, 137, 139]),
        0..3u32,
    );
    prop::collection::vec(one, 1..6).prop_map(|deaths| {
        let numbered = (1..).zip(deaths);
        let all = numbered.flat_map(|(n, (web, place, code, kills))| {
            let of = node(&format!("n{place}"));
            death(if web { "web" } else { "db" }, n, code, kills)
                .into_iter()
                .map(move |finding| (of.clone(), finding))
        });
        all.collect()
    })
}

/// Every message arrives at least once; some again; in any order.
fn repeated(orderly: &[Delivery]) -> impl Strategy<Value = Vec<Delivery>> + use<> {
    let all = orderly.to_vec();
    prop::collection::vec(1..4usize, all.len()).prop_flat_map(move |times| {
        let copies = all
            .iter()
            .zip(times)
            .flat_map(|(delivery, times)| vec![delivery.clone(); times]);
        Just(copies.collect::<Vec<_>>()).prop_shuffle()
    })
}

fn runs(with_delay: bool) -> impl Strategy<Value = (Vec<Delivery>, Mutated, usize)> {
    orderly().prop_flat_map(move |orderly| {
        let mutated = repeated(&orderly).prop_flat_map(move |all| {
            let least = if with_delay { 0 } else { all.len() };
            (least..=all.len()).prop_map(move |cut| {
                let (prompt, late) = all.split_at(cut);
                Mutated {
                    prompt: prompt.to_vec(),
                    late: late.to_vec(),
                }
            })
        });
        (Just(orderly), mutated, 1..6usize)
    })
}

struct Run {
    bench: Bench<SqliteStore>,
    sinks: BTreeMap<NodeIdentity, (Arc<AckSink>, u64)>,
    _dir: tempfile::TempDir,
}

impl Run {
    async fn start() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let store = SqliteStore::open(&dir.path().join("inquest.db")).await.unwrap();
        Self {
            bench: Bench::start(Arc::new(store)).await,
            sinks: BTreeMap::new(),
            _dir: dir,
        }
    }

    async fn deliver(&mut self, deliveries: &[Delivery], at_once: usize) {
        for chunk in deliveries.chunks(at_once) {
            for (node, finding) in chunk {
                let (sink, seq) = self
                    .sinks
                    .entry(node.clone())
                    .or_insert_with(|| (Arc::new(AckSink::new(1, 0)), 0));
                *seq += 1;
                self.bench.send(node, sink, &[(*seq, finding.clone())]).await;
            }
            for (sink, seq) in self.sinks.values() {
                if !sink.is_idle() {
                    self.bench.acked(sink, *seq).await;
                }
            }
        }
    }

    /// Lets the writer see a later time; a repetition wakes it.
    async fn pass(&mut self, time: Duration, repetition: &Delivery) {
        self.bench.clock.advance(time);
        self.deliver(std::slice::from_ref(repetition), 1).await;
    }

    async fn export(&self, late: bool) -> Export {
        let (store, everything, all) = (&self.bench.store, Filter::default(), Scope::All);
        let incidents = store.list_incidents(&all, &everything, None, 1_000).await.unwrap();
        let findings = store.list_findings(&all, &everything, None, 1_000).await.unwrap();
        let names: BTreeMap<Ulid, String> = incidents
            .iter()
            .map(|i| (i.id, i.workload.owner.name.clone()))
            .collect();
        let mut lines: Vec<String> = findings
            .iter()
            .map(|(stored, _)| {
                let finding = ingest::Finding::from(&stored.finding);
                let of = stored
                    .incident
                    .and_then(|id| names.get(&id).cloned())
                    .unwrap_or_default();
                let (node_uid, incident_id) = (stored.node.uid.clone(), of);
                let line = pb::StoredFinding {
                    finding: Some(finding),
                    node_uid,
                    incident_id,
                    ..Default::default()
                };
                format!("{line:#?}")
            })
            .collect();
        lines.extend(
            incidents
                .iter()
                .map(|incident| format!("{:#?}", orderless(incident.into(), late))),
        );
        lines.sort();
        Export {
            lines,
            incidents: incidents.len(),
        }
    }
}

struct Export {
    lines: Vec<String>,
    incidents: usize,
}

async fn compare(orderly: Vec<Delivery>, mutated: Mutated, at_once: usize) -> Result<(), TestCaseError> {
    let late = !mutated.late.is_empty();
    let (mut straight, mut crooked) = (Run::start().await, Run::start().await);
    straight.deliver(&orderly, 1).await;
    crooked.deliver(&mutated.prompt, at_once).await;
    if late {
        straight.pass(Duration::from_secs(3_600), &orderly[0]).await;
        crooked.pass(Duration::from_secs(3_600), &mutated.late[0]).await;
        crooked.deliver(&mutated.late, at_once).await;
    }
    for run in [&mut straight, &mut crooked] {
        // Every cause has settled then.
        run.pass(Duration::from_secs(5), &orderly[0]).await;
    }
    let (right, left) = (straight.export(late).await, crooked.export(late).await);
    prop_assert_eq!(right.incidents, left.incidents);
    for (right, left) in right.lines.iter().zip(&left.lines) {
        let differ = || right.lines().zip(left.lines()).filter(|(right, left)| right != left);
        prop_assert!(right == left, "{:#?}", differ().collect::<Vec<_>>());
    }
    prop_assert_eq!(right.lines.len(), left.lines.len());
    for run in [&straight, &crooked] {
        let rows = run.bench.handed.rows.lock().unwrap();
        let opened = rows
            .iter()
            .filter(|row| row.notice.kind == TransitionKind::Opened)
            .count();
        prop_assert_eq!(opened, right.incidents, "each trouble is announced once");
        let told: BTreeSet<_> = rows
            .iter()
            .map(|row| (row.notice.incident.id, row.notice.incident.transition))
            .collect();
        prop_assert_eq!(told.len(), rows.len(), "nothing is told twice");
    }
    Ok(())
}

fn block_on(run: impl Future<Output = Result<(), TestCaseError>>) -> Result<(), TestCaseError> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    runtime.block_on(run)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, ..ProptestConfig::default() })]

    #[test]
    fn repeated_and_reordered_deliveries_leave_the_same_store((orderly, mutated, at_once) in runs(false)) {
        block_on(compare(orderly, mutated, at_once))?;
    }

    #[test]
    fn deliveries_that_are_an_hour_late_leave_the_same_store((orderly, mutated, at_once) in runs(true)) {
        block_on(compare(orderly, mutated, at_once))?;
    }
}
