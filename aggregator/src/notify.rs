//! The code that speaks a receiver's protocol: one file per kind, one line in [`NOTIFIERS`].
//!
//! Owns the words between the dispatcher and a notifier: [`Message`] in, [`Outcome`] out. A notifier makes exactly one
//! attempt per call; waiting, retrying, order and the store are the dispatcher's.

mod retry_after;
pub mod stdout;
pub mod webhook;

use std::sync::Arc;
use std::time::Duration;

use futures::future::BoxFuture;
use inquest_shared::clock::Clock;
use inquest_shared::config::{Receiver, ReceiverKind};
use inquest_shared::model::Untrusted;
use thiserror::Error;

use crate::record::{Notice, Slot};

pub(crate) use retry_after::MAX_RETRY_AFTER;

/// Longest [`Reason`], as the store keeps it.
pub const MAX_REASON_BYTES: usize = 256;

/// What a notifier is to tell.
#[derive(Debug, Clone)]
pub struct Message {
    /// Incident as it was at the transition, and what happened.
    pub notice: Arc<Notice>,
    /// Leave log lines out: the receiver said that the message is too large.
    pub brief: bool,
}

impl Message {
    /// Equal for every attempt to tell the same transition, so that a receiver can tell a repeat:
    /// incident id + "-" + transition number.
    #[must_use]
    pub fn key(&self) -> String {
        format!("{}-{}", self.notice.incident.id, self.notice.incident.transition)
    }

    /// Opening, update or end.
    #[must_use]
    pub fn slot(&self) -> Slot {
        Slot::of(self.notice.kind)
    }
}

/// Class of a failure with a little of the receiver's own words: one line, at most [`MAX_REASON_BYTES`], never an
/// address.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reason(String);

impl Reason {
    /// A class alone, such as "timed out".
    #[must_use]
    pub fn new(class: &str) -> Self {
        Self(Untrusted::bounded(class, MAX_REASON_BYTES).escaped())
    }

    /// A class with what the receiver said; its words are escaped and cut.
    #[must_use]
    pub fn quoting(class: &str, words: &[u8]) -> Self {
        let words = Untrusted::from_bytes(words, MAX_REASON_BYTES).escaped();
        if words.is_empty() {
            return Self::new(class);
        }
        Self(
            Untrusted::bounded(&format!("{class}: {words}"), MAX_REASON_BYTES)
                .raw()
                .to_owned(),
        )
    }

    /// The text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl std::fmt::Display for Reason {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

/// How one attempt ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// The receiver has it.
    Delivered,
    /// The receiver may have it: the connection ended or time ran out after the message was on its way. Sent again
    /// with the same key.
    Ambiguous(Reason),
    /// The receiver does not have it and may take it later, after the given time if it named one.
    RetryAfter(Option<Duration>, Reason),
    /// The receiver wants fewer messages: nothing goes to it for the given time.
    Throttled(Option<Duration>, Reason),
    /// Too large; a [`Message::brief`] one may pass.
    Oversize(Reason),
    /// It will never take this message.
    Permanent(Reason),
    /// It does not accept our credentials; retried slowly, since somebody may repair them.
    AuthBroken(Reason),
}

/// A configured destination.
pub trait Notifier: Send + Sync + 'static {
    /// Makes one attempt. Ends by itself within the notifier's own timeout.
    fn deliver<'a>(&'a self, message: &'a Message) -> BoxFuture<'a, Outcome>;

    /// Finds out whether the receiver can be reached, without telling it anything, and leaves a connection ready.
    fn probe(&self) -> BoxFuture<'_, Result<(), Reason>>;
}

/// A receiver's name and its notifier.
pub type Destination = (String, Arc<dyn Notifier>);

/// What notifiers are given besides their configuration.
#[derive(Clone)]
pub struct Surroundings {
    /// Tells the time of sending.
    pub clock: Arc<dyn Clock>,
    /// Where `stdout` receivers write.
    pub stdout: stdout::Writer,
    /// What `stdout` receivers write.
    pub card: stdout::Card,
}

/// Why a receiver cannot be set up. Trying again helps only after the configuration or the named file was changed.
#[derive(Debug, Error)]
pub enum SetupError {
    /// The webhook's settings are unusable.
    #[error("receiver {receiver}")]
    Webhook {
        /// Name of the receiver.
        receiver: String,
        /// What is wrong.
        #[source]
        source: webhook::WebhookError,
    },
    /// No notifier of this release serves that kind.
    #[error("receiver {receiver}: no notifier serves its kind")]
    NoNotifier {
        /// Name of the receiver.
        receiver: String,
    },
}

/// Makes the notifier of a receiver, if it is of this kind.
type Build = fn(&Receiver, &Surroundings) -> Option<Result<Arc<dyn Notifier>, SetupError>>;

/// A kind of notifier.
pub struct NotifierKind {
    /// Key under the receiver in the configuration.
    pub name: &'static str,
    /// One line for people.
    pub doc: &'static str,
    build: Build,
}

/// Every kind that exists.
pub const NOTIFIERS: &[NotifierKind] = &[
    NotifierKind {
        name: "stdout",
        doc: "one card per alert on standard output",
        build: build_stdout,
    },
    NotifierKind {
        name: "webhook",
        doc: "signed HTTP POST of a CloudEvent",
        build: build_webhook,
    },
];

fn build(receiver: &Receiver, surroundings: &Surroundings) -> Result<Arc<dyn Notifier>, SetupError> {
    NOTIFIERS
        .iter()
        .find_map(|kind| (kind.build)(receiver, surroundings))
        .unwrap_or_else(|| {
            Err(SetupError::NoNotifier {
                receiver: receiver.name.clone(),
            })
        })
}

/// Makes the notifiers of all receivers, each with its receiver's name.
///
/// # Errors
/// The first [`SetupError`] in the order of the file.
pub fn build_all(receivers: &[Receiver], surroundings: &Surroundings) -> Result<Vec<Destination>, SetupError> {
    receivers
        .iter()
        .map(|receiver| Ok((receiver.name.clone(), build(receiver, surroundings)?)))
        .collect()
}

fn build_stdout(receiver: &Receiver, surroundings: &Surroundings) -> Option<Result<Arc<dyn Notifier>, SetupError>> {
    let ReceiverKind::Stdout = receiver.kind else {
        return None;
    };
    let (writer, card) = (Arc::clone(&surroundings.stdout), Arc::clone(&surroundings.card));
    Some(Ok(Arc::new(stdout::Stdout::new(writer, card))))
}

fn build_webhook(receiver: &Receiver, surroundings: &Surroundings) -> Option<Result<Arc<dyn Notifier>, SetupError>> {
    let ReceiverKind::Webhook(config) = &receiver.kind else {
        return None;
    };
    let notifier = webhook::Webhook::new(config, Arc::clone(&surroundings.clock));
    let failed = |source| SetupError::Webhook {
        receiver: receiver.name.clone(),
        source,
    };
    Some(notifier.map(|n| Arc::new(n) as Arc<dyn Notifier>).map_err(failed))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kind_of_the_configuration_has_a_notifier() {
        let surroundings = Surroundings {
            clock: Arc::new(inquest_shared::clock::FakeClock::default()),
            stdout: Arc::new(std::sync::Mutex::new(Vec::new())),
            card: Arc::new(|_| String::new()),
        };
        for kind in NOTIFIERS {
            let file = tempfile::NamedTempFile::new().unwrap();
            let settings = if kind.name == "webhook" {
                "{url: 'http://127.0.0.1:1/'}"
            } else {
                "{}"
            };
            std::fs::write(
                file.path(),
                format!("receivers: [{{name: x, {}: {settings}}}]", kind.name),
            )
            .unwrap();
            let inputs = inquest_shared::config::Inputs {
                file: Some(file.path().to_owned()),
                ..Default::default()
            };
            let config = inquest_shared::config::load::<inquest_shared::config::AggregatorConfig>(&inputs).unwrap();
            let built = build_all(&config.value.receivers, &surroundings).unwrap();
            assert_eq!(built.len(), 1, "{}", kind.doc);
        }
    }

    #[test]
    fn a_receivers_words_cannot_fill_the_store_or_forge_a_line() {
        let reason = Reason::quoting("http 500", "a\nb\x1b[31m".repeat(100).as_bytes());
        assert!(reason.as_str().starts_with("http 500: a\\u{a}b\\u{1b}[31m"), "{reason}");
        assert!(reason.as_str().len() <= MAX_REASON_BYTES, "{}", reason.as_str().len());
        assert_eq!(Reason::quoting("http 500", b"").as_str(), "http 500");
    }
}
