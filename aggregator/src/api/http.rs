//! JSON under `/api/v1`: the query and admin services for everything that speaks HTTP.
//!
//! Owns paths and parameters. Answers are the proto3 JSON mapping of the same messages that gRPC sends.

mod params;
pub(super) mod reply;

use std::{convert::Infallible, future::Future, sync::Arc};

use axum::{
    Router,
    extract::{Path, State, rejection::PathRejection},
    http::Uri,
    response::{
        IntoResponse as _, Response,
        sse::{Event, KeepAlive, Sse},
    },
    routing::get,
};
use futures::StreamExt as _;
use inquest_proto::{
    admin::v1::{GetServerRequest, admin_service_server::AdminService as _},
    query::v1::{
        GetIncidentRequest, GetLogRequest, ListDeliveriesRequest, ListFindingsRequest, ListIncidentsRequest,
        ListNodesRequest, WatchIncidentsRequest, WatchIncidentsResponse, query_service_server::QueryService as _,
    },
};
use prost::Message;
use tonic::{Request, Status};

use self::params::Params;
use super::{admin::Admin, query::Query};

/// Shown at `/`.
const INDEX: &str = "\
Inquest aggregator. Ask with the inquest command line, gRPC (reflection is on), or here:

/api/v1/incidents          incidents, newest first
/api/v1/incidents/{id}     one incident; 6 or more first characters of its id are enough
/api/v1/incidents:watch    changes as server-sent events; include_current=true for the open ones first
/api/v1/findings           crash history
/api/v1/findings/{key}/log log tail captured when a container died
/api/v1/deliveries         notifications, newest first; parameters: state (such as dead) and receiver
/api/v1/nodes              nodes and what their agents can see; parameter: cluster
/api/v1/server             this aggregator

Filters: cluster namespace workload container cause node since_ns, for incidents min_severity and
open_only, for findings pod. Pages: page_size, page_token.
Example: /api/v1/incidents?namespace=shop&cause=oom_limit&open_only=true
";

/// Who answers.
#[derive(Clone)]
struct Services {
    query: Arc<Query>,
    admin: Arc<Admin>,
}

/// All paths that are not gRPC.
pub(super) fn routes(query: Arc<Query>, admin: Arc<Admin>) -> Router {
    Router::new()
        .route("/", get(|| async { reply::of_text(INDEX) }))
        .route("/api/v1/incidents", get(incidents))
        .route("/api/v1/incidents:watch", get(watch))
        .route("/api/v1/incidents/{id}", get(incident))
        .route("/api/v1/findings", get(findings))
        .route("/api/v1/findings/{key}/log", get(log))
        .route("/api/v1/deliveries", get(deliveries))
        .route("/api/v1/nodes", get(nodes))
        .route("/api/v1/server", get(server))
        .with_state(Services { query, admin })
}

/// Turns an answer of a service into JSON.
async fn answer<M: Message>(
    full_name: &'static str,
    asked: impl Future<Output = Result<tonic::Response<M>, Status>>,
) -> Response {
    match asked.await {
        Ok(answer) => reply::of_message(full_name, answer.get_ref()),
        Err(status) => reply::of_status(&status),
    }
}

/// The part of a path in braces, if it is text.
type Named = Result<Path<String>, PathRejection>;

fn name(path: Named) -> Result<String, Status> {
    let refused = |error: PathRejection| Status::invalid_argument(format!("the path cannot be read: {error}"));
    path.map(|Path(name)| name).map_err(refused)
}

async fn incidents(State(services): State<Services>, uri: Uri) -> Response {
    answer("inquest.query.v1.ListIncidentsResponse", async {
        let mut params = Params::of(&uri)?;
        let request = ListIncidentsRequest {
            filter: Some(params.incident_filter()),
            page_size: params.number("page_size"),
            page_token: params.text("page_token"),
        };
        params.check()?;
        services.query.list_incidents(Request::new(request)).await
    })
    .await
}

async fn incident(State(services): State<Services>, path: Named, uri: Uri) -> Response {
    answer("inquest.query.v1.GetIncidentResponse", async {
        Params::of(&uri)?.check()?;
        let request = GetIncidentRequest { id: name(path)? };
        services.query.get_incident(Request::new(request)).await
    })
    .await
}

async fn findings(State(services): State<Services>, uri: Uri) -> Response {
    answer("inquest.query.v1.ListFindingsResponse", async {
        let mut params = Params::of(&uri)?;
        let request = ListFindingsRequest {
            filter: Some(params.finding_filter()),
            page_size: params.number("page_size"),
            page_token: params.text("page_token"),
        };
        params.check()?;
        services.query.list_findings(Request::new(request)).await
    })
    .await
}

async fn log(State(services): State<Services>, path: Named, uri: Uri) -> Response {
    answer("inquest.query.v1.GetLogResponse", async {
        Params::of(&uri)?.check()?;
        let request = GetLogRequest {
            finding_key: name(path)?,
        };
        services.query.get_log(Request::new(request)).await
    })
    .await
}

async fn deliveries(State(services): State<Services>, uri: Uri) -> Response {
    answer("inquest.query.v1.ListDeliveriesResponse", async {
        let mut params = Params::of(&uri)?;
        let request = ListDeliveriesRequest {
            state: params.delivery_state("state"),
            receiver: params.text("receiver"),
            page_size: params.number("page_size"),
            page_token: params.text("page_token"),
        };
        params.check()?;
        services.query.list_deliveries(Request::new(request)).await
    })
    .await
}

async fn nodes(State(services): State<Services>, uri: Uri) -> Response {
    answer("inquest.query.v1.ListNodesResponse", async {
        let mut params = Params::of(&uri)?;
        let request = ListNodesRequest {
            cluster: params.text("cluster"),
            page_size: params.number("page_size"),
            page_token: params.text("page_token"),
        };
        params.check()?;
        services.query.list_nodes(Request::new(request)).await
    })
    .await
}

async fn server(State(services): State<Services>, uri: Uri) -> Response {
    answer("inquest.admin.v1.GetServerResponse", async {
        Params::of(&uri)?.check()?;
        services.admin.get_server(Request::new(GetServerRequest {})).await
    })
    .await
}

async fn watch(State(services): State<Services>, uri: Uri) -> Response {
    let asked = async {
        let mut params = Params::of(&uri)?;
        let request = WatchIncidentsRequest {
            filter: Some(params.incident_filter()),
            include_current: params.flag("include_current"),
        };
        params.check()?;
        services.query.watch_incidents(Request::new(request)).await
    };
    match asked.await {
        Ok(changes) => {
            let events = changes.into_inner().map(|item| Ok::<_, Infallible>(event(item)));
            Sse::new(events).keep_alive(KeepAlive::default()).into_response()
        }
        Err(status) => reply::of_status(&status),
    }
}

/// Events are named `change` or `error`; after an error the stream ends.
fn event(item: Result<WatchIncidentsResponse, Status>) -> Event {
    let change = item.and_then(|change| reply::json("inquest.query.v1.WatchIncidentsResponse", &change));
    match change {
        Ok(json) => Event::default().event("change").data(json.to_string()),
        Err(status) => Event::default()
            .event("error")
            .data(reply::status_json(&status).to_string()),
    }
}
