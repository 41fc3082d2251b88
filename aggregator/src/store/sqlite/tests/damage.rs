//! Flipped bits and torn files: what is damaged is isolated, counted, and never holds up the rest.

use std::{fs, path::PathBuf};

use inquest_shared::model::DeliveryState;

use super::*;
use crate::record::Filter;

/// Everything in the file itself, nothing in the write-ahead log.
async fn settle(dir: &Path) {
    meddle(dir, "PRAGMA wal_checkpoint(TRUNCATE)").await;
}

/// A copy of the database with one bit of `needle` flipped, at its byte `at`.
fn flipped(dir: &Path, needle: &[u8], at: usize) -> tempfile::TempDir {
    let mut file = fs::read(dir.join("inquest.db")).unwrap();
    let found = file.windows(needle.len()).position(|window| window == needle).unwrap();
    file[found + at] ^= 1 << (at % 8);
    let copy = tempfile::tempdir().unwrap();
    fs::write(copy.path().join("inquest.db"), file).unwrap();
    copy
}

async fn payload_of(dir: &Path, sql: &'static str) -> Vec<u8> {
    let mut raw = SqliteConnectOptions::new()
        .filename(dir.join("inquest.db"))
        .connect()
        .await
        .unwrap();
    sqlx::query_scalar(sql).fetch_one(&mut raw).await.unwrap()
}

async fn listed(store: &SqliteStore, limit: u32) -> Vec<i64> {
    let found = store
        .list_findings(&Scope::All, &Filter::default(), None, limit)
        .await
        .unwrap();
    found.iter().map(|(row, _)| row.finding.observed_at.0).collect()
}

#[tokio::test]
async fn one_flipped_bit_costs_its_record_and_is_counted() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path()).await;
    let commit = Commit {
        occurrences: (1..=5).map(|n| occurrence("a", n, i64::from(n))).collect(),
        ..Commit::default()
    };
    store.commit(&commit).await.unwrap();
    settle(dir.path()).await;
    let needle = payload_of(dir.path(), "SELECT payload FROM occurrence WHERE observed_at = 3").await;
    for at in (0..needle.len()).step_by(11).chain([needle.len() - 1]) {
        let copy = flipped(dir.path(), &needle, at);
        let store = open(copy.path()).await;
        assert_eq!(listed(&store, 100).await, [5, 4, 2, 1], "byte {at}");
        assert_eq!(store.figures().await.unwrap().damaged_reads, 1, "byte {at}");
        // a page that the damaged record shortens is filled up, so that it is not taken for the last
        assert_eq!(listed(&store, 3).await, [5, 4, 2], "byte {at}");
    }
}

/// The aggregator must come up, or one bit would end all alerting.
#[tokio::test]
async fn a_damaged_open_incident_does_not_keep_the_others_from_loading() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path()).await;
    let incidents = vec![incident(1, "shop", 1), incident(2, "shop", 2), incident(3, "shop", 3)];
    store
        .commit(&Commit {
            incidents: incidents.clone(),
            ..Commit::default()
        })
        .await
        .unwrap();
    settle(dir.path()).await;
    let needle = payload_of(dir.path(), "SELECT payload FROM incident WHERE last_seen = 2").await;
    let copy = flipped(dir.path(), &needle, needle.len() / 2);
    let store = open(copy.path()).await;
    let expected = [incidents[0].clone(), incidents[2].clone()];
    assert_eq!(store.live_incidents(UnixNanos(0)).await.unwrap(), expected);
    let listed = store.list_incidents(&Scope::All, &Filter::default(), None, 2).await;
    assert_eq!(listed.unwrap(), [incidents[2].clone(), incidents[0].clone()]);
    assert_eq!(store.figures().await.unwrap().damaged_reads, 2);
}

/// A notification that nobody can read any more must not block its receiver for ever.
#[tokio::test]
async fn a_damaged_notification_is_given_up_and_the_others_are_sent() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path()).await;
    let about = incident(1, "shop", 1);
    let rows: Vec<_> = (1..=3)
        .map(|n| outbox(n, &incident(n, "shop", i64::from(n)), "hook", TransitionKind::Opened))
        .collect();
    let commit = Commit {
        incidents: vec![about],
        outbox: rows.clone(),
        ..Commit::default()
    };
    store.commit(&commit).await.unwrap();
    settle(dir.path()).await;
    let needle = payload_of(dir.path(), "SELECT payload FROM outbox ORDER BY id LIMIT 1 OFFSET 1").await;
    let copy = flipped(dir.path(), &needle, 9);
    let store = open(copy.path()).await;
    let page = store.outbox_page("hook", None, 2).await.unwrap();
    assert_eq!(page, [rows[0].clone(), rows[2].clone()]);
    let totals = store.outbox_totals().await.unwrap();
    assert_eq!((totals.planned, totals.pending, totals.dead), (3, 2, 1));
    let deliveries = store.deliveries(ulid(2)).await.unwrap();
    assert_eq!(deliveries[0].state, DeliveryState::Dead);
    assert!(deliveries[0].last_error.contains("damaged"));
}

/// Payloads of the first release carry no checksum; an upgrade must not call them damaged.
#[tokio::test]
async fn records_of_the_first_release_are_still_read() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path()).await;
    fill(&store).await;
    let before = everything(&store).await;
    meddle(
        dir.path(),
        "UPDATE occurrence SET payload = substr(payload, 1, length(payload) - 4), payload_version = 1;
         UPDATE incident SET payload = substr(payload, 1, length(payload) - 4), payload_version = 1;
         UPDATE outbox SET payload = substr(payload, 1, length(payload) - 4), payload_version = 1",
    )
    .await;
    assert_eq!(everything(&store).await, before);
    assert_eq!(store.figures().await.unwrap().damaged_reads, 0);
}

/// What a machine left behind that went away while it wrote.
struct Wreck {
    database: Vec<u8>,
    log: Vec<u8>,
}

impl Wreck {
    /// Commits of one finding each, all of them in the write-ahead log.
    async fn of(commits: u32) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let store = open(dir.path()).await;
        settle(dir.path()).await;
        for n in 1..=commits {
            let commit = Commit {
                occurrences: vec![occurrence("a", n, i64::from(n))],
                ..Commit::default()
            };
            store.commit(&commit).await.unwrap();
        }
        let read = |name: &str| fs::read(PathBuf::from(dir.path()).join(name)).unwrap();
        Self {
            database: read("inquest.db"),
            log: read("inquest.db-wal"),
        }
    }

    /// How many commits are found after the log was changed; they must be the first ones, without a gap.
    async fn opened_with(&self, log: &[u8]) -> usize {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join("inquest.db"), &self.database).unwrap();
        fs::write(dir.path().join("inquest.db-wal"), log).unwrap();
        let store = open(dir.path()).await;
        let mut found = listed(&store, 1000).await;
        found.reverse();
        let expected: Vec<i64> = (1..).take(found.len()).collect();
        assert_eq!(found, expected);
        // it goes on
        store.put_node(&node("z"), UnixNanos(1)).await.unwrap();
        found.len()
    }
}

/// Experiment: a torn write anywhere in the last 64 KiB of the log. Everything before the tear is kept.
#[tokio::test]
async fn a_tear_anywhere_in_the_log_keeps_every_commit_before_it() {
    let wreck = Wreck::of(12).await;
    assert_eq!(wreck.opened_with(&wreck.log).await, 12);
    let begin = wreck.log.len().saturating_sub(64 * 1024).max(32);
    let (mut cut_before, mut torn_before) = (0, 0);
    // a prime, so that over the run every part of a frame is hit
    for at in (begin..wreck.log.len()).step_by(1499) {
        let cut = wreck.opened_with(&wreck.log[..at]).await;
        let mut torn = wreck.log.clone();
        let end = torn.len().min(at + 512);
        torn[at..end].fill(0xa5);
        let torn = wreck.opened_with(&torn).await;
        assert!(
            cut >= cut_before && torn >= torn_before,
            "a later tear costs more: {at}"
        );
        assert!(cut.abs_diff(torn) <= 1, "{cut} and {torn} at {at}");
        (cut_before, torn_before) = (cut, torn);
    }
    assert!(cut_before >= 10, "the last cut left {cut_before} commits");
}
