//! Receivers that come, change and go while alerts wait.

use super::*;

#[tokio::test(start_paused = true)]
async fn what_waits_for_a_removed_receiver_is_kept_and_goes_out_once_when_it_comes_back() {
    let (down, back, other) = (
        Script::of(|_, _| fake::http_500()),
        Script::delivering(),
        Script::delivering(),
    );
    let bench = Bench::start(FakeStore::empty(), &[("hook", &down), ("log", &other)]);
    bench.plan(vec![row(1, "hook", 7, Opened)]).await;
    bench.pass(secs(5)).await;
    bench.dispatcher.retire_all_but(&["log"]);
    bench.pass(secs(1)).await;
    let tried = down.keys().len();
    // A batch that was planned before the change may still name the receiver.
    bench.plan(vec![row(2, "hook", 8, Opened)]).await;
    bench.pass(secs(3_600)).await;
    assert_eq!(down.keys().len(), tried, "nothing is sent to a receiver that is gone");
    assert_eq!(bench.metric(r#"notifications_pending{receiver="hook"}"#), 2);
    bench.dispatcher.renew(vec![("hook".to_owned(), back.notifier())]);
    bench.pass(secs(1)).await;
    let mut told = back.keys();
    told.sort();
    assert_eq!(told, [back.key(7, 1), back.key(8, 2)]);
    assert_eq!(bench.metric(r#"notifications_planned_total{receiver="hook"}"#), 2);
    assert_eq!(
        bench.metric(r#"notifications_settled_total{receiver="hook",outcome="delivered"}"#),
        2
    );
    bench.stop().await;
}

#[tokio::test(start_paused = true)]
async fn a_receiver_that_is_added_later_gets_its_alerts() {
    let (first, second) = (Script::delivering(), Script::delivering());
    let bench = Bench::start(FakeStore::empty(), &[("first", &first)]);
    bench.pass(secs(1)).await;
    bench.dispatcher.renew(vec![("second".to_owned(), second.notifier())]);
    bench.plan(vec![row(1, "second", 7, Opened)]).await;
    bench.pass(secs(1)).await;
    assert_eq!(second.keys(), [second.key(7, 1)]);
    assert_eq!(bench.stop().await.state(1), DeliveryState::Delivered);
}

#[tokio::test(start_paused = true)]
async fn a_corrected_address_is_tried_at_once_with_the_same_key() {
    let (wrong, right) = (Script::of(|_, _| fake::http_500()), Script::delivering());
    let bench = Bench::start(FakeStore::empty(), &[("hook", &wrong)]);
    bench.plan(vec![row(1, "hook", 7, Opened)]).await;
    bench.pass(secs(120)).await;
    assert_eq!(bench.metric(r#"receiver_up{receiver="hook"}"#), 0);
    bench.dispatcher.renew(vec![("hook".to_owned(), right.notifier())]);
    let begun = Instant::now();
    right.calls_reach(1).await;
    assert_eq!((begun.elapsed(), right.keys()), (Duration::ZERO, vec![right.key(7, 1)]));
    bench.pass(secs(1)).await;
    assert_eq!(bench.metric(r#"receiver_up{receiver="hook"}"#), 1);
    bench.stop().await;
}
