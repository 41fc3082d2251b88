//! `inquest incidents`.

use inquest_proto::query::v1 as pb;
use inquest_shared::model::{Incident, Severity};

use super::{mention_more, understood};
use crate::{
    app::Context,
    cli::IncidentsArgs,
    client::Client,
    error::{CliError, Status},
    output,
};

/// Lists.
pub(super) async fn run(context: &Context, args: &IncidentsArgs) -> Result<Status, CliError> {
    let mut filter = args.list.filter.to_wire(context.clock.now());
    filter.open_only = args.open;
    let answer = Client::connect(&context.server)
        .await?
        .incidents(&filter, args.list.limit)
        .await?;
    mention_more(&answer.next_page_token, args.list.limit);
    let found = found(&answer.incidents, args.fail_on);
    if !context.form.is_text() {
        output::print(&output::document(
            "inquest.query.v1.ListIncidentsResponse",
            &answer,
            context.form,
        )?)?;
        return Ok(found.unwrap_or(Status::Success));
    }
    if answer.incidents.is_empty() {
        output::talk("no incidents");
        return Ok(Status::Success);
    }
    let (incidents, status) = understood::<_, Incident>(answer.incidents, "incidents");
    output::print(&output::incidents::table(&incidents, context.look()))?;
    Ok(found.unwrap_or(status))
}

fn found(incidents: &[pb::Incident], fail_on: Option<Severity>) -> Option<Status> {
    let least = fail_on?.number();
    // A severity that a newer aggregator added counts as worse than all that are known.
    incidents
        .iter()
        .any(|incident| incident.severity >= least)
        .then_some(Status::Found)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_gate_closes_only_at_the_given_severity() {
        let incident = |severity: Severity| pb::Incident {
            severity: severity.number(),
            ..pb::Incident::default()
        };
        let medium = [incident(Severity::Low), incident(Severity::Medium)];
        assert_eq!(found(&medium, Some(Severity::Medium)), Some(Status::Found));
        assert_eq!(found(&medium, Some(Severity::High)), None);
        assert_eq!(found(&medium, None), None);
        assert_eq!(found(&[], Some(Severity::Info)), None);
    }
}
