//! Planned notifications and their fate.

use std::sync::Arc;

use inquest_shared::{
    clock::UnixNanos,
    model::{Delivery, DeliveryState, TransitionKind},
};
use sqlx::{FromRow, SqliteConnection};
use ulid::Ulid;

use super::{
    error::{BadColumn, damaged, refused},
    payload,
    readers::Readers,
    scope,
};
use crate::{
    record::{Cursor, Notice, OutboxRow, OutboxTotals, Scope, Slot},
    store::StoreError,
};

#[derive(FromRow)]
struct Row {
    id: String,
    receiver: String,
    kind: i32,
    planned_at: i64,
    state: i32,
    attempts: u32,
    next_at: i64,
    delivered_at: Option<i64>,
    last_error: String,
    payload_version: i64,
    payload: Vec<u8>,
}

#[derive(FromRow)]
struct DeliveryRow {
    receiver: String,
    transition: u32,
    kind: i32,
    state: i32,
    attempts: u32,
    planned_at: i64,
    delivered_at: Option<i64>,
    last_error: String,
}

fn bad(what: &'static str, column: &'static str) -> StoreError {
    damaged(what, BadColumn { column })
}

fn kind(what: &'static str, number: i32) -> Result<TransitionKind, StoreError> {
    TransitionKind::from_number(number).ok_or_else(|| bad(what, "outbox.kind"))
}

fn state(what: &'static str, number: i32) -> Result<DeliveryState, StoreError> {
    DeliveryState::from_number(number).ok_or_else(|| bad(what, "outbox.state"))
}

impl Row {
    fn decode(self, what: &'static str) -> Result<OutboxRow, StoreError> {
        let incident = payload::incident(what, self.payload_version, &self.payload)?;
        Ok(OutboxRow {
            id: Ulid::from_string(&self.id).map_err(|_| bad(what, "outbox.id"))?,
            receiver: self.receiver,
            notice: Arc::new(Notice {
                incident,
                kind: kind(what, self.kind)?,
            }),
            planned_at: UnixNanos(self.planned_at),
            state: state(what, self.state)?,
            attempts: self.attempts,
            next_at: UnixNanos(self.next_at),
            delivered_at: self.delivered_at.map(UnixNanos),
            last_error: self.last_error,
        })
    }
}

impl DeliveryRow {
    fn decode(self, what: &'static str) -> Result<Delivery, StoreError> {
        Ok(Delivery {
            receiver: self.receiver,
            transition: self.transition,
            kind: kind(what, self.kind)?,
            state: state(what, self.state)?,
            attempts: self.attempts,
            planned_at: UnixNanos(self.planned_at),
            delivered_at: self.delivered_at.map(UnixNanos),
            last_error: self.last_error,
        })
    }
}

/// Inserts planned rows in order. A repeat of a row changes nothing, so that it cannot supersede a later one.
pub(super) async fn plan(tx: &mut SqliteConnection, what: &'static str, rows: &[OutboxRow]) -> Result<(), StoreError> {
    let mut encoded: Option<(&Arc<Notice>, Vec<u8>)> = None;
    for row in rows {
        // the receivers of one notice follow each other: encode it once
        let bytes = match encoded {
            Some((notice, bytes)) if Arc::ptr_eq(notice, &row.notice) => bytes,
            _ => payload::of_incident(&row.notice.incident),
        };
        if insert(tx, what, row, &bytes).await? && row.slot() == Slot::Update {
            supersede(tx, what, row).await?;
        }
        encoded = Some((&row.notice, bytes));
    }
    Ok(())
}

/// Returns whether the row is new.
async fn insert(
    tx: &mut SqliteConnection,
    what: &'static str,
    row: &OutboxRow,
    notice: &[u8],
) -> Result<bool, StoreError> {
    let incident = &row.notice.incident;
    let done = sqlx::query(
        "INSERT INTO outbox (cluster, id, receiver, incident, slot, transition, kind, planned_at, state, attempts, next_at,
             delivered_at, last_error, payload_version, payload)
         VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)
         ON CONFLICT (id, cluster) DO NOTHING",
    )
    .bind(&incident.cluster)
    .bind(row.id.to_string())
    .bind(&row.receiver)
    .bind(incident.id.to_string())
    .bind(row.slot().number())
    .bind(incident.transition)
    .bind(row.notice.kind.number())
    .bind(row.planned_at.0)
    .bind(row.state.number())
    .bind(row.attempts)
    .bind(row.next_at.0)
    .bind(row.delivered_at.map(|t| t.0))
    .bind(&row.last_error)
    .bind(payload::VERSION)
    .bind(notice)
    .execute(tx)
    .await
    .map_err(refused(what))?;
    Ok(done.rows_affected() == 1)
}

/// The latest update replaces the one that still waits.
async fn supersede(tx: &mut SqliteConnection, what: &'static str, by: &OutboxRow) -> Result<(), StoreError> {
    sqlx::query(
        "UPDATE outbox SET state = ?1
         WHERE incident = ?2 AND receiver = ?3 AND slot = ?4 AND cluster = ?5 AND state = ?6 AND id <> ?7",
    )
    .bind(DeliveryState::Superseded.number())
    .bind(by.notice.incident.id.to_string())
    .bind(&by.receiver)
    .bind(Slot::Update.number())
    .bind(&by.notice.incident.cluster)
    .bind(DeliveryState::Pending.number())
    .bind(by.id.to_string())
    .execute(tx)
    .await
    .map_err(refused(what))?;
    Ok(())
}

/// Writes the fate of a row. A settled row stays settled, but for one thing: what was superseded in flight and arrived
/// all the same counts as delivered.
pub(super) async fn settle(tx: &mut SqliteConnection, what: &'static str, row: &OutboxRow) -> Result<(), StoreError> {
    sqlx::query(
        "UPDATE outbox SET state = ?1, attempts = ?2, next_at = ?3, delivered_at = ?4, last_error = ?5
         WHERE id = ?6 AND cluster = ?7 AND (state = ?8 OR ?1 = ?9)",
    )
    .bind(row.state.number())
    .bind(row.attempts)
    .bind(row.next_at.0)
    .bind(row.delivered_at.map(|t| t.0))
    .bind(&row.last_error)
    .bind(row.id.to_string())
    .bind(&row.notice.incident.cluster)
    .bind(DeliveryState::Pending.number())
    .bind(DeliveryState::Delivered.number())
    .execute(tx)
    .await
    .map_err(refused(what))?;
    Ok(())
}

/// Waiting rows of a receiver after `after`, oldest first, and the ids of those that do not decode.
pub(super) async fn page(
    readers: &Readers,
    receiver: &str,
    after: Option<Ulid>,
    limit: u32,
) -> Result<(Vec<OutboxRow>, Vec<String>), StoreError> {
    const WHAT: &str = "read the outbox";
    let rows: Vec<Row> = readers.all(WHAT, sqlx::query_as(
        "SELECT id, receiver, kind, planned_at, state, attempts, next_at, delivered_at, last_error, payload_version, payload
         FROM outbox WHERE state = ? AND receiver = ? AND id > ? ORDER BY id LIMIT ?",
    )
    .bind(DeliveryState::Pending.number())
    .bind(receiver)
    .bind(after.map(|id| id.to_string()).unwrap_or_default())
    .bind(limit)).await?;
    let (mut sound, mut damaged) = (Vec::new(), Vec::new());
    for row in rows {
        let id = row.id.clone();
        match readers.sound(&id, row.decode(WHAT)) {
            Some(row) => sound.push(row),
            None => damaged.push(id),
        }
    }
    Ok((sound, damaged))
}

/// Gives up rows that nobody can send any more, so that they neither block the others nor wait unseen.
pub(super) async fn bury_damaged(
    tx: &mut SqliteConnection,
    what: &'static str,
    ids: &[String],
) -> Result<(), StoreError> {
    for id in ids {
        sqlx::query("UPDATE outbox SET state = ?, last_error = 'the stored notification is damaged' WHERE id = ?")
            .bind(DeliveryState::Dead.number())
            .bind(id)
            .execute(&mut *tx)
            .await
            .map_err(refused(what))?;
    }
    Ok(())
}

/// Receivers with waiting rows.
pub(super) async fn receivers(readers: &Readers) -> Result<Vec<String>, StoreError> {
    let names: Vec<(String,)> = readers
        .all(
            "list receivers",
            sqlx::query_as("SELECT DISTINCT receiver FROM outbox WHERE state = ? ORDER BY receiver")
                .bind(DeliveryState::Pending.number()),
        )
        .await?;
    Ok(names.into_iter().map(|(name,)| name).collect())
}

/// Rows that exist and rows that were pruned, by state.
pub(super) async fn totals(readers: &Readers) -> Result<OutboxTotals, StoreError> {
    const WHAT: &str = "count the outbox";
    let counts: Vec<(i32, i64)> = readers
        .all(
            WHAT,
            sqlx::query_as(
                "SELECT state, sum(n) FROM (SELECT state, count(*) AS n FROM outbox GROUP BY state
                                    UNION ALL SELECT state, gone FROM outbox_pruned) GROUP BY state",
            ),
        )
        .await?;
    let mut totals = OutboxTotals::default();
    for (number, count) in counts {
        let count = u64::try_from(count).unwrap_or(0);
        totals.planned += count;
        match state(WHAT, number)? {
            DeliveryState::Pending => totals.pending += count,
            DeliveryState::Delivered => totals.delivered += count,
            DeliveryState::Dead => totals.dead += count,
            DeliveryState::Superseded => totals.superseded += count,
        }
    }
    Ok(totals)
}

/// Rows in a state for a receiver, newest planned first.
pub(super) async fn list(
    readers: &Readers,
    scope: &Scope,
    state: Option<DeliveryState>,
    receiver: &str,
    after: Option<&Cursor>,
    limit: u32,
) -> Result<Vec<OutboxRow>, StoreError> {
    const WHAT: &str = "list deliveries";
    let (at, id) = after.map_or((i64::MAX, "~"), |cursor| (cursor.at.0, cursor.id.as_str()));
    let rows: Vec<Row> = readers.all(WHAT, sqlx::query_as(
        "SELECT id, receiver, kind, planned_at, state, attempts, next_at, delivered_at, last_error, payload_version, payload
         FROM outbox
         WHERE (planned_at, id) < (?1, ?2) AND (?3 IS NULL OR state = ?3) AND (?4 = '' OR receiver = ?4)
           AND (?5 IS NULL OR EXISTS (SELECT 1 FROM incident
                WHERE incident.id = outbox.incident AND incident.cluster = outbox.cluster AND incident.namespace <> ''
                  AND incident.namespace IN (SELECT value FROM json_each(?5))))
         ORDER BY planned_at DESC, id DESC LIMIT ?6",
    )
    .bind(at)
    .bind(id)
    .bind(state.map(|state| state.number()))
    .bind(receiver)
    .bind(scope::namespaces(scope))
    .bind(limit)).await?;
    rows.into_iter().map(|row| row.decode(WHAT)).collect()
}

/// Most deliveries shown of one incident; the newest count.
const MAX_DELIVERIES: u32 = 500;

/// Deliveries of one incident, oldest first.
pub(super) async fn deliveries(readers: &Readers, incident: Ulid) -> Result<Vec<Delivery>, StoreError> {
    const WHAT: &str = "read deliveries";
    let rows: Vec<DeliveryRow> = readers
        .all(
            WHAT,
            sqlx::query_as(
                "SELECT receiver, transition, kind, state, attempts, planned_at, delivered_at, last_error
         FROM outbox WHERE incident = ? ORDER BY planned_at DESC, id DESC LIMIT ?",
            )
            .bind(incident.to_string())
            .bind(MAX_DELIVERIES),
        )
        .await?;
    rows.into_iter().rev().map(|row| row.decode(WHAT)).collect()
}
