//! `inquest findings`.

use super::{mention_more, understood};
use crate::{
    app::Context,
    cli::ListArgs,
    client::Client,
    error::{CliError, Status},
    output::{self, findings::Crash},
};

/// Lists.
pub(super) async fn run(context: &Context, args: &ListArgs) -> Result<Status, CliError> {
    let filter = args.filter.to_wire(context.clock.now());
    let answer = Client::connect(&context.server)
        .await?
        .findings(&filter, args.limit)
        .await?;
    mention_more(&answer.next_page_token, args.limit);
    if !context.form.is_text() {
        output::print(&output::document(
            "inquest.query.v1.ListFindingsResponse",
            &answer,
            context.form,
        )?)?;
        return Ok(Status::Success);
    }
    if answer.findings.is_empty() {
        output::talk("no findings");
        return Ok(Status::Success);
    }
    let (crashes, status) = understood::<_, Crash>(answer.findings, "findings");
    output::print(&output::findings::table(&crashes, context.look(), &context.zone))?;
    Ok(status)
}
