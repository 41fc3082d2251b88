//! `inquest incident ID`.

use inquest_proto::query::v1 as pb;
use inquest_shared::{model::Incident, text::card};

use crate::{
    app::Context,
    cli::IncidentArgs,
    client::Client,
    error::{CliError, Status},
    output::{self, story},
};

/// Explains.
pub(super) async fn run(context: &Context, args: &IncidentArgs) -> Result<Status, CliError> {
    let client = Client::connect(&context.server).await?;
    let answer = client.incident(&args.id).await?;
    if !context.form.is_text() {
        output::print(&output::document("inquest.query.v1.Incident", &answer, context.form)?)?;
        return Ok(Status::Success);
    }
    let deliveries: Vec<_> = answer.deliveries.iter().filter_map(story::delivery).collect();
    let incident = match Incident::try_from(answer) {
        Ok(incident) => incident,
        Err(error) => {
            output::talk(&format!(
                "the incident cannot be shown as text ({error}); use -o json, or a newer version"
            ));
            return Ok(Status::Partial);
        }
    };
    let (log, status) = match client.log(story::log_key(&incident)).await {
        Ok(log) => (log, Status::Success),
        Err(error) => {
            output::talk(&format!("no log: {:#}", anyhow::Error::new(error)));
            (None, Status::Partial)
        }
    };
    output::print(&text(context, &incident, &deliveries, log.as_ref()))?;
    Ok(status)
}

fn text(
    context: &Context,
    incident: &Incident,
    deliveries: &[inquest_shared::model::Delivery],
    log: Option<&pb::GetLogResponse>,
) -> String {
    let (look, zone) = (context.look(), &context.zone);
    let mut parts = vec![
        card(incident, &[], context.lang, zone, context.paint),
        story::evidence(incident, look, zone),
    ];
    if !deliveries.is_empty() {
        parts.push(story::deliveries(deliveries, look, zone));
    }
    parts.extend(log.map(|log| story::log(log, context.paint)));
    parts.join("\n")
}
