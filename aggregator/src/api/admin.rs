//! The admin service: what this aggregator is and how its books stand.

use inquest_proto::admin::v1::{
    GetServerRequest, GetServerResponse, NotificationTotals, admin_service_server::AdminService,
};
use tonic::{Request, Response, Status};

use super::{Api, status::of_store};
use crate::record::OutboxTotals;

/// Answers questions about the aggregator itself.
pub(super) struct Admin {
    api: Api,
}

impl Admin {
    pub(super) const fn new(api: Api) -> Self {
        Self { api }
    }
}

#[tonic::async_trait]
impl AdminService for Admin {
    async fn get_server(&self, _request: Request<GetServerRequest>) -> Result<Response<GetServerResponse>, Status> {
        let totals = self.api.store.outbox_totals().await.map_err(|error| of_store(&error))?;
        let open = self
            .api
            .store
            .open_incidents()
            .await
            .map_err(|error| of_store(&error))?;
        let connected = self.api.nodes.snapshot().iter().filter(|node| node.connected).count();
        let server = &self.api.server;
        let (store, schema_version) = self.api.store.describe();
        Ok(Response::new(GetServerResponse {
            server_id: server.server_id.clone(),
            version: server.version.clone(),
            started_at_ns: server.started_at.0,
            cluster: server.cluster.clone(),
            store,
            schema_version,
            open_incidents: open,
            connected_agents: number(connected),
            notifications: Some(notifications(totals)),
        }))
    }
}

/// `suppressed` stays 0: nothing mutes a notification before it is planned yet.
fn notifications(totals: OutboxTotals) -> NotificationTotals {
    NotificationTotals {
        planned: totals.planned,
        delivered: totals.delivered,
        pending: totals.pending,
        dead: totals.dead,
        superseded: totals.superseded,
        suppressed: 0,
    }
}

fn number(count: usize) -> u64 {
    u64::try_from(count).unwrap_or(u64::MAX)
}
