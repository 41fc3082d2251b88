//! What became of notifications, above all those that were given up.
//!
//! Must not know transports, like all of the query service.

use inquest_proto::query::v1 as pb;
use inquest_shared::{
    model::{Delivery, DeliveryState},
    wire::delivery_to_wire,
};
use tonic::Status;

use super::{
    filter::About,
    page,
    status::{Violations, of_store},
};
use crate::{
    record::{OutboxRow, Scope},
    store::{Store, cursor_of_delivery},
};

/// One page.
pub(super) async fn list(
    store: &dyn Store,
    scope: &Scope,
    request: pb::ListDeliveriesRequest,
) -> Result<pb::ListDeliveriesResponse, Status> {
    let mut wrong = Violations::default();
    let state = state(request.state, &mut wrong);
    let size = page::size(request.page_size, &mut wrong);
    // What a page token belongs to.
    let asked = pb::ListDeliveriesRequest {
        page_size: 0,
        page_token: String::new(),
        ..request.clone()
    };
    let after = page::cursor(About::Deliveries, &asked, &request.page_token, &mut wrong);
    wrong.check()?;
    let found = store
        .list_deliveries(scope, state, &request.receiver, after.as_ref(), size.saturating_add(1))
        .await
        .map_err(|error| of_store(&error))?;
    let (deliveries, next) = page::cut(&found, size, planned, cursor_of_delivery);
    let next_page_token = next
        .map(|at| page::token(About::Deliveries, &asked, &at))
        .unwrap_or_default();
    Ok(pb::ListDeliveriesResponse {
        deliveries,
        next_page_token,
    })
}

fn state(number: i32, wrong: &mut Violations) -> Option<DeliveryState> {
    let state = DeliveryState::from_number(number);
    if state.is_none() && number != 0 {
        wrong.add("state", format!("no state of a delivery has the number {number}"));
    }
    state
}

fn planned(row: &OutboxRow) -> pb::PlannedDelivery {
    let incident = &row.notice.incident;
    let delivery = Delivery {
        receiver: row.receiver.clone(),
        transition: incident.transition,
        kind: row.notice.kind,
        state: row.state,
        attempts: row.attempts,
        planned_at: row.planned_at,
        delivered_at: row.delivered_at,
        last_error: row.last_error.clone(),
    };
    pb::PlannedDelivery {
        delivery: Some(delivery_to_wire(&delivery)),
        incident_id: incident.id.to_string(),
        cluster: incident.cluster.clone(),
        workload: Some((&incident.workload).into()),
    }
}
