//! What ends a list or a watch.
//!
//! Owns the kinds of ends and what each one asks for. Must not wait.

use std::time::Duration;

use crate::cluster::{id::bounded, wire::Status};

/// Longest reason kept, in bytes; it is text of the server.
const MAX_REASON: usize = 300;

/// What ends a list or a watch. Trying again helps with all of them; how soon differs.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(super) enum Failure {
    /// The server closed a watch in the ordinary way; it goes on from its version at once.
    #[error("the server ended the watch")]
    Ended,
    /// The server has forgotten the version: a new list is needed.
    #[error("the version is too old")]
    Gone,
    /// Nothing came for too long.
    #[error("no word from the server for too long")]
    Silent,
    /// The rights are missing; somebody has to change a role.
    #[error("not allowed: {0}")]
    Forbidden(String),
    /// The server does not offer the kind.
    #[error("not offered by the server: {0}")]
    Missing(String),
    /// The server asks to wait. Source: API priority and fairness, 429 with `Retry-After`.
    #[error("the server is busy")]
    Busy {
        /// For at least so long.
        wait: Duration,
    },
    /// The server does not give lists as streams.
    #[error("lists are not offered as streams")]
    NoStream,
    /// Another refusal.
    #[error("the server refused with status {code}: {message}")]
    Refused {
        /// HTTP status.
        code: u16,
        /// Its words.
        message: String,
    },
    /// The connection failed.
    #[error("connection: {0}")]
    Connection(String),
    /// The answer is not what the API promises.
    #[error("unreadable answer: {0}")]
    Unreadable(String),
}

impl Failure {
    /// From the status in an answer or in a watch.
    pub(super) fn of(status: &Status) -> Self {
        let message = bounded(&status.message, MAX_REASON).into_string();
        match status.code {
            410 => Self::Gone,
            403 => Self::Forbidden(message),
            404 => Self::Missing(message),
            429 => Self::Busy { wait: Duration::ZERO },
            code if status.reason == "Expired" || status.reason == "Gone" => {
                tracing::debug!(code, "a version expired");
                Self::Gone
            }
            code => Self::Refused { code, message },
        }
    }

    /// From the connection; the words may quote the server.
    pub(super) fn connection(error: &(impl std::error::Error + ?Sized)) -> Self {
        let mut words = error.to_string();
        let mut source = error.source();
        while let Some(cause) = source.filter(|_| words.len() < MAX_REASON) {
            words = format!("{words}: {cause}");
            source = cause.source();
        }
        Self::Connection(bounded(&words, MAX_REASON).into_string())
    }

    pub(super) fn unreadable(error: &impl std::fmt::Display) -> Self {
        Self::Unreadable(bounded(&error.to_string(), MAX_REASON).into_string())
    }

    /// Whether a streamed list failed in a way that pages may not.
    pub(super) const fn asks_for_pages(&self) -> bool {
        // 400 and 422 are the answers to a parameter that a server does not take.
        matches!(
            self,
            Self::NoStream | Self::Silent | Self::Refused { code: 400 | 422, .. }
        )
    }

    /// Whether the server says no, as opposed to nothing.
    pub(super) const fn is_refusal(&self) -> bool {
        matches!(self, Self::Forbidden(_) | Self::Missing(_))
    }

    /// One word for metrics.
    pub(super) const fn cause(&self) -> &'static str {
        match self {
            Self::Ended => "ended",
            Self::Gone => "gone",
            Self::Silent => "silent",
            Self::Forbidden(_) => "forbidden",
            Self::Missing(_) => "missing",
            Self::Busy { .. } => "busy",
            Self::NoStream => "no_stream",
            Self::Refused { .. } => "refused",
            Self::Connection(_) => "connection",
            Self::Unreadable(_) => "unreadable",
        }
    }
}
