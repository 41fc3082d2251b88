//! Findings as stored.

use std::sync::LazyLock;

use inquest_proto::ingest::v1 as pb;
use inquest_shared::{clock::UnixNanos, model::Key};
use sqlx::{FromRow, SqliteConnection};
use ulid::Ulid;

use super::{
    error::{BadColumn, damaged},
    payload,
    readers::Readers,
    rows::{Bound, Insertion},
    scope,
};
use crate::{
    record::{Cursor, Filter, NodeIdentity, Scope, StoredOccurrence},
    store::{StoreError, cursor},
};

/// Most keys asked for in one statement.
const KEYS_PER_STATEMENT: usize = 500;

#[derive(FromRow)]
struct Row {
    cluster: String,
    node_uid: String,
    key: Vec<u8>,
    node_name: String,
    observed_at: i64,
    stored_at: i64,
    incident: Option<String>,
    payload_version: i64,
    payload: Vec<u8>,
    has_log: bool,
}

impl Row {
    fn decode(self, what: &'static str) -> Result<StoredOccurrence, StoreError> {
        let incident = self.incident.map(|text| Ulid::from_string(&text)).transpose();
        Ok(StoredOccurrence {
            finding: payload::finding(what, self.payload_version, &self.payload)?,
            node: NodeIdentity {
                cluster: self.cluster,
                uid: self.node_uid,
                name: self.node_name,
            },
            incident: incident.map_err(|_| {
                damaged(
                    what,
                    BadColumn {
                        column: "occurrence.incident",
                    },
                )
            })?,
            stored_at: UnixNanos(self.stored_at),
        })
    }
}

static INSERTION: LazyLock<Insertion> = LazyLock::new(|| {
    Insertion::new(
        "INSERT INTO occurrence (cluster, node_uid, key, node_name, observed_at, stored_at, namespace, workload, container,
             pod, cause, incident, payload_version, payload) VALUES",
        14,
        "ON CONFLICT (cluster, node_uid, key) DO UPDATE SET
             node_name = excluded.node_name, observed_at = excluded.observed_at, stored_at = excluded.stored_at,
             namespace = excluded.namespace, workload = excluded.workload, container = excluded.container,
             pod = excluded.pod, cause = excluded.cause, incident = excluded.incident,
             payload_version = excluded.payload_version, payload = excluded.payload",
    )
});

/// Inserts or replaces them in order.
pub(super) async fn put(
    tx: &mut SqliteConnection,
    what: &'static str,
    rows: &[StoredOccurrence],
) -> Result<(), StoreError> {
    INSERTION.put(tx, what, rows, bind).await
}

/// Adds the values of one row in the order of the columns.
fn bind<'q>(query: Bound<'q>, row: &'q StoredOccurrence) -> Bound<'q> {
    let message = pb::Finding::from(&row.finding);
    let subject = &row.finding.subject;
    query
        .bind(&row.node.cluster)
        .bind(&row.node.uid)
        .bind(row.finding.key.as_bytes().as_slice())
        .bind(&row.node.name)
        .bind(row.finding.observed_at.0)
        .bind(row.stored_at.0)
        .bind(&subject.namespace)
        .bind(&subject.owner.name)
        .bind(&subject.container)
        .bind(&subject.pod)
        .bind(message.verdict.as_ref().map_or(0, |v| v.cause))
        .bind(row.incident.map(|id| id.to_string()))
        .bind(payload::VERSION)
        .bind(payload::of_finding(&message))
}

/// Those of `keys` that are stored.
pub(super) async fn by_keys(
    readers: &Readers,
    keys: &[(NodeIdentity, Key)],
) -> Result<Vec<StoredOccurrence>, StoreError> {
    const WHAT: &str = "read findings";
    let mut found = Vec::new();
    for chunk in keys.chunks(KEYS_PER_STATEMENT) {
        let wanted: Vec<_> = chunk
            .iter()
            .map(|(node, key)| serde_json::json!([node.cluster, node.uid, key.to_string()]))
            .collect();
        // CROSS JOIN keeps the list outside, so that every key is one look-up
        let rows: Vec<Row> = readers.all(WHAT, sqlx::query_as(
            "SELECT o.cluster, o.node_uid, o.key, o.node_name, o.observed_at, o.stored_at, o.incident, o.payload_version, o.payload,
                 0 AS has_log
             FROM json_each(?) AS k CROSS JOIN occurrence AS o
             ON o.cluster = k.value ->> 0 AND o.node_uid = k.value ->> 1 AND o.key = unhex(k.value ->> 2)",
        )
        .bind(serde_json::Value::from(wanted).to_string())).await?;
        for row in rows {
            found.push(row.decode(WHAT)?);
        }
    }
    Ok(found)
}

/// Newest first, each with whether a log is stored. Damaged ones are left out and further ones take their places.
pub(super) async fn list(
    readers: &Readers,
    scope: &Scope,
    filter: &Filter,
    after: Option<&Cursor>,
    limit: u32,
) -> Result<Vec<(StoredOccurrence, bool)>, StoreError> {
    const WHAT: &str = "list findings";
    let (mut start, mut found, mut room) = (Start::after(after), Vec::new(), limit);
    while room > 0 {
        let rows = page(readers, scope, filter, start, room).await?;
        let Some(last) = rows.last() else { break };
        start = Start::at(last);
        let all_read = u32::try_from(rows.len()).is_ok_and(|read| read < room);
        for row in rows {
            let (id, has_log) = (hex(&row.key), row.has_log);
            found.extend(readers.sound(&id, row.decode(WHAT)).map(|finding| (finding, has_log)));
        }
        let have = u32::try_from(found.len()).unwrap_or(limit);
        room = if all_read { 0 } else { limit.saturating_sub(have) };
    }
    Ok(found)
}

/// A key as people see it.
fn hex(key: &[u8]) -> String {
    key.iter().map(|byte| format!("{byte:02x}")).collect()
}

async fn page(
    readers: &Readers,
    scope: &Scope,
    filter: &Filter,
    start: Start,
    limit: u32,
) -> Result<Vec<Row>, StoreError> {
    readers
        .all(
            "list findings",
            sqlx::query_as(
                "SELECT cluster, node_uid, key, node_name, observed_at, stored_at, incident, payload_version, payload,
             EXISTS (SELECT 1 FROM log_chunk AS l
                     WHERE l.key = o.key AND l.cluster = o.cluster AND l.node_uid = o.node_uid) AS has_log
         FROM occurrence AS o
         WHERE (observed_at, cluster, node_uid, key) < (?1, ?2, ?3, ?4) AND observed_at >= ?5
           AND (?6 IS NULL OR (namespace <> '' AND namespace IN (SELECT value FROM json_each(?6))))
           AND (?7 = '' OR cluster = ?7) AND (?8 = '' OR namespace = ?8) AND (?9 = '' OR workload = ?9)
           AND (?10 = '' OR container = ?10) AND (?11 = '' OR pod = ?11) AND (?12 = '' OR node_name = ?12)
           AND (?13 IS NULL OR cause = ?13)
         ORDER BY observed_at DESC, cluster DESC, node_uid DESC, key DESC LIMIT ?14",
            )
            .bind(start.at)
            .bind(start.cluster)
            .bind(start.node_uid)
            .bind(start.key)
            .bind(filter.since.map_or(i64::MIN, |t| t.0))
            .bind(scope::namespaces(scope))
            .bind(&filter.cluster)
            .bind(&filter.namespace)
            .bind(&filter.workload)
            .bind(&filter.container)
            .bind(&filter.pod)
            .bind(&filter.node)
            .bind(filter.cause.map(|c| c.number()))
            .bind(limit),
        )
        .await
}

/// What a page stays below.
struct Start {
    at: i64,
    cluster: String,
    node_uid: String,
    key: Vec<u8>,
}

impl Start {
    fn at(row: &Row) -> Self {
        Self {
            at: row.observed_at,
            cluster: row.cluster.clone(),
            node_uid: row.node_uid.clone(),
            key: row.key.clone(),
        }
    }

    /// Without a cursor: above everything. With a forged one: below everything of its time.
    fn after(cursor: Option<&Cursor>) -> Self {
        let Some(cursor) = cursor else {
            return Self {
                at: i64::MAX,
                cluster: char::MAX.to_string(),
                node_uid: String::new(),
                key: Vec::new(),
            };
        };
        let (cluster, node_uid, key) = cursor::finding_key(&cursor.id)
            .map_or_else(Default::default, |(cluster, uid, key)| {
                (cluster, uid, key.as_bytes().to_vec())
            });
        Self {
            at: cursor.at.0,
            cluster,
            node_uid,
            key,
        }
    }
}
