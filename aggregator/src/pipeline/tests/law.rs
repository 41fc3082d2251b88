//! Received = stored + repeated + unusable + waiting, whatever the store and the streams do.

use proptest::prelude::*;

use super::*;

/// What happens to the writer.
#[derive(Debug, Clone)]
enum Step {
    /// These crashes arrive in one message.
    Send(Vec<u32>),
    /// So many commits are refused.
    Refuse(u32),
    /// So many commits hold and say that they may not.
    Doubt(u32),
    /// The stored version of this crash is damaged from now on.
    Damage(u32),
    /// Everything that arrived is settled.
    Settle,
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        6 => prop::collection::vec(1..9u32, 1..6).prop_map(Step::Send),
        1 => (1..3u32).prop_map(Step::Refuse),
        1 => (1..3u32).prop_map(Step::Doubt),
        1 => (1..9u32).prop_map(Step::Damage),
        2 => Just(Step::Settle),
    ]
}

fn figure<S>(bench: &Bench<S>, name: &str) -> u64 {
    let text = bench.registry.encode().unwrap();
    let line = text
        .lines()
        .find_map(|line| line.strip_prefix(&format!("inquest_{name} ")));
    line.unwrap_or_else(|| panic!("no {name} in {text}")).parse().unwrap()
}

/// Received, and what became of it.
fn both_sides<S>(bench: &Bench<S>) -> (u64, u64) {
    let settled = [
        "findings_stored_total",
        "findings_repeated_total",
        "findings_unusable_total",
    ];
    let settled: u64 = settled.iter().map(|name| figure(bench, name)).sum();
    let received = figure(bench, "findings_received_total");
    (received, settled + figure(bench, "ingest_waiting_findings"))
}

async fn settled(sink: &AckSink) {
    while !sink.is_idle() {
        sink.news().await;
    }
}

async fn play(steps: Vec<Step>) {
    let bench = Bench::start(MemoryStore::new()).await;
    let sink = Arc::new(AckSink::new(1, 0));
    let (mut sent, mut distinct, mut doubted) = (0, BTreeSet::new(), false);
    for step in steps {
        match step {
            Step::Send(crashes) => {
                let findings: Vec<_> = (sent + 1..)
                    .zip(&crashes)
                    .map(|(seq, n)| (seq, crash("web", *n)))
                    .collect();
                bench.send(&node("a"), &sink, &findings).await;
                sent += crashes.len() as u64;
                distinct.extend(crashes);
            }
            Step::Refuse(commits) => bench.store.refuse.store(commits, Ordering::SeqCst),
            Step::Doubt(commits) => {
                doubted = true;
                bench.store.doubt.store(commits, Ordering::SeqCst);
            }
            Step::Damage(n) => *bench.store.damaged.lock().unwrap() = Some(crash("web", n).key),
            Step::Settle => settled(&sink).await,
        }
        let (received, accounted) = both_sides(&bench);
        assert_eq!((received, accounted), (sent, sent));
    }
    settled(&sink).await;
    assert_eq!(both_sides(&bench), (sent, sent));
    assert_eq!(figure(&bench, "ingest_waiting_findings"), 0);
    let on_disk = bench.store.disk().occurrences.len() as u64;
    if !doubted {
        assert_eq!(figure(&bench, "findings_stored_total"), on_disk);
    }
    assert!(on_disk <= distinct.len() as u64);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, ..ProptestConfig::default() })]

    #[test]
    fn every_received_finding_is_accounted_for_at_any_moment(steps in prop::collection::vec(step(), 1..25)) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().start_paused(true).build().unwrap();
        runtime.block_on(play(steps));
    }
}

/// A stream that is cut while the queue is full comes back and sends again: what waited then must not count twice.
#[tokio::test(start_paused = true)]
async fn a_stream_that_ends_while_it_waits_has_handed_nothing_in() {
    let bench = Bench::start(MemoryStore::new()).await;
    let closed = bench.store.gate.acquire().await.unwrap();
    let (of, sink) = (node("a"), Arc::new(AckSink::new(1, 0)));
    let mut handed_in = 0;
    loop {
        let one = [(handed_in + 1, crash("web", 1))];
        let sending = bench.send(&of, &sink, &one);
        if tokio::time::timeout(Duration::from_secs(60), sending).await.is_err() {
            break;
        }
        handed_in += 1;
    }
    assert_eq!(both_sides(&bench), (handed_in, handed_in));
    assert_eq!(figure(&bench, "ingest_waiting_findings"), handed_in);
    drop(closed);
    bench.acked(&sink, handed_in).await;
    assert_eq!(both_sides(&bench), (handed_in, handed_in));
}
