//! `inquest watch`.

use inquest_proto::query::v1 as pb;
use inquest_shared::{model::Incident, text::card};

use crate::{
    app::Context,
    cli::{Form, WatchArgs},
    client::{Changes, Client},
    error::{CliError, Status},
    output::{self, story},
};

/// Prints changes until Ctrl-C.
pub(super) async fn run(context: &Context, args: &WatchArgs) -> Result<Status, CliError> {
    let client = Client::connect(&context.server).await?;
    let mut changes = client
        .watch(args.filter.to_wire(context.clock.now()), args.current)
        .await?;
    tokio::select! {
        outcome = follow(context, &mut changes, args.once) => outcome,
        signal = tokio::signal::ctrl_c() => signal.map(|()| Status::Success).map_err(CliError::Start),
    }
}

/// Prints each change as it comes; returns only when told to stop after the first.
pub(crate) async fn follow(context: &Context, changes: &mut Changes, once: bool) -> Result<Status, CliError> {
    loop {
        let change = changes.next().await?;
        if change.lagged {
            output::talk("changes came faster than they could be printed, some are left out; list again to be sure");
        }
        let Some(incident) = change.incident else { continue };
        output::print(&change_text(context, &incident)?)?;
        if once {
            return Ok(Status::Success);
        }
    }
}

/// One change in the wanted form.
pub(crate) fn change_text(context: &Context, incident: &pb::Incident) -> Result<String, CliError> {
    if !context.form.is_text() {
        return output::element("inquest.query.v1.Incident", incident, context.form);
    }
    let deliveries: Vec<_> = incident.deliveries.iter().filter_map(story::delivery).collect();
    let text = match Incident::try_from(incident.clone()) {
        Ok(incident) => {
            let mut text = card(&incident, &deliveries, context.lang, &context.zone, context.paint);
            if context.form == Form::Wide {
                text.push_str(&story::evidence(&incident, context.look(), &context.zone));
            }
            text
        }
        Err(error) => format!(
            "incident {}: cannot be shown as text ({error}); use -o json",
            incident.id.escape_debug()
        ),
    };
    Ok(format!("{text}\n"))
}
