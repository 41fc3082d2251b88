//! Forgetting by age and by size against a real file.

use std::{sync::Arc, time::Duration};

use inquest_shared::{clock::FakeClock, telemetry::Registry};
use tokio::sync::watch;

use super::*;
use crate::{
    ingest::Nodes,
    record::{Filter, StoredLog},
    retention::{Keep, Retention, RetentionMetrics},
};

const DAY: i64 = 86_400;

struct World {
    store: Arc<SqliteStore>,
    retention: Retention,
    registry: Registry,
    _dir: tempfile::TempDir,
}

impl World {
    /// A store on day 100 that keeps 30 days.
    async fn new(bytes: u64) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let (store, registry) = (Arc::new(open(dir.path()).await), Registry::new("t", "0"));
        let retention = Retention {
            store: store.clone(),
            nodes: Nodes::default(),
            clock: Arc::new(FakeClock::at(UnixNanos::from_secs(100 * DAY))),
            keep: watch::Sender::new(Keep {
                time: Duration::from_secs(30 * 86_400),
                bytes,
            })
            .subscribe(),
            metrics: RetentionMetrics::new(&registry),
        };
        Self {
            store,
            retention,
            registry,
            _dir: dir,
        }
    }

    /// Findings with logs of 2 KiB, one a minute from the beginning of `day`.
    async fn fill(&self, day: i64, count: u32) {
        let at = |n: u32| UnixNanos::from_secs(day * DAY + 60 * i64::from(n)).0;
        let number = |n: u32| u32::try_from(day).unwrap() * 10_000 + n;
        let commit = Commit {
            occurrences: (0..count).map(|n| occurrence("a", number(n), at(n))).collect(),
            ..Commit::default()
        };
        self.store.commit(&commit).await.unwrap();
        for row in &commit.occurrences {
            let log = StoredLog {
                data: vec![b'x'; 2048],
                captured_at: UnixNanos(0),
                redactions: 0,
                truncated: false,
            };
            let put = self
                .store
                .put_log(&row.node, row.finding.key, 0, &log, row.stored_at)
                .await;
            put.unwrap();
        }
    }

    /// Days of the findings that are left, newest first.
    async fn days(&self) -> Vec<i64> {
        let found = self
            .store
            .list_findings(&Scope::All, &Filter::default(), None, 10_000)
            .await
            .unwrap();
        let mut days: Vec<i64> = found
            .iter()
            .map(|(row, _)| row.stored_at.0 / UnixNanos::from_secs(DAY).0)
            .collect();
        days.dedup();
        days
    }

    fn deleted(&self, kind: &str, reason: &str) -> u64 {
        let text = self.registry.encode().unwrap();
        let name = format!("inquest_retention_deleted_total{{kind=\"{kind}\",reason=\"{reason}\"}} ");
        let line = text.lines().find_map(|line| line.strip_prefix(&name));
        line.map_or(0, |value| value.parse().unwrap())
    }
}

#[tokio::test]
async fn records_older_than_the_limit_disappear_and_newer_stay() {
    let world = World::new(1 << 30).await;
    for day in [60, 69, 71, 99] {
        world.fill(day, 3).await;
    }
    world.retention.round().await.unwrap();
    assert_eq!(world.days().await, [99, 71]);
    assert_eq!((world.deleted("findings", "age"), world.deleted("logs", "age")), (6, 6));
    assert_eq!(world.deleted("findings", "size"), 0);
}

#[tokio::test]
async fn a_store_that_grows_too_large_forgets_its_oldest_first_and_gives_the_space_back() {
    const LIMIT: u64 = 4 << 20;
    let world = World::new(LIMIT).await;
    for day in [80, 85, 90, 95] {
        world.fill(day, 900).await;
    }
    let full = world.store.figures().await.unwrap();
    assert!(full.used_bytes > 2 * LIMIT, "{full:?}");
    world.retention.round().await.unwrap();
    let left = world.store.figures().await.unwrap();
    assert!(left.used_bytes <= LIMIT, "{left:?}");
    assert_eq!(world.days().await.first(), Some(&95), "the newest stay");
    assert!(!world.days().await.contains(&80), "the oldest go");
    assert!(world.deleted("findings", "size") >= 900 && world.deleted("findings", "age") == 0);
    // the next round gives back what is free inside the file
    world.retention.round().await.unwrap();
    assert_eq!(world.store.figures().await.unwrap().free_bytes, 0);
}

/// Open incidents, waiting notifications and live nodes are the present, however old they are.
#[tokio::test]
async fn what_is_still_open_is_kept_whatever_its_age_and_the_limit() {
    let world = World::new(1).await;
    fill(world.store.as_ref()).await;
    world.retention.round().await.unwrap();
    assert_eq!(world.store.open_incidents().await.unwrap(), 2);
    assert_eq!(world.store.outbox_totals().await.unwrap().pending, 1);
    assert_eq!(world.days().await, Vec::<i64>::new());
}
