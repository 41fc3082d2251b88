//! `inquest nodes`.

use crate::{
    app::Context,
    cli::NodesArgs,
    client::Client,
    error::{CliError, Status},
    output,
};

/// Lists.
pub(super) async fn run(context: &Context, args: &NodesArgs) -> Result<Status, CliError> {
    let cluster = args.cluster.as_deref().unwrap_or_default();
    let answer = Client::connect(&context.server).await?.nodes(cluster).await?;
    if !context.form.is_text() {
        output::print(&output::document(
            "inquest.query.v1.ListNodesResponse",
            &answer,
            context.form,
        )?)?;
    } else if answer.nodes.is_empty() {
        output::talk("no node has enrolled yet");
    } else {
        output::print(&output::nodes::table(&answer.nodes, context.look()))?;
    }
    Ok(Status::Success)
}
