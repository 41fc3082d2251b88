//! One log stream: chunks of crash logs in, acknowledgements out.
//!
//! Owns the limits of a chunk. A chunk is acknowledged when it is on disk; one that means nothing is acknowledged too, as
//! it would be refused for ever.

use std::{sync::Arc, time::Duration};

use inquest_proto::ingest::v1::{SendLogsRequest, SendLogsResponse};
use inquest_shared::{
    clock::UnixNanos,
    failpoint::{self, Point},
    model::Key,
    supervisor::Backoff,
};
use tokio::{
    sync::mpsc,
    time::{sleep, timeout},
};
use tonic::{Status, Streaming};

use super::{Peer, metrics::Reason, service::Shared, visitor::Visitor};
use crate::{record::StoredLog, store::StoreError};

/// Longest tail of one container, all chunks together.
const MAX_TAIL: usize = 64 * 1024;
/// Time for a slow peer to take the last status.
const FAREWELL: Duration = Duration::from_millis(500);

type Answers = mpsc::Sender<Result<SendLogsResponse, Status>>;

/// Serves one stream to its end.
pub(super) async fn serve(
    shared: Arc<Shared>,
    peer: Arc<Peer>,
    visitor: Visitor,
    mut inbound: Streaming<SendLogsRequest>,
    answers: Answers,
) {
    let validity = peer.not_after.since(shared.ingest.clock.now());
    // All branches are cancel-safe: an unfinished chunk is not acknowledged and comes again.
    let status = tokio::select! {
        result = receive(&shared, &peer, &visitor, &mut inbound, &answers) => result.err(),
        () = shared.stop.cancelled() => Some(Status::unavailable("the aggregator stops: connect again")),
        () = answers.closed() => None,
        () = sleep(validity) => Some(Status::unauthenticated("the certificate has expired: enrol again")),
    };
    if let Some(status) = status {
        tracing::debug!(node = peer.node.name, status = status.message(), "a log stream ended");
        drop(timeout(FAREWELL, answers.send(Err(status))).await);
    }
}

async fn receive(
    shared: &Shared,
    peer: &Peer,
    visitor: &Visitor,
    inbound: &mut Streaming<SendLogsRequest>,
    answers: &Answers,
) -> Result<(), Status> {
    while let Some(chunk) = inbound.message().await? {
        visitor.pass.prove();
        let answer = SendLogsResponse {
            epoch: chunk.epoch,
            acked_seq: chunk.seq,
        };
        match usable(chunk) {
            Ok((key, offset, log)) => store(shared, peer, key, offset, &log).await?,
            Err(reason) => {
                shared
                    .ingest
                    .metrics
                    .log_refused
                    .get_or_create(&Reason { reason })
                    .inc();
            }
        }
        failpoint::reach(Point::LogStored);
        if answers.send(Ok(answer)).await.is_err() {
            break;
        }
    }
    Ok(())
}

/// A chunk within its limits, or why it is not.
fn usable(chunk: SendLogsRequest) -> Result<(Key, u32, StoredLog), &'static str> {
    let key = Key::try_from(chunk.finding_key.as_slice()).map_err(|_| "key")?;
    let start = usize::try_from(chunk.offset).map_err(|_| "too_large")?;
    if start.saturating_add(chunk.data.len()) > MAX_TAIL {
        return Err("too_large");
    }
    let log = StoredLog {
        data: chunk.data,
        captured_at: UnixNanos(chunk.captured_at_ns),
        redactions: chunk.redactions,
        truncated: chunk.truncated,
    };
    Ok((key, chunk.offset, log))
}

/// Stores a chunk, as often as the store refuses; a repeat changes nothing, so a doubtful outcome is tried again too.
async fn store(shared: &Shared, peer: &Peer, key: Key, offset: u32, log: &StoredLog) -> Result<(), Status> {
    let mut backoff = Backoff::new(Duration::from_millis(100), Duration::from_secs(10), Duration::MAX);
    loop {
        let permit = shared.log_writers.acquire().await;
        let result = shared
            .ingest
            .store
            .put_log(&peer.node, key, offset, log, shared.ingest.clock.now())
            .await;
        drop(permit);
        match result {
            Ok(()) => {
                shared.ingest.metrics.log_chunks.inc();
                return Ok(());
            }
            Err(error @ (StoreError::Refused { .. } | StoreError::Doubtful { .. })) => {
                tracing::warn!(node = peer.node.name, %error, "a log chunk was not stored and is tried again");
                sleep(backoff.after(Duration::ZERO)).await;
            }
            Err(StoreError::Damaged { .. }) => {
                shared
                    .ingest
                    .metrics
                    .log_refused
                    .get_or_create(&Reason {
                        reason: "stored_damaged",
                    })
                    .inc();
                return Ok(());
            }
            Err(error) => {
                tracing::error!(node = peer.node.name, %error, "logs cannot be stored");
                return Err(Status::unavailable(
                    "the store does not take logs: see the aggregator's log",
                ));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_chunk_beyond_the_tail_or_without_a_key_is_refused_by_reason() {
        let chunk = |key: usize, offset: u32, len: usize| SendLogsRequest {
            finding_key: vec![0; key],
            offset,
            data: vec![b'x'; len],
            ..SendLogsRequest::default()
        };
        assert!(usable(chunk(16, 65_000, 536)).is_ok());
        assert_eq!(usable(chunk(16, 65_000, 537)).err(), Some("too_large"));
        assert_eq!(usable(chunk(16, u32::MAX, 1)).err(), Some("too_large"));
        assert_eq!(usable(chunk(15, 0, 1)).err(), Some("key"));
    }
}
