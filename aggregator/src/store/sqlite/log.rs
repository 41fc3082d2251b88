//! Log tails in chunks.

use inquest_shared::{clock::UnixNanos, model::Key};
use sqlx::{FromRow, SqliteConnection};

use super::{error::refused, readers::Readers, scope};
use crate::{
    record::{NodeIdentity, Scope, StoredLog},
    store::StoreError,
};

/// Most bytes kept of one tail.
const MAX_TAIL: usize = 64 * 1024;

#[derive(FromRow)]
struct Chunk {
    position: u32,
    captured_at: i64,
    redactions: u32,
    truncated: bool,
    data: Vec<u8>,
}

/// Appends one chunk; a repeat changes nothing. What reaches beyond [`MAX_TAIL`] is cut.
pub(super) async fn put(
    tx: &mut SqliteConnection,
    what: &'static str,
    node: &NodeIdentity,
    key: Key,
    offset: u32,
    log: &StoredLog,
    at: UnixNanos,
) -> Result<(), StoreError> {
    let room = usize::try_from(offset).map_or(0, |at| MAX_TAIL.saturating_sub(at));
    let data = log.data.get(..room).unwrap_or(&log.data);
    if data.is_empty() && offset > 0 {
        return Ok(());
    }
    sqlx::query(
        "INSERT INTO log_chunk (cluster, node_uid, key, position, captured_at, redactions, truncated, data, stored_at)
         VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT DO NOTHING",
    )
    .bind(&node.cluster)
    .bind(&node.uid)
    .bind(key.as_bytes().as_slice())
    .bind(offset)
    .bind(log.captured_at.0)
    .bind(log.redactions)
    .bind(log.truncated)
    .bind(data)
    .bind(at.0)
    .execute(tx)
    .await
    .map_err(refused(what))?;
    Ok(())
}

/// The tail of a finding as far as it arrived without a gap. Two nodes may claim one key: the finding that was stored
/// first has it.
pub(super) async fn get(readers: &Readers, scope: &Scope, key: Key) -> Result<Option<StoredLog>, StoreError> {
    let chunks: Vec<Chunk> = readers
        .all(
            "read a log",
            sqlx::query_as(
                "SELECT l.position, l.captured_at, l.redactions, l.truncated, l.data
         FROM (SELECT c.cluster, c.node_uid, c.key
               FROM log_chunk AS c JOIN occurrence AS o USING (key, cluster, node_uid)
               WHERE c.key = ?1 AND c.position = 0
                 AND (?2 IS NULL OR (o.namespace <> '' AND o.namespace IN (SELECT value FROM json_each(?2))))
               ORDER BY o.stored_at, c.cluster, c.node_uid LIMIT 1)
         JOIN log_chunk AS l USING (key, cluster, node_uid) ORDER BY l.position",
            )
            .bind(key.as_bytes().as_slice())
            .bind(scope::namespaces(scope)),
        )
        .await?;
    Ok(join(chunks))
}

/// Joins chunks in order of position; overlaps are taken once, and a gap ends the tail.
fn join(chunks: Vec<Chunk>) -> Option<StoredLog> {
    let mut chunks = chunks.into_iter();
    let first = chunks.next()?;
    let mut log = StoredLog {
        data: first.data,
        captured_at: UnixNanos(first.captured_at),
        redactions: first.redactions,
        truncated: first.truncated,
    };
    for chunk in chunks {
        let Some(seen) = usize::try_from(chunk.position)
            .ok()
            .and_then(|at| log.data.len().checked_sub(at))
        else {
            break;
        };
        log.data.extend_from_slice(chunk.data.get(seen..).unwrap_or_default());
        log.redactions = log.redactions.max(chunk.redactions);
        log.truncated |= chunk.truncated;
    }
    Some(log)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn chunk(position: u32, data: &str) -> Chunk {
        Chunk {
            position,
            captured_at: 1,
            redactions: 0,
            truncated: false,
            data: data.as_bytes().to_vec(),
        }
    }

    #[test]
    fn chunks_join_without_repeating_an_overlap() {
        let log = join(vec![chunk(0, "abc"), chunk(2, "cde"), chunk(4, "e"), chunk(5, "f")]);
        assert_eq!(log.map(|l| l.data), Some(b"abcdef".to_vec()));
    }

    #[test]
    fn a_gap_ends_the_tail() {
        let log = join(vec![chunk(0, "abc"), chunk(4, "e")]);
        assert_eq!(log.map(|l| l.data), Some(b"abc".to_vec()));
    }
}
