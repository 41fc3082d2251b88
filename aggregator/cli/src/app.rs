//! From arguments to exit status.

use std::{
    ffi::OsString,
    io::{self, IsTerminal as _},
    path::Path,
    process::ExitCode,
    sync::Arc,
};

use clap::FromArgMatches as _;
use inquest_shared::{
    clock::{Clock, SystemClock},
    telemetry::{LogFormat, LogLevel, init_logging},
    text::{Lang, Paint},
};
use jiff::tz::TimeZone;

use crate::{
    cli::{self, Cli, Form, Global, Server},
    command,
    error::{CliError, Status},
    output,
};

/// The receiver of the demo answers while the sandbox works.
const THREADS: usize = 2;

/// What every command is given.
pub(crate) struct Context {
    /// What people type to run this program.
    pub(crate) program: &'static str,
    pub(crate) server: Server,
    pub(crate) form: Form,
    pub(crate) lang: Lang,
    pub(crate) paint: Paint,
    pub(crate) zone: TimeZone,
    pub(crate) clock: Arc<dyn Clock>,
}

impl Context {
    fn new(program: &'static str, global: &Global) -> Self {
        let no_color = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
        let dumb = std::env::var_os("TERM").is_some_and(|term| term == "dumb");
        let colours = io::stdout().is_terminal() && !global.no_color && !no_color && !dumb;
        Self {
            program,
            server: global.server.clone(),
            form: global.output,
            lang: global.lang,
            paint: if colours { Paint::Ansi } else { Paint::Plain },
            zone: TimeZone::system(),
            clock: Arc::new(SystemClock),
        }
    }
}

/// Runs the command line of this process.
#[must_use]
pub fn main() -> ExitCode {
    let arguments: Vec<OsString> = std::env::args_os().collect();
    let program = cli::program_name(arguments.first().map_or(Path::new(""), Path::new));
    let parsed = cli::grammar(program)
        .try_get_matches_from(arguments)
        .and_then(|matches| Cli::from_arg_matches(&matches));
    let status = match parsed {
        Ok(cli) => run(&Context::new(program, &cli.global), cli.command),
        Err(error) => usage(&error),
    };
    ExitCode::from(status.code())
}

fn run(context: &Context, command: cli::Command) -> Status {
    match start(context, command) {
        Ok(status) => status,
        Err(error) => {
            let status = error.status();
            if status != Status::Success {
                complain(context, error);
            }
            status
        }
    }
}

fn start(context: &Context, command: cli::Command) -> Result<Status, CliError> {
    if let Err(error) = init_logging(LogFormat::Text, LogLevel::Warn) {
        output::talk(&format!("no log: {error}"));
    }
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(THREADS)
        .enable_all()
        .build()
        .map_err(CliError::Start)?;
    let outcome = runtime.block_on(command::run(context, command));
    runtime.shutdown_background();
    outcome
}

/// The error with all its reasons, then what to do.
fn complain(context: &Context, error: CliError) {
    let advice = error.advice(context.program);
    output::talk(&format!("error: {:#}", anyhow::Error::new(error)));
    if let Some(advice) = advice {
        output::talk(&format!("  {advice}"));
    }
}

/// clap's own text; help and version go to standard output with status 0.
fn usage(error: &clap::Error) -> Status {
    let wrote = error.print();
    match error.use_stderr() || wrote.is_err() {
        true => Status::Usage,
        false => Status::Success,
    }
}
