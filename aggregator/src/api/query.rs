//! The query service: incidents, findings, logs and nodes, read from the store.
//!
//! Must not know transports: JSON asks the same functions.

use std::{collections::BTreeMap, sync::Arc};

use futures::stream::BoxStream;
use inquest_proto::{
    ingest::v1::AgentStatus,
    query::v1::{self as pb, query_service_server::QueryService},
};
use inquest_shared::{
    clock::UnixNanos,
    model::{Delivery, Incident, Key},
    wire::delivery_to_wire,
};
use prost::Message as _;
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;
use tonic::{Request, Response, Status};

use super::{
    Api, delivery,
    filter::{About, checked},
    page,
    status::{Violations, of_store, quoted},
    watch::Watch,
};
use crate::{
    ingest::{NodeView, Skew},
    record::{Cursor, NodeIdentity, Scope, StoredNode, StoredOccurrence},
    store::{cursor_of_finding, cursor_of_incident},
};

/// Shortest prefix of an incident's id.
const MIN_PREFIX: usize = 6;
/// Length of a ULID.
const ULID_CHARS: usize = 26;
/// Watches open at once; a further one is refused and may try later.
const MAX_WATCHES: usize = 256;

/// Answers questions about what was stored.
pub(super) struct Query {
    api: Api,
    watches: Arc<Semaphore>,
    stop: CancellationToken,
}

/// What the caller may see: everything, as only this host can connect. The place where authentication will decide.
fn scope_of<T>(_request: &Request<T>) -> Scope {
    Scope::All
}

impl Query {
    /// Open watches end when `stop` is cancelled.
    pub(super) fn new(api: Api, stop: CancellationToken) -> Self {
        Self {
            api,
            watches: Arc::new(Semaphore::new(MAX_WATCHES)),
            stop,
        }
    }
}

#[tonic::async_trait]
impl QueryService for Query {
    async fn list_incidents(
        &self,
        request: Request<pb::ListIncidentsRequest>,
    ) -> Result<Response<pb::ListIncidentsResponse>, Status> {
        let scope = scope_of(&request);
        let request = request.into_inner();
        let (given, mut wrong) = (request.filter.unwrap_or_default(), Violations::default());
        let filter = checked(&given, About::Incidents, &mut wrong);
        let size = page::size(request.page_size, &mut wrong);
        let after = page::cursor(About::Incidents, &given, &request.page_token, &mut wrong);
        wrong.check()?;
        let found = self
            .api
            .store
            .list_incidents(&scope, &filter, after.as_ref(), size.saturating_add(1))
            .await;
        let found = found.map_err(|error| of_store(&error))?;
        let (incidents, next) = page::cut(
            &found,
            size,
            |incident| pb::Incident::from(incident),
            cursor_of_incident,
        );
        let next_page_token = next
            .map(|at| page::token(About::Incidents, &given, &at))
            .unwrap_or_default();
        Ok(Response::new(pb::ListIncidentsResponse {
            incidents,
            next_page_token,
        }))
    }

    async fn get_incident(
        &self,
        request: Request<pb::GetIncidentRequest>,
    ) -> Result<Response<pb::GetIncidentResponse>, Status> {
        let scope = scope_of(&request);
        let id = request.into_inner().id;
        check_prefix(&id)?;
        let found = self
            .api
            .store
            .find_incidents(&scope, &id)
            .await
            .map_err(|error| of_store(&error))?;
        let incident = match found.as_slice() {
            [] => {
                return Err(Status::not_found(format!(
                    "no incident has an id that begins with {}",
                    quoted(&id)
                )));
            }
            [one] => one,
            [one, other, ..] => return Err(ambiguous(&id, one, other)),
        };
        let deliveries = self
            .api
            .store
            .deliveries(incident.id)
            .await
            .map_err(|error| of_store(&error))?;
        Ok(Response::new(pb::GetIncidentResponse {
            incident: Some(with_deliveries(incident, &deliveries)),
        }))
    }

    type WatchIncidentsStream = BoxStream<'static, Result<pb::WatchIncidentsResponse, Status>>;

    async fn watch_incidents(
        &self,
        request: Request<pb::WatchIncidentsRequest>,
    ) -> Result<Response<Self::WatchIncidentsStream>, Status> {
        let scope = scope_of(&request);
        let request = request.into_inner();
        let mut wrong = Violations::default();
        let filter = checked(&request.filter.unwrap_or_default(), About::Incidents, &mut wrong);
        wrong.check()?;
        let permit = Arc::clone(&self.watches).try_acquire_owned();
        let permit =
            permit.map_err(|_| Status::resource_exhausted(format!("{MAX_WATCHES} watches are open already")))?;
        // The news are subscribed to before the current state is read, so that no change falls between the two.
        let watch = Watch::new(Arc::clone(&self.api.store), (self.api.changes)(), scope, filter, permit);
        Ok(Response::new(watch.stream(request.include_current, self.stop.clone())))
    }

    async fn list_findings(
        &self,
        request: Request<pb::ListFindingsRequest>,
    ) -> Result<Response<pb::ListFindingsResponse>, Status> {
        let scope = scope_of(&request);
        let request = request.into_inner();
        let (given, mut wrong) = (request.filter.unwrap_or_default(), Violations::default());
        let filter = checked(&given, About::Findings, &mut wrong);
        let size = page::size(request.page_size, &mut wrong);
        let after = page::cursor(About::Findings, &given, &request.page_token, &mut wrong);
        wrong.check()?;
        let found = self
            .api
            .store
            .list_findings(&scope, &filter, after.as_ref(), size.saturating_add(1))
            .await;
        let found = found.map_err(|error| of_store(&error))?;
        let (findings, next) = page::cut(&found, size, stored_finding, |(finding, _)| cursor_of_finding(finding));
        let next_page_token = next
            .map(|at| page::token(About::Findings, &given, &at))
            .unwrap_or_default();
        Ok(Response::new(pb::ListFindingsResponse {
            findings,
            next_page_token,
        }))
    }

    async fn get_log(&self, request: Request<pb::GetLogRequest>) -> Result<Response<pb::GetLogResponse>, Status> {
        let scope = scope_of(&request);
        let key = finding_key(&request.into_inner().finding_key)?;
        let log = self
            .api
            .store
            .log(&scope, key)
            .await
            .map_err(|error| of_store(&error))?;
        let log = log.ok_or_else(|| Status::not_found(format!("no log is stored for finding {key}")))?;
        Ok(Response::new(pb::GetLogResponse {
            text: String::from_utf8_lossy(&log.data).into_owned(),
            captured_at_ns: log.captured_at.0,
            redactions: log.redactions,
            truncated: log.truncated,
        }))
    }

    async fn list_deliveries(
        &self,
        request: Request<pb::ListDeliveriesRequest>,
    ) -> Result<Response<pb::ListDeliveriesResponse>, Status> {
        let scope = scope_of(&request);
        let answer = delivery::list(self.api.store.as_ref(), &scope, request.into_inner()).await?;
        Ok(Response::new(answer))
    }

    async fn list_nodes(
        &self,
        request: Request<pb::ListNodesRequest>,
    ) -> Result<Response<pb::ListNodesResponse>, Status> {
        let request = request.into_inner();
        let (given, mut wrong) = (of_cluster(&request.cluster), Violations::default());
        let size = page::size(request.page_size, &mut wrong);
        let after = page::cursor(About::Nodes, &given, &request.page_token, &mut wrong);
        wrong.check()?;
        let after = after.as_ref().and_then(node_at);
        let stored = self
            .api
            .store
            .nodes(&request.cluster, after.as_ref(), size.saturating_add(1))
            .await;
        let stored = stored.map_err(|error| of_store(&error))?;
        let live: BTreeMap<_, _> = self
            .api
            .nodes
            .snapshot()
            .into_iter()
            .map(|view| ((view.node.cluster.clone(), view.node.uid.clone()), view))
            .collect();
        let now = |stored: &StoredNode| {
            let view = live.get(&(stored.node.cluster.clone(), stored.node.uid.clone()));
            node_now(stored, view)
        };
        let (nodes, next) = page::cut(&stored, size, now, cursor_of_node);
        let next_page_token = next
            .map(|at| page::token(About::Nodes, &given, &at))
            .unwrap_or_default();
        Ok(Response::new(pb::ListNodesResponse { nodes, next_page_token }))
    }
}

/// A listing of nodes is filtered by cluster alone.
fn of_cluster(cluster: &str) -> pb::Filter {
    pb::Filter {
        cluster: cluster.to_owned(),
        ..pb::Filter::default()
    }
}

/// Nodes have no order in time: the position is the identity.
fn cursor_of_node(stored: &StoredNode) -> Cursor {
    let NodeIdentity { cluster, uid, name } = &stored.node;
    Cursor {
        at: UnixNanos::EPOCH,
        id: serde_json::json!([cluster, name, uid]).to_string(),
    }
}

fn node_at(cursor: &Cursor) -> Option<NodeIdentity> {
    let (cluster, name, uid) = serde_json::from_str(&cursor.id).ok()?;
    Some(NodeIdentity { cluster, uid, name })
}

/// Refuses what cannot be the beginning of a ULID. Source: the ULID specification (Crockford's base 32).
fn check_prefix(id: &str) -> Result<(), Status> {
    let mut wrong = Violations::default();
    let alphabet = |c: char| c.is_ascii_alphanumeric() && !matches!(c.to_ascii_uppercase(), 'I' | 'L' | 'O' | 'U');
    if !(MIN_PREFIX..=ULID_CHARS).contains(&id.len()) || !id.chars().all(alphabet) {
        let right = format!("the first {MIN_PREFIX} to all {ULID_CHARS} characters of an incident's id");
        wrong.add("id", format!("{} is not {right}", quoted(id)));
    }
    wrong.check()
}

fn ambiguous(id: &str, one: &Incident, other: &Incident) -> Status {
    Status::failed_precondition(format!(
        "{} is ambiguous: {} and {}; give more characters",
        quoted(id),
        one.id,
        other.id
    ))
}

fn finding_key(text: &str) -> Result<Key, Status> {
    text.parse().map_err(|_| {
        let mut wrong = Violations::default();
        wrong.add("finding_key", format!("{} is not 32 hexadecimal digits", quoted(text)));
        wrong
            .check()
            .err()
            .unwrap_or_else(|| Status::invalid_argument("finding_key"))
    })
}

/// An incident as queries show it.
pub(super) fn with_deliveries(incident: &Incident, deliveries: &[Delivery]) -> pb::Incident {
    pb::Incident {
        deliveries: deliveries.iter().map(delivery_to_wire).collect(),
        ..incident.into()
    }
}

fn stored_finding((stored, has_log): &(StoredOccurrence, bool)) -> pb::StoredFinding {
    pb::StoredFinding {
        finding: Some((&stored.finding).into()),
        cluster: stored.node.cluster.clone(),
        node_uid: stored.node.uid.clone(),
        node_name: stored.node.name.clone(),
        stored_at_ns: stored.stored_at.0,
        incident_id: stored.incident.map(|id| id.to_string()).unwrap_or_default(),
        has_log: *has_log,
    }
}

/// What is stored, with what is known better in memory.
fn node_now(stored: &StoredNode, live: Option<&NodeView>) -> pb::Node {
    let last_seen = live.map_or(stored.last_seen, |view| view.last_seen.max(stored.last_seen));
    let status = live
        .and_then(|view| view.status.clone())
        .or_else(|| stored_status(stored));
    pb::Node {
        cluster: stored.node.cluster.clone(),
        uid: stored.node.uid.clone(),
        name: stored.node.name.clone(),
        connected: live.is_some_and(|view| view.connected),
        last_seen_ns: last_seen.0,
        status,
        enrolled_at_ns: stored.enrolled_at.0,
        clock_offset_ns: live.and_then(|view| view.clock_offset),
        version_skew: live.map_or(Skew::Unknown, |view| view.skew).to_wire().into(),
        silent: live.is_some_and(|view| view.silent),
    }
}

/// A damaged status must not hide the other nodes: it is left out, and the log says so.
fn stored_status(stored: &StoredNode) -> Option<AgentStatus> {
    if stored.status.is_empty() {
        return None;
    }
    AgentStatus::decode(stored.status.as_slice())
        .map_err(|error| tracing::warn!(node = stored.node.name, %error, "a stored status is damaged"))
        .ok()
}
