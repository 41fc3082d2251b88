//! Everything that ends a command without success, and the exit status of each.
//!
//! Owns the statuses and the advice. Must not print.

use std::{io, path::PathBuf};

use inquest_shared::{config::ConfigError, model::Untrusted};
use thiserror::Error;
use tonic::Code;

use crate::{cli::Server, demo::DemoError, output::json::JsonError};

/// Shown bytes of what a server says.
const MAX_SAID: usize = 1024;

/// How a command ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Status {
    /// Done.
    Success,
    /// Found something at or above `--fail-on`.
    Found,
    /// Failed.
    Failure,
    /// No connection, or it was lost.
    NoConnection,
    /// Done in part; standard error says what is missing.
    Partial,
    /// Wrong use or configuration.
    Usage,
}

impl Status {
    /// The number that the shell sees.
    pub(crate) const fn code(self) -> u8 {
        match self {
            Self::Success => 0,
            Self::Found => 1,
            Self::Failure => 2,
            Self::NoConnection => 3,
            Self::Partial => 4,
            Self::Usage => 64,
        }
    }
}

/// Why a command did not do its work.
#[derive(Debug, Error)]
pub(crate) enum CliError {
    /// Nobody answers at the address; retrying helps once the aggregator runs.
    #[error("cannot connect to {server}: {reason}")]
    Connect {
        /// The address.
        server: Server,
        /// What the system said, without the layers in between.
        reason: String,
    },
    /// The aggregator answered no, or the connection was lost in between.
    #[error("{server} did not {call}: {}", said(status))]
    Refused {
        /// The address.
        server: Server,
        /// What was asked.
        call: &'static str,
        /// The answer.
        status: Box<tonic::Status>,
    },
    /// The aggregator ended a stream that has no end; retrying helps once it is back.
    #[error("{server} ended the stream")]
    StreamEnded {
        /// The address.
        server: Server,
    },
    /// An answer without the part that it is about; a defect of the aggregator.
    #[error("the answer to {call} is empty")]
    Empty {
        /// What was asked.
        call: &'static str,
    },
    /// Standard output cannot be written to. A reader that left is no error.
    #[error("cannot write to standard output")]
    Output(#[from] io::Error),
    /// A message has no JSON form: a defect of this program.
    #[error("cannot show the answer as JSON")]
    Json(#[from] JsonError),
    /// The configuration file is wrong; the text lists everything.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// The file fits no program well enough to say more.
    #[error("{} is for neither program by its name or content", path.display())]
    Program {
        /// The file.
        path: PathBuf,
    },
    /// The demo could not be shown.
    #[error(transparent)]
    Demo(#[from] DemoError),
    /// The system gives no threads or no signals.
    #[error("cannot start")]
    Start(#[source] io::Error),
}

fn said(status: &tonic::Status) -> String {
    match status.message() {
        "" => format!("{:?}", status.code()),
        message => Untrusted::bounded(message, MAX_SAID).escaped(),
    }
}

impl CliError {
    /// The exit status. `None` stands for a reader that has seen enough, which is success.
    pub(crate) fn status(&self) -> Status {
        match self {
            Self::Connect { .. } | Self::StreamEnded { .. } => Status::NoConnection,
            Self::Refused { status, .. } => match status.code() {
                Code::Unavailable | Code::DeadlineExceeded | Code::Cancelled => Status::NoConnection,
                Code::InvalidArgument => Status::Usage,
                _ => Status::Failure,
            },
            Self::Output(error) if error.kind() == io::ErrorKind::BrokenPipe => Status::Success,
            Self::Config(_) | Self::Program { .. } => Status::Usage,
            Self::Demo(error) => error.status(),
            Self::Empty { .. } | Self::Output(_) | Self::Json(_) | Self::Start(_) => Status::Failure,
        }
    }

    /// Whether there is no connection, or none any more; a later one may do. A status that carries a cause was made on
    /// this side of a broken connection, whatever its code.
    pub(crate) fn is_disconnect(&self) -> bool {
        let broken = |status: &tonic::Status| std::error::Error::source(status).is_some();
        self.status() == Status::NoConnection || matches!(self, Self::Refused { status, .. } if broken(status))
    }

    /// Whether the aggregator answered and then went away.
    fn is_goodbye(&self) -> bool {
        match self {
            Self::StreamEnded { .. } => true,
            Self::Refused { status, .. } => status.code() == Code::Unavailable,
            _ => false,
        }
    }

    /// What to do about it, when there is something to do.
    pub(crate) fn advice(&self, program: &str) -> Option<String> {
        match self {
            Self::Connect { .. } => Some(format!(
                "is the aggregator running? name another one with --server or INQUEST_SERVER, or try: {program} demo"
            )),
            _ if self.is_goodbye() => Some("the aggregator was stopped or restarted; run the command again".to_owned()),
            Self::Refused {
                call: "find the incident",
                status,
                ..
            } if status.code() == Code::NotFound => Some(format!("list those that exist with: {program} incidents")),
            Self::Program { .. } => Some("say which one with --program agent or --program aggregator".to_owned()),
            Self::Demo(error) => error.advice(),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(code: Code, message: &str) -> CliError {
        let server = <crate::cli::Cli as clap::Parser>::parse_from(["inquest", "nodes"])
            .global
            .server;
        CliError::Refused {
            server,
            call: "find the incident",
            status: Box::new(tonic::Status::new(code, message)),
        }
    }

    #[test]
    fn scripts_can_tell_a_lost_connection_from_a_wrong_question() {
        assert_eq!(refused(Code::Unavailable, "").status().code(), 3);
        assert_eq!(refused(Code::InvalidArgument, "").status().code(), 64);
        assert_eq!(refused(Code::NotFound, "").status().code(), 2);
        let left = |kind| CliError::Output(io::Error::from(kind)).status().code();
        assert_eq!(
            (left(io::ErrorKind::BrokenPipe), left(io::ErrorKind::StorageFull)),
            (0, 2)
        );
    }

    #[test]
    fn an_unknown_incident_is_answered_with_where_to_look() {
        let error = refused(Code::NotFound, "no incident 01J9ZK");
        assert_eq!(
            error.to_string(),
            "http://127.0.0.1:7441 did not find the incident: no incident 01J9ZK"
        );
        assert_eq!(
            error.advice("inquest").as_deref(),
            Some("list those that exist with: inquest incidents")
        );
    }

    #[test]
    fn an_aggregator_that_stops_is_told_from_one_that_never_answered() {
        let gone = refused(Code::Unavailable, "the aggregator is stopping");
        assert!(gone.advice("inquest").unwrap().contains("run the command again"));
        assert_eq!(refused(Code::Internal, "").advice("inquest"), None);
    }

    #[test]
    fn a_broken_connection_is_told_from_a_refusal() {
        assert!(refused(Code::Unavailable, "").is_disconnect());
        assert!(!refused(Code::ResourceExhausted, "256 watches are open already").is_disconnect());
        let CliError::Refused { server, call, .. } = refused(Code::Unknown, "") else {
            unreachable!()
        };
        let broken = tonic::Status::from_error(Box::new(io::Error::from(io::ErrorKind::ConnectionReset)));
        let error = CliError::Refused {
            server,
            call,
            status: Box::new(broken),
        };
        assert!(error.is_disconnect());
    }

    #[test]
    fn a_hostile_server_cannot_steer_the_terminal() {
        assert!(
            !refused(Code::Internal, "\u{1b}[2J\nok")
                .to_string()
                .contains(['\u{1b}', '\n'])
        );
    }
}
