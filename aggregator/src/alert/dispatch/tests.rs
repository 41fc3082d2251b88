mod fake;
mod outage;
mod receivers;

use std::time::Duration;

use inquest_shared::clock::{FakeClock, UnixNanos};
use inquest_shared::model::{DeliveryState, TransitionKind};
use tokio::time::Instant;

use super::*;
use crate::alert::{
    sample::{AT, row},
    worker::MAX_IN_FLIGHT,
};
use crate::notify::Outcome;
use crate::record::Commit;
use fake::{FakeStore, Script};

use TransitionKind::{Milestone, Opened, Resolved};

/// A running dispatcher over a fake store.
struct Bench {
    store: Arc<FakeStore>,
    registry: Registry,
    clock: FakeClock,
    dispatcher: Dispatcher,
    token: CancellationToken,
    task: tokio::task::JoinHandle<TaskResult>,
}

impl Bench {
    fn start(store: Arc<FakeStore>, receivers: &[(&str, &Script)]) -> Self {
        let clock = FakeClock::at(AT);
        let registry = Registry::new("test", "0");
        let destinations = receivers
            .iter()
            .map(|(name, script)| ((*name).to_owned(), script.notifier()))
            .collect();
        let shared_clock: Arc<dyn Clock> = Arc::new(clock.clone());
        let dispatcher = Dispatcher::new(
            Arc::clone(&store) as Arc<dyn Store>,
            destinations,
            &shared_clock,
            &registry,
        );
        let token = CancellationToken::new();
        let task = tokio::spawn({
            let (dispatcher, token) = (dispatcher.clone(), token.clone());
            async move { dispatcher.run(token).await }
        });
        Self {
            store,
            registry,
            clock,
            dispatcher,
            token,
            task,
        }
    }

    /// Commits and hands over, as the pipeline does.
    async fn plan(&self, rows: Vec<OutboxRow>) {
        self.store
            .commit(&Commit {
                outbox: rows.clone(),
                ..Commit::default()
            })
            .await
            .unwrap();
        self.dispatcher.hand_over(rows);
    }

    /// Lets everything happen that happens within `span`.
    async fn pass(&self, span: Duration) {
        let step = Duration::from_millis(50);
        let end = Instant::now() + span;
        while Instant::now() < end {
            self.clock.advance(step);
            tokio::time::sleep(step).await;
        }
    }

    /// The same over hours, in steps that are small beside every wait that matters then.
    async fn pass_coarsely(&self, span: Duration) {
        let step = secs(5);
        let end = Instant::now() + span;
        while Instant::now() < end {
            self.clock.advance(step);
            tokio::time::sleep(step).await;
        }
    }

    async fn stop(self) -> Arc<FakeStore> {
        self.token.cancel();
        self.task.await.unwrap().unwrap();
        self.store
    }

    fn metric(&self, line: &str) -> u64 {
        let text = self.registry.encode().unwrap();
        let value = text.lines().find_map(|l| l.strip_prefix(&format!("inquest_{line} ")));
        value.map_or(0, |value| value.parse().unwrap())
    }
}

fn secs(secs: u64) -> Duration {
    Duration::from_secs(secs)
}

#[tokio::test(start_paused = true)]
async fn an_alert_goes_out_at_once_and_costs_one_write_afterwards() {
    let script = Script::delivering();
    let bench = Bench::start(FakeStore::empty(), &[("hook", &script)]);
    bench.pass(secs(1)).await;
    let begun = Instant::now();
    bench.plan(vec![row(1, "hook", 7, Opened)]).await;
    script.calls_reach(1).await;
    assert_eq!(begun.elapsed(), Duration::ZERO);
    bench.pass(secs(1)).await;
    let store = bench.stop().await;
    assert_eq!(store.history(1), [(DeliveryState::Delivered, 1)]);
}

/// A worker that looked again and again meanwhile would take a whole core while a receiver is slow.
#[tokio::test(start_paused = true)]
async fn a_row_beyond_the_attempts_that_may_run_waits_for_the_end_of_one() {
    let script = Script::hanging();
    let bench = Bench::start(FakeStore::empty(), &[("hook", &script)]);
    bench.pass(secs(1)).await;
    let worker = Arc::clone(&bench.dispatcher.all()["hook"]);
    for row in (1..=9).map(|n| row(n, "hook", n.into(), Opened)) {
        worker.backlog.lock().unwrap().hand_over(row, Instant::now());
    }
    let later = Instant::now() + secs(60);
    assert_eq!(worker.next_look(MAX_IN_FLIGHT - 1, later), Some(Instant::now()));
    assert_eq!(worker.next_look(MAX_IN_FLIGHT, later), None);
}

#[tokio::test(start_paused = true)]
async fn a_failed_alert_is_tried_again_until_it_goes_through() {
    let script = Script::of(|call, _| if call < 3 { fake::http_500() } else { Outcome::Delivered });
    let bench = Bench::start(FakeStore::empty(), &[("hook", &script)]);
    bench.plan(vec![row(1, "hook", 7, Opened)]).await;
    bench.pass(secs(10)).await;
    assert_eq!(
        bench.metric(r#"notification_attempts_total{receiver="hook",outcome="retry"}"#),
        2
    );
    let store = bench.stop().await;
    assert_eq!(
        script.keys(),
        [script.key(7, 1), script.key(7, 1), script.key(7, 1)],
        "always the same key"
    );
    assert_eq!(store.state(1), DeliveryState::Delivered);
}

#[tokio::test(start_paused = true)]
async fn a_receiver_that_asks_for_silence_gets_it() {
    let wait = secs(90);
    let script = Script::of(move |call, _| {
        if call == 1 {
            fake::throttled(wait)
        } else {
            Outcome::Delivered
        }
    });
    let bench = Bench::start(FakeStore::empty(), &[("hook", &script)]);
    bench.plan(vec![row(1, "hook", 7, Opened)]).await;
    bench.pass(secs(1)).await;
    bench.plan(vec![row(2, "hook", 8, Opened)]).await;
    bench.pass(secs(80)).await;
    assert_eq!(script.keys().len(), 1, "the other incident waits too");
    bench.pass(secs(20)).await;
    assert_eq!(script.keys().len(), 3);
    bench.stop().await;
}

#[tokio::test(start_paused = true)]
async fn one_dead_receiver_does_not_delay_the_others() {
    let (dead, alive) = (Script::hanging(), Script::delivering());
    let bench = Bench::start(FakeStore::empty(), &[("dead", &dead), ("hook", &alive)]);
    bench.pass(secs(1)).await;
    let begun = Instant::now();
    for id in 0..100_u32 {
        let incident = u128::from(id);
        bench
            .plan(vec![
                row(2 * id + 1, "dead", incident, Opened),
                row(2 * id + 2, "hook", incident, Opened),
            ])
            .await;
    }
    alive.calls_reach(100).await;
    assert_eq!(begun.elapsed(), Duration::ZERO);
    assert!(dead.keys().len() <= 8, "attempts at one receiver are bounded");
    bench.task.abort();
}

#[tokio::test(start_paused = true)]
async fn a_refused_alert_is_kept_as_a_dead_letter_and_its_end_is_still_told() {
    let script = Script::of(|_, message| match message.notice.kind {
        Opened => fake::http_400(),
        _ => Outcome::Delivered,
    });
    let bench = Bench::start(FakeStore::empty(), &[("hook", &script)]);
    bench
        .plan(vec![row(1, "hook", 7, Opened), row(2, "hook", 7, Resolved)])
        .await;
    bench.pass(secs(1)).await;
    assert_eq!(
        bench.metric(r#"notifications_settled_total{receiver="hook",outcome="dead"}"#),
        1
    );
    let store = bench.stop().await;
    assert_eq!(
        (store.state(1), store.state(2)),
        (DeliveryState::Dead, DeliveryState::Delivered)
    );
    assert_eq!(store.row(1).last_error, "http 400");
}

#[tokio::test(start_paused = true)]
async fn an_alert_that_is_too_large_is_shortened_once() {
    let script = Script::of(|_, message| {
        if message.brief {
            Outcome::Delivered
        } else {
            fake::oversize()
        }
    });
    let bench = Bench::start(FakeStore::empty(), &[("hook", &script)]);
    bench.plan(vec![row(1, "hook", 7, Opened)]).await;
    bench.pass(secs(1)).await;
    assert_eq!(bench.stop().await.state(1), DeliveryState::Delivered);
    assert_eq!(script.keys().len(), 2);
}

#[tokio::test(start_paused = true)]
async fn a_broken_receiver_is_probed_and_then_gets_everything() {
    let script = Script::of(|_, _| fake::http_500());
    let bench = Bench::start(FakeStore::empty(), &[("hook", &script)]);
    let rows = (1..=40).map(|id| row(id, "hook", u128::from(id), Opened)).collect();
    bench.plan(rows).await;
    bench.pass(secs(120)).await;
    assert_eq!(bench.metric(r#"receiver_up{receiver="hook"}"#), 0);
    assert!(
        script.keys().len() <= 20,
        "{} attempts at a broken receiver",
        script.keys().len()
    );
    script.now_does(|_, _| Outcome::Delivered);
    bench.pass(secs(31)).await;
    assert_eq!(bench.metric(r#"receiver_up{receiver="hook"}"#), 1);
    assert_eq!(
        bench.metric(r#"notifications_settled_total{receiver="hook",outcome="delivered"}"#),
        40
    );
    bench.stop().await;
}

#[tokio::test(start_paused = true)]
async fn a_crash_repeats_at_most_what_was_in_flight() {
    let store = FakeStore::empty();
    let hanging = Script::hanging();
    let bench = Bench::start(Arc::clone(&store), &[("hook", &hanging)]);
    bench.pass(secs(1)).await;
    bench
        .plan(vec![row(1, "hook", 7, Opened), row(2, "hook", 7, Resolved)])
        .await;
    hanging.calls_reach(1).await;
    bench.task.abort();
    let script = Script::delivering();
    let bench = Bench::start(store, &[("hook", &script)]);
    bench.pass(secs(1)).await;
    assert_eq!(bench.metric(r#"notifications_planned_total{receiver="hook"}"#), 2);
    assert_eq!(bench.metric(r#"notifications_pending{receiver="hook"}"#), 0);
    let store = bench.stop().await;
    assert_eq!(script.keys(), [script.key(7, 1), script.key(7, 2)]);
    let expected = [(DeliveryState::Pending, 1), (DeliveryState::Delivered, 1)];
    assert_eq!(store.history(1), expected, "a try that may be a repeat leaves a trace");
}

#[tokio::test(start_paused = true)]
async fn an_outcome_that_the_store_refuses_is_written_later() {
    let script = Script::delivering();
    let bench = Bench::start(FakeStore::empty(), &[("hook", &script)]);
    bench.pass(secs(1)).await;
    bench.plan(vec![row(1, "hook", 7, Opened)]).await;
    bench.store.refuse(3);
    bench.pass(secs(10)).await;
    assert_eq!(bench.metric(r#"notification_store_failures_total{receiver="hook"}"#), 3);
    assert_eq!(script.keys().len(), 1, "not sent again");
    assert_eq!(bench.stop().await.state(1), DeliveryState::Delivered);
}

#[tokio::test(start_paused = true)]
async fn a_store_that_is_away_at_the_start_delays_and_loses_nothing() {
    let store = FakeStore::empty();
    store
        .commit(&Commit {
            outbox: vec![row(1, "hook", 7, Opened)],
            ..Commit::default()
        })
        .await
        .unwrap();
    store.refuse(4);
    let script = Script::delivering();
    let bench = Bench::start(store, &[("hook", &script)]);
    bench.pass(secs(10)).await;
    assert_eq!(bench.stop().await.state(1), DeliveryState::Delivered);
}

#[tokio::test(start_paused = true)]
async fn planned_is_delivered_and_dead_and_superseded_and_pending() {
    let script = Script::of(|_, message| match message.notice.incident.id.0 {
        1 => Outcome::Delivered,
        2 => fake::http_400(),
        _ => fake::http_500(),
    });
    let bench = Bench::start(FakeStore::empty(), &[("hook", &script)]);
    bench.pass(secs(1)).await;
    for (id, kind) in (1..).zip([Opened, Milestone, Milestone, Milestone]) {
        bench
            .plan(
                (1..=3)
                    .map(|incident| row(id * 10 + incident, "hook", u128::from(incident), kind))
                    .collect(),
            )
            .await;
    }
    bench.pass(secs(1)).await;
    let settled = |outcome: &str| {
        bench.metric(&format!(
            r#"notifications_settled_total{{receiver="hook",outcome="{outcome}"}}"#
        ))
    };
    let terms = [settled("delivered"), settled("dead"), settled("superseded")];
    let pending = bench.metric(r#"notifications_pending{receiver="hook"}"#);
    assert_eq!(bench.metric(r#"notifications_planned_total{receiver="hook"}"#), 12);
    assert!(terms.iter().all(|term| *term > 0) && pending > 0, "{terms:?} {pending}");
    assert_eq!(terms.iter().sum::<u64>() + pending, 12);
    bench.stop().await;
}

#[tokio::test(start_paused = true)]
async fn ten_thousand_alerts_in_one_burst_all_arrive_once() {
    let script = Script::delivering();
    let bench = Bench::start(FakeStore::empty(), &[("hook", &script)]);
    bench.pass(secs(1)).await;
    bench
        .plan((1..=10_000).map(|id| row(id, "hook", u128::from(id), Opened)).collect())
        .await;
    bench.pass(secs(30)).await;
    assert!(bench.metric(r#"notifications_spilled_total{receiver="hook"}"#) > 0);
    assert_eq!(
        bench.metric(r#"notifications_settled_total{receiver="hook",outcome="delivered"}"#),
        10_000
    );
    assert_eq!(bench.metric(r#"notifications_planned_total{receiver="hook"}"#), 10_000);
    assert_eq!(script.keys().len(), 10_000);
    bench.stop().await;
}

#[tokio::test(start_paused = true)]
async fn rows_of_a_receiver_that_is_gone_become_dead_letters() {
    let store = FakeStore::empty();
    store
        .commit(&Commit {
            outbox: vec![row(1, "gone", 7, Opened)],
            ..Commit::default()
        })
        .await
        .unwrap();
    let bench = Bench::start(store, &[("hook", &Script::delivering())]);
    bench.pass(secs(1)).await;
    let figures = [
        r#"notifications_planned_total{receiver="gone"}"#,
        r#"notifications_settled_total{receiver="gone",outcome="dead"}"#,
    ];
    assert_eq!(
        figures.map(|figure| bench.metric(figure)),
        [1, 1],
        "the law holds for it too"
    );
    let store = bench.stop().await;
    assert_eq!(
        (store.state(1), store.row(1).delivered_at),
        (DeliveryState::Dead, None::<UnixNanos>)
    );
}

#[tokio::test(start_paused = true)]
async fn a_notifier_that_panics_stops_nobody() {
    let script = Script::of(|call, _| {
        if call == 1 {
            panic!("a defect")
        } else {
            Outcome::Delivered
        }
    });
    let bench = Bench::start(FakeStore::empty(), &[("hook", &script)]);
    bench.plan(vec![row(1, "hook", 7, Opened)]).await;
    bench.pass(secs(5)).await;
    assert_eq!(bench.stop().await.state(1), DeliveryState::Delivered);
}

#[tokio::test(start_paused = true)]
async fn rows_of_a_commit_whose_outcome_was_unknown_are_found_and_sent_once() {
    let script = Script::delivering();
    let bench = Bench::start(FakeStore::empty(), &[("hook", &script)]);
    bench.pass(secs(1)).await;
    let outbox = vec![row(1, "hook", 7, Opened)];
    bench
        .store
        .commit(&Commit {
            outbox,
            ..Commit::default()
        })
        .await
        .unwrap();
    bench.dispatcher.look_in_store();
    bench.pass(secs(1)).await;
    assert_eq!(bench.metric(r#"notifications_planned_total{receiver="hook"}"#), 1);
    assert_eq!(script.keys(), [script.key(7, 1)]);
    bench.plan(vec![row(2, "hook", 8, Opened)]).await;
    script.calls_reach(2).await;
    assert_eq!(bench.stop().await.state(1), DeliveryState::Delivered);
}
