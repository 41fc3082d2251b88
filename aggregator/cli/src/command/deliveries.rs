//! `inquest deliveries`.

use inquest_proto::query::v1 as pb;
use inquest_shared::model::DeliveryState;

use super::mention_more;
use crate::{
    app::Context,
    cli::DeliveriesArgs,
    client::Client,
    error::{CliError, Status},
    output,
};

/// Lists.
pub(super) async fn run(context: &Context, args: &DeliveriesArgs) -> Result<Status, CliError> {
    let request = pb::ListDeliveriesRequest {
        state: args.state.map_or(0, DeliveryState::number),
        receiver: args.receiver.clone().unwrap_or_default(),
        ..pb::ListDeliveriesRequest::default()
    };
    let answer = Client::connect(&context.server)
        .await?
        .deliveries(request, args.limit)
        .await?;
    mention_more(&answer.next_page_token, args.limit);
    if !context.form.is_text() {
        output::print(&output::document(
            "inquest.query.v1.ListDeliveriesResponse",
            &answer,
            context.form,
        )?)?;
    } else if answer.deliveries.is_empty() {
        output::talk("no notifications");
    } else {
        output::print(&output::deliveries::table(
            &answer.deliveries,
            context.look(),
            &context.zone,
        ))?;
    }
    Ok(Status::Success)
}
