//! Brings the schema up to this release, one transaction per step.
//!
//! Must not know what the tables are for.

use sqlx::{Connection as _, SqliteConnection};

use super::error::{commit_failed, refused};
use crate::store::StoreError;

/// Step n makes schema n + 1 of schema n and leaves that number in `meta.schema`.
const STEPS: [&str; 2] = [include_str!("migrations/0001.sql"), include_str!("migrations/0002.sql")];

/// The schema that this release reads and writes.
pub(super) const KNOWN: u32 = 2;
const _: () = assert!(STEPS.len() == KNOWN as usize);

const WHAT: &str = "migrate the database";

/// Applies the steps that are missing.
///
/// # Errors
/// [`StoreError::Newer`] before anything is changed; [`StoreError::Refused`] and [`StoreError::Doubtful`] as for writes:
/// opening again goes on where it ended.
pub(super) async fn run(connection: &mut SqliteConnection) -> Result<(), StoreError> {
    let found = schema(connection).await?;
    let known = i64::from(KNOWN);
    if found > known {
        return Err(StoreError::Newer { found, known });
    }
    let done = usize::try_from(found).unwrap_or(0);
    for step in STEPS.into_iter().skip(done) {
        let mut tx = connection.begin_with("BEGIN IMMEDIATE").await.map_err(refused(WHAT))?;
        sqlx::raw_sql(step).execute(&mut *tx).await.map_err(refused(WHAT))?;
        tx.commit().await.map_err(commit_failed(WHAT))?;
    }
    Ok(())
}

/// Takes the next fencing number.
///
/// # Errors
/// As [`run`].
pub(super) async fn take_fence(connection: &mut SqliteConnection) -> Result<i64, StoreError> {
    let mut tx = connection.begin_with("BEGIN IMMEDIATE").await.map_err(refused(WHAT))?;
    let fence = sqlx::query_scalar("UPDATE meta SET fence = fence + 1 RETURNING fence")
        .fetch_one(&mut *tx)
        .await
        .map_err(refused(WHAT))?;
    tx.commit().await.map_err(commit_failed(WHAT))?;
    Ok(fence)
}

/// Schema of the database; 0 for an empty one.
async fn schema(connection: &mut SqliteConnection) -> Result<i64, StoreError> {
    let has_meta: bool =
        sqlx::query_scalar("SELECT count(*) > 0 FROM sqlite_schema WHERE type = 'table' AND name = 'meta'")
            .fetch_one(&mut *connection)
            .await
            .map_err(refused(WHAT))?;
    if !has_meta {
        return Ok(0);
    }
    sqlx::query_scalar("SELECT schema FROM meta")
        .fetch_one(connection)
        .await
        .map_err(refused(WHAT))
}
