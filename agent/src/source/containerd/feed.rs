//! How ends are learned of besides the list: which event stream a connection has, and what is said when it has none.

use std::sync::{Arc, atomic::AtomicBool};

use tokio::sync::mpsc;
use tonic::{Code, Status, transport::Channel};

use super::{
    Containerd,
    events::{self, RuntimeEvent},
};
use crate::source::{
    SourceHealth, SourceState,
    cri::{self, Dialect, Feed},
};

/// Events, their refusal, or the end of the stream.
pub(super) type Events = mpsc::Receiver<Result<RuntimeEvent, Status>>;

/// The next event; pends for ever when there is no stream.
pub(super) async fn receive(events: &mut Option<Events>) -> Option<Result<RuntimeEvent, Status>> {
    match events {
        Some(events) => events.recv().await,
        None => std::future::pending().await,
    }
}

/// The events that the runtime has, when they are wanted.
pub(super) fn subscribe(
    source: &Containerd,
    channel: &Channel,
    dialect: &Dialect,
    overflowed: &Arc<AtomicBool>,
) -> Option<Events> {
    let (channel, overflowed) = (channel.clone(), Arc::clone(overflowed));
    match dialect.feed {
        _ if !source.events => None,
        Feed::Containerd => Some(events::subscribe(channel, overflowed)),
        Feed::Cri => Some(cri::events::subscribe(channel, overflowed)),
        Feed::Poll => None,
    }
}

/// What a list cannot show is said, since nobody can count it.
pub(super) fn polling(source: &Containerd, dialect: &Dialect) -> SourceHealth {
    let detail = format!(
        "{}, polling every {} ms, no event stream: what is made and removed between two lists is not seen",
        dialect.version,
        source.poll.as_millis()
    );
    SourceHealth::not(SourceState::Degraded, detail, dialect.runtime.event_remedy())
}

/// Whether the runtime offers no events at all, so that polling is the best there is.
pub(super) fn is_unsupported(status: &Status) -> bool {
    matches!(status.code(), Code::Unimplemented | Code::PermissionDenied)
}
