//! Notifications over all incidents, asked by a gRPC client.

use inquest_proto::query::v1::{DeliveryState, ListDeliveriesRequest, query_service_client::QueryServiceClient};
use tonic::Code;

use super::{Served, sample};
use crate::record::Commit;

async fn served(incidents: u8) -> Served {
    let served = Served::start().await;
    let incidents: Vec<_> = (1..=incidents).map(|n| sample::incident(n, i64::from(n))).collect();
    let outbox = incidents.iter().map(sample::planned).collect();
    let commit = Commit {
        incidents,
        outbox,
        ..Commit::default()
    };
    served.commit(commit).await;
    served
}

/// Whoever pages through what waits sees each notification once, with the incident that it is about.
#[tokio::test]
async fn pages_show_every_notification_once_and_newest_first() {
    let served = served(5).await;
    let mut client = QueryServiceClient::new(served.channel().await);
    let (mut seen, mut token) = (Vec::new(), String::new());
    loop {
        let request = ListDeliveriesRequest {
            state: DeliveryState::Pending.into(),
            receiver: "team".to_owned(),
            page_size: 2,
            page_token: token,
        };
        let page = client.list_deliveries(request).await.unwrap().into_inner();
        assert!(page.deliveries.len() <= 2);
        assert!(
            page.deliveries
                .iter()
                .all(|d| d.workload.as_ref().is_some_and(|w| w.name == "web"))
        );
        seen.extend(page.deliveries.into_iter().map(|planned| planned.incident_id));
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
async fn another_question_with_an_old_token_and_an_unknown_state_are_refused() {
    let served = served(2).await;
    let mut client = QueryServiceClient::new(served.channel().await);
    let request = ListDeliveriesRequest {
        page_size: 1,
        ..ListDeliveriesRequest::default()
    };
    let token = client
        .list_deliveries(request)
        .await
        .unwrap()
        .into_inner()
        .next_page_token;
    assert!(!token.is_empty());
    let other = ListDeliveriesRequest {
        receiver: "team".to_owned(),
        page_token: token,
        ..ListDeliveriesRequest::default()
    };
    let unknown = ListDeliveriesRequest {
        state: 99,
        ..ListDeliveriesRequest::default()
    };
    for request in [other, unknown] {
        let refused = client.list_deliveries(request).await.unwrap_err();
        assert_eq!(refused.code(), Code::InvalidArgument, "{refused}");
    }
    served.end().await;
}
