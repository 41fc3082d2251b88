//! Answers as text: tables and cards for people, messages for programs.
//!
//! Owns forms and columns. Must not ask the aggregator anything.

pub(crate) mod deliveries;
pub(crate) mod fact;
pub(crate) mod findings;
pub(crate) mod incidents;
pub(crate) mod json;
pub(crate) mod nodes;
#[cfg(test)]
pub(crate) mod sample;
pub(crate) mod story;
mod table;
mod yaml;

use std::io::{self, Write as _};

use prost::Message;

use crate::{cli::Form, error::CliError};

/// Writes data to standard output, with a line feed at its end.
pub(crate) fn print(text: &str) -> io::Result<()> {
    let mut out = io::stdout().lock();
    out.write_all(text.trim_end_matches('\n').as_bytes())?;
    out.write_all(b"\n")?;
    out.flush()
}

/// Writes a remark to standard error.
pub(crate) fn talk(text: &str) {
    // There is nowhere left to report a standard error that is closed.
    let _closed = writeln!(io::stderr().lock(), "{text}").is_err();
}

/// The JSON or YAML form of a message, over several lines.
pub(crate) fn document<M: Message>(full_name: &str, message: &M, form: Form) -> Result<String, CliError> {
    let value = json::to_json(full_name, message)?;
    Ok(match form {
        Form::Yaml => yaml::to_yaml(&value),
        _ => format!("{value:#}"),
    })
}

/// One element of an endless output: JSON on a line of its own, YAML as a document of its own.
pub(crate) fn element<M: Message>(full_name: &str, message: &M, form: Form) -> Result<String, CliError> {
    let value = json::to_json(full_name, message)?;
    Ok(match form {
        Form::Yaml => format!("---\n{}", yaml::to_yaml(&value)),
        _ => value.to_string(),
    })
}

pub(crate) use yaml::to_yaml;
