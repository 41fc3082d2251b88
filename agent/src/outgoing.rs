//! A spool that several tasks use: detection appends, the uplink reads and acknowledges, a task of its own brings it to disk.

use std::{
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use tokio::{sync::watch, time::sleep};
use tokio_util::sync::CancellationToken;

use crate::spool::{Mode, Seq, Shed, Spool, SpoolError};

/// How often a disk that refused is tried while nothing is appended.
const RETRY: Duration = Duration::from_secs(5);

/// Shared handle of one spool. The lock is held for one short file operation at a time and never across an await.
#[derive(Clone)]
pub struct Outgoing {
    spool: Arc<Mutex<Spool>>,
    appended: Arc<watch::Sender<u64>>,
}

impl Outgoing {
    /// Shares a spool.
    #[must_use]
    pub fn new(spool: Spool) -> Self {
        Self {
            spool: Arc::new(Mutex::new(spool)),
            appended: Arc::new(watch::Sender::new(0)),
        }
    }

    /// Takes a record and wakes the uplink.
    ///
    /// # Errors
    /// [`SpoolError`]: the record was shed or is too large; it is counted, and trying again does not help.
    pub fn append(&self, payload: &[u8], class: Shed) -> Result<Seq, SpoolError> {
        let appended = self.lock().append(payload, class);
        self.appended.send_modify(|count| *count = count.wrapping_add(1));
        appended
    }

    /// Records ever taken or refused: the left side of observed = stored + spooled + collapsed + shed.
    #[must_use]
    pub fn observed(&self) -> u64 {
        self.lock().stats().observed
    }

    /// The spool, for one short operation.
    pub fn lock(&self) -> MutexGuard<'_, Spool> {
        self.spool.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether a quarter of the space or more is taken, or the disk takes nothing: nobody has acknowledged for a while.
    #[must_use]
    pub fn is_filling(&self) -> bool {
        let spool = self.lock();
        spool.disk_bytes() >= spool.limit_bytes() / 4 || matches!(spool.mode(), Mode::Memory { .. })
    }

    /// Wakes when something was appended.
    #[must_use]
    pub fn appended(&self) -> watch::Receiver<u64> {
        self.appended.subscribe()
    }

    /// Brings what is appended to disk beside the sending, not before it; many records share one sync.
    pub async fn sync_on_append(&self, token: CancellationToken) {
        let mut appended = self.appended();
        loop {
            self.sync().await;
            tokio::select! {
                () = token.cancelled() => break,
                changed = appended.changed() => if changed.is_err() { break },
                () = sleep(RETRY), if matches!(self.lock().mode(), Mode::Memory { .. }) => {}
            }
        }
        self.sync().await;
    }

    async fn sync(&self) {
        let handle = self.lock().sync_handle();
        if handle.is_empty() {
            return;
        }
        match tokio::task::spawn_blocking(move || handle.sync()).await {
            Ok(synced) => {
                if let Err(error) = self.lock().settle(synced) {
                    tracing::error!(
                        error = &error as &dyn std::error::Error,
                        "the spool did not reach the disk"
                    );
                }
            }
            Err(error) => tracing::error!(%error, "the spool's sync ended badly"),
        }
    }
}
