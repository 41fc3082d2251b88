//! `inquest demo`: aggregator, agent and one real death on this host, then what people are told of it.
//!
//! Owns the order of the play, and that everything it started is gone at its end. The programs, the API and the alert
//! are those of every other day: nothing here reaches around them.

mod alert;
mod error;
mod ports;
mod process;
mod ready;
mod receiver;
mod setup;
mod stage;
mod trigger;

use std::{collections::HashMap, time::Duration};

use indicatif::ProgressBar;

pub(crate) use error::DemoError;

use crate::{
    app::Context,
    cli::{DemoArgs, TriggerKind},
    client::{Changes, Client},
    error::{CliError, Status},
    output::{print, talk},
};
use alert::Told;
use process::Signals;
use stage::Stage;
use trigger::Means;

/// How often the programs are looked at while nothing happens.
const LOOK: Duration = Duration::from_millis(250);
/// Incidents whose last told change is remembered; a demo has a handful.
const MAX_SEEN: usize = 10_000;

/// Runs the demo; whatever happens, nothing of it is left.
pub(crate) async fn run(context: &Context, args: &DemoArgs) -> Result<Status, CliError> {
    let mut signals = Signals::install()?;
    let mut stage = Stage::open()?;
    let outcome = tokio::select! {
        outcome = play(context, args, &mut stage) => outcome,
        () = signals.any() => interrupted(args.once),
    };
    tokio::select! {
        () = stage.stop() => {}
        () = signals.any() => talk("stopping at once"),
    }
    stage.close(args.keep);
    outcome
}

/// Being stopped is the ordinary end of a demo that goes on.
fn interrupted(once: bool) -> Result<Status, CliError> {
    match once {
        true => Err(DemoError::Interrupted.into()),
        false => Ok(Status::Success),
    }
}

async fn play(context: &Context, args: &DemoArgs, stage: &mut Stage) -> Result<Status, CliError> {
    let endless = args.trigger == TriggerKind::None && !args.once;
    let limit = if endless { Duration::MAX } else { args.timeout.get() };
    let Ok(first) = tokio::time::timeout(limit, first_alert(context, args, stage)).await else {
        return Err(DemoError::NoAlert {
            waited: limit,
            missing: stage.progress.missing(),
        }
        .into());
    };
    let (mut changes, told) = first?;
    if args.once {
        return Ok(Status::Success);
    }
    say(context, &how_to_ask(context, stage, told.as_ref()))?;
    follow(context, stage, &mut changes, told).await
}

/// From nothing to the first delivered alert. Without anything that could die visibly there is none.
async fn first_alert(
    context: &Context,
    args: &DemoArgs,
    stage: &mut Stage,
) -> Result<(Changes, Option<Told>), CliError> {
    let client = start(context, args, stage).await?;
    let mut changes = client.watch(inquest_proto::query::v1::Filter::default(), false).await?;
    if args.trigger == TriggerKind::None {
        let told = match args.once {
            true => Some(alert::first(context, stage, &client, &mut changes, &trigger::Target::Any).await?),
            false => None,
        };
        return Ok((changes, told));
    }
    let means = stage.means.clone();
    say(context, &format!("\n{}", means.announce(args.trigger)))?;
    let Some(target) = trigger::pull(args.trigger, stage).await? else {
        let invisible = DemoError::Invisible {
            why: stage.means.why_not(),
        };
        if args.once {
            return Err(invisible.into());
        }
        say(context, &format!("{invisible}\nwatching this host"))?;
        return Ok((changes, None));
    };
    let told = alert::first(context, stage, &client, &mut changes, &target).await?;
    Ok((changes, Some(told)))
}

/// Starts what is needed and says what is there.
async fn start(context: &Context, args: &DemoArgs, stage: &mut Stage) -> Result<Client, CliError> {
    let spinner = spinner("starting the aggregator");
    let client = stage.start_aggregator().await?;
    spinner.finish_and_clear();
    say(context, &ready::aggregator_line(stage))?;
    stage.means = Means::best_for(args.trigger);
    let spinner = self::spinner("starting a private container runtime");
    stage.start_runtime().await;
    spinner.finish_and_clear();
    let spinner = self::spinner("starting the agent");
    let sources = stage.start_agent(&client).await?;
    spinner.finish_and_clear();
    say(context, &ready::agent_lines(&sources, context.lang))?;
    stage.progress.sources = sources;
    Ok(client)
}

/// Prints what happens from now on.
async fn follow(
    context: &Context,
    stage: &mut Stage,
    changes: &mut Changes,
    told: Option<Told>,
) -> Result<Status, CliError> {
    let mut seen: HashMap<String, u32> = told.map(|told| (told.id, told.transition)).into_iter().collect();
    loop {
        let Ok(change) = tokio::time::timeout(LOOK, changes.next()).await else {
            stage.check()?;
            continue;
        };
        let Some(incident) = change?.incident else { continue };
        // Evidence that only completes what was told is not told again.
        if seen
            .get(&incident.id)
            .is_some_and(|transition| *transition >= incident.transition)
        {
            continue;
        }
        alert::show(context, &incident)?;
        if seen.len() >= MAX_SEEN {
            seen.clear();
        }
        seen.insert(incident.id, incident.transition);
    }
}

fn how_to_ask(context: &Context, stage: &Stage, told: Option<&Told>) -> String {
    let ports = stage.ports;
    let server = match ports.api {
        ports::API => String::new(),
        port => format!(" --server http://127.0.0.1:{port}"),
    };
    let program = context.program;
    let id = told.map_or("ID", |told| told.id.as_str());
    format!(
        "\nask    {program}{server} incidents\n       {program}{server} incident {id}\n       \
         grpcurl -plaintext 127.0.0.1:{api} list\n       curl http://127.0.0.1:{api}/api/v1/incidents\n\
         stop   Ctrl-C",
        api = ports.api
    )
}

/// The report of the demo: to standard output, unless programs read that.
fn say(context: &Context, text: &str) -> Result<(), CliError> {
    if context.form.is_text() {
        print(text)?;
    } else {
        talk(text);
    }
    Ok(())
}

/// Shows itself on a terminal only.
fn spinner(text: &'static str) -> ProgressBar {
    let spinner = ProgressBar::new_spinner().with_message(text);
    spinner.enable_steady_tick(Duration::from_millis(100));
    spinner
}
