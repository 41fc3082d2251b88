//! The webhook receiver in a process of its own. Owns what it tells the bench: the alerts that came since the last question.

use std::collections::{BTreeMap, btree_map::Entry};

use anyhow::{Context as _, Result};
use serde::{Deserialize, Serialize};

use super::helper::{self, Helper};
use crate::webhook::{Received, Webhook};

/// Secret that the aggregator signs with: `whsec_` and base64 of 24 bytes.
pub(super) const SECRET: &str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";
/// Type of the event that opens an incident.
const OPENED: &str = "io.inquest.incident.opened";

/// One alert, as it goes through the pipe.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Message {
    /// First byte of the body, nanoseconds of `CLOCK_MONOTONIC`.
    at: u64,
    opened: bool,
    accepted: bool,
    container: String,
    cause: String,
    owner: String,
    confirmed: bool,
}

impl Message {
    fn of(received: &Received) -> Self {
        let text = |path: &str| {
            received
                .body
                .pointer(path)
                .and_then(|v| v.as_str())
                .unwrap_or_default()
                .to_owned()
        };
        Self {
            at: received.monotonic_nanos,
            opened: text("/type") == OPENED,
            accepted: received.answer.is_success(),
            container: text("/data/workload/container"),
            cause: text("/data/cause"),
            owner: text("/data/workload/name"),
            confirmed: received
                .body
                .pointer("/data/latest/subject/ownerConfirmed")
                .is_some_and(|confirmed| confirmed == true),
        }
    }
}

/// The child: receives until the bench is gone.
///
/// # Errors
/// When it cannot listen, or the pipe breaks.
pub(super) fn serve() -> Result<()> {
    let webhook = Webhook::start_signed(SECRET)?;
    let mut told = 0;
    helper::answer(&webhook.url(), || {
        let received = webhook.received();
        let new = received.iter().skip(told);
        told = received.len();
        new.map(|received| Ok(serde_json::to_string(&Message::of(received))?))
            .collect()
    })
}

/// The alert that opened an incident.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Arrival {
    /// First byte of the body, nanoseconds of `CLOCK_MONOTONIC`.
    pub(super) at: u64,
    /// Name of the cause.
    pub(super) cause: String,
    /// Name of the workload.
    pub(super) owner: String,
    /// Whether the apiserver named it.
    pub(super) confirmed: bool,
}

/// The bench's end. The child ends with it.
#[derive(Debug)]
pub(super) struct Receiver {
    url: String,
    helper: Helper,
    inbox: Inbox,
}

/// What came so far.
#[derive(Debug, Default)]
struct Inbox {
    arrivals: BTreeMap<String, Arrival>,
    repeated: usize,
    refused: usize,
}

impl Inbox {
    fn take(&mut self, message: Message) {
        if !message.accepted {
            self.refused += 1;
        } else if message.opened {
            let arrival = Arrival {
                at: message.at,
                cause: message.cause,
                owner: message.owner,
                confirmed: message.confirmed,
            };
            match self.arrivals.entry(message.container) {
                Entry::Vacant(first) => {
                    first.insert(arrival);
                }
                Entry::Occupied(_) => self.repeated += 1,
            }
        }
    }
}

impl Receiver {
    /// Starts this program again as receiver.
    ///
    /// # Errors
    /// When it does not come up.
    pub(super) fn start() -> Result<Self> {
        let (helper, url) = Helper::start(&["receiver"])?;
        Ok(Self {
            url,
            helper,
            inbox: Inbox::default(),
        })
    }

    /// Where alerts go.
    pub(super) fn url(&self) -> &str {
        &self.url
    }

    /// Fetches what came since the last call.
    ///
    /// # Errors
    /// When the receiver has ended.
    pub(super) fn fetch(&mut self) -> Result<()> {
        for line in self.helper.ask()? {
            self.inbox
                .take(serde_json::from_str(&line).context("the receiver talks nonsense")?);
        }
        Ok(())
    }

    /// The first alert about a container, among those fetched.
    pub(super) fn arrival(&self, container: &str) -> Option<&Arrival> {
        self.inbox.arrivals.get(container)
    }

    /// Further opening alerts about a container that had one.
    pub(super) fn repeated(&self) -> usize {
        self.inbox.repeated
    }

    /// Requests that were refused, for instance for a bad signature.
    pub(super) fn refused(&self) -> usize {
        self.inbox.refused
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(at: u64, opened: bool, accepted: bool) -> Message {
        let (container, cause) = ("k1".to_owned(), "CAUSE_OOM_LIMIT".to_owned());
        Message {
            at,
            opened,
            accepted,
            container,
            cause,
            owner: String::new(),
            confirmed: false,
        }
    }

    #[test]
    fn only_the_first_opening_alert_counts_and_repeats_are_seen() {
        let mut inbox = Inbox::default();
        inbox.take(message(1, true, false));
        inbox.take(message(2, false, true));
        inbox.take(message(3, true, true));
        inbox.take(message(4, true, true));
        assert_eq!(inbox.arrivals["k1"].at, 3);
        assert_eq!((inbox.repeated, inbox.refused), (1, 1));
    }
}
