//! Docker's event stream: drained into a bounded queue by a task of its own, so that a slow inspection never delays it.

use std::{
    collections::HashMap,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use bollard::{Docker, models::EventMessage, query_parameters::EventsOptions};
use futures::StreamExt as _;
use inquest_shared::clock::UnixNanos;
use tokio::sync::mpsc;

/// What matters here; the rest, such as health checks and execs, stays in Docker. An exec's end is `exec_die`.
const ACTIONS: [&str; 7] = ["create", "start", "die", "oom", "kill", "stop", "destroy"];
/// Events that may wait.
pub(super) const QUEUE: usize = 1024;

/// An event about a container.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Event {
    /// Container id.
    pub(super) id: String,
    /// When Docker says it was.
    pub(super) at: UnixNanos,
    /// What happened.
    pub(super) what: What,
    /// Name, image and labels: all that is left of a container that removes itself.
    pub(super) attributes: HashMap<String, String>,
}

/// What happened to a container.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum What {
    Created,
    Started,
    Died { exit_code: i32 },
    Oom,
    Signalled { signal: u8 },
    Stopped,
    Destroyed,
}

/// Subscribes, from `since` on as far as Docker remembers (256 events, and none of before its own start). The returned
/// queue ends when the stream does.
pub(super) fn subscribe(client: &Docker, since: UnixNanos, dropped: Arc<AtomicU64>) -> mpsc::Receiver<Event> {
    let (queue, events) = mpsc::channel(QUEUE);
    let words = |list: &[&str]| list.iter().map(|word| (*word).to_owned()).collect();
    let filters = HashMap::from([
        ("type".to_owned(), words(&["container"])),
        ("event".to_owned(), words(&ACTIONS)),
    ]);
    let nanos = since.as_nanos();
    let since = format!(
        "{}.{:09}",
        nanos.div_euclid(1_000_000_000),
        nanos.rem_euclid(1_000_000_000)
    );
    let options = EventsOptions {
        since: Some(since),
        filters: Some(filters),
        ..EventsOptions::default()
    };
    let mut stream = Box::pin(client.events(Some(options)));
    // Ends with the stream, or with the first event after the follower dropped the queue.
    tokio::spawn(async move {
        while let Some(message) = stream.next().await {
            let message = match message {
                Ok(message) => message,
                Err(error) => return tracing::warn!(%error, "Docker's event stream broke"),
            };
            let Some(event) = decode(message) else { continue };
            match queue.try_send(event) {
                Ok(()) => {}
                Err(mpsc::error::TrySendError::Full(_)) => {
                    dropped.fetch_add(1, Ordering::Relaxed);
                }
                Err(mpsc::error::TrySendError::Closed(_)) => return,
            }
        }
    });
    events
}

/// A message as an event; `None` for what does not concern the container's own process.
fn decode(message: EventMessage) -> Option<Event> {
    let actor = message.actor?;
    let attributes = actor.attributes.unwrap_or_default();
    let number = |name: &str| attributes.get(name).and_then(|text| text.parse::<i32>().ok());
    let what = match message.action.as_deref()? {
        "create" => What::Created,
        "start" => What::Started,
        "die" => What::Died {
            exit_code: number("exitCode").unwrap_or(-1),
        },
        "oom" => What::Oom,
        "kill" => What::Signalled {
            signal: u8::try_from(number("signal")?).ok()?,
        },
        "stop" => What::Stopped,
        "destroy" => What::Destroyed,
        _ => return None,
    };
    Some(Event {
        id: actor.id?,
        at: UnixNanos(message.time_nano?),
        what,
        attributes,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(action: &str, attributes: &[(&str, &str)]) -> EventMessage {
        let attributes: HashMap<&str, &str> = attributes.iter().copied().collect();
        let json = serde_json::json!({
            "Type": "container", "Action": action, "timeNano": 7,
            "Actor": {"ID": "abc", "Attributes": attributes},
        });
        serde_json::from_value(json).unwrap()
    }

    fn what(action: &str, attributes: &[(&str, &str)]) -> Option<What> {
        decode(message(action, attributes)).map(|event| event.what)
    }

    #[test]
    fn the_end_of_an_exec_is_not_the_end_of_the_container() {
        assert_eq!(what("exec_die", &[("exitCode", "7")]), None);
        assert_eq!(what("exec_start: sh -c die", &[]), None);
        assert_eq!(what("die", &[("exitCode", "137")]), Some(What::Died { exit_code: 137 }));
    }

    #[test]
    fn a_kill_names_its_signal_and_a_damaged_one_is_left_out() {
        assert_eq!(what("kill", &[("signal", "9")]), Some(What::Signalled { signal: 9 }));
        assert_eq!(what("kill", &[("signal", "9000")]), None);
        assert_eq!(what("kill", &[]), None);
        assert_eq!(decode(EventMessage::default()), None);
    }
}
