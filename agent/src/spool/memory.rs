//! Where records wait while the disk takes none.
//!
//! Owns a bounded queue and what is dropped from it. Must not know why the disk is away.

use std::collections::VecDeque;

use super::{Record, Shed};

/// Bytes held in memory at most, payloads only. The agent's whole memory target is 8 MiB.
pub(super) const MEMORY_BYTES: usize = 512 * 1024;
/// Records held at most, so that tiny ones cannot grow the queue without bound.
const MEMORY_RECORDS: usize = 4096;

/// Records in ascending order. When full, the oldest of the lowest class goes first.
#[derive(Debug, Default)]
pub(super) struct Memory {
    records: VecDeque<Record>,
    bytes: usize,
}

impl Memory {
    /// Adds a record. Gives the classes of everything that was dropped for it; when only more
    /// important records are left, that is the record itself.
    pub(super) fn push(&mut self, record: Record) -> (bool, Vec<Shed>) {
        let mut dropped = Vec::new();
        while self.bytes + record.payload.len() > MEMORY_BYTES || self.records.len() >= MEMORY_RECORDS {
            let Some(gone) = self.evict(record.class) else {
                dropped.push(record.class);
                return (false, dropped);
            };
            dropped.push(gone);
        }
        self.bytes += record.payload.len();
        self.records.push_back(record);
        (true, dropped)
    }

    /// Drops the oldest record of the lowest class that is not above `class`.
    fn evict(&mut self, class: Shed) -> Option<Shed> {
        let lowest = self
            .records
            .iter()
            .map(|held| held.class)
            .min()
            .filter(|held| *held <= class)?;
        let oldest = self.records.iter().position(|held| held.class == lowest)?;
        let gone = self.records.remove(oldest)?;
        self.bytes = self.bytes.saturating_sub(gone.payload.len());
        Some(gone.class)
    }

    /// Puts a record that was taken out back to the front.
    pub(super) fn put_back(&mut self, record: Record) {
        self.bytes += record.payload.len();
        self.records.push_front(record);
    }

    /// The oldest record.
    pub(super) fn front(&self) -> Option<&Record> {
        self.records.front()
    }

    /// Takes the oldest record out.
    pub(super) fn pop(&mut self) -> Option<Record> {
        let record = self.records.pop_front()?;
        self.bytes = self.bytes.saturating_sub(record.payload.len());
        Some(record)
    }

    /// The first record whose number is above `seq`.
    pub(super) fn after(&self, seq: u64) -> Option<&Record> {
        self.records
            .get(self.records.partition_point(|record| record.seq <= seq))
    }

    pub(super) fn is_empty(&self) -> bool {
        self.records.is_empty()
    }

    pub(super) fn len(&self) -> usize {
        self.records.len()
    }
}
