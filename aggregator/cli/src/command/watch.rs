//! `inquest watch`.

use std::time::Duration;

use inquest_proto::query::v1 as pb;
use inquest_shared::{model::Incident, supervisor::Backoff, text::card};

use crate::{
    app::Context,
    cli::{Form, WatchArgs},
    client::{Changes, Client},
    error::{CliError, Status},
    output::{self, story},
};

/// Pause between two attempts to connect again.
const RETRY_MIN: Duration = Duration::from_millis(200);
const RETRY_MAX: Duration = Duration::from_secs(5);

/// Prints changes until Ctrl-C.
pub(super) async fn run(context: &Context, args: &WatchArgs) -> Result<Status, CliError> {
    let filter = args.filter.to_wire(context.clock.now());
    tokio::select! {
        outcome = keep_following(context, &filter, args) => outcome,
        signal = tokio::signal::ctrl_c() => signal.map(|()| Status::Success).map_err(CliError::Start),
    }
}

/// Follows over restarts of the aggregator. Only the first connection may fail: an address where nobody ever answered is
/// more likely wrong than away.
async fn keep_following(context: &Context, filter: &pb::Filter, args: &WatchArgs) -> Result<Status, CliError> {
    let mut changes = Client::connect(&context.server)
        .await?
        .watch(filter.clone(), args.current)
        .await?;
    loop {
        match follow(context, &mut changes, args.once).await {
            Err(error) if error.is_disconnect() => {
                output::talk(&format!("{error}; connecting again"));
                changes = come_back(context, filter).await?;
                output::talk("connected again; what is open now comes first, since changes may have been missed");
            }
            outcome => return outcome,
        }
    }
}

/// Connects again, with pauses that grow; gives up only when the aggregator refuses.
async fn come_back(context: &Context, filter: &pb::Filter) -> Result<Changes, CliError> {
    let mut backoff = Backoff::new(RETRY_MIN, RETRY_MAX, RETRY_MAX);
    loop {
        tokio::time::sleep(backoff.after(Duration::ZERO)).await;
        let again = async {
            Client::connect(&context.server)
                .await?
                .watch(filter.clone(), true)
                .await
        };
        match again.await {
            Err(error) if error.is_disconnect() => {}
            outcome => return outcome,
        }
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
