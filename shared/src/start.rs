//! What both programs do before their own work begins: arguments, configuration, logging, runtime, exit status.

use std::{future::Future, io, io::Write as _, path::PathBuf, process::ExitCode};

use clap::{Arg, ArgAction, Command, value_parser};

use crate::{
    config::{EXIT_CONFIG, Inputs, Schema, load_text, text_of},
    reload::Reload,
    supervisor::StopError,
    telemetry::init_logging,
    tls,
};

/// What `--help` says.
pub struct About {
    /// Name of the program.
    pub name: &'static str,
    /// Its version.
    pub version: &'static str,
    /// One sentence.
    pub what: &'static str,
    /// File read when `--config` is not given and the file exists.
    pub default_file: &'static str,
}

/// How many threads the program's tasks share.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Threads {
    /// One: the agent.
    One,
    /// One for each core.
    #[cfg(feature = "multi-thread")]
    Cores,
}

/// Failure at run time (design: 2 is failure, 64 is usage or configuration).
const EXIT_FAILURE: u8 = 2;

/// Threads for blocking file operations; more would only cost memory.
const BLOCKING_THREADS: usize = 4;
/// Stack of a thread; the deepest path decodes a message of bounded depth.
const STACK_BYTES: usize = 512 * 1024;

/// Runs a program from its arguments to its exit status.
pub fn main<T, F>(about: About, run: impl FnOnce(T, Reload) -> F, threads: Threads) -> ExitCode
where
    T: Schema,
    F: Future<Output = anyhow::Result<()>>,
{
    let inputs = match arguments(&about) {
        Ok(arguments) => arguments,
        Err(error) => return usage(&error),
    };
    let read = text_of(&inputs.config).and_then(|text| Ok((load_text::<T>(&text, &inputs.config)?, text)));
    let (loaded, text) = match read {
        Ok(read) => read,
        Err(error) => return say(EXIT_CONFIG, &format!("{:#}", anyhow::Error::from(error))),
    };
    if inputs.print_config {
        return print(&loaded.effective.to_string());
    }
    leave_no_core();
    tls::install_provider();
    let log = loaded.value.log();
    let level = match init_logging(log.format, log.level) {
        Ok(level) => level,
        Err(error) => return say(EXIT_FAILURE, &error.to_string()),
    };
    let reload = Reload::new(inputs.config, text, &loaded.effective, level);
    let work = run(loaded.value, reload);
    let outcome = runtime(threads).map_err(anyhow::Error::from).and_then(|runtime| {
        let outcome = runtime.block_on(work);
        runtime.shutdown_background();
        outcome
    });
    finish(outcome)
}

/// A memory image would hold keys and secrets; programs that collect them through a pipe honour this limit too.
fn leave_no_core() {
    use rustix::process::{Resource, Rlimit, setrlimit};
    let none = Rlimit {
        current: Some(0),
        maximum: Some(0),
    };
    // Lowering a limit needs no right; where it fails nonetheless the program works as well as without it.
    let _failed = setrlimit(Resource::Core, none).is_err();
}

struct Arguments {
    config: Inputs,
    print_config: bool,
}

fn arguments(about: &About) -> Result<Arguments, clap::Error> {
    let matches = command(about).try_get_matches()?;
    let default = PathBuf::from(about.default_file);
    let file = matches
        .get_one::<PathBuf>("config")
        .cloned()
        .or_else(|| default.exists().then_some(default));
    let mut config = Inputs::from_process(file);
    for setting in matches.get_many::<String>("set").unwrap_or_default() {
        let (path, value) = setting.split_once('=').unwrap_or((setting, ""));
        config = config.with_flag(path, value);
    }
    Ok(Arguments {
        config,
        print_config: matches.get_flag("print-config"),
    })
}

fn command(about: &About) -> Command {
    let default = about.default_file;
    Command::new(about.name)
        .version(about.version)
        .about(about.what)
        .arg(
            Arg::new("config")
                .long("config")
                .value_name("FILE")
                .value_parser(value_parser!(PathBuf))
                .help(format!("Configuration file [default: {default}, if it exists]")),
        )
        .arg(
            Arg::new("set")
                .long("set")
                .value_name("KEY=VALUE")
                .action(ArgAction::Append)
                .help("Set one value, such as log.level=debug; wins over INQUEST_… variables and the file"),
        )
        .arg(
            Arg::new("print-config")
                .long("print-config")
                .action(ArgAction::SetTrue)
                .help("Show every effective value with its origin, then exit"),
        )
        .after_help("Exit status: 0 stopped as asked, 2 failure, 64 usage or configuration.")
}

fn runtime(threads: Threads) -> io::Result<tokio::runtime::Runtime> {
    let mut builder = match threads {
        Threads::One => tokio::runtime::Builder::new_current_thread(),
        #[cfg(feature = "multi-thread")]
        Threads::Cores => tokio::runtime::Builder::new_multi_thread(),
    };
    if threads == Threads::One {
        builder
            .max_blocking_threads(BLOCKING_THREADS)
            .thread_stack_size(STACK_BYTES);
    }
    builder.enable_all().build()
}

fn finish(outcome: anyhow::Result<()>) -> ExitCode {
    let Err(error) = outcome else { return ExitCode::SUCCESS };
    let code = say(EXIT_FAILURE, &format!("{error:#}"));
    if matches!(error.downcast_ref(), Some(StopError::Forced)) {
        // A second signal means now: nothing may wait for threads that hang.
        std::process::exit(i32::from(EXIT_FAILURE));
    }
    code
}

/// clap's own text; help and version go to standard output with status 0.
fn usage(error: &clap::Error) -> ExitCode {
    let wrote = error.print();
    match error.use_stderr() || wrote.is_err() {
        true => ExitCode::from(EXIT_CONFIG),
        false => ExitCode::SUCCESS,
    }
}

fn print(text: &str) -> ExitCode {
    match io::stdout().lock().write_all(text.as_bytes()) {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => ExitCode::from(EXIT_FAILURE),
        _ => ExitCode::SUCCESS,
    }
}

fn say(status: u8, text: &str) -> ExitCode {
    // There is nowhere left to report a standard error that is closed.
    let _closed = writeln!(io::stderr().lock(), "{}", text.trim_end()).is_err();
    ExitCode::from(status)
}
