//! CRI's own event stream, drained into a bounded queue by a task of its own: a slow reader would delay the runtime.

use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering},
};

use inquest_proto::runtime::v1::{
    self as cri, ContainerEventResponse, ContainerEventType, GetEventsRequest,
    runtime_service_client::RuntimeServiceClient,
};
use tokio::sync::mpsc;
use tonic::{Status, transport::Channel};

use crate::source::containerd::events::{Ended, QUEUE, RuntimeEvent};

/// Largest event: it carries the status of every container of the pod.
const MAX_EVENT: usize = 4 * 1024 * 1024;

/// Subscribes; the returned queue ends when the stream does, with the refusal as its last item when there was one. When
/// the queue is full an event is dropped and `overflowed` is set.
pub(in crate::source) fn subscribe(
    channel: Channel,
    overflowed: Arc<AtomicBool>,
) -> mpsc::Receiver<Result<RuntimeEvent, Status>> {
    let (queue, events) = mpsc::channel(QUEUE);
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
    let mut client = RuntimeServiceClient::new(channel).max_decoding_message_size(MAX_EVENT);
    let mut stream = client.get_container_events(GetEventsRequest {}).await?.into_inner();
    let mut heard = false;
    while let Some(event) = stream.message().await? {
        heard = true;
        let Some(event) = decode(event) else { continue };
        match queue.try_send(Ok(event)) {
            Ok(()) => {}
            Err(mpsc::error::TrySendError::Full(_)) => overflowed.store(true, Ordering::Relaxed),
            Err(mpsc::error::TrySendError::Closed(_)) => return Ok(()),
        }
    }
    if heard {
        return Ok(());
    }
    // CRI-O without `enable_pod_events` ends the stream at once and without an error (`server/container_events.go`).
    Err(Status::unimplemented("the event stream ended before its first event"))
}

/// What an event means; `None` when it is about the sandbox itself or says nothing new.
fn decode(event: ContainerEventResponse) -> Option<RuntimeEvent> {
    let kind = event.container_event_type();
    let ContainerEventResponse {
        container_id: id,
        pod_sandbox_status,
        containers_statuses,
        ..
    } = event;
    if pod_sandbox_status.as_ref().is_some_and(|sandbox| sandbox.id == id) {
        return None;
    }
    let sandbox = pod_sandbox_status.map(|sandbox| cri::PodSandbox {
        id: sandbox.id,
        labels: sandbox.labels,
        annotations: sandbox.annotations,
        ..cri::PodSandbox::default()
    });
    match kind {
        ContainerEventType::ContainerStartedEvent => Some(RuntimeEvent::Changed { id, ended: None }),
        ContainerEventType::ContainerStoppedEvent => {
            let own = |status: &cri::ContainerStatus| {
                status.id == id && status.state() == cri::ContainerState::ContainerExited
            };
            let status = containers_statuses.into_iter().find(own);
            let ended = status.map(|status| Box::new(Ended { status, sandbox }));
            Some(RuntimeEvent::Changed { id, ended })
        }
        ContainerEventType::ContainerCreatedEvent | ContainerEventType::ContainerDeletedEvent => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn event(kind: ContainerEventType, id: &str) -> ContainerEventResponse {
        let status = |id: &str, exit_code, state: cri::ContainerState| cri::ContainerStatus {
            id: id.into(),
            exit_code,
            state: state.into(),
            ..cri::ContainerStatus::default()
        };
        ContainerEventResponse {
            container_id: id.into(),
            container_event_type: kind.into(),
            created_at: 5,
            pod_sandbox_status: Some(cri::PodSandboxStatus {
                id: "pod".into(),
                ..cri::PodSandboxStatus::default()
            }),
            containers_statuses: vec![
                status("app", 3, cri::ContainerState::ContainerExited),
                status("side", 0, cri::ContainerState::ContainerRunning),
            ],
        }
    }

    #[test]
    fn an_end_carries_its_own_status_and_not_that_of_a_neighbour() {
        let Some(RuntimeEvent::Changed { id, ended: Some(ended) }) =
            decode(event(ContainerEventType::ContainerStoppedEvent, "app"))
        else {
            panic!("an end without its status")
        };
        assert_eq!((id.as_str(), ended.status.exit_code), ("app", 3));
        let Some(RuntimeEvent::Changed { ended, .. }) =
            decode(event(ContainerEventType::ContainerStoppedEvent, "side"))
        else {
            panic!("no event")
        };
        assert!(ended.is_none(), "it still runs, so the runtime has to be asked");
    }

    #[test]
    fn the_end_of_the_sandbox_is_no_event_of_a_container() {
        assert!(decode(event(ContainerEventType::ContainerStoppedEvent, "pod")).is_none());
        assert!(decode(event(ContainerEventType::ContainerDeletedEvent, "app")).is_none());
        assert!(decode(ContainerEventResponse::default()).is_none());
    }
}
