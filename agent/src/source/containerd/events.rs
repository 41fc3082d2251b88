//! containerd's own event stream: subscribes to ends, starts and out-of-memory notices of the CRI's namespace, and drains
//! it into a bounded queue from a task of its own, since a slow subscriber would slow containerd down.

use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering},
};

use inquest_proto::containerd::{
    events::{ContainerCreate, TaskExit, TaskOom, TaskStart},
    services::events::v1::{Envelope, SubscribeRequest, events_client::EventsClient},
};
use inquest_proto::runtime::v1 as cri;
use inquest_shared::clock::UnixNanos;
use prost::Message as _;
use tokio::sync::mpsc;
use tonic::{Status, transport::Channel};

use crate::source::docker::EarlyEnd;

/// The namespace of the CRI plugin.
const NAMESPACE: &str = "k8s.io";
/// dockerd's containers. Docker reports them; containerd only tells it sooner that one ended.
const DOCKER: &str = "moby";
/// Not to be reported from here: Docker's, and the steps of a build, which are no workload.
const FOREIGN: [&str; 2] = [DOCKER, "buildkit"];
/// Tells the end of a process.
const EXIT: &str = "/tasks/exit";
/// Topics that matter here (containerd `core/runtime/events.go`); the rest stays in containerd.
const TOPICS: [&str; 3] = [EXIT, "/tasks/oom", "/tasks/start"];
/// Tells the image of a container outside the CRI.
const CREATED: &str = "/containers/create";
/// Events that may wait.
pub(in crate::source) const QUEUE: usize = 1024;

/// An event about a container.
#[derive(Debug, Clone, PartialEq)]
pub(in crate::source) enum RuntimeEvent {
    /// The first process runs.
    Started { id: String, pid: u32 },
    /// The first process ended.
    Exited { id: String, exit_code: i32, at: UnixNanos },
    /// The runtime saw an out-of-memory notice.
    Oom { id: String, at: UnixNanos },
    /// It started or ended; an end that the runtime described.
    Changed { id: String, ended: Option<Box<Ended>> },
    /// About a container outside the CRI.
    Bare(BareEvent),
    /// The first process of one of Docker's containers ended.
    OfDocker(EarlyEnd),
}

/// An end as the runtime's event describes it, with the pod when the event names it.
#[derive(Debug, Clone, PartialEq)]
pub(in crate::source) struct Ended {
    pub(in crate::source) status: cri::ContainerStatus,
    pub(in crate::source) sandbox: Option<cri::PodSandbox>,
}

/// An event about a container outside the CRI.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::source) struct BareEvent {
    pub(super) namespace: String,
    pub(super) id: String,
    /// When containerd published it.
    pub(super) at: UnixNanos,
    pub(super) kind: BareKind,
}

/// What happened to it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum BareKind {
    Created { image: String },
    Started { pid: u32 },
    Exited { exit_code: i32, at: UnixNanos },
    Oom,
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
    let mut stream = EventsClient::new(channel)
        .subscribe(SubscribeRequest { filters: filters() })
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

/// One filter for each topic of the CRI's namespace and of those that are nobody else's (containerd `pkg/filters`: all parts
/// of a filter must hold, any filter is enough).
fn filters() -> Vec<String> {
    let ours = TOPICS.map(|topic| format!(r#"topic=="{topic}",namespace=="{NAMESPACE}""#));
    let not_foreign: String = FOREIGN.map(|name| format!(r#",namespace!="{name}""#)).concat();
    let bare = |topic: &str| format!(r#"topic=="{topic}",namespace!="{NAMESPACE}"{not_foreign}"#);
    ours.into_iter()
        .chain(TOPICS.iter().map(|topic| bare(topic)))
        .chain([bare(CREATED), format!(r#"topic=="{EXIT}",namespace=="{DOCKER}""#)])
        .collect()
}

/// Nanoseconds of a time stamp.
fn at(stamp: Option<prost_types::Timestamp>) -> Option<UnixNanos> {
    let stamp = stamp?;
    let nanos = stamp.seconds.saturating_mul(1_000_000_000);
    Some(UnixNanos(nanos.saturating_add(i64::from(stamp.nanos))))
}

/// An envelope as an event; `None` for other topics and for processes that are not the container's first.
fn decode(envelope: &Envelope) -> Option<RuntimeEvent> {
    let event = decode_task(envelope);
    if envelope.namespace == NAMESPACE {
        return event;
    }
    if envelope.namespace == DOCKER {
        return match event? {
            RuntimeEvent::Exited { id, exit_code, at } => Some(RuntimeEvent::OfDocker(EarlyEnd { id, exit_code, at })),
            _ => None,
        };
    }
    let (id, kind) = match event {
        Some(RuntimeEvent::Started { id, pid }) => (id, BareKind::Started { pid }),
        Some(RuntimeEvent::Exited { id, exit_code, at }) => (id, BareKind::Exited { exit_code, at }),
        Some(RuntimeEvent::Oom { id, .. }) => (id, BareKind::Oom),
        _ if envelope.topic == CREATED => {
            let created = ContainerCreate::decode(envelope.event.as_ref()?.value.as_slice()).ok()?;
            (created.id, BareKind::Created { image: created.image })
        }
        _ => return None,
    };
    Some(RuntimeEvent::Bare(BareEvent {
        namespace: envelope.namespace.clone(),
        id,
        at: at(envelope.timestamp)?,
        kind,
    }))
}

/// An event about a task, whatever its namespace.
fn decode_task(envelope: &Envelope) -> Option<RuntimeEvent> {
    let payload = envelope.event.as_ref()?.value.as_slice();
    match envelope.topic.as_str() {
        EXIT => {
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
            namespace: NAMESPACE.to_owned(),
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
    fn a_container_outside_the_cri_keeps_its_namespace_and_its_image() {
        let created = ContainerCreate {
            id: "job".into(),
            image: "img:1".into(),
        };
        let outside = |topic: &str, value: Vec<u8>| Envelope {
            namespace: "default".into(),
            ..envelope(topic, value)
        };
        let expected = |id: &str, kind| {
            Some(RuntimeEvent::Bare(BareEvent {
                namespace: "default".into(),
                id: id.into(),
                at: UnixNanos(2_000_000_005),
                kind,
            }))
        };
        let image = "img:1".to_owned();
        let decoded = decode(&outside("/containers/create", created.encode_to_vec()));
        assert_eq!(decoded, expected("job", BareKind::Created { image }));
        let exited = BareKind::Exited {
            exit_code: 137,
            at: UnixNanos(1_000_000_007),
        };
        assert_eq!(
            decode(&outside("/tasks/exit", exit("c").encode_to_vec())),
            expected("c", exited)
        );
        assert_eq!(decode(&outside("/tasks/exit", exit("exec-1").encode_to_vec())), None);
    }

    #[test]
    fn of_what_docker_and_a_build_run_only_dockers_ends_are_asked_for() {
        let all = filters();
        assert_eq!(all.len(), 8);
        let of_others = |f: &&String| !f.contains(r#"namespace=="k8s.io""#);
        let (docker, rest): (Vec<_>, Vec<_>) = all
            .iter()
            .filter(of_others)
            .partition(|f| f.contains("=\"moby\"") && !f.contains('!'));
        assert_eq!(docker, [r#"topic=="/tasks/exit",namespace=="moby""#]);
        for filter in rest {
            for foreign in ["k8s.io", "moby", "buildkit"] {
                assert!(filter.contains(&format!(r#"namespace!="{foreign}""#)), "{filter}");
            }
        }
    }

    #[test]
    fn an_end_in_docker_is_for_docker_and_nothing_else_of_it_is_heard() {
        let of_docker = |topic: &str, value: Vec<u8>| {
            decode(&Envelope {
                namespace: DOCKER.into(),
                ..envelope(topic, value)
            })
        };
        let expected = EarlyEnd {
            id: "c".into(),
            exit_code: 137,
            at: UnixNanos(1_000_000_007),
        };
        let told = of_docker(EXIT, exit("c").encode_to_vec());
        assert_eq!(told, Some(RuntimeEvent::OfDocker(expected)));
        assert_eq!(of_docker(EXIT, exit("exec-1").encode_to_vec()), None);
        let start = TaskStart {
            container_id: "c".into(),
            pid: 9,
        };
        assert_eq!(of_docker("/tasks/start", start.encode_to_vec()), None);
    }

    #[test]
    fn damaged_and_foreign_events_are_left_out() {
        assert_eq!(decode(&envelope("/tasks/exit", vec![0xff; 9])), None);
        assert_eq!(decode(&envelope("/images/create", vec![])), None);
        assert_eq!(decode(&Envelope::default()), None);
    }
}
