//! A containerd without CRI, as Docker's packages bring it: nothing can be listed, but its events tell ends, and those of
//! Docker's containers sooner than Docker does.

use std::sync::{Arc, atomic::AtomicBool};

use tokio::time::interval;
use tonic::transport::Channel;

use super::{
    Containerd, DOCKER,
    call::{self, CallError},
    events::{self, RuntimeEvent},
    follow::{ALIVE, Follower},
};
use crate::source::{SourceHealth, SourceState};

impl Follower {
    /// Follows the events of one connection until it is lost.
    pub(super) async fn follow_events(&mut self, source: &Containerd, channel: Channel) {
        let mut events = events::subscribe(channel.clone(), Arc::new(AtomicBool::new(false)));
        let mut alive = interval(ALIVE);
        loop {
            tokio::select! {
                biased;
                event = events.recv() => match event {
                    // What Kubernetes runs could not be asked about.
                    Some(Ok(event @ (RuntimeEvent::Bare(_) | RuntimeEvent::OfDocker(_)))) => {
                        self.on_event(source, event).await;
                    }
                    Some(Ok(_)) => {}
                    Some(Err(_)) | None => return,
                },
                _ = alive.tick() => match call::version(channel.clone()).await {
                    Err(error @ CallError::Deadline { .. }) => source.blind(&error),
                    _ => {
                        self.set_live();
                        source.statuses.set(source.name, health(source));
                    }
                },
            }
        }
    }
}

/// Beside Docker nothing is missing: that is how its packages come. Alone it may be a node of Kubernetes with an old runtime.
fn health(source: &Containerd) -> SourceHealth {
    let detail = "containerd without CRI v1, events only";
    match source.statuses.state(DOCKER) {
        Some(SourceState::Live) => SourceHealth::live(detail),
        _ => SourceHealth::not(
            SourceState::Degraded,
            format!("{detail}: containers of Kubernetes are not seen"),
            "on a node of Kubernetes: containerd 1.6 or newer with its CRI plugin switched on",
        ),
    }
}
