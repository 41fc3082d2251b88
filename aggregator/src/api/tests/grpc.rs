//! Every RPC, asked by a gRPC client.

use std::collections::BTreeSet;
use std::sync::Arc;

use futures::StreamExt as _;
use inquest_proto::{
    admin::v1::{GetServerRequest, admin_service_client::AdminServiceClient},
    ingest::v1::{AgentStatus, Hello},
    query::v1::{
        DeliveryState, Filter, GetIncidentRequest, GetLogRequest, ListFindingsRequest, ListIncidentsRequest,
        ListNodesRequest, WatchIncidentsRequest, WatchIncidentsResponse, query_service_client::QueryServiceClient,
    },
};
use inquest_shared::{clock::UnixNanos, telemetry::Condition};
use prost::Message as _;
use tokio::time::timeout;
use tonic::{Code, Status, Streaming, transport::Channel};
use tonic_health::pb::{HealthCheckRequest, health_check_response::ServingStatus, health_client::HealthClient};
use tonic_reflection::pb::{v1, v1alpha};
use tonic_types::StatusExt as _;

use super::{PATIENCE, Served, sample};
use crate::{record::Commit, store::Store as _};

async fn client(served: &Served) -> QueryServiceClient<Channel> {
    QueryServiceClient::new(served.channel().await)
}

async fn get(served: &Served, id: &str) -> Result<String, Status> {
    let request = GetIncidentRequest { id: id.to_owned() };
    let answer = client(served).await.get_incident(request).await?;
    Ok(answer.into_inner().incident.unwrap().id)
}

async fn watch(served: &Served, request: WatchIncidentsRequest) -> Streaming<WatchIncidentsResponse> {
    client(served)
        .await
        .watch_incidents(request)
        .await
        .unwrap()
        .into_inner()
}

async fn next(stream: &mut Streaming<WatchIncidentsResponse>) -> Result<WatchIncidentsResponse, Status> {
    timeout(PATIENCE, stream.next()).await.unwrap().unwrap()
}

fn id_of(change: &WatchIncidentsResponse) -> &str {
    change.incident.as_ref().map_or("", |incident| &incident.id)
}

#[tokio::test]
async fn pages_show_every_incident_once_and_newest_first() {
    let served = Served::with_incidents(5).await;
    let mut client = client(&served).await;
    let (mut seen, mut token) = (Vec::new(), String::new());
    loop {
        let request = ListIncidentsRequest {
            page_size: 2,
            page_token: token,
            ..ListIncidentsRequest::default()
        };
        let page = client.list_incidents(request).await.unwrap().into_inner();
        assert!(page.incidents.len() <= 2);
        seen.extend(page.incidents.into_iter().map(|incident| incident.id));
        token = page.next_page_token;
        if token.is_empty() {
            break;
        }
    }
    let expected: Vec<_> = (1..=5).rev().map(|n| sample::ulid(n).to_string()).collect();
    assert_eq!(seen, expected);
    served.end().await;
}

#[tokio::test]
async fn wrong_pages_are_refused_with_the_fields_named() {
    let served = Served::with_incidents(2).await;
    let mut client = client(&served).await;
    let first = ListIncidentsRequest {
        page_size: 1,
        ..ListIncidentsRequest::default()
    };
    let token = client.list_incidents(first).await.unwrap().into_inner().next_page_token;
    let filter = Some(Filter {
        namespace: "other".to_owned(),
        ..Filter::default()
    });
    let request = ListIncidentsRequest {
        filter,
        page_size: 1001,
        page_token: token,
    };
    let status = client.list_incidents(request).await.unwrap_err();
    let fields: Vec<_> = status
        .get_details_bad_request()
        .unwrap()
        .field_violations
        .into_iter()
        .map(|v| v.field)
        .collect();
    assert_eq!(
        (status.code(), fields),
        (
            Code::InvalidArgument,
            vec!["page_size".to_owned(), "page_token".to_owned()]
        )
    );
    served.end().await;
}

#[tokio::test]
async fn an_incident_is_found_by_the_beginning_of_its_id_with_its_deliveries() {
    let served = Served::start().await;
    let incident = sample::incident(1, 1);
    let outbox = vec![sample::planned(&incident)];
    served
        .commit(Commit {
            incidents: vec![incident],
            outbox,
            ..Commit::default()
        })
        .await;
    let id = sample::ulid(1).to_string();
    assert_eq!(get(&served, &id.to_lowercase()).await.unwrap(), id);
    let request = GetIncidentRequest {
        id: id.chars().take(6).collect(),
    };
    let incident = client(&served)
        .await
        .get_incident(request)
        .await
        .unwrap()
        .into_inner()
        .incident
        .unwrap();
    let delivery = incident.deliveries.first().unwrap();
    assert_eq!(
        (delivery.receiver.as_str(), delivery.state()),
        ("team", DeliveryState::Pending)
    );
    served.end().await;
}

#[tokio::test]
async fn an_ambiguous_prefix_names_both_and_nonsense_is_refused() {
    let served = Served::with_incidents(2).await;
    let (one, two) = (sample::ulid(1).to_string(), sample::ulid(2).to_string());
    let prefix: String = one.chars().take(10).collect();
    let status = get(&served, &prefix).await.unwrap_err();
    assert_eq!(status.code(), Code::FailedPrecondition);
    assert!(
        status.message().contains(&one) && status.message().contains(&two),
        "{status}"
    );
    assert_eq!(get(&served, "7ZZZZZ").await.unwrap_err().code(), Code::NotFound);
    for id in ["", "01HF7", "01HF7Y'; --", "01HF7Y%", &"0".repeat(27)] {
        assert_eq!(
            get(&served, id).await.unwrap_err().code(),
            Code::InvalidArgument,
            "{id}"
        );
    }
    served.end().await;
}

#[tokio::test]
async fn a_watch_shows_open_incidents_first_and_then_matching_changes() {
    let served = Served::with_incidents(2).await;
    let filter = Some(Filter {
        namespace: "shop".to_owned(),
        ..Filter::default()
    });
    let mut stream = watch(
        &served,
        WatchIncidentsRequest {
            filter,
            include_current: true,
        },
    )
    .await;
    let current = [next(&mut stream).await.unwrap(), next(&mut stream).await.unwrap()];
    assert_eq!(
        current.each_ref().map(|change| id_of(change).to_owned()),
        [sample::ulid(2), sample::ulid(1)].map(|id| id.to_string())
    );
    let mut elsewhere = sample::incident(3, 3);
    elsewhere.workload.namespace = "bank".to_owned();
    for incident in [elsewhere, sample::incident(4, 4)] {
        served.changes.send(Arc::new(incident)).unwrap();
    }
    let change = next(&mut stream).await.unwrap();
    assert_eq!(
        (id_of(&change), change.lagged),
        (sample::ulid(4).to_string().as_str(), false)
    );
    served.end().await;
}

#[tokio::test]
async fn a_watcher_that_missed_changes_is_told() {
    let served = Served::start().await;
    let mut stream = watch(&served, WatchIncidentsRequest::default()).await;
    // Sent without a pause: the watcher's task does not run in between on this single thread.
    for n in 1..=9 {
        served
            .changes
            .send(Arc::new(sample::incident(n, i64::from(n))))
            .unwrap();
    }
    let change = next(&mut stream).await.unwrap();
    assert!(change.lagged && change.incident.is_none());
    assert_eq!(id_of(&next(&mut stream).await.unwrap()), sample::ulid(6).to_string());
    served.end().await;
}

#[tokio::test]
async fn findings_come_with_their_node_and_incident_and_their_log_can_be_read() {
    let served = Served::start().await;
    served
        .commit(Commit {
            occurrences: vec![sample::occurrence(1), sample::occurrence(2)],
            ..Commit::default()
        })
        .await;
    let key = sample::occurrence(2).finding.key;
    served
        .store
        .put_log(&sample::node(), key, 0, &sample::tail("out of memory\n"), UnixNanos(1))
        .await
        .unwrap();
    let mut client = client(&served).await;
    let request = ListFindingsRequest {
        page_size: 1,
        ..ListFindingsRequest::default()
    };
    let page = client.list_findings(request.clone()).await.unwrap().into_inner();
    let newest = page.findings.first().unwrap();
    assert_eq!(
        (newest.node_name.as_str(), newest.incident_id.as_str()),
        ("node-a", sample::ulid(1).to_string().as_str())
    );
    assert!(newest.has_log && newest.finding.as_ref().unwrap().key == key.as_bytes());
    let request = ListFindingsRequest {
        page_token: page.next_page_token,
        ..request
    };
    let page = client.list_findings(request).await.unwrap().into_inner();
    assert_eq!((page.findings.len(), page.next_page_token.as_str()), (1, ""));
    let log = client
        .get_log(GetLogRequest {
            finding_key: key.to_string(),
        })
        .await
        .unwrap()
        .into_inner();
    assert_eq!((log.text.as_str(), log.redactions), ("out of memory\n", 1));
    served.end().await;
}

#[tokio::test]
async fn a_missing_log_and_a_wrong_key_are_told_apart() {
    let served = Served::start().await;
    let mut client = client(&served).await;
    for (finding_key, code) in [
        ("0".repeat(32), Code::NotFound),
        ("x".to_owned(), Code::InvalidArgument),
    ] {
        let status = client.get_log(GetLogRequest { finding_key }).await.unwrap_err();
        assert_eq!(status.code(), code, "{status}");
    }
    served.end().await;
}

#[tokio::test]
async fn nodes_show_what_is_stored_and_whether_they_are_connected() {
    let served = Served::start().await;
    let status = AgentStatus {
        agent_version: "0.1.0".to_owned(),
        ..AgentStatus::default()
    };
    served.store.put_node(&sample::node(), UnixNanos(1)).await.unwrap();
    served
        .store
        .put_status(&sample::node(), UnixNanos(2), &status.encode_to_vec())
        .await
        .unwrap();
    let mut client = client(&served).await;
    let mut ask = async || {
        client
            .list_nodes(ListNodesRequest::default())
            .await
            .unwrap()
            .into_inner()
            .nodes
            .remove(0)
    };
    let node = ask().await;
    assert_eq!(
        (node.connected, node.last_seen_ns, node.enrolled_at_ns, node.status),
        (false, 2, 1, Some(status.clone()))
    );
    let seat = served
        .nodes
        .connect(&sample::node(), [127, 0, 0, 1].into(), &Hello::default(), UnixNanos(9))
        .unwrap();
    let node = ask().await;
    assert_eq!(
        (node.connected, node.last_seen_ns, node.status),
        (true, 9, Some(status))
    );
    drop(seat);
    assert!(!ask().await.connected);
    served.end().await;
}

#[tokio::test]
async fn the_server_says_what_it_is_and_its_totals_add_up() {
    let served = Served::with_incidents(3).await;
    let outbox = vec![sample::planned(&sample::incident(1, 1))];
    served
        .commit(Commit {
            outbox,
            ..Commit::default()
        })
        .await;
    let server = AdminServiceClient::new(served.channel().await)
        .get_server(GetServerRequest {})
        .await
        .unwrap()
        .into_inner();
    assert_eq!(
        (
            server.server_id.as_str(),
            server.cluster.as_str(),
            server.open_incidents
        ),
        ("s1", "c1", 3)
    );
    let totals = server.notifications.unwrap();
    assert_eq!((totals.planned, totals.pending, totals.delivered), (1, 1, 0));
    assert!(server.schema_version > 0 && !server.store.is_empty());
    served.end().await;
}

#[tokio::test]
async fn health_follows_readiness() {
    let served = Served::start().await;
    let request = HealthCheckRequest {
        service: "inquest.query.v1.QueryService".to_owned(),
    };
    let mut client = HealthClient::new(served.channel().await);
    let mut statuses = client.watch(request).await.unwrap().into_inner();
    let mut until = async |wanted: ServingStatus| {
        while timeout(PATIENCE, statuses.next())
            .await
            .unwrap()
            .unwrap()
            .unwrap()
            .status()
            != wanted
        {}
    };
    until(ServingStatus::Serving).await;
    served.health.set("store", Condition::degraded("disk full"));
    until(ServingStatus::NotServing).await;
    served.end().await;
}

#[tokio::test]
async fn reflection_lists_what_is_served_here_and_nothing_else_in_both_versions() {
    let served = Served::start().await;
    let ours = [
        "grpc.health.v1.Health",
        "inquest.admin.v1.AdminService",
        "inquest.query.v1.QueryService",
    ];
    let ours: BTreeSet<_> = ours.into_iter().map(ToOwned::to_owned).collect();
    assert_eq!(services_v1(&served).await, ours);
    assert_eq!(services_v1alpha(&served).await, ours);
    served.end().await;
}

async fn services_v1(served: &Served) -> BTreeSet<String> {
    use v1::{server_reflection_request::MessageRequest, server_reflection_response::MessageResponse};
    let request = v1::ServerReflectionRequest {
        message_request: Some(MessageRequest::ListServices(String::new())),
        ..v1::ServerReflectionRequest::default()
    };
    let mut client = v1::server_reflection_client::ServerReflectionClient::new(served.channel().await);
    let mut answers = client
        .server_reflection_info(futures::stream::iter([request]))
        .await
        .unwrap()
        .into_inner();
    match answers.next().await.unwrap().unwrap().message_response {
        Some(MessageResponse::ListServicesResponse(list)) => list.service.into_iter().map(|s| s.name).collect(),
        other => panic!("{other:?}"),
    }
}

async fn services_v1alpha(served: &Served) -> BTreeSet<String> {
    use v1alpha::{server_reflection_request::MessageRequest, server_reflection_response::MessageResponse};
    let request = v1alpha::ServerReflectionRequest {
        message_request: Some(MessageRequest::ListServices(String::new())),
        ..v1alpha::ServerReflectionRequest::default()
    };
    let mut client = v1alpha::server_reflection_client::ServerReflectionClient::new(served.channel().await);
    let mut answers = client
        .server_reflection_info(futures::stream::iter([request]))
        .await
        .unwrap()
        .into_inner();
    match answers.next().await.unwrap().unwrap().message_response {
        Some(MessageResponse::ListServicesResponse(list)) => list.service.into_iter().map(|s| s.name).collect(),
        other => panic!("{other:?}"),
    }
}
