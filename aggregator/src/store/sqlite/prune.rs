//! Forgetting what is older than the retention, a bounded number of rows at a time, and how large the file is.

use inquest_shared::{
    clock::UnixNanos,
    model::{DeliveryState, IncidentState},
};
use sqlx::SqliteConnection;

use super::{error::refused, readers::Readers};
use crate::store::{Pruned, StoreError, StoreFigures};

/// Logs leave before their findings. A log whose finding never came goes by its own age.
const LOGS_OF_OLD_FINDINGS: &str = "DELETE FROM log_chunk WHERE rowid IN (
    SELECT l.rowid FROM occurrence AS o CROSS JOIN log_chunk AS l USING (key, cluster, node_uid)
    WHERE o.stored_at < ?1 LIMIT ?2)";
const ORPHANED_LOGS: &str = "DELETE FROM log_chunk WHERE rowid IN (
    SELECT l.rowid FROM log_chunk AS l LEFT JOIN occurrence AS o USING (key, cluster, node_uid)
    WHERE l.stored_at < ?1 AND o.rowid IS NULL LIMIT ?2)";
const FINDINGS: &str = "DELETE FROM occurrence WHERE rowid IN (
    SELECT o.rowid FROM occurrence AS o
    WHERE o.stored_at < ?1 AND NOT EXISTS (
        SELECT 1 FROM log_chunk AS l WHERE l.key = o.key AND l.cluster = o.cluster AND l.node_uid = o.node_uid)
    LIMIT ?2)";
/// A node that comes back enrols again; what it had sent is recognised by its key.
const NODES: &str = "DELETE FROM node WHERE rowid IN (SELECT rowid FROM node WHERE last_seen < ?1 LIMIT ?2)";
const MARKS_OF_NOBODY: &str = "DELETE FROM mark WHERE NOT EXISTS (
    SELECT 1 FROM node WHERE node.cluster = mark.cluster AND node.uid = mark.node_uid)";

/// Gives at most 1,000 freed pages (4 MB) back to the file system.
const SHRINK: &str = "PRAGMA incremental_vacuum(1000)";

/// Deletes at most `limit` rows of each kind. Ages are by the aggregator's clock.
pub(super) async fn run(
    tx: &mut SqliteConnection,
    what: &'static str,
    before: UnixNanos,
    limit: u32,
) -> Result<Pruned, StoreError> {
    let mut gone = Pruned::default();
    for statement in [LOGS_OF_OLD_FINDINGS, ORPHANED_LOGS] {
        gone.logs += delete(tx, what, statement, before, limit).await?;
    }
    gone.findings = delete(tx, what, FINDINGS, before, limit).await?;
    gone.incidents = resolved_incidents(tx, what, before, limit).await?;
    gone.notifications = settled_rows(tx, what, before, limit).await?;
    gone.nodes = delete(tx, what, NODES, before, limit).await?;
    if gone.nodes > 0 {
        sqlx::raw_sql(MARKS_OF_NOBODY)
            .execute(&mut *tx)
            .await
            .map_err(refused(what))?;
    }
    forget_epochs(tx, what).await?;
    sqlx::raw_sql(SHRINK).execute(&mut *tx).await.map_err(refused(what))?;
    let (free, page): (i64, i64) =
        sqlx::query_as("SELECT f.freelist_count, p.page_size FROM pragma_freelist_count AS f, pragma_page_size AS p")
            .fetch_one(tx)
            .await
            .map_err(refused(what))?;
    gone.free_bytes = bytes(free, page);
    Ok(gone)
}

async fn delete(
    tx: &mut SqliteConnection,
    what: &'static str,
    statement: &'static str,
    before: UnixNanos,
    limit: u32,
) -> Result<u64, StoreError> {
    let done = sqlx::query(statement).bind(before.0).bind(limit).execute(tx).await;
    Ok(done.map_err(refused(what))?.rows_affected())
}

fn bytes(pages: i64, page: i64) -> u64 {
    u64::try_from(pages.saturating_mul(page)).unwrap_or(0)
}

/// A time just after the `limit` oldest records that [`run`] may delete.
pub(super) async fn oldest(readers: &Readers, limit: u32) -> Result<Option<UnixNanos>, StoreError> {
    let query = sqlx::query_as(
        "SELECT max(at) FROM (
             SELECT stored_at AS at FROM occurrence
             UNION ALL SELECT stored_at FROM log_chunk
             UNION ALL SELECT resolved_at FROM incident WHERE state = ?1 AND resolved_at IS NOT NULL
             UNION ALL SELECT planned_at FROM outbox WHERE state <> ?2
             ORDER BY at LIMIT ?3)",
    )
    .bind(IncidentState::Resolved.number())
    .bind(DeliveryState::Pending.number())
    .bind(limit);
    let found: Vec<(Option<i64>,)> = readers.all("find the oldest records", query).await?;
    let newest_of_them = found.first().and_then(|(at,)| *at);
    Ok(newest_of_them.map(|at| UnixNanos(at.saturating_add(1))))
}

/// Sizes by the pages of the file.
pub(super) async fn figures(readers: &Readers) -> Result<StoreFigures, StoreError> {
    let query = sqlx::query_as(
        "SELECT c.page_count, f.freelist_count, p.page_size
         FROM pragma_page_count AS c, pragma_freelist_count AS f, pragma_page_size AS p",
    );
    let found: Vec<(i64, i64, i64)> = readers.all("measure the store", query).await?;
    let (pages, free, page) = found.first().copied().unwrap_or_default();
    Ok(StoreFigures {
        used_bytes: bytes(pages.saturating_sub(free), page),
        free_bytes: bytes(free, page),
        damaged_reads: readers.damaged(),
    })
}

async fn resolved_incidents(
    tx: &mut SqliteConnection,
    what: &'static str,
    before: UnixNanos,
    limit: u32,
) -> Result<u64, StoreError> {
    let done = sqlx::query(
        "DELETE FROM incident WHERE rowid IN (SELECT rowid FROM incident WHERE state = ? AND resolved_at < ? LIMIT ?)",
    )
    .bind(IncidentState::Resolved.number())
    .bind(before.0)
    .bind(limit)
    .execute(tx)
    .await
    .map_err(refused(what))?;
    Ok(done.rows_affected())
}

/// Rows of the outbox; how many went of each state stays in the totals.
async fn settled_rows(
    tx: &mut SqliteConnection,
    what: &'static str,
    before: UnixNanos,
    limit: u32,
) -> Result<u64, StoreError> {
    let mut gone = 0;
    for state in [DeliveryState::Delivered, DeliveryState::Dead, DeliveryState::Superseded] {
        let room = u64::from(limit).saturating_sub(gone);
        let done = sqlx::query(
            "DELETE FROM outbox WHERE rowid IN (SELECT rowid FROM outbox WHERE planned_at < ? AND state = ? LIMIT ?)",
        )
        .bind(before.0)
        .bind(state.number())
        .bind(i64::try_from(room).unwrap_or(0))
        .execute(&mut *tx)
        .await
        .map_err(refused(what))?;
        count_gone(tx, what, state, done.rows_affected()).await?;
        gone += done.rows_affected();
    }
    Ok(gone)
}

async fn count_gone(
    tx: &mut SqliteConnection,
    what: &'static str,
    state: DeliveryState,
    rows: u64,
) -> Result<(), StoreError> {
    sqlx::query(
        "INSERT INTO outbox_pruned (state, gone) VALUES (?1, ?2) ON CONFLICT (state) DO UPDATE SET gone = gone + ?2",
    )
    .bind(state.number())
    .bind(i64::try_from(rows).unwrap_or(i64::MAX))
    .execute(tx)
    .await
    .map_err(refused(what))?;
    Ok(())
}

/// An agent without a lasting state directory starts a new epoch every time; the eight newest of a node are kept. An
/// agent whose mark is gone sends again what is already stored, which changes nothing.
async fn forget_epochs(tx: &mut SqliteConnection, what: &'static str) -> Result<(), StoreError> {
    sqlx::query(
        "DELETE FROM mark WHERE rowid IN (
             SELECT id FROM (SELECT rowid AS id, row_number() OVER (PARTITION BY cluster, node_uid ORDER BY rowid DESC) AS age
                             FROM mark) WHERE age > 8)",
    )
    .execute(tx)
    .await
    .map_err(refused(what))?;
    Ok(())
}
