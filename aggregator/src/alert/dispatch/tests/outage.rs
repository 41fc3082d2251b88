//! Hours of a receiver that does not work, in virtual time.

use super::*;

const MINUTE: Duration = Duration::from_secs(60);
const HOUR: Duration = Duration::from_secs(3600);

fn settled(bench: &Bench, outcome: &str) -> u64 {
    bench.metric(&format!(
        r#"notifications_settled_total{{receiver="hook",outcome="{outcome}"}}"#
    ))
}

/// Numbers of the keys of one incident, in the order of the calls, each once.
fn transitions(script: &Script, incident: u128) -> Vec<String> {
    let mut seen = Vec::new();
    for key in script
        .keys()
        .into_iter()
        .filter(|key| key.starts_with(&Ulid(incident).to_string()))
    {
        if !seen.contains(&key) {
            seen.push(key);
        }
    }
    seen
}

/// Nobody is flooded, nobody is forgotten: attempts stay bounded for a day, and then everything comes.
#[tokio::test(start_paused = true)]
async fn a_day_of_errors_costs_few_attempts_and_no_alert() {
    let script = Script::of(|_, _| fake::http_500());
    let bench = Bench::start(FakeStore::empty(), &[("hook", &script)]);
    bench
        .plan((1..=50).map(|id| row(id, "hook", u128::from(id), Opened)).collect())
        .await;
    let mut at_hour = Vec::new();
    for _ in 0..24 {
        bench.pass_coarsely(HOUR).await;
        at_hour.push(script.keys().len());
    }
    // One test every 30 s, and what was in flight before the receiver counted as broken.
    let most = 24 * 120 + 20;
    assert!(at_hour[23] <= most, "{at_hour:?}");
    assert!(
        at_hour.windows(2).all(|pair| pair[1] > pair[0]),
        "it is tested at least every hour: {at_hour:?}"
    );
    let longest = (1..=50)
        .map(|id| bench.store.row(id).next_at.since(bench.clock.now()))
        .max();
    assert!(longest.is_some_and(|wait| wait <= 5 * MINUTE), "{longest:?}");
    assert_eq!(settled(&bench, "dead"), 0);
    script.now_does(|_, _| Outcome::Delivered);
    bench.pass_coarsely(MINUTE).await;
    assert_eq!(settled(&bench, "delivered"), 50);
    assert_eq!(bench.metric(r#"notifications_pending{receiver="hook"}"#), 0);
    bench.stop().await;
}

/// SX-20: ten minutes without a receiver; afterwards each incident's story arrives in its order.
#[tokio::test(start_paused = true)]
async fn what_was_planned_during_ten_minutes_of_outage_arrives_in_order() {
    let script = Script::of(|_, _| Outcome::RetryAfter(None, crate::notify::Reason::new("cannot connect")));
    let bench = Bench::start(FakeStore::empty(), &[("hook", &script)]);
    for step in 0..10_u32 {
        for incident in 1..=20_u32 {
            let kind = match step {
                0 => Opened,
                9 => Resolved,
                _ => Milestone,
            };
            let id = step * 20 + incident;
            bench.plan(vec![row(id, "hook", u128::from(incident), kind)]).await;
        }
        bench.pass(MINUTE).await;
    }
    let before = script.keys().len();
    script.now_does(|_, _| Outcome::Delivered);
    bench.pass(MINUTE).await;
    for incident in 1..=20 {
        let told = transitions(&script, incident);
        let first = script.key(incident, u32::try_from(incident).unwrap());
        let last = script.key(incident, 180 + u32::try_from(incident).unwrap());
        assert_eq!((told.first(), told.last()), (Some(&first), Some(&last)), "{told:?}");
    }
    let delivered = script.keys().split_off(before);
    let unique: std::collections::BTreeSet<_> = delivered.iter().collect();
    assert_eq!(unique.len(), delivered.len(), "something was told twice");
    // The opening, the latest update and the end of each; updates in between were replaced by the latest.
    assert_eq!((settled(&bench, "delivered"), settled(&bench, "dead")), (60, 0));
    assert_eq!(settled(&bench, "superseded"), 140);
    bench.stop().await;
}

/// A receiver that is never repaired leaves a list, not silence.
#[tokio::test(start_paused = true)]
async fn what_nobody_took_for_three_days_is_listed_as_dead_with_the_last_reason() {
    let script = Script::of(|_, _| fake::http_500());
    let bench = Bench::start(FakeStore::empty(), &[("hook", &script)]);
    bench.plan(vec![row(1, "hook", 7, Opened)]).await;
    bench.pass_coarsely(71 * HOUR).await;
    assert_eq!(bench.store.state(1), DeliveryState::Pending);
    bench.pass_coarsely(2 * HOUR).await;
    assert_eq!(bench.store.state(1), DeliveryState::Dead);
    assert_eq!(bench.store.row(1).last_error, "given up after 3 days: http 500");
    bench.stop().await;
}

/// The asked time is kept to the second, for the whole receiver, and what gathered meanwhile is told in its latest form.
#[tokio::test(start_paused = true)]
async fn silence_is_kept_to_the_second_and_ends_with_the_latest_state() {
    let script = Script::of(|call, _| match call {
        1 => fake::throttled(secs(60)),
        _ => Outcome::Delivered,
    });
    let bench = Bench::start(FakeStore::empty(), &[("hook", &script)]);
    bench.pass(secs(1)).await;
    bench.plan(vec![row(1, "hook", 7, Opened)]).await;
    script.calls_reach(1).await;
    let begun = Instant::now();
    for id in 2..=9 {
        bench.plan(vec![row(id, "hook", 7, Milestone)]).await;
    }
    let clock = bench.clock.clone();
    let moving = async {
        loop {
            clock.advance(secs(1) / 20);
            tokio::time::sleep(secs(1) / 20).await;
        }
    };
    tokio::select! {
        () = script.calls_reach(2) => {}
        () = moving => {}
    }
    let waited = begun.elapsed();
    assert!(waited >= secs(60) && waited <= secs(61), "{waited:?}");
    bench.pass(secs(1)).await;
    assert_eq!(script.keys(), [script.key(7, 1), script.key(7, 1), script.key(7, 9)]);
    assert_eq!(settled(&bench, "superseded"), 7);
    bench.stop().await;
}
