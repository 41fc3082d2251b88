//! The conformance suite, and what only a file can do wrong.

use std::{fs, path::Path, process::Command};

use inquest_shared::{clock::UnixNanos, model::TransitionKind};
use sqlx::{ConnectOptions as _, Connection as _, SqliteConnection};

use super::*;
use crate::store::conformance::{everything, fill, finding, incident, node, occurrence, outbox, store_suite, ulid};

mod damage;
mod retention;

async fn open(dir: &Path) -> SqliteStore {
    SqliteStore::open(&dir.join("inquest.db")).await.unwrap()
}

store_suite!(suite, open);

/// Changes the file behind the store's back.
async fn meddle(dir: &Path, sql: &'static str) {
    let mut raw = SqliteConnectOptions::new()
        .filename(dir.join("inquest.db"))
        .connect()
        .await
        .unwrap();
    sqlx::raw_sql(sql).execute(&mut raw).await.unwrap();
    SqliteConnection::close(raw).await.unwrap();
}

/// A downgrade must not write into a schema that it does not understand.
#[tokio::test]
async fn a_newer_schema_is_refused_and_left_alone() {
    let dir = tempfile::tempdir().unwrap();
    drop(open(dir.path()).await);
    meddle(dir.path(), "UPDATE meta SET schema = 99").await;
    let path = dir.path().join("inquest.db");
    let refusal = SqliteStore::open(&path).await.unwrap_err();
    assert!(
        matches!(refusal, StoreError::Newer { found: 99, known: 2 }),
        "{refusal}"
    );
    let mut raw = SqliteConnectOptions::new().filename(&path).connect().await.unwrap();
    let meta: (i64, i64) = sqlx::query_as("SELECT schema, fence FROM meta")
        .fetch_one(&mut raw)
        .await
        .unwrap();
    assert_eq!(meta, (99, 1), "neither migrated nor fenced off");
}

#[tokio::test]
async fn a_second_opener_is_refused_by_the_path_of_the_lock() {
    let dir = tempfile::tempdir().unwrap();
    let first = open(dir.path()).await;
    let path = dir.path().join("inquest.db");
    let refusal = SqliteStore::open(&path).await.unwrap_err();
    assert!(matches!(refusal, StoreError::Locked { .. }), "{refusal}");
    assert!(refusal.to_string().contains(path.to_str().unwrap()), "{refusal}");
    drop(first);
    open(dir.path()).await;
}

#[tokio::test]
async fn a_missing_folder_is_refused_with_the_reason() {
    let refusal = SqliteStore::open(Path::new("/nonexistent/inquest.db"))
        .await
        .unwrap_err();
    assert!(matches!(refusal, StoreError::Refused { .. }), "{refusal}");
}

#[tokio::test]
async fn a_file_that_is_no_database_is_refused_and_left_alone() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("inquest.db");
    fs::write(&path, "not a database, but long enough to have a header ".repeat(9)).unwrap();
    let before = fs::read(&path).unwrap();
    let refusal = SqliteStore::open(&path).await.unwrap_err();
    assert!(matches!(refusal, StoreError::Damaged { .. }), "{refusal}");
    assert_eq!(fs::read(&path).unwrap(), before);
}

/// kill -9 at any moment: what was acknowledged is in the file and its log.
#[tokio::test]
async fn what_was_committed_survives_a_kill() {
    let (dir, copy) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let store = open(dir.path()).await;
    fill(&store).await;
    for file in ["inquest.db", "inquest.db-wal"] {
        fs::copy(dir.path().join(file), copy.path().join(file)).unwrap();
    }
    let revived = open(copy.path()).await;
    assert_eq!(everything(&revived).await, everything(&store).await);
}

/// Otherwise every so many commits one waits for the copying, and its findings with it.
#[tokio::test]
async fn the_log_is_copied_into_the_database_beside_the_commits() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path()).await;
    fill(&store).await;
    let copied = async {
        loop {
            let copy = tempfile::tempdir().unwrap();
            fs::copy(dir.path().join("inquest.db"), copy.path().join("inquest.db")).unwrap();
            if everything(&open(copy.path()).await).await == everything(&store).await {
                return;
            }
            tokio::time::sleep(std::time::Duration::from_millis(50)).await;
        }
    };
    let patience = std::time::Duration::from_secs(30);
    tokio::time::timeout(patience, copied)
        .await
        .expect("a checkpoint without a commit");
}

/// A torn last transaction goes as a whole.
#[tokio::test]
async fn a_torn_commit_leaves_nothing_behind() {
    let (dir, copy) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let store = open(dir.path()).await;
    fill(&store).await;
    let before = everything(&store).await;
    let late = incident(50, "shop", 50);
    let commit = Commit {
        occurrences: vec![occurrence("a", 50, 50)],
        outbox: vec![outbox(50, &late, "hook", TransitionKind::Opened)],
        incidents: vec![late],
        marks: vec![(node("a"), u64::MAX, 8)],
    };
    store.commit(&commit).await.unwrap();
    fs::copy(dir.path().join("inquest.db"), copy.path().join("inquest.db")).unwrap();
    let log = fs::read(dir.path().join("inquest.db-wal")).unwrap();
    fs::write(copy.path().join("inquest.db-wal"), &log[..log.len() - 100]).unwrap();
    assert_eq!(everything(&open(copy.path()).await).await, before);
}

/// An old aggregator that wakes up after another took the database must not write.
#[tokio::test]
async fn a_writer_that_lost_its_fence_changes_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path()).await;
    fill(&store).await;
    meddle(dir.path(), "UPDATE meta SET fence = fence + 1").await;
    let before = everything(&store).await;
    let commit = Commit {
        occurrences: vec![occurrence("a", 60, 60)],
        ..Commit::default()
    };
    let refusal = store.commit(&commit).await.unwrap_err();
    assert!(matches!(refusal, StoreError::Doubtful { .. }), "{refusal}");
    assert!(store.put_node(&node("z"), UnixNanos(1)).await.is_err());
    assert_eq!(everything(&store).await, before);
}

#[tokio::test]
async fn a_damaged_record_is_told_from_a_failure() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path()).await;
    fill(&store).await;
    meddle(
        dir.path(),
        "UPDATE incident SET payload = x'ff'; UPDATE occurrence SET payload_version = 7",
    )
    .await;
    let incidents = store
        .find_incidents(&Scope::All, &ulid(1).to_string())
        .await
        .unwrap_err();
    assert!(matches!(incidents, StoreError::Damaged { .. }), "{incidents}");
    let findings = store.findings(&[(node("a"), finding(1, 10).key)]).await.unwrap_err();
    assert!(matches!(findings, StoreError::Damaged { .. }), "{findings}");
}

/// `max_page_count` fails like a full disk and needs no root.
#[tokio::test]
async fn a_full_disk_refuses_and_recovers() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path()).await;
    fill(&store).await;
    let before = everything(&store).await;
    let mut tx = store.writer.begin("test").await.unwrap();
    sqlx::raw_sql("PRAGMA max_page_count = 1")
        .execute(&mut *tx)
        .await
        .unwrap();
    tx.commit().await.unwrap();
    let many = Commit {
        occurrences: (100..200).map(|n| occurrence("a", n, 9)).collect(),
        ..Commit::default()
    };
    let refusal = store.commit(&many).await.unwrap_err();
    assert!(matches!(refusal, StoreError::Refused { .. }), "{refusal}");
    assert_eq!(everything(&store).await, before);
    store.commit(&many).await.unwrap();
    assert_eq!(
        store.findings(&[(node("a"), finding(150, 9).key)]).await.unwrap().len(),
        1
    );
}

/// A file system of 1 MB, for root only; unmounted when dropped, lazily since connections close behind the store.
struct SmallDisk(tempfile::TempDir);

impl SmallDisk {
    fn mount() -> Option<Self> {
        let dir = tempfile::tempdir().unwrap();
        let mount = Command::new("mount")
            .args(["-t", "tmpfs", "-o", "size=1m", "inquest-test"])
            .arg(dir.path())
            .output();
        mount.is_ok_and(|done| done.status.success()).then_some(Self(dir))
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        let unmounted = Command::new("umount").arg("-l").arg(self.0.path()).status();
        assert!(
            unmounted.is_ok_and(|status| status.success()),
            "{} stays mounted",
            self.0.path().display()
        );
    }
}

#[tokio::test]
async fn a_really_full_disk_refuses_and_recovers() {
    let Some(disk) = SmallDisk::mount() else {
        eprintln!("skipped: mounting a small tmpfs needs root");
        return;
    };
    let store = open(disk.0.path()).await;
    fill(&store).await;
    let before = everything(&store).await;
    let ballast = disk.0.path().join("ballast");
    // fill what is left, whole or not
    assert!(fs::write(&ballast, vec![0; 1 << 20]).is_err());
    let many = Commit {
        occurrences: (100..200).map(|n| occurrence("a", n, 9)).collect(),
        ..Commit::default()
    };
    for _ in 0..3 {
        let refusal = store.commit(&many).await.unwrap_err();
        assert!(matches!(refusal, StoreError::Refused { .. }), "{refusal}: {refusal:?}");
        assert_eq!(everything(&store).await, before);
    }
    fs::remove_file(&ballast).unwrap();
    store.commit(&many).await.unwrap();
    assert_eq!(
        store.findings(&[(node("a"), finding(150, 9).key)]).await.unwrap().len(),
        1
    );
    drop(store);
    assert_eq!(open(disk.0.path()).await.outbox_totals().await.unwrap().planned, 1);
}

/// A caller that goes away in the middle of a write must not wedge or half-write the store.
#[tokio::test]
async fn an_abandoned_write_is_rolled_back_and_the_next_one_works() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path()).await;
    fill(&store).await;
    let before = everything(&store).await;
    let mut tx = store.writer.begin("test").await.unwrap();
    sqlx::raw_sql("DELETE FROM node").execute(&mut *tx).await.unwrap();
    drop(tx);
    assert_eq!(everything(&store).await, before);
    store.put_node(&node("z"), UnixNanos(1)).await.unwrap();
    assert_eq!(store.nodes("", None, 9).await.unwrap().len(), 2);
}

/// Retention must give disk space back, or a small volume fills for good.
#[tokio::test]
async fn pruning_shrinks_the_file() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path()).await;
    let many = Commit {
        occurrences: (0..2_000).map(|n| occurrence("a", n, 9)).collect(),
        ..Commit::default()
    };
    store.commit(&many).await.unwrap();
    let pages = async || -> i64 {
        let rows: Vec<(i64,)> = store
            .readers
            .all("test", sqlx::query_as("PRAGMA page_count"))
            .await
            .unwrap();
        rows[0].0
    };
    let before = pages().await;
    assert_eq!(store.prune(UnixNanos(10), 10_000).await.unwrap().findings, 2_000);
    assert!(
        pages().await * 4 < before,
        "{} pages of {before} are left",
        pages().await
    );
}

/// Acknowledged means synced; a query cannot change what it reads; and nothing needs a folder for temporary files, which a
/// container with a read-only root does not have.
#[tokio::test]
async fn commits_are_synced_readers_cannot_write_and_nothing_needs_a_temporary_folder() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path()).await;
    let mut writer = store.writer.begin("test").await.unwrap();
    for (pragma, expected) in [
        ("PRAGMA synchronous", 2),
        ("PRAGMA auto_vacuum", 2),
        ("PRAGMA temp_store", 2),
    ] {
        let value: i64 = sqlx::query_scalar(pragma).fetch_one(&mut *writer).await.unwrap();
        assert_eq!(value, expected, "{pragma}");
    }
    let mode: String = sqlx::query_scalar("PRAGMA journal_mode")
        .fetch_one(&mut *writer)
        .await
        .unwrap();
    assert_eq!(mode, "wal");
    let temporary = store
        .readers
        .all::<(i64,)>("test", sqlx::query_as("PRAGMA temp_store"))
        .await;
    assert_eq!(temporary.unwrap(), [(2,)]);
    let written = store
        .readers
        .all::<(i64,)>("test", sqlx::query_as("DELETE FROM node RETURNING 1"))
        .await;
    assert!(written.is_err(), "readers cannot write");
}

/// Other parts of the program are tested with a paused clock; no timer of the store may go off early there.
#[tokio::test(start_paused = true)]
async fn more_queries_than_connections_wait_for_their_turn() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path()).await;
    fill(&store).await;
    let (a, b, c, d) = tokio::join!(
        everything(&store),
        everything(&store),
        everything(&store),
        everything(&store)
    );
    assert!(a == b && b == c && c == d);
}
