//! Forgetting what is older than the retention, a bounded number of rows at a time.

use inquest_shared::{
    clock::UnixNanos,
    model::{DeliveryState, IncidentState},
};
use sqlx::SqliteConnection;

use super::error::refused;
use crate::store::StoreError;

/// Logs leave before their findings. A log whose finding never came has only the node's clock to go by.
const LOGS_OF_OLD_FINDINGS: &str = "DELETE FROM log_chunk WHERE rowid IN (
    SELECT l.rowid FROM occurrence AS o CROSS JOIN log_chunk AS l USING (key, cluster, node_uid)
    WHERE o.stored_at < ?1 LIMIT ?2)";
const ORPHANED_LOGS: &str = "DELETE FROM log_chunk WHERE rowid IN (
    SELECT l.rowid FROM log_chunk AS l LEFT JOIN occurrence AS o USING (key, cluster, node_uid)
    WHERE l.captured_at < ?1 AND o.rowid IS NULL LIMIT ?2)";
const FINDINGS: &str = "DELETE FROM occurrence WHERE rowid IN (
    SELECT o.rowid FROM occurrence AS o
    WHERE o.stored_at < ?1 AND NOT EXISTS (
        SELECT 1 FROM log_chunk AS l WHERE l.key = o.key AND l.cluster = o.cluster AND l.node_uid = o.node_uid)
    LIMIT ?2)";

/// Gives at most 1,000 freed pages (4 MB) back to the file system.
const SHRINK: &str = "PRAGMA incremental_vacuum(1000)";

/// Deletes at most `limit` rows of each kind; returns how many went. Ages are by the aggregator's clock.
pub(super) async fn run(
    tx: &mut SqliteConnection,
    what: &'static str,
    before: UnixNanos,
    limit: u32,
) -> Result<u64, StoreError> {
    let mut gone = 0;
    for statement in [LOGS_OF_OLD_FINDINGS, ORPHANED_LOGS, FINDINGS] {
        let done = sqlx::query(statement)
            .bind(before.0)
            .bind(limit)
            .execute(&mut *tx)
            .await
            .map_err(refused(what))?;
        gone += done.rows_affected();
    }
    gone += resolved_incidents(tx, what, before, limit).await?;
    gone += settled_rows(tx, what, before, limit).await?;
    forget_epochs(tx, what).await?;
    sqlx::raw_sql(SHRINK).execute(tx).await.map_err(refused(what))?;
    Ok(gone)
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
