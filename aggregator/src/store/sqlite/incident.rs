//! Incidents as stored.

use std::sync::LazyLock;

use inquest_shared::{
    clock::UnixNanos,
    model::{Incident, IncidentState},
};
use sqlx::{FromRow, SqliteConnection};

use super::{
    payload,
    readers::Readers,
    rows::{Bound, Insertion},
    scope,
};
use crate::{
    record::{Cursor, Filter, Scope},
    store::StoreError,
};

#[derive(FromRow)]
struct Row {
    id: String,
    last_seen: i64,
    payload_version: i64,
    payload: Vec<u8>,
}

impl Row {
    fn decode(&self, what: &'static str) -> Result<Incident, StoreError> {
        payload::incident(what, self.payload_version, &self.payload)
    }
}

static INSERTION: LazyLock<Insertion> = LazyLock::new(|| {
    Insertion::new(
        "INSERT INTO incident (cluster, id, state, cause, severity, last_seen, resolved_at, namespace, workload, container,
             nodes, payload_version, payload) VALUES",
        13,
        "ON CONFLICT (id, cluster) DO UPDATE SET
             state = excluded.state, cause = excluded.cause, severity = excluded.severity,
             last_seen = excluded.last_seen, resolved_at = excluded.resolved_at, namespace = excluded.namespace,
             workload = excluded.workload, container = excluded.container, nodes = excluded.nodes,
             payload_version = excluded.payload_version, payload = excluded.payload",
    )
});

/// Inserts or replaces them in order.
pub(super) async fn put(tx: &mut SqliteConnection, what: &'static str, rows: &[Incident]) -> Result<(), StoreError> {
    INSERTION.put(tx, what, rows, bind).await
}

/// Adds the values of one row in the order of the columns.
fn bind<'q>(query: Bound<'q>, incident: &'q Incident) -> Bound<'q> {
    query
        .bind(&incident.cluster)
        .bind(incident.id.to_string())
        .bind(incident.state.number())
        .bind(incident.cause.number())
        .bind(incident.severity.number())
        .bind(incident.last_seen.0)
        .bind(incident.resolved_at.map(|t| t.0))
        .bind(&incident.workload.namespace)
        .bind(&incident.workload.owner.name)
        .bind(&incident.workload.container)
        .bind(format!("\n{}\n", incident.nodes.names.join("\n")))
        .bind(payload::VERSION)
        .bind(payload::of_incident(incident))
}

/// Open ones, and those resolved at or after `resolved_since`; oldest first.
pub(super) async fn live(readers: &Readers, resolved_since: UnixNanos) -> Result<Vec<Incident>, StoreError> {
    const WHAT: &str = "load live incidents";
    let rows: Vec<Row> = readers
        .all(
            WHAT,
            sqlx::query_as(
                "SELECT id, last_seen, payload_version, payload FROM incident
         WHERE state = ?1 OR (state = ?2 AND resolved_at >= ?3) ORDER BY id",
            )
            .bind(IncidentState::Open.number())
            .bind(IncidentState::Resolved.number())
            .bind(resolved_since.0),
        )
        .await?;
    let sound = rows.iter().filter_map(|row| readers.sound(&row.id, row.decode(WHAT)));
    Ok(sound.collect())
}

/// How many are open.
pub(super) async fn count_open(readers: &Readers) -> Result<u64, StoreError> {
    let query = sqlx::query_as("SELECT count(*) FROM incident WHERE state = ?").bind(IncidentState::Open.number());
    let count: Vec<(i64,)> = readers.all("count open incidents", query).await?;
    Ok(count.first().map_or(0, |(open,)| u64::try_from(*open).unwrap_or(0)))
}

/// At most two whose id begins with `prefix`, in any case.
pub(super) async fn find(readers: &Readers, scope: &Scope, prefix: &str) -> Result<Vec<Incident>, StoreError> {
    const WHAT: &str = "find an incident";
    // "~" sorts after every character of a ULID
    let rows: Vec<Row> = readers
        .all(
            WHAT,
            sqlx::query_as(
                "SELECT id, last_seen, payload_version, payload FROM incident
         WHERE id >= ?1 AND id < ?1 || '~'
           AND (?2 IS NULL OR (namespace <> '' AND namespace IN (SELECT value FROM json_each(?2))))
         ORDER BY id LIMIT 2",
            )
            .bind(prefix.to_ascii_uppercase())
            .bind(scope::namespaces(scope)),
        )
        .await?;
    rows.iter().map(|row| row.decode(WHAT)).collect()
}

/// Newest first. Damaged ones are left out and further ones take their places.
pub(super) async fn list(
    readers: &Readers,
    scope: &Scope,
    filter: &Filter,
    after: Option<&Cursor>,
    limit: u32,
) -> Result<Vec<Incident>, StoreError> {
    const WHAT: &str = "list incidents";
    let mut place = after.map_or((i64::MAX, "~".to_owned()), |cursor| (cursor.at.0, cursor.id.clone()));
    let (mut found, mut room) = (Vec::new(), limit);
    while room > 0 {
        let rows = page(readers, scope, filter, &place, room).await?;
        let Some(last) = rows.last() else { break };
        place = (last.last_seen, last.id.clone());
        found.extend(rows.iter().filter_map(|row| readers.sound(&row.id, row.decode(WHAT))));
        let all_read = u32::try_from(rows.len()).is_ok_and(|read| read < room);
        let have = u32::try_from(found.len()).unwrap_or(limit);
        room = if all_read { 0 } else { limit.saturating_sub(have) };
    }
    Ok(found)
}

async fn page(
    readers: &Readers,
    scope: &Scope,
    filter: &Filter,
    (at, id): &(i64, String),
    limit: u32,
) -> Result<Vec<Row>, StoreError> {
    readers
        .all(
            "list incidents",
            sqlx::query_as(
                "SELECT id, last_seen, payload_version, payload FROM incident
         WHERE (last_seen, id) < (?1, ?2) AND last_seen >= ?3
           AND (?4 IS NULL OR (namespace <> '' AND namespace IN (SELECT value FROM json_each(?4))))
           AND (?5 = '' OR cluster = ?5) AND (?6 = '' OR namespace = ?6) AND (?7 = '' OR workload = ?7)
           AND (?8 = '' OR container = ?8) AND (?9 = '' OR instr(nodes, char(10) || ?9 || char(10)) > 0)
           AND (?10 IS NULL OR cause = ?10) AND severity >= ?11 AND (?12 IS NULL OR state = ?12)
         ORDER BY last_seen DESC, id DESC LIMIT ?13",
            )
            .bind(at)
            .bind(id)
            .bind(filter.since.map_or(i64::MIN, |t| t.0))
            .bind(scope::namespaces(scope))
            .bind(&filter.cluster)
            .bind(&filter.namespace)
            .bind(&filter.workload)
            .bind(&filter.container)
            .bind(&filter.node)
            .bind(filter.cause.map(|c| c.number()))
            .bind(filter.min_severity.map_or(0, |s| s.number()))
            .bind(filter.open_only.then_some(IncidentState::Open.number()))
            .bind(limit),
        )
        .await
}
