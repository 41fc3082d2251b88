//! What is wrong with a configuration, said so that it can be put right at once.
//!
//! Owns the form of the message: place, path, what was found, what was expected. Must not know
//! any schema.

use std::fmt;
use std::path::PathBuf;

/// Exit status for a usage or configuration error. Source: `EX_USAGE` of BSD `sysexits.h`.
pub const EXIT_CONFIG: u8 = 64;

/// Longest piece of a file or a variable that is quoted in a message, in characters.
const MAX_QUOTE_CHARS: usize = 60;

/// A position in the configuration file; both numbers count from 1.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Place {
    pub(super) line: u64,
    pub(super) column: u64,
}

impl Place {
    pub(super) const fn start() -> Self {
        Self { line: 1, column: 1 }
    }
}

/// Where a value, or a problem, comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Source {
    Flag,
    Environment(String),
    File(Place),
}

/// One thing that is wrong.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    source: Source,
    path: String,
    what: String,
}

impl Problem {
    pub(super) const fn new(source: Source, path: String, what: String) -> Self {
        Self { source, path, what }
    }

    pub(super) const fn syntax(place: Place, what: String) -> Self {
        Self::new(Source::File(place), String::new(), what)
    }

    /// The same of the text of a variable, which has no lines to point to.
    pub(super) fn of_variable(self, name: String) -> Self {
        Self {
            source: Source::Environment(name),
            ..self
        }
    }

    /// A byte that is no text; `at` is its place in `bytes`.
    pub(super) fn not_text(bytes: &[u8], at: usize) -> Self {
        let before = String::from_utf8_lossy(bytes.get(..at).unwrap_or_default());
        let line = before.rsplit('\n').next().unwrap_or_default();
        let count = |count: usize| u64::try_from(count).unwrap_or(u64::MAX).saturating_add(1);
        let place = Place {
            line: count(before.matches('\n').count()),
            column: count(line.chars().count()),
        };
        let byte = bytes.get(at).copied().unwrap_or_default();
        Self::syntax(
            place,
            format!("the byte 0x{byte:02x} is not UTF-8; expected a text file in UTF-8"),
        )
    }

    /// The dotted path of the key, empty when the whole file is meant.
    #[must_use]
    pub fn path(&self) -> &str {
        &self.path
    }

    const fn order(&self) -> (u8, u64, u64) {
        match &self.source {
            Source::File(place) => (0, place.line, place.column),
            Source::Environment(_) => (1, 0, 0),
            Source::Flag => (2, 0, 0),
        }
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.source {
            Source::Flag => f.write_str("command line: ")?,
            Source::Environment(name) => write!(f, "environment {name}: ")?,
            Source::File(place) => write!(f, "{}:{}: ", place.line, place.column)?,
        }
        if !self.path.is_empty() {
            write!(f, "{}: ", self.path)?;
        }
        f.write_str(&self.what)
    }
}

/// Why no configuration could be loaded. Trying again without a change does not help, except for
/// an unreadable file that appears later. The process ends with [`EXIT_CONFIG`].
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// The file could not be opened or read.
    #[error("cannot read configuration file {path}", path = path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// What the operating system said.
        #[source]
        source: std::io::Error,
    },
    /// The file is larger than any configuration is.
    #[error("configuration file {path} is larger than {limit_bytes} bytes", path = path.display())]
    TooLarge {
        /// The file.
        path: PathBuf,
        /// The limit, in bytes.
        limit_bytes: u64,
    },
    /// Everything that is wrong, in the order of the file.
    #[error("{}", render(file.as_deref(), problems))]
    Invalid {
        /// The file, if one was read.
        file: Option<PathBuf>,
        /// All problems that were found.
        problems: Vec<Problem>,
    },
}

impl ConfigError {
    pub(super) fn invalid(file: Option<PathBuf>, mut problems: Vec<Problem>) -> Self {
        problems.sort_by_key(Problem::order);
        Self::Invalid { file, problems }
    }
}

fn render(file: Option<&std::path::Path>, problems: &[Problem]) -> String {
    let lines = problems.iter().map(|problem| match (&problem.source, file) {
        (Source::File(_), Some(path)) => format!("{}:{problem}", path.display()),
        _ => problem.to_string(),
    });
    lines.collect::<Vec<_>>().join("\n")
}

/// Quotes untrusted text: control characters escaped, length bounded.
pub(super) fn quote(text: &str) -> String {
    let mut quoted = String::from("`");
    for (count, char) in text.chars().enumerate() {
        if count == MAX_QUOTE_CHARS {
            quoted.push('…');
            break;
        }
        if char.is_control() {
            quoted.extend(char.escape_default());
        } else {
            quoted.push(char);
        }
    }
    quoted.push('`');
    quoted
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_quoted_value_cannot_colour_the_terminal_or_flood_it() {
        let quoted = quote(&format!("\u{1b}[31m{}", "x".repeat(500)));
        assert!(quoted.starts_with("`\\u{1b}[31mxxx"), "{quoted}");
        assert!(quoted.chars().count() < 80, "{quoted}");
    }

    #[test]
    fn problems_come_in_the_order_of_the_file() {
        let at = |line| {
            let place = Place { line, column: 1 };
            Problem::new(Source::File(place), "a.b".to_owned(), format!("wrong {line}"))
        };
        let error = ConfigError::invalid(Some("agent.yaml".into()), vec![at(9), at(2)]);
        assert_eq!(
            error.to_string(),
            "agent.yaml:2:1: a.b: wrong 2\nagent.yaml:9:1: a.b: wrong 9"
        );
    }
}
