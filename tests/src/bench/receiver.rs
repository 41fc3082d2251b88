//! The webhook receiver in a process of its own, so that neither the bench nor its runtime delays a time stamp.
//!
//! Owns both ends of the pipe between them: the child prints its address, then, for each line that it reads, the alerts
//! that came since, and a dot. It ends when the pipe does.

use std::{
    collections::{BTreeMap, btree_map::Entry},
    io::{self, BufRead as _, BufReader, Lines, Write as _},
    process::{Child, ChildStdin, ChildStdout, Command, Stdio},
};

use anyhow::{Context as _, Result};
use serde::{Deserialize, Serialize};

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
        }
    }
}

/// The child: receives until the bench is gone.
///
/// # Errors
/// When it cannot listen, or the pipe breaks.
pub(super) fn serve() -> Result<()> {
    let webhook = Webhook::start_signed(SECRET)?;
    let mut out = io::stdout().lock();
    writeln!(out, "{}", webhook.url())?;
    out.flush()?;
    let mut told = 0;
    for question in io::stdin().lines() {
        question?;
        let received = webhook.received();
        for received in received.iter().skip(told) {
            writeln!(out, "{}", serde_json::to_string(&Message::of(received))?)?;
        }
        told = received.len();
        writeln!(out, ".")?;
        out.flush()?;
    }
    Ok(())
}

/// The alert that opened an incident.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Arrival {
    /// First byte of the body, nanoseconds of `CLOCK_MONOTONIC`.
    pub(super) at: u64,
    /// Name of the cause.
    pub(super) cause: String,
}

/// The bench's end. The child ends with it.
#[derive(Debug)]
pub(super) struct Receiver {
    url: String,
    child: Child,
    questions: ChildStdin,
    answers: Lines<BufReader<ChildStdout>>,
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
        let mut command = Command::new(std::env::current_exe()?);
        command.arg("receiver").stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut child = command.spawn().context("cannot start the receiver")?;
        let questions = child.stdin.take().context("no pipe to the receiver")?;
        let mut answers = BufReader::new(child.stdout.take().context("no pipe from the receiver")?).lines();
        let url = answers.next().context("the receiver ended at once")??;
        Ok(Self {
            url,
            child,
            questions,
            answers,
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
        writeln!(self.questions).context("the receiver does not listen")?;
        loop {
            let line = self.answers.next().context("the receiver ended")??;
            if line == "." {
                return Ok(());
            }
            self.inbox
                .take(serde_json::from_str(&line).context("the receiver talks nonsense")?);
        }
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

impl Drop for Receiver {
    fn drop(&mut self) {
        // Both fail only for a child that has ended.
        self.child.kill().unwrap_or_default();
        self.child.wait().map(drop).unwrap_or_default();
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
