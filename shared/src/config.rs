//! Configuration: one YAML file per program, checked as a whole before anything starts.
//!
//! Owns loading, precedence (flag, then environment `INQUEST_…`, then file, then default), the
//! list of effective values with their origins, and the schemas of both programs. Must not start
//! or open anything that a key names.
//!
//! A schema is a function that asks a [`Section`] for its keys. Every question records the value
//! and its origin, or a problem with file, line, column, path and expectation; a key that nobody
//! asked for is unknown. So one description gives reading, defaults, `--print-config` and all the
//! errors at once.

mod agent;
mod aggregator;
mod cluster;
mod describe;
mod effective;
mod enrolment;
mod keep_alive;
mod log_fallback;
mod problem;
mod redaction;
mod route;
mod scalar;
mod section;
mod tree;
mod units;

use std::collections::{BTreeMap, BTreeSet};
use std::io::Read;
use std::path::{Path, PathBuf};

pub use agent::{
    AgentConfig, AggregatorAddress, CgroupSource, ContainerdSource, KmsgSource, LogTail, Sources, SpoolConfig,
    TraceSource,
};
pub use aggregator::{AggregatorConfig, EngineConfig, Listen, TlsConfig};
pub use cluster::{ClusterConfig, KubernetesEnabled, WatchConfig};
pub use describe::{Form, Key, Kind};
pub use effective::{Effective, Origin};
pub use enrolment::{AgentProof, DEFAULT_TOKEN_FILE, EnrolmentConfig, ServiceAccount, TokenConfig};
pub use keep_alive::KeepAlive;
pub use log_fallback::LogFallbackConfig;
pub use problem::{ConfigError, EXIT_CONFIG, Problem};
pub use route::{LABELS, Receiver, ReceiverKind, Route, SubRoute, Webhook};
pub use scalar::{HostPort, WebhookUrl};
pub use section::Section;
pub use units::{ByteSize, ConfigDuration, UnitError};

use crate::telemetry::{LogFormat, LogLevel};
use problem::Source;
use scalar::Scalar;
use section::Context;
use tree::Node;

/// Largest configuration file that is read. Source: the size limit of a ConfigMap is 1 MiB.
const MAX_FILE_BYTES: u64 = 1024 * 1024;

/// A set of keys that a program understands.
pub trait Schema: Sized {
    /// Paths, or beginnings of paths, of the keys that take effect while the program runs. All others need a restart.
    const LIVE: &'static [&'static str];

    /// Asks for every key. Where a value is wrong, the problem is recorded and a stand-in returned.
    fn read(section: &mut Section<'_, '_>) -> Self;

    /// What the program writes about itself.
    fn log(&self) -> &LogConfig;
}

/// Where the values come from. Passed in, so that tests need no real environment.
#[derive(Debug, Clone, Default)]
pub struct Inputs {
    /// The configuration file; `None` means defaults, environment and flags only.
    pub file: Option<PathBuf>,
    /// Environment variables; those that name no key are ignored, because Kubernetes adds
    /// `INQUEST_…_SERVICE_HOST` and the like to every container beside a Service of that name.
    pub env: BTreeMap<String, String>,
    /// Values from the command line by dotted path, for example `log.level`.
    pub flags: BTreeMap<String, String>,
}

impl Inputs {
    /// A file (if any) and the process's environment.
    #[must_use]
    pub fn from_process(file: Option<PathBuf>) -> Self {
        let text = |(name, value): (std::ffi::OsString, std::ffi::OsString)| {
            Some((name.into_string().ok()?, value.into_string().ok()?))
        };
        let ours = |(name, _): &(String, String)| name.starts_with("INQUEST_");
        let env = std::env::vars_os().filter_map(text).filter(ours).collect();
        Self {
            file,
            env,
            flags: BTreeMap::new(),
        }
    }

    /// Sets a value as the command line does.
    #[must_use]
    pub fn with_flag(mut self, path: &str, value: &str) -> Self {
        self.flags.insert(path.to_owned(), value.to_owned());
        self
    }
}

/// A valid configuration and where each value came from.
#[derive(Debug, Clone)]
pub struct Loaded<T> {
    /// The values.
    pub value: T,
    /// What `--print-config` shows.
    pub effective: Effective,
}

/// Reads and checks a configuration.
///
/// # Errors
/// [`ConfigError`] with everything that is wrong; the program ends with [`EXIT_CONFIG`].
pub fn load<T: Schema>(inputs: &Inputs) -> Result<Loaded<T>, ConfigError> {
    load_text(&text_of(inputs)?, inputs)
}

/// The text of the file; empty without one.
pub(crate) fn text_of(inputs: &Inputs) -> Result<String, ConfigError> {
    match &inputs.file {
        Some(path) => read_file(path),
        None => Ok(String::new()),
    }
}

/// Every key that a schema asks for, in its order.
#[must_use]
pub fn describe<T: Schema>() -> Vec<Key> {
    let (inputs, wholes) = (Inputs::default(), BTreeMap::new());
    let mut context = Context::new(&inputs, &wholes);
    context.keys = Some(Vec::new());
    T::read(&mut Section::root(&mut context, None));
    context.keys.unwrap_or_default()
}

pub(crate) fn load_text<T: Schema>(text: &str, inputs: &Inputs) -> Result<Loaded<T>, ConfigError> {
    let root = tree::parse(text).map_err(|problem| ConfigError::invalid(inputs.file.clone(), vec![problem]))?;
    let (wholes, problems) = wholes::<T>(inputs);
    let mut context = Context::new(inputs, &wholes);
    context.problems = problems;
    let mut section = Section::root(&mut context, Some(&root));
    let value = T::read(&mut section);
    section.close();
    for path in inputs.flags.keys().filter(|path| !context.used_flags.contains(*path)) {
        let what = format!("unknown key {}", problem::quote(path));
        context.problems.push(Problem::new(Source::Flag, String::new(), what));
    }
    if context.problems.is_empty() {
        return Ok(Loaded {
            value,
            effective: context.effective,
        });
    }
    Err(ConfigError::invalid(inputs.file.clone(), context.problems))
}

/// Lists and mappings that the environment gives, each as a YAML value of its own, by variable.
fn wholes<T: Schema>(inputs: &Inputs) -> (BTreeMap<String, Node>, Vec<Problem>) {
    let (mut wholes, mut problems) = (BTreeMap::new(), Vec::new());
    let variables: BTreeSet<String> = describe::<T>().iter().filter_map(Key::whole_variable).collect();
    for name in variables {
        let Some(text) = inputs.env.get(&name) else { continue };
        match tree::parse(text) {
            Ok(node) => drop(wholes.insert(name, node)),
            Err(problem) => problems.push(problem.of_variable(name)),
        }
    }
    (wholes, problems)
}

pub(crate) fn read_file(path: &Path) -> Result<String, ConfigError> {
    let unreadable = |source| ConfigError::Unreadable {
        path: path.to_owned(),
        source,
    };
    let file = std::fs::File::open(path).map_err(unreadable)?;
    let mut bytes = Vec::new();
    file.take(MAX_FILE_BYTES + 1)
        .read_to_end(&mut bytes)
        .map_err(unreadable)?;
    if u64::try_from(bytes.len()).unwrap_or(u64::MAX) > MAX_FILE_BYTES {
        return Err(ConfigError::TooLarge {
            path: path.to_owned(),
            limit_bytes: MAX_FILE_BYTES,
        });
    }
    String::from_utf8(bytes).map_err(|error| {
        let problem = Problem::not_text(error.as_bytes(), error.utf8_error().valid_up_to());
        ConfigError::invalid(Some(path.to_owned()), vec![problem])
    })
}

/// What the program writes about itself, to standard error.
#[derive(Debug, Clone)]
pub struct LogConfig {
    /// `log.level`: the least severe level written. Default `info`.
    pub level: LogLevel,
    /// `log.format`: `text` for people, `json` for collectors. Default `text`.
    pub format: LogFormat,
}

impl LogConfig {
    fn read(section: &mut Section<'_, '_>) -> Self {
        Self {
            level: section.value("level", LogLevel::Info),
            format: section.value("format", LogFormat::Text),
        }
    }
}

/// Reads a length of time that must not be zero.
fn positive(section: &mut Section<'_, '_>, key: &'static str, default: ConfigDuration) -> ConfigDuration {
    let value = section.value(key, default);
    if value.get().is_zero() {
        section.reject(key, "must be longer than zero");
    }
    value
}

/// Reads a value that has a lower bound.
fn at_least<T: Scalar + PartialOrd>(section: &mut Section<'_, '_>, key: &'static str, default: T, least: &T) -> T {
    let value = section.value(key, default);
    if value < *least {
        section.reject(
            key,
            &format!("{} is too small; expected at least {}", value.show(), least.show()),
        );
    }
    value
}

#[cfg(test)]
mod tests;
