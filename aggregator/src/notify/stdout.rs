//! The `stdout` receiver: one block of lines per alert.
//!
//! Owns the writing. What the lines say is the text catalogue's, which escapes everything that came from outside.

use std::io::{self, Write};
use std::sync::{Arc, Mutex, PoisonError};

use futures::future::BoxFuture;
use inquest_shared::model::Incident;

use super::{Message, Notifier, Outcome, Reason};

/// Standard output, or what a test puts in its place.
pub type Writer = Arc<Mutex<dyn Write + Send>>;

/// Turns an incident into a block of lines: the text catalogue's card in the operator's language and time zone.
pub type Card = Arc<dyn Fn(&Incident) -> String + Send + Sync>;

/// Writes alerts for people.
pub struct Stdout {
    writer: Writer,
    card: Card,
}

impl Stdout {
    /// Writes to the given writer.
    #[must_use]
    pub fn new(writer: Writer, card: Card) -> Self {
        Self { writer, card }
    }
}

impl Notifier for Stdout {
    /// Writes on a thread of its own: a reader that stalls stops this receiver and nothing else.
    fn deliver<'a>(&'a self, message: &'a Message) -> BoxFuture<'a, Outcome> {
        let block = format!("{}\n\n", (self.card)(&message.notice.incident));
        let writer = Arc::clone(&self.writer);
        Box::pin(async move {
            match tokio::task::spawn_blocking(move || write(&writer, &block)).await {
                Ok(Ok(())) => Outcome::Delivered,
                Ok(Err(error)) => Outcome::RetryAfter(None, Reason::new(&format!("standard output: {}", error.kind()))),
                Err(_) => Outcome::Ambiguous(Reason::new("the writing thread ended early")),
            }
        })
    }

    fn probe(&self) -> BoxFuture<'_, Result<(), Reason>> {
        Box::pin(async { Ok(()) })
    }
}

fn write(writer: &Writer, block: &str) -> io::Result<()> {
    let mut writer = writer.lock().unwrap_or_else(PoisonError::into_inner);
    writer.write_all(block.as_bytes())?;
    writer.flush()
}

#[cfg(test)]
mod tests {
    use inquest_shared::model::TransitionKind;

    use super::*;
    use crate::alert::sample::row;

    fn message() -> Message {
        Message {
            notice: row(1, "stdout", 7, TransitionKind::Opened).notice,
            brief: false,
        }
    }

    fn card() -> Card {
        Arc::new(|incident| format!("{} in {}", incident.cause, incident.workload.container))
    }

    #[tokio::test]
    async fn each_alert_is_one_block_with_an_empty_line_after_it() {
        let written = Arc::new(Mutex::new(Vec::new()));
        let stdout = Stdout::new(Arc::clone(&written) as Writer, card());
        assert_eq!(stdout.deliver(&message()).await, Outcome::Delivered);
        assert_eq!(stdout.deliver(&message()).await, Outcome::Delivered);
        let text = String::from_utf8(written.lock().unwrap().clone()).unwrap();
        assert_eq!(text, "oom_limit in app\n\noom_limit in app\n\n");
    }

    struct Broken;

    impl Write for Broken {
        fn write(&mut self, _: &[u8]) -> io::Result<usize> {
            Err(io::ErrorKind::BrokenPipe.into())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[tokio::test]
    async fn an_alert_that_nobody_could_read_is_kept_and_tried_again() {
        let stdout = Stdout::new(Arc::new(Mutex::new(Broken)), card());
        let outcome = stdout.deliver(&message()).await;
        assert_eq!(
            outcome,
            Outcome::RetryAfter(None, Reason::new("standard output: broken pipe"))
        );
    }
}
