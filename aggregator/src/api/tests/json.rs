//! The same answers as JSON, asked by an HTTP client.

use inquest_proto::query::v1::{GetIncidentRequest, query_service_client::QueryServiceClient};
use serde_json::{Value, json};
use tokio::time::timeout;

use super::{PATIENCE, Served, sample};
use crate::{json::to_json, record::Commit};

fn http() -> reqwest::Client {
    // Shared with the other tests of this process; whoever comes first installs it.
    let _first_or_not = rustls::crypto::ring::default_provider().install_default();
    reqwest::Client::builder().no_proxy().build().unwrap()
}

async fn get(served: &Served, path: &str) -> (u16, Value) {
    let answer = http()
        .get(format!("http://{}{path}", served.address))
        .send()
        .await
        .unwrap();
    (answer.status().as_u16(), answer.json().await.unwrap())
}

#[tokio::test]
async fn json_is_the_proto3_mapping_of_what_grpc_sends() {
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
    let (code, given) = get(&served, &format!("/api/v1/incidents/{id}")).await;
    let mut client = QueryServiceClient::new(served.channel().await);
    let message = client
        .get_incident(GetIncidentRequest { id })
        .await
        .unwrap()
        .into_inner();
    assert_eq!(
        (code, &given),
        (200, &to_json("inquest.query.v1.GetIncidentResponse", &message).unwrap())
    );
    assert_eq!(given["incident"]["cause"], "CAUSE_OOM_LIMIT");
    assert_eq!(given["incident"]["deliveries"][0]["receiver"], "team");
    served.end().await;
}

#[tokio::test]
async fn parameters_filter_and_page() {
    let served = Served::with_incidents(3).await;
    let query = "namespace=shop&workload=web&cause=oom_limit&min_severity=high&open_only=true&page_size=2";
    let (code, page) = get(&served, &format!("/api/v1/incidents?{query}")).await;
    assert_eq!((code, page["incidents"].as_array().unwrap().len()), (200, 2));
    let token = page["nextPageToken"].as_str().unwrap();
    let (_, rest) = get(&served, &format!("/api/v1/incidents?{query}&page_token={token}")).await;
    assert_eq!(rest["incidents"][0]["id"], sample::ulid(1).to_string());
    assert_eq!(rest.get("nextPageToken"), None);
    assert_eq!(get(&served, "/api/v1/incidents?namespace=bank").await, (200, json!({})));
    served.end().await;
}

#[tokio::test]
async fn an_unknown_parameter_is_refused_with_the_nearest_name() {
    let served = Served::start().await;
    let (code, status) = get(&served, "/api/v1/findings?namespce=shop&page_size=many").await;
    let violations = json!([
        {"field": "page_size", "description": "\"many\" is not a whole number in range"},
        {"field": "namespce", "description": "unknown parameter; did you mean namespace?"},
    ]);
    let details = json!([{"@type": "type.googleapis.com/google.rpc.BadRequest", "fieldViolations": violations}]);
    assert_eq!((code, &status["code"], &status["details"]), (400, &json!(3), &details));
    served.end().await;
}

#[tokio::test]
async fn every_path_answers_and_every_mistake_is_a_status() {
    let served = Served::start().await;
    served
        .commit(Commit {
            occurrences: vec![sample::occurrence(1)],
            ..Commit::default()
        })
        .await;
    let unknown = format!("/api/v1/findings/{}/log", "0".repeat(32));
    let cases = [
        ("/api/v1/findings?pod=web-1", 200),
        ("/api/v1/nodes?cluster=c1", 200),
        ("/api/v1/server", 200),
        ("/api/v1/incidents/zz", 400),
        ("/api/v1/incidents/7ZZZZZ", 404),
        ("/api/v1/incidents/%FF", 400),
        ("/api/v1/server?x=%FF", 400),
        (unknown.as_str(), 404),
        ("/api/v2", 404),
    ];
    for (path, expected) in cases {
        let (code, body) = get(&served, path).await;
        assert_eq!(code, expected, "{path}: {body}");
        assert!(code == 200 || body["message"].is_string(), "{path}: {body}");
    }
    served.end().await;
}

#[tokio::test]
async fn only_get_and_only_names_of_this_host_are_answered() {
    let served = Served::start().await;
    let server = format!("http://{}/api/v1/server", served.address);
    let posted = http().post(&server).send().await.unwrap();
    assert_eq!(posted.status().as_u16(), 405);
    let rebound = http().get(&server).header("host", "evil.example").send().await.unwrap();
    assert_eq!(rebound.status().as_u16(), 403);
    let index = http()
        .get(format!("http://{}/", served.address))
        .send()
        .await
        .unwrap()
        .text()
        .await
        .unwrap();
    assert!(index.contains("/api/v1/incidents"));
    served.end().await;
}

#[tokio::test]
async fn a_watch_is_a_stream_of_events_that_says_when_it_ends() {
    let served = Served::with_incidents(1).await;
    let url = format!("http://{}/api/v1/incidents:watch?include_current=true", served.address);
    let mut answer = http().get(url).send().await.unwrap();
    let first = timeout(PATIENCE, answer.chunk()).await.unwrap().unwrap().unwrap();
    let first = String::from_utf8(first.to_vec()).unwrap();
    assert!(first.starts_with("event: change\ndata: {\"incident\":"), "{first}");
    served.stop.cancel();
    let last = timeout(PATIENCE, answer.chunk()).await.unwrap().unwrap().unwrap();
    assert!(
        String::from_utf8(last.to_vec())
            .unwrap()
            .starts_with("event: error\ndata: {\"code\":14")
    );
    assert_eq!(timeout(PATIENCE, answer.chunk()).await.unwrap().unwrap(), None);
    served.end().await;
}
