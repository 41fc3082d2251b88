//! The pass that an admitted connection carries until it ends.

use std::sync::{
    Arc, Mutex, MutexGuard, PoisonError,
    atomic::{AtomicBool, Ordering},
};

use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::{
    DoorMetrics, Limits,
    ledger::{Ledger, Source},
};

/// The accounts of one listener, shared by its connections.
#[derive(Debug)]
pub(super) struct Desk {
    ledger: Mutex<Ledger>,
    limits: Limits,
    metrics: DoorMetrics,
}

impl Desk {
    pub(super) fn new(limits: Limits, metrics: DoorMetrics) -> Arc<Self> {
        Arc::new(Self {
            ledger: Mutex::new(Ledger::new(limits)),
            limits,
            metrics,
        })
    }

    pub(super) fn admit(desk: &Arc<Self>, source: Source, now: Instant) -> Option<Arc<Pass>> {
        let mut ledger = desk.ledger();
        match ledger.admit(source, now) {
            Ok(source) => {
                desk.metrics.opened(ledger.open());
                drop(ledger);
                Some(Arc::new(Pass {
                    desk: Arc::clone(desk),
                    source,
                    admitted: now,
                    proved: AtomicBool::new(false),
                    counted: AtomicBool::new(false),
                    closing: CancellationToken::new(),
                }))
            }
            Err(refusal) => {
                drop(ledger);
                desk.metrics.refused(refusal.label());
                None
            }
        }
    }

    fn ledger(&self) -> MutexGuard<'_, Ledger> {
        self.ledger.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The place of one connection. Dropping it leaves the place.
#[derive(Debug)]
pub struct Pass {
    desk: Arc<Desk>,
    source: Source,
    admitted: Instant,
    proved: AtomicBool,
    counted: AtomicBool,
    closing: CancellationToken,
}

impl Pass {
    /// The peer proved itself: time limits for the proof no longer apply.
    pub fn prove(&self) {
        if !self.proved.swap(true, Ordering::AcqRel) {
            self.desk.ledger().proved(self.source);
        }
    }

    /// Whether it did.
    #[must_use]
    pub fn is_proved(&self) -> bool {
        self.proved.load(Ordering::Acquire)
    }

    /// Counts why the connection ends; only the first reason counts.
    pub fn refuse(&self, reason: &'static str) {
        if !self.counted.swap(true, Ordering::AcqRel) {
            self.desk.metrics.refused(reason);
        }
    }

    /// Counts the reason and ends the connection at its next turn.
    pub fn close(&self, reason: &'static str) {
        self.refuse(reason);
        self.closing.cancel();
    }

    /// End of the time for the proof.
    #[must_use]
    pub fn deadline(&self) -> Instant {
        self.admitted + self.desk.limits.proof
    }

    /// The source that the connection counts on.
    #[must_use]
    pub const fn source(&self) -> Source {
        self.source
    }

    pub(super) fn limits(&self) -> &Limits {
        &self.desk.limits
    }

    pub(super) const fn closing(&self) -> &CancellationToken {
        &self.closing
    }
}

impl Drop for Pass {
    fn drop(&mut self) {
        let proved = self.is_proved();
        let mut ledger = self.desk.ledger();
        ledger.ended(self.source, proved, Instant::now());
        let open = ledger.open();
        drop(ledger);
        self.desk.metrics.opened(open);
    }
}
