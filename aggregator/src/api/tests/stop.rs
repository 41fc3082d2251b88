//! Where the API listens, what it refuses at the door, and how it ends.

use std::time::{Duration, Instant};

use futures::StreamExt as _;
use inquest_proto::query::v1::{
    Filter, ListIncidentsRequest, WatchIncidentsRequest, query_service_client::QueryServiceClient,
};
use tokio::{net::TcpListener, time::timeout};
use tokio_util::sync::CancellationToken;
use tonic::Code;

use super::{PATIENCE, Served, api, door};
use crate::api::{ServeError, serve};

#[tokio::test]
async fn the_end_is_prompt_and_told_to_open_watches() {
    let served = Served::start().await;
    let mut client = QueryServiceClient::new(served.channel().await);
    let mut stream = client
        .watch_incidents(WatchIncidentsRequest::default())
        .await
        .unwrap()
        .into_inner();
    served.stop.cancel();
    let since = Instant::now();
    let last = timeout(PATIENCE, stream.next()).await.unwrap().unwrap().unwrap_err();
    assert_eq!(
        (last.code(), last.message()),
        (Code::Unavailable, "the aggregator is stopping; connect again")
    );
    served.end().await;
    assert!(since.elapsed() < Duration::from_secs(5), "{:?}", since.elapsed());
}

#[tokio::test]
async fn a_request_beyond_the_limit_is_refused_and_the_server_lives_on() {
    let served = Served::start().await;
    let mut client = QueryServiceClient::new(served.channel().await);
    let filter = Some(Filter {
        cluster: "x".repeat(70 * 1024),
        ..Filter::default()
    });
    let status = client
        .list_incidents(ListIncidentsRequest {
            filter,
            ..ListIncidentsRequest::default()
        })
        .await
        .unwrap_err();
    assert_eq!(status.code(), Code::OutOfRange, "{status}");
    client.list_incidents(ListIncidentsRequest::default()).await.unwrap();
    served.end().await;
}

#[tokio::test]
async fn an_address_that_others_can_reach_is_refused() {
    let served = Served::start().await;
    let api = api(&served.store, &served.changes, &served.nodes, &served.health);
    let listener = TcpListener::bind("0.0.0.0:0").await.unwrap();
    let refused = serve(door(listener), api, CancellationToken::new()).await.unwrap_err();
    assert!(matches!(refused, ServeError::NotLoopback { .. }), "{refused}");
    served.end().await;
}
