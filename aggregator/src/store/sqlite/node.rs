//! Nodes with their latest status, and how far each agent's spool is stored.

use std::sync::LazyLock;

use inquest_shared::clock::UnixNanos;
use sqlx::{FromRow, SqliteConnection};

use super::{
    error::refused,
    readers::Readers,
    rows::{Bound, Insertion},
};
use crate::{
    record::{NodeIdentity, StoredNode},
    store::StoreError,
};

#[derive(FromRow)]
struct Row {
    cluster: String,
    uid: String,
    name: String,
    enrolled_at: i64,
    last_seen: i64,
    status: Vec<u8>,
}

impl From<Row> for StoredNode {
    fn from(row: Row) -> Self {
        Self {
            node: NodeIdentity {
                cluster: row.cluster,
                uid: row.uid,
                name: row.name,
            },
            enrolled_at: UnixNanos(row.enrolled_at),
            last_seen: UnixNanos(row.last_seen),
            status: row.status,
        }
    }
}

/// Registers a node or notes that it is alive; `status` replaces the one held. The first enrolment stays.
pub(super) async fn put(
    tx: &mut SqliteConnection,
    what: &'static str,
    node: &NodeIdentity,
    at: UnixNanos,
    status: Option<&[u8]>,
) -> Result<(), StoreError> {
    sqlx::query(
        "INSERT INTO node (cluster, uid, name, enrolled_at, last_seen, status) VALUES (?1, ?2, ?3, ?4, ?4, coalesce(?5, x''))
         ON CONFLICT (cluster, uid) DO UPDATE SET
             name = ?3, last_seen = max(last_seen, ?4), status = coalesce(?5, status)",
    )
    .bind(&node.cluster)
    .bind(&node.uid)
    .bind(&node.name)
    .bind(at.0)
    .bind(status)
    .execute(tx)
    .await
    .map_err(refused(what))?;
    Ok(())
}

/// By cluster, name and uid.
pub(super) async fn list(
    readers: &Readers,
    cluster: &str,
    after: Option<&NodeIdentity>,
    limit: u32,
) -> Result<Vec<StoredNode>, StoreError> {
    let place = after.map_or(("", "", ""), |node| (&node.cluster, &node.name, &node.uid));
    let rows: Vec<Row> = readers
        .all(
            "list nodes",
            sqlx::query_as(
                "SELECT cluster, uid, name, enrolled_at, last_seen, status FROM node
         WHERE (cluster, name, uid) > (?2, ?3, ?4) AND (?1 = '' OR cluster = ?1)
         ORDER BY cluster, name, uid LIMIT ?5",
            )
            .bind(cluster)
            .bind(place.0)
            .bind(place.1)
            .bind(place.2)
            .bind(limit),
        )
        .await?;
    Ok(rows.into_iter().map(StoredNode::from).collect())
}

static MARKS: LazyLock<Insertion> = LazyLock::new(|| {
    Insertion::new(
        "INSERT INTO mark (cluster, node_uid, epoch, seq) VALUES",
        4,
        "ON CONFLICT (cluster, node_uid, epoch) DO UPDATE SET seq = max(seq, excluded.seq)",
    )
});

/// Raises the marks of epochs; none ever falls.
pub(super) async fn raise_marks(
    tx: &mut SqliteConnection,
    what: &'static str,
    marks: &[(NodeIdentity, u64, u64)],
) -> Result<(), StoreError> {
    MARKS.put(tx, what, marks, bind_mark).await
}

fn bind_mark<'q>(query: Bound<'q>, (node, epoch, seq): &'q (NodeIdentity, u64, u64)) -> Bound<'q> {
    query
        .bind(&node.cluster)
        .bind(&node.uid)
        .bind(epoch.cast_signed())
        // no spool gets that far; only a forged number ends up there
        .bind(i64::try_from(*seq).unwrap_or(i64::MAX))
}

/// Mark of an epoch; 0 when unknown.
pub(super) async fn mark(readers: &Readers, node: &NodeIdentity, epoch: u64) -> Result<u64, StoreError> {
    let query = sqlx::query_as("SELECT seq FROM mark WHERE cluster = ? AND node_uid = ? AND epoch = ?")
        .bind(&node.cluster)
        .bind(&node.uid)
        .bind(epoch.cast_signed());
    let found: Vec<(i64,)> = readers.all("read a mark", query).await?;
    Ok(found.first().map_or(0, |(seq,)| u64::try_from(*seq).unwrap_or(0)))
}
