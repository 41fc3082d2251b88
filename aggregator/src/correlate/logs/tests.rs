//! Against an apiserver that cuts logs as the kubelet does.

use super::*;
use crate::{
    cluster::{
        Clusters, Kind,
        tests::objects::{Fake, clusters_of, learn, pod},
    },
    correlate::{
        CorrelationMetrics, CorrelationSettings,
        tests::{END, death, index, sender},
    },
};
use inquest_shared::{
    clock::{FakeClock, UnixNanos},
    telemetry::Registry,
};

const DURING: &str = "2026-01-01T00:00:39.5Z";
const BEFORE: &str = "2025-12-31T23:50:00Z";
const AFTER: &str = "2026-01-01T00:01:00Z";

fn settings() -> LogSettings {
    LogSettings {
        lines: 3,
        attempts: 4,
        parallel: 2,
        timeout: Duration::from_secs(5),
        redactor: Arc::new(Redactor::new(&[]).unwrap()),
    }
}

fn clusters(fake: &Fake) -> Clusters {
    let clusters = clusters_of(fake);
    learn(index(&clusters), Kind::Pods, &pod(1));
    clusters
}

fn correlation(fake: &Fake) -> Correlation {
    of(fake, settings())
}

fn of(fake: &Fake, chosen: LogSettings) -> Correlation {
    let metrics = CorrelationMetrics::new(&Registry::new("test", "0"));
    let settings = CorrelationSettings {
        logs: Some(chosen),
        ..CorrelationSettings::default()
    };
    Correlation::new(clusters(fake), Arc::new(FakeClock::at(END)), metrics, settings)
}

/// The end of a run that began a minute before, by a node that read no line of it.
fn end() -> Finding {
    let mut finding = death(1);
    let mut exit = finding.evidence.exit().cloned().unwrap();
    exit.started_at = Some(UnixNanos::from_secs(END.as_secs() - 60));
    let fact = Fact::RuntimeExit(exit);
    finding
        .evidence
        .insert(EvidenceSource::Containerd, "1", Evidence { at: END, fact });
    finding
}

/// The log that is told of an end, asked for as the program does.
async fn told(fake: &Fake) -> Option<LogExcerpt> {
    let correlation = correlation(fake);
    let mut finding = end();
    correlation
        .complete(&sender("node1", "by-secret"), &mut finding)
        .unwrap();
    let waiting = correlation.logs.as_ref()?.next().await;
    let (_, finding) = correlation.clone().with_log(waiting).await?;
    finding.evidence.log().cloned()
}

fn text(log: &LogExcerpt) -> Vec<&str> {
    log.lines.iter().map(|line| line.raw()).collect()
}

#[tokio::test]
async fn the_log_of_the_run_that_ended_is_told_without_its_secrets() {
    let fake = Fake::new();
    let line = |what: &str| format!("{DURING} {what}\n");
    let log = [line("1"), line("2"), line("password=hunter2"), line("no DB_URL")].concat();
    fake.keep_log(true, &log);
    fake.keep_log(false, &format!("{AFTER} starting\n"));
    let log = told(&fake).await.unwrap();
    assert_eq!(text(&log), ["2", "password=[redacted]", "no DB_URL"]);
    assert_eq!(
        (log.origin, log.redactions, log.truncated),
        (Some(LogOrigin::Apiserver), 1, true)
    );
    assert_eq!(fake.count("previous=true"), 1);
    assert_eq!(
        fake.count("container=main"),
        1,
        "a pod of two containers refuses a nameless question"
    );
}

/// The kubelet takes the run that just ended for the present one until it has looked.
#[tokio::test]
async fn a_kubelet_that_lags_behind_gives_the_right_run_all_the_same() {
    let fake = Fake::new();
    fake.keep_log(true, &format!("{BEFORE} of the crash before\n"));
    fake.keep_log(false, &format!("{DURING} of this crash\n"));
    let log = told(&fake).await.unwrap();
    assert_eq!(
        (text(&log), log.origin),
        (vec!["of this crash"], Some(LogOrigin::Apiserver))
    );
}

#[tokio::test]
async fn lines_of_the_next_attempt_are_marked_as_that() {
    let fake = Fake::new();
    fake.keep_log(false, &format!("{AFTER} starting\n"));
    let log = told(&fake).await.unwrap();
    assert_eq!(
        (text(&log), log.origin),
        (vec!["starting"], Some(LogOrigin::NextAttempt))
    );
}

#[tokio::test]
async fn a_container_that_wrote_nothing_needs_no_word() {
    let fake = Fake::new();
    fake.keep_log(true, "");
    assert_eq!(told(&fake).await, None);
}

/// Long lines: the newest would be cut off first.
#[tokio::test]
async fn the_last_line_survives_an_answer_that_is_too_long() {
    let fake = Fake::new();
    let long = "x".repeat(200_000);
    let log = format!("{DURING} {long}\n{DURING} {long}\n{DURING} panic: no disk\n");
    fake.keep_log(true, &log);
    assert_eq!(text(&told(&fake).await.unwrap()), ["panic: no disk"]);
}

/// What cannot be had is said: an alert without lines looks as if the program had said nothing.
#[tokio::test(start_paused = true)]
async fn a_log_that_cannot_be_had_is_said_with_the_reason() {
    for (code, origin, asked) in [
        (403, LogOrigin::Forbidden, 1),
        (404, LogOrigin::Gone, 2),
        (500, LogOrigin::Away, 4),
    ] {
        let fake = Fake::new();
        fake.refuse("pods/log", code);
        let log = told(&fake).await.unwrap();
        assert_eq!((log.origin, log.lines.len()), (Some(origin), 0), "{code}");
        assert_eq!(fake.count("/log?"), asked, "{code}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_kubelet_that_answers_late_is_asked_again() {
    let fake = Fake::new();
    fake.keep_log(true, &format!("{DURING} at last\n"));
    fake.refuse("pods/log", 503);
    let back = fake.clone();
    tokio::spawn(async move {
        sleep(Duration::from_millis(300)).await;
        back.allow("pods/log");
    });
    assert_eq!(text(&told(&fake).await.unwrap()), ["at last"]);
}

#[tokio::test]
async fn only_ends_that_people_are_told_of_and_that_have_no_log_are_asked_about_and_once() {
    let correlation = correlation(&Fake::new());
    let waiting = || correlation.logs.as_ref().unwrap().desk().queue.len();
    let node = sender("node1", "by-secret");
    let mut with_log = end();
    let fact = Fact::LogExcerpt(LogExcerpt::default());
    with_log
        .evidence
        .insert(EvidenceSource::Log, "1", Evidence { at: END, fact });
    correlation.complete(&node, &mut with_log).unwrap();
    correlation.complete(&node, &mut death(0)).unwrap();
    assert_eq!(waiting(), 0);
    for _ in 0..3 {
        correlation.complete(&node, &mut end()).unwrap();
    }
    assert_eq!(waiting(), 1);
}

#[tokio::test]
async fn a_storm_is_bounded_and_counted() {
    let correlation = correlation(&Fake::new());
    let logs = correlation.logs.as_ref().unwrap();
    let node = sender("node1", "by-secret");
    let dropped: u64 = (0..QUEUE + 3)
        .map(|n| {
            let key = Key::of(b"test", &[&n.to_be_bytes()]);
            logs.ask(&node, &Finding { key, ..end() })
        })
        .sum();
    assert_eq!(dropped, 3);
}

/// A container that wrote nothing must not keep the answers about others, nor the only place to ask.
#[tokio::test]
async fn one_at_a_time_every_end_gets_its_answer_also_after_one_without_a_line() {
    let fake = Fake::new();
    let correlation = {
        let mut chosen = settings();
        chosen.parallel = 1;
        of(&fake, chosen)
    };
    let logs = Arc::clone(correlation.logs.as_ref().unwrap());
    let node = sender("node1", "by-secret");
    let ask = |n: u8| {
        let key = Key::of(b"test", &[&[n]]);
        logs.ask(&node, &Finding { key, ..end() })
    };
    fake.keep_log(true, "");
    assert_eq!(ask(1), 0);
    let answers = async {
        let mut running = JoinSet::new();
        for _ in 0..3 {
            logs.answer(&correlation, &mut running).await;
        }
    };
    let later = async {
        while fake.count("/log?") < 2 {
            tokio::task::yield_now().await;
        }
        fake.keep_log(true, &format!("{DURING} no DB_URL\n"));
        assert_eq!([ask(2), ask(3), ask(4)], [0, 0, 0]);
    };
    tokio::join!(answers, later);
    assert!(fake.count("/log?") >= 5, "each was asked for");
}
