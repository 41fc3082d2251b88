//! The program's own log, on standard error.
//!
//! Owns format, level and the quietening of libraries. Must not write to standard output, which
//! belongs to data.

use std::fmt;
use std::io::IsTerminal;

use tracing::level_filters::LevelFilter;
use tracing_subscriber::filter::Targets;
use tracing_subscriber::layer::{Layer, SubscriberExt};
use tracing_subscriber::util::{SubscriberInitExt, TryInitError};
use tracing_subscriber::{Registry, reload};

/// How a log line looks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LogFormat {
    /// For people; coloured on a terminal.
    Text,
    /// One JSON object per line.
    Json,
}

/// The least severe level that is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LogLevel {
    /// Something failed that somebody must look at.
    Error,
    /// Something is degraded and handled.
    Warn,
    /// What an operator wants to know of a healthy program.
    Info,
    /// Each decision.
    Debug,
    /// Each record.
    Trace,
}

impl LogFormat {
    /// Reads `text` or `json`.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        match name {
            "text" => Some(Self::Text),
            "json" => Some(Self::Json),
            _ => None,
        }
    }
}

impl fmt::Display for LogFormat {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Text => "text",
            Self::Json => "json",
        })
    }
}

impl LogLevel {
    /// Reads a level in lower case.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        match name {
            "error" => Some(Self::Error),
            "warn" => Some(Self::Warn),
            "info" => Some(Self::Info),
            "debug" => Some(Self::Debug),
            "trace" => Some(Self::Trace),
            _ => None,
        }
    }

    const fn filter(self) -> LevelFilter {
        match self {
            Self::Error => LevelFilter::ERROR,
            Self::Warn => LevelFilter::WARN,
            Self::Info => LevelFilter::INFO,
            Self::Debug => LevelFilter::DEBUG,
            Self::Trace => LevelFilter::TRACE,
        }
    }
}

impl fmt::Display for LogLevel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Error => "error",
            Self::Warn => "warn",
            Self::Info => "info",
            Self::Debug => "debug",
            Self::Trace => "trace",
        })
    }
}

/// The log was set up before; trying again does not help.
#[derive(Debug, thiserror::Error)]
#[error("logging was already set up")]
pub struct LogError {
    #[source]
    source: TryInitError,
}

/// Changes the level while the program runs. The default one changes nothing: for a program that does not log.
#[derive(Debug, Clone, Default)]
pub struct LevelHandle(Option<reload::Handle<Targets, Registry>>);

impl LevelHandle {
    /// Logs at this level from now on.
    pub fn set(&self, level: LogLevel) {
        let Some(handle) = &self.0 else { return };
        if let Err(error) = handle.reload(filter(level)) {
            // The subscriber is gone, so this line reaches nobody either.
            tracing::warn!(%error, "the log level stays as it was");
        }
    }
}

/// Starts logging to standard error. Our own crates log at `level`; libraries never below `warn`.
///
/// # Errors
/// [`LogError`] if the process already logs.
pub fn init_logging(format: LogFormat, level: LogLevel) -> Result<LevelHandle, LogError> {
    let registry = tracing_subscriber::registry();
    let (filter, handle) = reload::Layer::new(filter(level));
    let layer = tracing_subscriber::fmt::layer().with_writer(std::io::stderr);
    let started = match format {
        LogFormat::Text => {
            let ansi = std::io::stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none();
            registry.with(layer.with_ansi(ansi).with_filter(filter)).try_init()
        }
        LogFormat::Json => registry
            .with(layer.json().flatten_event(true).with_filter(filter))
            .try_init(),
    };
    started.map_err(|source| LogError { source })?;
    Ok(LevelHandle(Some(handle)))
}

fn filter(level: LogLevel) -> Targets {
    let libraries = level.filter().min(LevelFilter::WARN);
    Targets::new()
        .with_default(libraries)
        .with_target("inquest", level.filter())
}

#[cfg(test)]
mod tests {
    use super::*;
    use tracing::Level;

    #[test]
    fn our_crates_follow_the_level_and_libraries_stay_quiet() {
        let debug = filter(LogLevel::Debug);
        assert!(debug.would_enable("inquest_agent::spool", &Level::DEBUG));
        assert!(!debug.would_enable("h2::codec", &Level::INFO));
        assert!(debug.would_enable("h2::codec", &Level::WARN));
        let error = filter(LogLevel::Error);
        assert!(!error.would_enable("h2::codec", &Level::WARN));
        assert!(!error.would_enable("inquest_agent", &Level::WARN));
    }

    #[test]
    fn names_read_back() {
        for name in ["error", "warn", "info", "debug", "trace"] {
            assert_eq!(LogLevel::from_name(name).unwrap().to_string(), name);
        }
        for name in ["text", "json"] {
            assert_eq!(LogFormat::from_name(name).unwrap().to_string(), name);
        }
        assert_eq!(LogLevel::from_name("INFO"), None);
    }
}
