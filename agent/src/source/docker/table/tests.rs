use inquest_shared::{cause::Signal, model::RequestKind};

use super::*;
use crate::source::docker::events::What;

const SECOND: i64 = 1_000_000_000;

fn at(seconds: i64) -> UnixNanos {
    UnixNanos::from_secs(seconds)
}

fn settings() -> Settings {
    Settings {
        auto_remove: false,
        stop_signal: Signal::TERM,
        grace: Duration::from_secs(10),
        kubernetes: false,
    }
}

fn look(started: i64, finished: Option<i64>, phase: Phase) -> Look {
    Look {
        id: "c".into(),
        facts: Container {
            subject: Default::default(),
            pid: Some(7),
            log_path: None,
            memory_limit: None,
            started: None,
        },
        created: at(0),
        started: Some(at(started)),
        finished: finished.map(at),
        phase,
        settings: settings(),
    }
}

fn running(started: i64, last_end: Option<i64>) -> Look {
    look(started, last_end, Phase::Running)
}

fn ended(started: i64, finished: i64, code: i32) -> Look {
    look(started, Some(finished), Phase::Ended(ending(code)))
}

fn event(seconds: i64, what: What) -> Event {
    Event {
        id: "c".into(),
        at: at(seconds),
        what,
        attributes: HashMap::from([("name".to_owned(), "web".to_owned())]),
    }
}

fn die(seconds: i64, exit_code: i32) -> Event {
    event(seconds, What::Died { exit_code })
}

/// Instances, codes and times of the ends that were told.
fn ends(news: &[News]) -> Vec<(String, i32, i64)> {
    let told = news.iter().filter_map(|item| match item {
        News::Ended { exit, .. } => Some((
            exit.instance.clone(),
            exit.record.exit_code,
            exit.record.finished_at.0 / SECOND,
        )),
        _ => None,
    });
    told.collect()
}

fn asked(news: &[News]) -> Vec<RequestKind> {
    let told = news.iter().filter_map(|item| match item {
        News::Asked(asked) => Some(asked.request.kind),
        _ => None,
    });
    told.collect()
}

fn run(seconds: i64) -> String {
    format!("c@{}", seconds * SECOND)
}

#[test]
fn each_run_of_a_restarting_container_ends_once() {
    let mut table = Table::default();
    let mut told = Vec::new();
    for start in [10, 20, 30] {
        table.event(event(start, What::Started));
        told.extend(table.look(running(start, None), true));
        table.event(die(start + 2, 1));
        told.extend(table.look(ended(start, start + 1, 1), true));
        told.extend(table.look(ended(start, start + 1, 1), true));
    }
    assert_eq!(ends(&told), [(run(10), 1, 11), (run(20), 1, 21), (run(30), 1, 31)]);
}

#[test]
fn a_restart_that_was_quicker_than_the_inspection_keeps_the_code_and_the_recorded_time() {
    let mut table = Table::default();
    table.look(running(10, None), true);
    table.event(die(13, 3));
    table.event(event(15, What::Started));
    let told = table.look(running(15, Some(12)), true);
    assert_eq!(ends(&told), [(run(10), 3, 12)]);
}

#[test]
fn an_inspection_from_before_the_end_does_not_hide_it() {
    let mut table = Table::default();
    table.event(event(10, What::Started));
    table.event(die(12, 3));
    assert_eq!(ends(&table.look(running(10, None), true)), []);
    assert_eq!(ends(&table.look(ended(10, 11, 3), true)), [(run(10), 3, 11)]);
}

#[test]
fn a_container_that_removes_itself_is_told_by_its_events() {
    let mut table = Table::default();
    table.event(event(10, What::Started));
    table.event(die(12, 5));
    assert_eq!(table.event(event(13, What::Destroyed)).0, []);
    let told = table.missing("c", true);
    assert_eq!(ends(&told), [(run(10), 5, 12)]);
    assert_eq!(told.last(), Some(&News::Over(run(10))));
    let named = told
        .iter()
        .any(|item| matches!(item, News::Runs(c) if c.subject.container == "web"));
    assert!(named, "{told:?}");
}

#[test]
fn a_restart_that_no_event_told_has_a_lost_status_and_no_invented_one() {
    let mut table = Table::default();
    table.look(running(10, None), true);
    assert_eq!(ends(&table.look(running(20, Some(19)), false)), [(run(10), -1, 19)]);
}

#[test]
fn a_stop_explains_the_end_and_an_old_one_does_not() {
    let stopped_at = |signalled: i64| {
        let mut table = Table::default();
        table.look(running(10, None), true);
        table.event(event(signalled, What::Signalled { signal: 15 }));
        table.event(die(100, 1));
        asked(&table.look(ended(10, 100, 1), true))
    };
    assert_eq!(stopped_at(90), [RequestKind::Stop]);
    assert_eq!(stopped_at(70), []);
}

#[test]
fn a_request_to_one_run_says_nothing_about_the_next() {
    let mut table = Table::default();
    table.look(running(10, None), true);
    table.event(event(20, What::Signalled { signal: 15 }));
    assert_eq!(asked(&table.look(ended(10, 21, 0), true)), [RequestKind::Stop]);
    table.look(running(22, Some(21)), true);
    assert_eq!(asked(&table.look(ended(22, 23, 1), true)), []);
}

#[test]
fn a_removal_after_a_kill_is_told_with_it_unless_the_container_removes_itself() {
    let removed = |auto_remove: bool| {
        let mut table = Table::default();
        let set = |mut look: Look| {
            look.settings.auto_remove = auto_remove;
            look
        };
        table.look(set(running(10, None)), true);
        table.event(event(20, What::Signalled { signal: 9 }));
        let mut told = table.look(set(ended(10, 20, 137)), true);
        told.extend(table.event(event(21, What::Destroyed)).0);
        asked(&told)
    };
    assert_eq!(removed(false), [RequestKind::Kill, RequestKind::Remove]);
    assert_eq!(removed(true), [RequestKind::Kill]);
}

#[test]
fn what_a_kubelet_asks_explains_nothing_on_the_node() {
    let mut table = Table::default();
    let set = |mut look: Look| {
        look.settings.kubernetes = true;
        look
    };
    table.look(set(running(10, None)), true);
    table.event(event(20, What::Signalled { signal: 15 }));
    assert_eq!(asked(&table.look(set(ended(10, 21, 143)), true)), []);
}

#[test]
fn a_list_looks_at_what_may_have_changed_and_forgets_what_is_gone() {
    let mut table = Table::default();
    table.look(ended(10, 11, 0), true);
    let listed = |runs: bool| HashMap::from([("c".to_owned(), runs)]);
    assert_eq!(table.reconcile(&listed(false), false), Changes::default());
    assert_eq!(table.reconcile(&listed(true), false).inspect, ["c"]);
    assert_eq!(table.reconcile(&listed(false), true).inspect, ["c"]);
    assert_eq!(table.reconcile(&HashMap::new(), false).removed, ["c"]);
}

#[test]
fn a_stop_from_before_the_agent_came_explains_an_end_that_it_finds() {
    let mut table = Table::default();
    assert_eq!(table.past_request(event(20, What::Signalled { signal: 15 })), None);
    assert_eq!(table.past_request(die(21, 143)), None);
    assert_eq!(asked(&table.look(ended(10, 21, 143), false)), [RequestKind::Stop]);
    let gone = Event {
        id: "gone".into(),
        ..event(20, What::Stopped)
    };
    assert_eq!(table.past_request(gone), None);
    let listed = HashMap::from([("c".to_owned(), false)]);
    assert_eq!(table.reconcile(&listed, true).removed, ["gone"]);
}

#[test]
fn the_first_run_reads_its_log_from_the_beginning_and_later_ones_from_the_end_before() {
    let window = |news: &[News]| {
        news.iter().find_map(|item| match item {
            News::Ended { log, .. } => Some(*log),
            _ => None,
        })
    };
    let counted = |mut look: Look, restarts: u32| {
        look.facts.subject.attempt = restarts;
        look
    };
    let mut table = Table::default();
    table.look(counted(running(10, None), 0), true);
    let first = window(&table.look(counted(ended(10, 12, 1), 1), true));
    assert_eq!(first, Some(Window::default()));
    table.look(counted(running(20, Some(12)), 1), true);
    table.event(die(23, 1));
    let second = window(&table.look(counted(running(30, Some(22)), 2), true)).unwrap();
    assert_eq!((second.after, second.until), (Some(at(12)), Some(at(23))));
}

fn early(seconds: i64, exit_code: i32) -> EarlyEnd {
    EarlyEnd {
        id: "c".into(),
        exit_code,
        at: at(seconds),
    }
}

/// Whether each end that was told is confirmed.
fn confirmed(news: &[News]) -> Vec<bool> {
    let told = news.iter().filter_map(|item| match item {
        News::Ended { confirmed, .. } => Some(*confirmed),
        _ => None,
    });
    told.collect()
}

#[test]
fn an_end_that_containerd_told_is_confirmed_under_the_same_time() {
    let mut table = Table::default();
    table.look(running(10, None), true);
    let mut told = table.early_end(&early(15, 3));
    told.extend(table.early_end(&early(15, 3)));
    table.event(die(16, 3));
    // Docker's record says 17; a finding with another time would be another death.
    told.extend(table.look(ended(10, 17, 3), true));
    told.extend(table.early_end(&early(15, 3)));
    assert_eq!(ends(&told), [(run(10), 3, 15), (run(10), 3, 15)]);
    assert_eq!(confirmed(&told), [false, true]);
}

#[test]
fn a_container_that_removes_itself_after_an_early_end_is_one_run() {
    let mut table = Table::default();
    table.look(running(10, None), true);
    let mut told = table.early_end(&early(15, 3));
    table.event(die(16, 3));
    table.event(event(16, What::Destroyed));
    told.extend(table.missing("c", true));
    assert_eq!(ends(&told), [(run(10), 3, 15), (run(10), 3, 15)]);
    assert_eq!(told.last(), Some(&News::Over(run(10))));
}

#[test]
fn an_early_end_of_an_unknown_or_older_run_is_left_to_docker() {
    let mut table = Table::default();
    assert_eq!(table.early_end(&early(15, 3)), []);
    table.look(running(20, Some(15)), true);
    assert_eq!(table.early_end(&early(15, 3)), []);
    table.event(die(30, 3));
    assert_eq!(table.early_end(&early(29, 3)), []);
}

/// An alert about a stop would be wrong, and Docker alone knows of it.
#[test]
fn an_end_by_a_signal_that_docker_sends_is_told_early_only_when_it_was_asked_for() {
    for code in [137, 143] {
        let mut table = Table::default();
        table.look(running(10, None), true);
        assert_eq!(table.early_end(&early(15, code)), []);
        let signal = u8::try_from(code - 128).unwrap();
        table.event(event(14, What::Signalled { signal }));
        assert_eq!(asked(&table.early_end(&early(15, code))).len(), 1);
    }
    let mut table = Table::default();
    table.look(running(10, None), true);
    assert_eq!(ends(&table.early_end(&early(15, 139))), [(run(10), 139, 15)]);
}

#[test]
fn a_stop_that_docker_tells_after_the_early_end_still_explains_it() {
    let mut table = Table::default();
    table.look(running(10, None), true);
    assert_eq!(asked(&table.early_end(&early(15, 1))), []);
    let (told, _) = table.event(event(15, What::Signalled { signal: 15 }));
    assert_eq!(asked(&told), [RequestKind::Stop]);
}
