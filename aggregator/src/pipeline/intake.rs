//! The door of the writer: a bounded queue and the global budget of bytes.

use std::sync::Arc;

use inquest_shared::model::{Finding, Incident, Key};
use thiserror::Error;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, broadcast, mpsc};

use super::{
    AckSink, PipelineMetrics,
    settled::{Settled, digest},
};
use crate::record::NodeIdentity;

/// Bytes of findings in memory between the streams and the disk, of all agents together. At the limit streams are not
/// read, which holds the agents back; nothing is dropped.
pub const BUDGET_BYTES: usize = 64 * 1024 * 1024;
/// Messages in the queue; a full one holds the streams back.
const QUEUE: usize = 1_024;

/// The writer has ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[error("the writer has ended")]
pub struct Stopped;

/// A finding on its way to the disk.
#[derive(Debug)]
pub struct Received {
    /// Number in the agent's spool.
    pub seq: u64,
    /// What the agent concludes.
    pub finding: Finding,
    /// Digest of what was sent.
    pub digest: Key,
    /// Encoded size, which is given back as credit.
    pub bytes: u64,
    /// Its part of the global budget; dropping it gives it back.
    pub permit: Option<OwnedSemaphorePermit>,
}

/// Findings of one message of one stream.
#[derive(Debug)]
pub struct Submission {
    /// Who sent them, from the certificate.
    pub node: Arc<NodeIdentity>,
    /// Who learns that they are on disk; `None` for versions that the aggregator made of what it has.
    pub sink: Option<Arc<AckSink>>,
    /// The findings, in order.
    pub findings: Vec<Received>,
}

/// Hands findings to the writer. Clones are the same door.
#[derive(Clone)]
pub struct Intake {
    queue: mpsc::Sender<Submission>,
    budget: Arc<Semaphore>,
    settled: Arc<Settled>,
    changes: broadcast::Sender<Arc<Incident>>,
    metrics: PipelineMetrics,
}

impl Intake {
    pub(super) fn new(
        changes: broadcast::Sender<Arc<Incident>>,
        metrics: PipelineMetrics,
    ) -> (Self, mpsc::Receiver<Submission>) {
        let (queue, receiver) = mpsc::channel(QUEUE);
        (
            Self {
                queue,
                budget: Arc::new(Semaphore::new(BUDGET_BYTES)),
                settled: Arc::default(),
                changes,
                metrics,
            },
            receiver,
        )
    }

    /// Waits for a part of the global budget, first come first served.
    ///
    /// # Errors
    /// [`Stopped`] when the writer has ended.
    pub async fn reserve(&self, bytes: u32) -> Result<OwnedSemaphorePermit, Stopped> {
        let budget = Arc::clone(&self.budget);
        let permit = budget.acquire_many_owned(bytes).await.map_err(|_| Stopped)?;
        Ok(permit)
    }

    /// Whether exactly this finding was committed a short while ago, so that nothing has to be done again.
    #[must_use]
    pub fn is_settled(&self, digest: &Key) -> bool {
        self.settled.holds(digest)
    }

    /// Counts findings that were settled before.
    pub fn repeated(&self, findings: usize) {
        self.metrics.took(findings);
        self.metrics.committed(findings, 0);
    }

    /// Where the writer notes what it has committed.
    pub(super) fn settled(&self) -> Arc<Settled> {
        Arc::clone(&self.settled)
    }

    /// Hands findings in; waits while the queue is full. Findings count as received once they have their place: a
    /// stream that ends while it waits has handed nothing in.
    ///
    /// # Errors
    /// [`Stopped`] when the writer has ended.
    pub async fn submit(&self, submission: Submission) -> Result<(), Stopped> {
        let place = self.queue.reserve().await.map_err(|_| Stopped)?;
        self.metrics.took(submission.findings.len());
        place.send(submission);
        Ok(())
    }

    /// Hands in a finding, or a richer version of one, that the aggregator made by itself: nobody waits for its
    /// acknowledgement, and it takes no part of the agents' budget.
    ///
    /// # Errors
    /// [`Stopped`] when the writer has ended.
    pub async fn tell(&self, node: Arc<NodeIdentity>, finding: Finding) -> Result<(), Stopped> {
        let received = Received {
            seq: 0,
            digest: digest(&node, &(&finding).into()),
            finding,
            bytes: 0,
            permit: None,
        };
        let findings = vec![received];
        let sink = None;
        self.submit(Submission { node, sink, findings }).await
    }

    /// Changed incidents after their commit. A watcher that is too slow is told how many it missed.
    #[must_use]
    pub fn watch(&self) -> broadcast::Receiver<Arc<Incident>> {
        self.changes.subscribe()
    }

    /// The global budget, for showing how much of it is taken.
    pub(super) fn budget(&self) -> Budget {
        Budget(Arc::clone(&self.budget))
    }
}

/// A view of the global budget.
pub(super) struct Budget(Arc<Semaphore>);

impl Budget {
    /// Bytes that are taken.
    pub(super) fn used(&self) -> usize {
        BUDGET_BYTES.saturating_sub(self.0.available_permits())
    }
}
