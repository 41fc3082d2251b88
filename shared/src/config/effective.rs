//! The effective configuration: every value with where it came from.
//!
//! Owns the listing behind `--print-config`. Must not hold a secret: values arrive already shown.

use std::fmt;
use std::path::PathBuf;

use xxhash_rust::xxh3::xxh3_64;

/// Where an effective value comes from, strongest first.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Origin {
    /// The command line.
    Flag,
    /// An environment variable, by name.
    Environment(String),
    /// The configuration file.
    File {
        /// The file; empty when the text did not come from a file.
        path: PathBuf,
        /// Line, counted from 1.
        line: u64,
    },
    /// Built in.
    Default,
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Flag => f.write_str("flag"),
            Self::Environment(name) => write!(f, "environment {name}"),
            Self::File { path, line } => write!(f, "{}:{line}", path.display()),
            Self::Default => f.write_str("default"),
        }
    }
}

/// All effective values in the order in which they were read. `Display` gives one line each:
/// path, value, origin.
#[derive(Debug, Clone, Default)]
pub struct Effective(Vec<Entry>);

#[derive(Debug, Clone)]
struct Entry {
    path: String,
    shown: String,
    origin: Origin,
    mark: u64,
}

impl Effective {
    /// `whole` is the value with what is never shown; only a mark of it is kept.
    pub(super) fn push(&mut self, path: String, shown: String, whole: &str, origin: Origin) {
        let mark = xxh3_64(whole.as_bytes());
        self.0.push(Entry {
            path,
            shown,
            origin,
            mark,
        });
    }

    /// Path of every value, and a number that differs when the value does.
    pub(crate) fn marks(&self) -> impl Iterator<Item = (&str, u64)> {
        self.0.iter().map(|entry| (entry.path.as_str(), entry.mark))
    }

    /// Path, shown value and origin of every value.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &str, &Origin)> {
        self.0
            .iter()
            .map(|entry| (entry.path.as_str(), entry.shown.as_str(), &entry.origin))
    }
}

impl fmt::Display for Effective {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let left = |entry: &Entry| format!("{}: {}", entry.path, printable(&entry.shown));
        let width = self
            .0
            .iter()
            .map(|entry| left(entry).chars().count())
            .max()
            .unwrap_or(0);
        for entry in &self.0 {
            writeln!(f, "{:width$}  # {}", left(entry), entry.origin)?;
        }
        Ok(())
    }
}

/// One line, without control characters.
fn printable(value: &str) -> String {
    if value.chars().any(char::is_control) {
        value.escape_default().to_string()
    } else {
        value.to_owned()
    }
}
