mod delivery;
mod law;
pub(crate) mod memory;
pub(crate) mod sample;

use std::{
    collections::BTreeSet,
    sync::{Arc, Mutex, atomic::Ordering},
    time::Duration,
};

use inquest_shared::{clock::FakeClock, model::Key, telemetry::Registry};
use tokio::{sync::watch, task::JoinHandle};
use tokio_util::sync::CancellationToken;

use self::{
    memory::MemoryStore,
    sample::{crash, node},
};
use super::*;
use crate::{
    engine::Rules,
    record::NodeIdentity,
    store::{Store, StoreError},
};

/// One row to the receiver "people" for each notice.
pub(crate) struct ToPeople;

impl Planner for ToPeople {
    fn plan(&mut self, notices: &[Notice], now: UnixNanos, ids: &mut dyn FnMut(UnixNanos) -> Ulid) -> Vec<OutboxRow> {
        notices
            .iter()
            .map(|notice| sample::row(notice, ids(now), now))
            .collect()
    }
}

#[derive(Default)]
pub(crate) struct Handed {
    pub rows: Mutex<Vec<OutboxRow>>,
    pub looks: Mutex<u32>,
}

impl Handover for Handed {
    fn hand_over(&self, rows: Vec<OutboxRow>) {
        self.rows.lock().unwrap().extend(rows);
    }

    fn look_in_store(&self) {
        *self.looks.lock().unwrap() += 1;
    }
}

struct Bench<S> {
    store: Arc<S>,
    handed: Arc<Handed>,
    clock: FakeClock,
    intake: Intake,
    registry: Registry,
    stop: CancellationToken,
    task: JoinHandle<Result<(), StoreError>>,
    _rules: watch::Sender<Rules>,
}

impl<S: Store> Bench<S> {
    async fn start(store: Arc<S>) -> Self {
        let (handed, stop) = (Arc::new(Handed::default()), CancellationToken::new());
        let clock = FakeClock::at(UnixNanos::from_secs(1_000_000));
        let (rules, rules_seen) = watch::channel(Rules::default());
        let registry = Registry::new("test", "0");
        let parts = Parts {
            store: Arc::clone(&store) as _,
            rules: rules_seen,
            standing: watch::channel(Default::default()).1,
            planner: Box::new(ToPeople),
            handover: Arc::clone(&handed) as _,
            clock: Arc::new(clock.clone()),
            ids: monotonic_ids(),
            metrics: PipelineMetrics::new(&registry),
        };
        let (pipeline, intake) = Pipeline::start(parts).await.unwrap();
        let task = tokio::spawn(pipeline.run(stop.clone()));
        Self {
            store,
            handed,
            clock,
            intake,
            registry,
            stop,
            task,
            _rules: rules,
        }
    }

    async fn send(&self, node: &NodeIdentity, sink: &Arc<AckSink>, findings: &[(u64, inquest_shared::model::Finding)]) {
        let mut received = Vec::new();
        for (seq, finding) in findings {
            sink.receive(*seq, 100).unwrap();
            let permit = Some(self.intake.reserve(100).await.unwrap());
            received.push(Received {
                seq: *seq,
                digest: super::digest(node, &finding.into()),
                finding: finding.clone(),
                bytes: 100,
                permit,
            });
        }
        let submission = Submission {
            node: Arc::new(node.clone()),
            sink: Some(Arc::clone(sink)),
            findings: received,
        };
        self.intake.submit(submission).await.unwrap();
    }

    async fn acked(&self, sink: &AckSink, seq: u64) {
        while sink.news().await.acked < seq {}
    }

    fn metric(&self, line: &str) -> bool {
        let text = self.registry.encode().unwrap();
        text.lines().any(|l| l == line) || panic!("no {line} in {text}")
    }
}

#[tokio::test(start_paused = true)]
async fn a_crash_is_stored_told_and_acknowledged_together_with_its_mark() {
    let bench = Bench::start(MemoryStore::new()).await;
    let (node, sink) = (node("a"), Arc::new(AckSink::new(7, 0)));
    let mut watcher = bench.intake.watch();
    bench.send(&node, &sink, &[(3, crash("web", 1))]).await;
    bench.acked(&sink, 3).await;
    {
        let disk = bench.store.disk();
        assert_eq!(
            (disk.occurrences.len(), disk.incidents.len(), disk.outbox.len()),
            (1, 1, 1)
        );
        assert_eq!(disk.marks.get(&(node, 7)), Some(&3));
        assert_eq!(*bench.handed.rows.lock().unwrap(), disk.outbox);
    }
    assert_eq!(watcher.recv().await.unwrap().workload.owner.name, "web");
    assert!(bench.metric("inquest_findings_stored_total 1"));
}

/// The agent sends again what was not acknowledged; people must not be told twice.
#[tokio::test(start_paused = true)]
async fn a_replay_changes_nothing_and_is_acknowledged() {
    let bench = Bench::start(MemoryStore::new()).await;
    let sink = Arc::new(AckSink::new(7, 0));
    bench.send(&node("a"), &sink, &[(1, crash("web", 1))]).await;
    bench.acked(&sink, 1).await;
    let lost = Arc::new(AckSink::new(7, 0));
    bench
        .send(&node("a"), &lost, &[(1, crash("web", 1)), (2, crash("web", 1))])
        .await;
    bench.acked(&lost, 2).await;
    assert_eq!(*bench.store.commits.borrow(), 1);
    let incidents: Vec<_> = bench.store.disk().incidents.values().map(|i| i.occurrences).collect();
    assert_eq!((incidents, bench.handed.rows.lock().unwrap().len()), (vec![1], 1));
    assert!(bench.metric("inquest_findings_repeated_total 2"));
}

#[tokio::test(start_paused = true)]
async fn a_refused_commit_acknowledges_nothing_and_is_tried_again_until_it_holds() {
    let store = MemoryStore::new();
    store.refuse.store(3, Ordering::SeqCst);
    let bench = Bench::start(store).await;
    let sink = Arc::new(AckSink::new(1, 0));
    bench.send(&node("a"), &sink, &[(1, crash("web", 1))]).await;
    bench.acked(&sink, 1).await;
    assert!(bench.metric("inquest_commit_failures_total{outcome=\"refused\"} 3"));
    assert_eq!(bench.handed.rows.lock().unwrap().len(), 1);
}

/// The commit may be on disk although fsync failed: counting its findings again would invent crashes.
#[tokio::test(start_paused = true)]
async fn a_doubtful_commit_reloads_from_the_store_and_counts_once() {
    let store = MemoryStore::new();
    store.doubt.store(1, Ordering::SeqCst);
    let bench = Bench::start(store).await;
    let sink = Arc::new(AckSink::new(1, 0));
    bench.send(&node("a"), &sink, &[(1, crash("web", 1))]).await;
    bench.acked(&sink, 1).await;
    let counts: Vec<_> = bench.store.disk().incidents.values().map(|i| i.occurrences).collect();
    assert_eq!((counts, *bench.handed.looks.lock().unwrap()), (vec![1], 1));
}

#[tokio::test(start_paused = true)]
async fn one_damaged_record_does_not_hold_up_the_others() {
    let store = MemoryStore::new();
    *store.damaged.lock().unwrap() = Some(crash("web", 2).key);
    let bench = Bench::start(store).await;
    let sink = Arc::new(AckSink::new(1, 0));
    let findings: Vec<_> = (1..=4).map(|n| (u64::from(n), crash("web", n))).collect();
    bench.send(&node("a"), &sink, &findings).await;
    bench.acked(&sink, 4).await;
    assert_eq!(bench.store.disk().occurrences.len(), 3);
    assert!(bench.metric("inquest_findings_unusable_total 1"));
}

/// While one transaction runs everything else gathers; the first news of a workload then goes before a storm's repeats.
#[tokio::test(start_paused = true)]
async fn first_news_overtake_a_storm_of_repeats_without_early_acknowledgement() {
    let bench = Bench::start(MemoryStore::new()).await;
    let sink = Arc::new(AckSink::new(1, 0));
    bench.send(&node("a"), &sink, &[(1, crash("storm", 1))]).await;
    bench.acked(&sink, 1).await;
    let closed = bench.store.gate.acquire().await.unwrap();
    bench.send(&node("a"), &sink, &[(2, crash("storm", 2))]).await;
    tokio::task::yield_now().await;
    let storm: Vec<_> = (3..1_500).map(|n| (u64::from(n), crash("storm", n))).collect();
    bench.send(&node("a"), &sink, &storm).await;
    let news = Arc::new(AckSink::new(1, 0));
    bench.send(&node("b"), &news, &[(1, crash("quiet", 1))]).await;
    drop(closed);
    bench.acked(&news, 1).await;
    bench.acked(&sink, 1_499).await;
    let disk = bench.store.disk();
    // First the storm's opening, then what was under way, then the news before all other repeats.
    assert!(
        disk.batches[2].contains(&crash("quiet", 1).key),
        "{:?}",
        disk.batches.len()
    );
    assert_eq!(disk.occurrences.len(), 1_500);
}

#[tokio::test(start_paused = true)]
async fn a_quiet_incident_resolves_although_nothing_arrives() {
    let bench = Bench::start(MemoryStore::new()).await;
    let sink = Arc::new(AckSink::new(1, 0));
    bench.send(&node("a"), &sink, &[(1, crash("web", 1))]).await;
    bench.acked(&sink, 1).await;
    for _ in 0..13 {
        bench.clock.advance(Duration::from_secs(60));
        tokio::time::sleep(Duration::from_secs(2)).await;
    }
    let resolved: Vec<_> = bench
        .store
        .disk()
        .incidents
        .values()
        .map(|i| i.resolved_at.is_some())
        .collect();
    assert_eq!((resolved, bench.handed.rows.lock().unwrap().len()), (vec![true], 2));
}

#[tokio::test(start_paused = true)]
async fn what_has_arrived_before_the_stop_is_committed() {
    let bench = Bench::start(MemoryStore::new()).await;
    let closed = bench.store.gate.acquire().await.unwrap();
    let sink = Arc::new(AckSink::new(1, 0));
    for n in 1..=3 {
        bench.send(&node("a"), &sink, &[(u64::from(n), crash("web", n))]).await;
        tokio::task::yield_now().await;
    }
    bench.stop.cancel();
    drop(closed);
    bench.task.await.unwrap().unwrap();
    let keys: BTreeSet<Key> = bench.store.disk().occurrences.values().map(|o| o.finding.key).collect();
    assert_eq!(keys.len(), 3);
}
