//! What every backend must do, once for all of them. A backend adds one `store_suite!` line.

mod listing;
mod sample;

use inquest_shared::{
    clock::UnixNanos,
    model::{DeliveryState, Key, TransitionKind},
};

pub(super) use self::listing::{
    a_prefix_of_an_id_finds_or_is_ambiguous, a_scope_leaks_nothing, dead_letters_are_found_by_state_receiver_and_scope,
    finding_filters_agree, incident_pages_and_filters_agree, pages_are_complete_and_stable_while_records_arrive,
};
pub(super) use self::sample::{finding, incident, kill_finding, node, occurrence, outbox, tail, ulid};
use super::Store;
use crate::record::{Commit, Filter, OutboxRow, Scope, Slot};

/// Runs every law of this file against fresh stores of one backend: `store_suite!(name, opener)`, where the opener is
/// an async function from a fresh folder to a store; called again on the same folder it reopens.
macro_rules! store_suite {
    ($name:ident, $open:path) => {
        mod $name {
            use super::*;

            $crate::store::conformance::store_suite!(@each $open,
                a_finding_is_stored_once_and_replaced_by_its_merged_version,
                a_replayed_commit_changes_nothing,
                the_latest_update_supersedes_only_what_still_waits,
                a_late_outcome_does_not_raise_the_dead,
                pages_are_complete_and_stable_while_records_arrive,
                incident_pages_and_filters_agree,
                dead_letters_are_found_by_state_receiver_and_scope,
                finding_filters_agree,
                a_scope_leaks_nothing,
                a_prefix_of_an_id_finds_or_is_ambiguous,
                repeated_chunks_change_nothing_and_the_tail_is_bounded,
                a_nodes_first_enrolment_stays,
                marks_only_rise,
                live_incidents_are_the_open_and_the_lately_resolved,
                pruning_forgets_the_old_and_keeps_the_totals,
                the_oldest_records_are_named_without_the_waiting_ones,
                nodes_come_in_pages_by_name,
                a_log_without_a_finding_goes_by_the_aggregators_clock,
            );

            /// A restart must find everything that was acknowledged.
            #[tokio::test]
            async fn reopening_finds_everything() {
                let dir = tempfile::tempdir().unwrap();
                let store = $open(dir.path()).await;
                $crate::store::conformance::fill(&store).await;
                let before = $crate::store::conformance::everything(&store).await;
                drop(store);
                let store = $open(dir.path()).await;
                assert_eq!($crate::store::conformance::everything(&store).await, before);
            }
        }
    };
    (@each $open:path, $($law:ident,)+) => {
        $(
            #[tokio::test]
            async fn $law() {
                let dir = tempfile::tempdir().unwrap();
                let store = $open(dir.path()).await;
                $crate::store::conformance::$law(&store).await;
            }
        )+
    };
}
pub(super) use store_suite;

/// One of everything.
pub(super) async fn fill(store: &dyn Store) {
    let opened = incident(1, "shop", 10);
    let commit = Commit {
        occurrences: vec![occurrence("a", 1, 10), occurrence("b", 2, 11)],
        outbox: vec![outbox(1, &opened, "hook", TransitionKind::Opened)],
        incidents: vec![opened, incident(2, "", 12)],
        marks: vec![(node("a"), u64::MAX, 7)],
    };
    store.commit(&commit).await.unwrap();
    store
        .put_log(&node("a"), finding(1, 10).key, 0, &tail("line\n"), UnixNanos(3))
        .await
        .unwrap();
    store.put_status(&node("a"), UnixNanos(5), b"status").await.unwrap();
}

/// What a caller with every right can read.
pub(super) async fn everything(store: &dyn Store) -> String {
    let filter = Filter::default();
    format!(
        "{:?}",
        (
            store.list_findings(&Scope::All, &filter, None, 100).await.unwrap(),
            store.list_incidents(&Scope::All, &filter, None, 100).await.unwrap(),
            waiting_rows(store).await,
            store.outbox_totals().await.unwrap(),
            store.deliveries(ulid(1)).await.unwrap(),
            store.nodes("", None, 100).await.unwrap(),
            store.mark(&node("a"), u64::MAX).await.unwrap(),
            store.log(&Scope::All, finding(1, 10).key).await.unwrap(),
        )
    )
}

/// Waiting rows of every receiver.
async fn waiting_rows(store: &dyn Store) -> Vec<OutboxRow> {
    let mut rows = Vec::new();
    for receiver in store.outbox_receivers().await.unwrap() {
        rows.extend(store.outbox_page(&receiver, None, 100).await.unwrap());
    }
    rows.sort_by_key(|row| row.id);
    rows
}

pub(super) async fn a_finding_is_stored_once_and_replaced_by_its_merged_version(store: &dyn Store) {
    let mut row = occurrence("a", 1, 10);
    store
        .commit(&Commit {
            occurrences: vec![row.clone()],
            ..Commit::default()
        })
        .await
        .unwrap();
    row.finding.merge(&kill_finding(1, 10));
    row.incident = Some(ulid(9));
    store
        .commit(&Commit {
            occurrences: vec![row.clone()],
            ..Commit::default()
        })
        .await
        .unwrap();
    let keys = [
        (node("a"), row.finding.key),
        (node("b"), row.finding.key),
        (node("a"), Key::kill("x", "y", "z")),
    ];
    assert_eq!(store.findings(&keys).await.unwrap(), vec![row]);
}

pub(super) async fn a_replayed_commit_changes_nothing(store: &dyn Store) {
    fill(store).await;
    let before = everything(store).await;
    fill(store).await;
    assert_eq!(everything(store).await, before);
}

pub(super) async fn the_latest_update_supersedes_only_what_still_waits(store: &dyn Store) {
    let one = incident(1, "shop", 10);
    let mut sent = outbox(2, &one, "hook", TransitionKind::Milestone);
    let commit = |rows: &[OutboxRow]| Commit {
        outbox: rows.to_vec(),
        ..Commit::default()
    };
    let opening = outbox(1, &one, "hook", TransitionKind::Opened);
    store.commit(&commit(&[opening.clone(), sent.clone()])).await.unwrap();
    sent.state = DeliveryState::Delivered;
    sent.delivered_at = Some(UnixNanos(99));
    store.put_outcome(&sent).await.unwrap();
    let waiting = outbox(3, &one, "hook", TransitionKind::SeverityRaised);
    let other = outbox(4, &one, "mail", TransitionKind::SeverityRaised);
    store.commit(&commit(&[waiting.clone(), other.clone()])).await.unwrap();
    let latest = outbox(5, &one, "hook", TransitionKind::Reclassified);
    store.commit(&commit(std::slice::from_ref(&latest))).await.unwrap();
    // a replay of the superseded row must not supersede its successor
    store.commit(&commit(&[waiting])).await.unwrap();
    assert_eq!(
        waiting_rows(store).await,
        vec![opening.clone(), other.clone(), latest.clone()]
    );
    assert_eq!(store.outbox_page("mail", None, 9).await.unwrap(), vec![other]);
    assert_eq!(
        store.outbox_page("hook", Some(opening.id), 1).await.unwrap(),
        vec![latest.clone()]
    );
    let states: Vec<_> = store
        .deliveries(one.id)
        .await
        .unwrap()
        .iter()
        .map(|d| d.state)
        .collect();
    let pending = DeliveryState::Pending;
    assert_eq!(
        states,
        [
            pending,
            DeliveryState::Delivered,
            DeliveryState::Superseded,
            pending,
            pending
        ]
    );
    assert_eq!(latest.slot(), Slot::Update);
}

pub(super) async fn a_late_outcome_does_not_raise_the_dead(store: &dyn Store) {
    let one = incident(1, "shop", 10);
    let mut row = outbox(1, &one, "hook", TransitionKind::Milestone);
    let next = outbox(2, &one, "hook", TransitionKind::Milestone);
    store
        .commit(&Commit {
            outbox: vec![row.clone(), next],
            ..Commit::default()
        })
        .await
        .unwrap();
    row.attempts = 1;
    store.put_outcome(&row).await.unwrap();
    assert_eq!(
        store.outbox_totals().await.unwrap().superseded,
        1,
        "a retry of a superseded row"
    );
    row.state = DeliveryState::Delivered;
    store.put_outcome(&row).await.unwrap();
    let totals = store.outbox_totals().await.unwrap();
    assert_eq!(
        (totals.superseded, totals.delivered, totals.pending),
        (0, 1, 1),
        "it arrived all the same"
    );
}

pub(super) async fn repeated_chunks_change_nothing_and_the_tail_is_bounded(store: &dyn Store) {
    let row = occurrence("a", 1, 10);
    let key = row.finding.key;
    store
        .put_log(&row.node, key, 3, &tail("def"), UnixNanos(3))
        .await
        .unwrap();
    store
        .commit(&Commit {
            occurrences: vec![row.clone()],
            ..Commit::default()
        })
        .await
        .unwrap();
    assert_eq!(
        store.log(&Scope::All, key).await.unwrap(),
        None,
        "the beginning is missing"
    );
    for text in ["abc", "XYZ"] {
        store
            .put_log(&row.node, key, 0, &tail(text), UnixNanos(3))
            .await
            .unwrap();
    }
    store
        .put_log(&row.node, key, 3, &tail("def"), UnixNanos(3))
        .await
        .unwrap();
    // another node's chunk under the same key is not part of it
    store
        .put_log(&node("b"), key, 6, &tail("forged"), UnixNanos(3))
        .await
        .unwrap();
    assert_eq!(store.log(&Scope::All, key).await.unwrap(), Some(tail("abcdef")));
    for at in [6, 60_000, 65_535, 65_536, u32::MAX] {
        store
            .put_log(&row.node, key, at, &tail(&"y".repeat(64 * 1024)), UnixNanos(3))
            .await
            .unwrap();
    }
    assert_eq!(
        store.log(&Scope::All, key).await.unwrap().map(|l| l.data.len()),
        Some(64 * 1024)
    );
}

pub(super) async fn a_nodes_first_enrolment_stays(store: &dyn Store) {
    store.put_node(&node("b"), UnixNanos(1)).await.unwrap();
    store.put_status(&node("a"), UnixNanos(2), b"s").await.unwrap();
    store.put_status(&node("b"), UnixNanos(5), b"t").await.unwrap();
    store.put_node(&node("b"), UnixNanos(4)).await.unwrap();
    let nodes = store.nodes("c1", None, 9).await.unwrap();
    let seen: Vec<_> = nodes
        .iter()
        .map(|n| (n.node.uid.as_str(), n.enrolled_at.0, n.last_seen.0, n.status.as_slice()))
        .collect();
    assert_eq!(seen, [("a", 2, 2, b"s".as_slice()), ("b", 1, 5, b"t".as_slice())]);
    assert!(store.nodes("c2", None, 9).await.unwrap().is_empty());
}

/// A mark that fell would make the aggregator ask for what it has; one that leaks to another epoch would lose findings.
pub(super) async fn marks_only_rise(store: &dyn Store) {
    for seq in [5, 3] {
        store
            .commit(&Commit {
                marks: vec![(node("a"), u64::MAX, seq)],
                ..Commit::default()
            })
            .await
            .unwrap();
    }
    assert_eq!(store.mark(&node("a"), u64::MAX).await.unwrap(), 5);
    assert_eq!(store.mark(&node("a"), 1).await.unwrap(), 0);
    assert_eq!(store.mark(&node("b"), u64::MAX).await.unwrap(), 0);
}

pub(super) async fn live_incidents_are_the_open_and_the_lately_resolved(store: &dyn Store) {
    let incidents = vec![incident(1, "shop", 1), sample::resolved(2, 50), sample::resolved(3, 49)];
    store
        .commit(&Commit {
            incidents: incidents.clone(),
            ..Commit::default()
        })
        .await
        .unwrap();
    assert_eq!(store.live_incidents(UnixNanos(50)).await.unwrap(), incidents[..2]);
    let open = Filter {
        open_only: true,
        ..Filter::default()
    };
    assert_eq!(
        store.list_incidents(&Scope::All, &open, None, 9).await.unwrap(),
        incidents[..1]
    );
}

pub(super) async fn pruning_forgets_the_old_and_keeps_the_totals(store: &dyn Store) {
    let (old, new) = (occurrence("a", 1, 10), occurrence("a", 2, 1_000));
    let mut sent = outbox(1, &incident(1, "shop", 10), "hook", TransitionKind::Opened);
    sent.state = DeliveryState::Delivered;
    let waiting = outbox(2, &incident(1, "shop", 10), "mail", TransitionKind::Opened);
    let commit = Commit {
        occurrences: vec![old.clone(), new.clone()],
        incidents: vec![
            sample::resolved(2, 10),
            sample::resolved(3, 500),
            incident(4, "shop", 10),
        ],
        outbox: vec![sent, waiting.clone()],
        ..Commit::default()
    };
    store.commit(&commit).await.unwrap();
    for row in [&old, &new] {
        store
            .put_log(&row.node, row.finding.key, 0, &tail("x"), row.stored_at)
            .await
            .unwrap();
    }
    store
        .put_log(
            &node("b"),
            Key::kill("orphan", "kmsg", "1"),
            0,
            &tail("x"),
            UnixNanos(10),
        )
        .await
        .unwrap();
    store.put_node(&node("old"), UnixNanos(99)).await.unwrap();
    store.put_node(&node("new"), UnixNanos(100)).await.unwrap();
    let before = store.outbox_totals().await.unwrap();
    // log, orphan, finding, incident, outbox row, node: at most one of each kind at a time
    let mut gone = 0;
    while let more @ 1.. = store.prune(UnixNanos(100), 1).await.unwrap().rows() {
        gone += more;
    }
    assert_eq!(gone, 6);
    let nodes = store.nodes("", None, 9).await.unwrap();
    assert_eq!(nodes.iter().map(|n| n.node.uid.as_str()).collect::<Vec<_>>(), ["new"]);
    let left = store
        .list_findings(&Scope::All, &Filter::default(), None, 9)
        .await
        .unwrap();
    assert_eq!(left, vec![(new, true)]);
    let ids: Vec<_> = store
        .live_incidents(UnixNanos(0))
        .await
        .unwrap()
        .iter()
        .map(|i| i.id)
        .collect();
    assert_eq!(ids, [ulid(3), ulid(4)]);
    assert_eq!(waiting_rows(store).await, vec![waiting]);
    let totals = store.outbox_totals().await.unwrap();
    assert_eq!(totals, before, "pruned rows stay counted");
    assert_eq!(
        totals.planned,
        totals.delivered + totals.pending + totals.dead + totals.superseded
    );
}

/// The size limit works as a shorter retention: it has to know how short.
pub(super) async fn the_oldest_records_are_named_without_the_waiting_ones(store: &dyn Store) {
    assert_eq!(store.oldest(1).await.unwrap(), None);
    let waiting = outbox(1, &incident(1, "shop", 1), "hook", TransitionKind::Opened);
    let commit = Commit {
        occurrences: vec![occurrence("a", 1, 20), occurrence("a", 2, 30)],
        incidents: vec![sample::resolved(2, 40), incident(3, "shop", 1)],
        outbox: vec![waiting],
        ..Commit::default()
    };
    store.commit(&commit).await.unwrap();
    let oldest = async |limit| store.oldest(limit).await.unwrap().map(|at| at.0);
    assert_eq!((oldest(1).await, oldest(2).await), (Some(21), Some(31)));
    assert_eq!((oldest(3).await, oldest(99).await), (Some(41), Some(41)));
    assert_eq!(store.prune(UnixNanos(21), 9).await.unwrap().findings, 1);
    assert_eq!(store.figures().await.unwrap().damaged_reads, 0);
    assert_eq!(store.open_incidents().await.unwrap(), 1);
}

pub(super) async fn nodes_come_in_pages_by_name(store: &dyn Store) {
    for uid in ["b", "d", "a", "c"] {
        store.put_node(&node(uid), UnixNanos(1)).await.unwrap();
    }
    let mut seen = Vec::new();
    loop {
        let page = store.nodes("c1", seen.last(), 3).await.unwrap();
        if page.is_empty() {
            break;
        }
        seen.extend(page.into_iter().map(|stored| stored.node));
    }
    assert_eq!(seen, ["a", "b", "c", "d"].map(node));
}

/// A node whose clock is years ahead must not fill the store for years.
pub(super) async fn a_log_without_a_finding_goes_by_the_aggregators_clock(store: &dyn Store) {
    let mut log = tail("x");
    log.captured_at = UnixNanos(i64::MAX);
    let orphan = Key::kill("orphan", "kmsg", "1");
    store.put_log(&node("a"), orphan, 0, &log, UnixNanos(10)).await.unwrap();
    assert_eq!(store.prune(UnixNanos(10), 9).await.unwrap().logs, 0);
    assert_eq!(store.prune(UnixNanos(11), 9).await.unwrap().logs, 1);
}
