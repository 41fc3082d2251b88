//! containerd's own event stream: subscribes to ends, starts and out-of-memory notices of the CRI's namespace, and drains
//! it into a bounded queue from a task of its own, since a slow subscriber would slow containerd down.

use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering},
};

use inquest_proto::containerd::{
    events::{TaskExit, TaskOom, TaskStart},
    services::events::v1::{Envelope, SubscribeRequest, events_client::EventsClient},
};
use inquest_shared::clock::UnixNanos;
use prost::Message as _;
use tokio::sync::mpsc;
use tonic::{Status, transport::Channel};

/// The namespace of the CRI plugin; dockerd's containers live in `moby` and are reported through Docker.
const NAMESPACE: &str = "k8s.io";
/// Topics that matter here (containerd `core/runtime/events.go`); the rest stays in containerd.
const TOPICS: [&str; 3] = ["/tasks/exit", "/tasks/oom", "/tasks/start"];
/// Events that may wait.
pub(super) const QUEUE: usize = 1024;

/// An event about a container.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum RuntimeEvent {
    /// The first process runs.
    Started { id: String, pid: u32 },
    /// The first process ended.
    Exited { id: String, exit_code: i32, at: UnixNanos },
    /// The runtime saw an out-of-memory notice.
    Oom { id: String, at: UnixNanos },
}

/// Subscribes; the returned queue ends when the stream does, with the refusal as its last item when there was one.
///
/// containerd answers a subscription only with its first event, so nobody may wait for the answer.
pub(super) fn subscribe(channel: Channel, overflowed: Arc<AtomicBool>) -> mpsc::Receiver<Result<RuntimeEvent, Status>> {
    let (queue, events) = mpsc::channel(QUEUE);
    // Ends with the stream, or with the first event after the follower dropped the queue; the connection ends with it.
    tokio::spawn(async move {
        if let Err(status) = drain(channel, &queue, &overflowed).await {
            // A full or closed queue means that the follower has other news already.
            let _unheard = queue.try_send(Err(status)).is_err();
        }
    });
    events
}

async fn drain(
    channel: Channel,
    queue: &mpsc::Sender<Result<RuntimeEvent, Status>>,
    overflowed: &AtomicBool,
) -> Result<(), Status> {
    let filters = TOPICS
        .iter()
        .map(|topic| format!(r#"topic=="{topic}",namespace=="{NAMESPACE}""#))
        .collect();
    let mut stream = EventsClient::new(channel)
        .subscribe(SubscribeRequest { filters })
        .await?
        .into_inner();
    while let Some(envelope) = stream.message().await? {
        let Some(event) = decode(&envelope) else { continue };
        match queue.try_send(Ok(event)) {
            Ok(()) => {}
            Err(mpsc::error::TrySendError::Full(_)) => overflowed.store(true, Ordering::Relaxed),
            Err(mpsc::error::TrySendError::Closed(_)) => return Ok(()),
        }
    }
    Ok(())
}

/// An envelope as an event; `None` for other topics and for processes that are not the container's first.
fn decode(envelope: &Envelope) -> Option<RuntimeEvent> {
    let payload = envelope.event.as_ref()?.value.as_slice();
    let at = |stamp: Option<prost_types::Timestamp>| {
        stamp.map(|t| {
            UnixNanos(
                t.seconds
                    .saturating_mul(1_000_000_000)
                    .saturating_add(i64::from(t.nanos)),
            )
        })
    };
    match envelope.topic.as_str() {
        "/tasks/exit" => {
            let exit = TaskExit::decode(payload).ok()?;
            // An exec has an id of its own and is not the container's end.
            (exit.id == exit.container_id).then_some(())?;
            let exit_code = i32::try_from(exit.exit_status).ok()?;
            Some(RuntimeEvent::Exited {
                id: exit.container_id,
                exit_code,
                at: at(exit.exited_at)?,
            })
        }
        "/tasks/oom" => {
            let oom = TaskOom::decode(payload).ok()?;
            Some(RuntimeEvent::Oom {
                id: oom.container_id,
                at: at(envelope.timestamp)?,
            })
        }
        "/tasks/start" => {
            let start = TaskStart::decode(payload).ok()?;
            Some(RuntimeEvent::Started {
                id: start.container_id,
                pid: start.pid,
            })
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use prost_types::{Any, Timestamp};

    use super::*;

    fn envelope(topic: &str, value: Vec<u8>) -> Envelope {
        let event = Some(Any {
            type_url: String::new(),
            value,
        });
        Envelope {
            topic: topic.to_owned(),
            event,
            timestamp: Some(Timestamp { seconds: 2, nanos: 5 }),
            ..Envelope::default()
        }
    }

    fn exit(id: &str) -> TaskExit {
        TaskExit {
            container_id: "c".into(),
            id: id.into(),
            pid: 9,
            exit_status: 137,
            exited_at: Some(Timestamp { seconds: 1, nanos: 7 }),
        }
    }

    #[test]
    fn the_end_of_an_exec_is_not_the_end_of_the_container() {
        assert_eq!(decode(&envelope("/tasks/exit", exit("exec-1").encode_to_vec())), None);
        let expected = RuntimeEvent::Exited {
            id: "c".into(),
            exit_code: 137,
            at: UnixNanos(1_000_000_007),
        };
        assert_eq!(
            decode(&envelope("/tasks/exit", exit("c").encode_to_vec())),
            Some(expected)
        );
    }

    #[test]
    fn damaged_and_foreign_events_are_left_out() {
        assert_eq!(decode(&envelope("/tasks/exit", vec![0xff; 9])), None);
        assert_eq!(decode(&envelope("/images/create", vec![])), None);
        assert_eq!(decode(&Envelope::default()), None);
    }
}
