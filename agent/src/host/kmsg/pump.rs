//! Turns reads of the device into batches. Owns sequence accounting, the backlog rule and the counters; pure: bytes and times
//! come in, batches go out, no file and no clock.
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::time::Duration;

use inquest_shared::clock::UnixNanos;

use super::{FACILITY_KERNEL, Filter, Header, Record};

/// Most records in one batch: bounds the memory of a backlog; an out-of-memory report of the kernel is about 100 records.
const MAX_BATCH: usize = 256;

/// The present on both clocks that a record needs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Now {
    /// Wall time.
    pub wall: UnixNanos,
    /// Microseconds since boot, not advancing in suspend (`CLOCK_MONOTONIC`).
    pub boot_us: u64,
}

/// A record and when it was written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stamped {
    /// The record.
    pub record: Record,
    /// Wall time of the record: the time of reading when it came live, else computed from its age.
    pub wall: UnixNanos,
    /// Whether it was already in the ring when the device was opened.
    pub backlog: bool,
}

/// Records that the ring lost before we read them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Gap {
    /// How many.
    pub lost: u64,
    /// Last sequence number read before the loss.
    pub after_seq: u64,
    /// First sequence number read after it.
    pub before_seq: u64,
}

/// What the reader hands over.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Batch {
    /// A loss **before** the first of these records.
    pub gap: Option<Gap>,
    /// Kernel records that passed the filter, in order.
    pub records: Vec<Stamped>,
    /// Set once per opening of the device: everything that the ring held has been read.
    pub caught_up: bool,
    /// Last sequence number read when the batch was closed; safe to store as cursor once the batch is dealt with.
    pub through_seq: u64,
}

/// Counters of the reader, all since its start.
#[derive(Debug, Default)]
pub struct ReaderStats {
    /// Records read, of any facility.
    pub records: AtomicU64,
    /// Records that passed the filter.
    pub matched: AtomicU64,
    /// Records missing in the sequence.
    pub lost: AtomicU64,
    /// Times the ring overtook the reader.
    pub overruns: AtomicU64,
    /// Reads that were no record.
    pub parse_errors: AtomicU64,
    /// Records longer than the buffer, skipped by the kernel; they also count as lost.
    pub oversize: AtomicU64,
    /// Times the device was opened.
    pub opened: AtomicU64,
    /// Wall time of the last wake-up, nanoseconds since 1970; 0 before the first.
    pub last_wake: AtomicI64,
}

impl ReaderStats {
    pub(crate) fn add(counter: &AtomicU64, by: u64) {
        counter.fetch_add(by, Ordering::Relaxed);
    }
}

/// The state between two reads.
#[derive(Debug)]
pub(crate) struct Pump {
    filter: Filter,
    stats: Arc<ReaderStats>,
    last_seq: Option<u64>,
    live: bool,
    batch: Batch,
}

impl Pump {
    pub(crate) fn new(filter: Filter, stats: Arc<ReaderStats>, resume_after: Option<u64>) -> Self {
        let batch = Batch {
            records: Vec::with_capacity(MAX_BATCH),
            ..Batch::default()
        };
        Self {
            filter,
            stats,
            last_seq: resume_after,
            live: false,
            batch,
        }
    }

    /// The device was opened (again): it starts at its oldest record, and everything up to the first empty read is backlog.
    pub(crate) fn opened(&mut self) {
        ReaderStats::add(&self.stats.opened, 1);
        self.live = false;
    }

    /// Takes one read; gives a batch when one must go before more is read.
    pub(crate) fn read(&mut self, bytes: &[u8], now: impl FnOnce() -> Now) -> Option<Batch> {
        let Ok(header) = Header::parse(bytes) else {
            ReaderStats::add(&self.stats.parse_errors, 1);
            return None;
        };
        if self.last_seq.is_some_and(|last| header.seq <= last) {
            return None;
        }
        ReaderStats::add(&self.stats.records, 1);
        let before_gap = self.account(header.seq);
        self.last_seq = Some(header.seq);
        if header.facility() == u16::from(FACILITY_KERNEL) && self.filter.passes(&header) {
            self.keep(header.record(), now());
        }
        before_gap.or_else(|| (self.batch.records.len() >= MAX_BATCH).then(|| self.take(false)))
    }

    /// The device has nothing more for now.
    pub(crate) fn drained(&mut self) -> Option<Batch> {
        let caught_up = !self.live;
        self.live = true;
        (caught_up || self.batch.gap.is_some() || !self.batch.records.is_empty()).then(|| self.take(caught_up))
    }

    /// Notes a jump in the sequence; records from before it must not share a batch with it.
    fn account(&mut self, seq: u64) -> Option<Batch> {
        let after_seq = self.last_seq?;
        let lost = seq.saturating_sub(after_seq).saturating_sub(1);
        if lost == 0 {
            return None;
        }
        ReaderStats::add(&self.stats.lost, lost);
        let before = (!self.batch.records.is_empty()).then(|| self.take(false));
        let gap = self.batch.gap.get_or_insert(Gap {
            lost: 0,
            after_seq,
            before_seq: seq,
        });
        gap.lost = gap.lost.saturating_add(lost);
        gap.before_seq = seq;
        before
    }

    fn keep(&mut self, record: Record, now: Now) {
        ReaderStats::add(&self.stats.matched, 1);
        let age = Duration::from_micros(now.boot_us.saturating_sub(record.at_us));
        let wall = if self.live {
            now.wall
        } else {
            now.wall.saturating_sub(age)
        };
        self.batch.records.push(Stamped {
            record,
            wall,
            backlog: !self.live,
        });
    }

    fn take(&mut self, caught_up: bool) -> Batch {
        let mut batch = std::mem::take(&mut self.batch);
        batch.caught_up = caught_up;
        batch.through_seq = self.last_seq.unwrap_or_default();
        batch
    }
}

#[cfg(test)]
mod tests;
