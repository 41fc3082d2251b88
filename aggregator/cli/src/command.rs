//! The commands: each asks the aggregator, then prints.

mod completion;
mod config;
mod deliveries;
mod findings;
mod incident;
mod incidents;
mod install;
mod nodes;
pub(crate) mod watch;

use inquest_shared::wire::WireError;

use crate::{
    app::Context,
    cli::{Command, ConfigCommand, Form},
    demo,
    error::{CliError, Status},
    output::{incidents::Look, talk},
};

/// Runs one command.
pub(crate) async fn run(context: &Context, command: Command) -> Result<Status, CliError> {
    match command {
        Command::Demo(args) => Ok(Box::pin(demo::run(context, &args)).await?),
        Command::Incidents(args) => incidents::run(context, &args).await,
        Command::Incident(args) => incident::run(context, &args).await,
        Command::Findings(args) => findings::run(context, &args).await,
        Command::Deliveries(args) => deliveries::run(context, &args).await,
        Command::Watch(args) => watch::run(context, &args).await,
        Command::Nodes(args) => nodes::run(context, &args).await,
        Command::Config(ConfigCommand::Check(args)) => config::check(context, &args),
        Command::Config(ConfigCommand::Schema { program }) => config::schema::run(program),
        Command::Install(args) => install::install(&args),
        Command::Uninstall(args) => install::uninstall(&args),
        Command::Completion { shell } => completion::run(shell),
    }
}

impl Context {
    /// How lists are shown now.
    pub(crate) fn look(&self) -> Look {
        Look {
            wide: self.form == Form::Wide,
            lang: self.lang,
            paint: self.paint,
            now: self.clock.now(),
        }
    }
}

/// Reads what this version understands; says how much it does not, and that the result is partial.
fn understood<W, M>(messages: Vec<W>, what: &str) -> (Vec<M>, Status)
where
    M: TryFrom<W, Error = WireError>,
{
    let all = messages.len();
    let mut last = None;
    let read: Vec<M> = messages
        .into_iter()
        .filter_map(|message| M::try_from(message).map_err(|error| last = Some(error)).ok())
        .collect();
    let Some(error) = last else {
        return (read, Status::Success);
    };
    let left_out = all - read.len();
    talk(&format!(
        "{left_out} of {all} {what} cannot be shown as text ({error}); use -o json, or a newer version"
    ));
    (read, Status::Partial)
}

/// Says that a list was cut.
fn mention_more(token: &str, limit: u32) {
    if !token.is_empty() {
        talk(&format!(
            "only the newest {limit} are listed; ask for more with --limit"
        ));
    }
}

#[cfg(test)]
mod tests {
    use inquest_proto::query::v1 as pb;
    use inquest_shared::model::Incident;

    use super::*;
    use crate::output::sample;

    #[test]
    fn what_a_newer_aggregator_adds_makes_the_result_partial_not_empty() {
        let known = pb::Incident::from(&sample::incident());
        let newer = pb::Incident {
            cause: 9_999,
            ..known.clone()
        };
        let (read, status) = understood::<_, Incident>(vec![newer, known.clone()], "incidents");
        assert_eq!((read.len(), status), (1, Status::Partial));
        let (read, status) = understood::<_, Incident>(vec![known], "incidents");
        assert_eq!((read.len(), status), (1, Status::Success));
    }
}
