use inquest_shared::model::{Finding, Untrusted};
use tokio::time::Instant;

use super::*;
use crate::{correlate::tests::death, record::NodeIdentity};

const NOW: UnixNanos = UnixNanos::from_secs(1_000);

fn pair(number: usize) -> Pair {
    Pair {
        cluster: "c1".into(),
        namespace: "shop".into(),
        keeper: Keeper::ReplicaSets,
        old: format!("api-{number}"),
        new: "api-new".into(),
    }
}

fn told(revision: u32) -> Told {
    let node = NodeIdentity {
        cluster: "c1".into(),
        uid: "u".into(),
        name: "n".into(),
    };
    let finding = Finding { revision, ..death(1) };
    (Arc::new(node), finding)
}

fn changes() -> Vec<TemplateChange> {
    vec![TemplateChange {
        what: inquest_shared::model::TemplateField::Image,
        container: "main".into(),
        name: String::new(),
        before: Untrusted::default(),
        after: Untrusted::bounded("b", 9),
    }]
}

/// A rollout of a hundred pods that all crash; the incident shows the newest of them.
#[tokio::test]
async fn the_newest_findings_get_the_answer_and_the_others_are_counted() {
    let templates = Templates::default();
    let dropped: u64 = (0..10).map(|n| templates.ask(&pair(1), || told(n), NOW)).sum();
    assert_eq!(dropped, 6);
    assert_eq!(templates.next().await, pair(1));
    let (findings, added) = templates.answered(&pair(1), Ok(changes()), NOW);
    let revisions: Vec<u32> = findings.iter().map(|(_, finding)| finding.revision).collect();
    assert_eq!(revisions, [6, 7, 8, 9]);
    assert_eq!(added.to_vec(), changes());
    assert_eq!(templates.known(&pair(1)).map(|known| known.to_vec()), Some(changes()));
}

#[tokio::test]
async fn a_storm_of_rollouts_is_bounded_and_what_is_not_asked_is_counted() {
    let templates = Templates::default();
    let asked = |n: usize| templates.ask(&pair(n), || told(0), NOW);
    assert_eq!((0..QUEUE + 5).map(asked).sum::<u64>(), 5);
    let mut answered = 0;
    while answered < 5 {
        let next = templates.next().await;
        templates.answered(&next, Ok(vec![]), NOW);
        answered += 1;
    }
    assert_eq!(asked(QUEUE), 0, "there is room again");
}

#[tokio::test]
async fn what_was_answered_long_ago_is_forgotten_for_what_is_new() {
    let templates = Templates::default();
    for number in 0..=MOST {
        let mut desk = templates.desk();
        desk.remember(&pair(number), Answer::Known(Arc::default()));
    }
    assert!(templates.known(&pair(0)).is_none() && templates.known(&pair(MOST)).is_some());
    assert_eq!(templates.desk().answers.len(), MOST);
}

#[tokio::test]
async fn a_question_that_failed_is_asked_again_after_a_minute() {
    let templates = Templates::default();
    templates.ask(&pair(1), || told(0), NOW);
    let next = templates.next().await;
    assert!(templates.answered(&next, Err(Failure::Away), NOW).0.len() == 1);
    templates.ask(&pair(1), || told(0), NOW);
    assert!(templates.desk().queue.is_empty());
    templates.ask(&pair(1), || told(0), NOW.saturating_add(AGAIN));
    assert_eq!(templates.next().await, next);
}

#[tokio::test(start_paused = true)]
async fn an_apiserver_is_asked_five_times_a_second_at_most() {
    let templates = Templates::default();
    for number in 0..15 {
        templates.ask(&pair(number), || told(0), NOW);
    }
    let start = Instant::now();
    for _ in 0..15 {
        templates.next().await;
    }
    // Thirty requests less a burst of ten.
    assert_eq!(start.elapsed().as_secs(), 4);
}
