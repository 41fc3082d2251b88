//! The spool: keeps what the aggregator has not acknowledged yet, over restarts of both sides.
//!
//! Owns files of records, their numbers, and what is given up when space runs out. Must not know
//! what a record means, nor the network.
//!
//! Layout: every class of records has files of its own, named by their first number, so that
//! giving up the oldest records of the lowest class is deleting a file: nothing is rewritten and
//! no mark is needed to remember it. Numbers are given over all classes together; a reader merges
//! the classes by number. Records stay on disk; in memory are a few words per file and, for each
//! reader, one record per class.
//!
//! Promises: a cut at any byte of a file leaves exactly the whole records before it. A flipped bit
//! costs the record that it hits. A number is never used twice: every opening starts at a multiple
//! of 2^40, so gaps in the numbers are normal. A lost acknowledgement only means sending again.

mod identity;
mod memory;
mod reader;
mod record;
mod recovery;
mod segment;
mod sync;
mod types;

use std::collections::{BTreeMap, VecDeque};
use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use inquest_shared::failpoint::{self, Point};

pub use reader::Reader;
pub use recovery::Recovery;
pub use sync::{SyncHandle, Synced};
pub use types::{Limits, MAX_RECORD_BYTES, Mode, Record, Seq, Shed, ShedReason, SpoolError, Stats};

use identity::Identity;
use memory::Memory;
use segment::{Key, Segment};

/// Why a record was not written to disk.
enum WriteError {
    Full,
    Io(io::Error),
}

/// Records on disk that wait for acknowledgement. Used by one task; only [`SyncHandle`] may leave it.
#[derive(Debug)]
pub struct Spool {
    dir: PathBuf,
    limits: Limits,
    /// Keeps the lock; `None` when the folder could not be opened.
    identity: Option<Identity>,
    key: Key,
    next: Seq,
    acked: Seq,
    stored_ack: Seq,
    lanes: [VecDeque<Segment>; 4],
    /// Files with writes that no sync has covered.
    dirty: BTreeMap<(Shed, Seq), Arc<File>>,
    memory: Memory,
    mode: Mode,
    shed: BTreeMap<(Shed, ShedReason), u64>,
    damaged: u64,
    sync_failures: u64,
    recovered: u64,
    observed: u64,
    acknowledged: u64,
    buffer: Vec<u8>,
}

impl Spool {
    /// Opens or makes the spool in `dir`, and reads what an earlier run left there. A folder that
    /// cannot be written is no error: then [`Spool::mode`] is [`Mode::Memory`] with a new epoch,
    /// and what lies in the folder stays there for a later opening.
    ///
    /// # Errors
    /// [`SpoolError::Locked`].
    pub fn open(dir: &Path, limits: Limits) -> Result<(Self, Recovery), SpoolError> {
        match recovery::open(dir, limits) {
            Ok(opened) => Ok(opened),
            Err(error) if error.kind() == io::ErrorKind::ResourceBusy => {
                Err(SpoolError::Locked { path: dir.to_owned() })
            }
            Err(error) => Ok(recovery::in_memory(dir, limits, &error)),
        }
    }

    /// Random id of the spool: new with the folder, then the same for ever.
    #[must_use]
    pub const fn epoch(&self) -> u64 {
        self.key.epoch
    }

    /// Where new records go.
    #[must_use]
    pub const fn mode(&self) -> &Mode {
        &self.mode
    }

    /// The highest acknowledged number; 0 before the first.
    #[must_use]
    pub const fn acked(&self) -> Seq {
        self.acked
    }

    /// Bytes that the spool may use.
    #[must_use]
    pub const fn limit_bytes(&self) -> u64 {
        self.limits.max_bytes
    }

    /// Figures for metrics.
    #[must_use]
    pub fn stats(&self) -> Stats {
        Stats {
            recovered: self.recovered,
            observed: self.observed,
            acknowledged: self.acknowledged,
            pending: self.pending(),
            in_memory: self.in_memory(),
            disk_bytes: self.disk_bytes(),
            damaged: self.damaged,
            sync_failures: self.sync_failures,
            shed: self.shed.clone(),
        }
    }

    /// Takes a record: into the page cache, not yet onto the disk (see [`Spool::sync_handle`]).
    ///
    /// # Errors
    /// [`SpoolError::TooLarge`] or [`SpoolError::Shed`]; either way the record is counted as shed.
    pub fn append(&mut self, payload: &[u8], class: Shed) -> Result<Seq, SpoolError> {
        self.observed += 1;
        if !self.takes(payload.len()) {
            self.count(class, ShedReason::TooLarge, 1);
            return Err(SpoolError::TooLarge { bytes: payload.len() });
        }
        failpoint::reach(Point::SpoolBeforeWrite);
        let seq = self.next;
        self.next += 1;
        self.return_to_disk();
        if self.identity.is_some() && self.memory.is_empty() {
            match self.write(seq, class, payload) {
                Ok(()) => {
                    failpoint::reach(Point::SpoolAfterWrite);
                    self.on_disk();
                    return Ok(seq);
                }
                Err(WriteError::Full) => {
                    self.count(class, ShedReason::DiskLimit, 1);
                    return Err(SpoolError::Shed { class });
                }
                Err(WriteError::Io(error)) => self.leave_disk(&error),
            }
        }
        self.remember(Record {
            seq,
            class,
            payload: payload.to_owned(),
        })
    }

    /// Takes note that all records up to `seq` are safe at the aggregator, and deletes files that
    /// nobody needs any more. Numbers that were never given are ignored.
    pub fn ack(&mut self, seq: Seq) {
        let before = self.pending();
        self.acked = self.acked.max(seq.min(self.next - 1));
        while self.memory.front().is_some_and(|record| record.seq <= self.acked) {
            self.memory.pop();
        }
        let spare = self.limits.segment_bytes / 2;
        for class in Shed::ALL {
            let Some(lane) = self.lanes.get_mut(class as usize) else {
                continue;
            };
            for segment in lane.iter_mut() {
                if let Err(error) = segment.ack(self.acked) {
                    tracing::debug!(%error, path = %segment.path.display(), "acknowledged records cannot be counted");
                }
            }
            // A file that is written goes only when it is worth a new one.
            self.remove_where(class, |segment| {
                segment.pending() == 0 && (segment.file.is_none() || segment.bytes > spare)
            });
        }
        self.acknowledged += before.saturating_sub(self.pending());
    }

    /// Whether a record of this size is ever stored.
    fn takes(&self, bytes: usize) -> bool {
        u32::try_from(bytes)
            .is_ok_and(|len| len <= MAX_RECORD_BYTES && u64::from(len) + record::HEADER_BYTES <= self.limits.max_bytes)
    }

    /// Records not acknowledged yet.
    fn pending(&self) -> u64 {
        let on_disk: u64 = self.lanes.iter().flatten().map(Segment::pending).sum();
        on_disk.saturating_add(self.in_memory())
    }

    fn in_memory(&self) -> u64 {
        u64::try_from(self.memory.len()).unwrap_or(u64::MAX)
    }

    /// Bytes of all record files.
    #[must_use]
    pub fn disk_bytes(&self) -> u64 {
        self.lanes.iter().flatten().map(|segment| segment.bytes).sum()
    }

    /// Writes one record, making room for it.
    fn write(&mut self, seq: Seq, class: Shed, payload: &[u8]) -> Result<(), WriteError> {
        let len = u32::try_from(payload.len()).map_err(|_| WriteError::Full)?;
        record::encode(&mut self.buffer, self.key.epoch, seq, len, payload);
        let need = u64::from(len) + record::HEADER_BYTES;
        if !self.make_room(class, need) {
            return Err(WriteError::Full);
        }
        self.ensure_file(class, seq, need).map_err(WriteError::Io)?;
        let Some(segment) = self.lanes.get_mut(class as usize).and_then(VecDeque::back_mut) else {
            return Err(WriteError::Full);
        };
        segment.append(&self.buffer, seq).map_err(WriteError::Io)?;
        if let Some(file) = &segment.file {
            self.dirty
                .entry((class, segment.first))
                .or_insert_with(|| Arc::clone(file));
        }
        Ok(())
    }

    /// Gives up the oldest file of the lowest class until `need` more bytes are within the limit.
    fn make_room(&mut self, class: Shed, need: u64) -> bool {
        while self.disk_bytes().saturating_add(need) > self.limits.max_bytes {
            let done = Shed::ALL
                .into_iter()
                .find(|class| self.oldest(*class).is_some_and(|segment| segment.pending() == 0));
            let lowest = || {
                Shed::ALL
                    .into_iter()
                    .find(|lane| *lane <= class && self.oldest(*lane).is_some())
            };
            let Some(victim) = done.or_else(lowest) else {
                return false;
            };
            let Some((first, pending)) = self.oldest(victim).map(|segment| (segment.first, segment.pending())) else {
                return false;
            };
            self.count(victim, ShedReason::DiskLimit, pending);
            self.remove_where(victim, |segment| segment.first == first);
        }
        true
    }

    fn oldest(&self, class: Shed) -> Option<&Segment> {
        self.lanes.get(class as usize).and_then(VecDeque::front)
    }

    fn ensure_file(&mut self, class: Shed, seq: Seq, need: u64) -> io::Result<()> {
        let Some(lane) = self.lanes.get_mut(class as usize) else {
            return Ok(());
        };
        if let Some(segment) = lane.back_mut().filter(|segment| segment.file.is_some()) {
            if segment.records == 0 || segment.bytes.saturating_add(need) <= self.limits.segment_bytes {
                return Ok(());
            }
            segment.file = None;
        }
        let segment = Segment::create(&self.dir, class, seq)?;
        failpoint::reach(Point::SpoolFileMade);
        sync_dir(&self.dir)?;
        lane.push_back(segment);
        Ok(())
    }

    fn remove_where(&mut self, class: Shed, is_over: impl Fn(&Segment) -> bool) {
        let Some(lane) = self.lanes.get_mut(class as usize) else {
            return;
        };
        let dirty = &mut self.dirty;
        lane.retain(|segment| {
            if !is_over(segment) {
                return true;
            }
            dirty.remove(&(class, segment.first));
            // What stays behind is found and counted again by the next opening.
            if let Err(error) = fs::remove_file(&segment.path) {
                tracing::warn!(%error, path = %segment.path.display(), "spool file cannot be deleted");
            }
            false
        });
    }

    /// Moves what waits in memory to disk, as far as the disk takes it.
    fn return_to_disk(&mut self) {
        if self.identity.is_none() {
            return;
        }
        while let Some(record) = self.memory.pop() {
            match self.write(record.seq, record.class, &record.payload) {
                Ok(()) if self.memory.is_empty() => self.on_disk(),
                Ok(()) => {}
                Err(WriteError::Full) => self.count(record.class, ShedReason::DiskLimit, 1),
                Err(WriteError::Io(error)) => {
                    self.memory.put_back(record);
                    self.leave_disk(&error);
                    return;
                }
            }
        }
    }

    fn on_disk(&mut self) {
        if self.mode != Mode::Disk {
            tracing::info!(dir = %self.dir.display(), "spool writes to disk again");
            self.mode = Mode::Disk;
        }
    }

    fn leave_disk(&mut self, error: &io::Error) {
        if self.mode == Mode::Disk {
            tracing::error!(%error, dir = %self.dir.display(), "spool cannot write; records wait in memory");
        }
        self.mode = Mode::Memory {
            reason: error.to_string(),
        };
    }

    fn remember(&mut self, record: Record) -> Result<Seq, SpoolError> {
        let (seq, class) = (record.seq, record.class);
        let (taken, dropped) = self.memory.push(record);
        for gone in dropped {
            self.count(gone, ShedReason::MemoryLimit, 1);
        }
        if taken {
            Ok(seq)
        } else {
            Err(SpoolError::Shed { class })
        }
    }

    fn count(&mut self, class: Shed, reason: ShedReason, records: u64) {
        if records > 0 {
            *self.shed.entry((class, reason)).or_default() += records;
        }
    }

    fn store_ack(&mut self) {
        if self.stored_ack == self.acked || self.identity.is_none() {
            return;
        }
        failpoint::reach(Point::SpoolBeforeAckNote);
        let stored = recovery::store_ack(&self.dir, self.key.epoch, self.acked);
        failpoint::reach(Point::SpoolAfterAckNote);
        match stored {
            Ok(()) => self.stored_ack = self.acked,
            Err(error) => tracing::debug!(%error, "acknowledgement cannot be noted; records may be sent again"),
        }
    }
}

/// Makes the names in a folder durable.
fn sync_dir(dir: &Path) -> io::Result<()> {
    File::open(dir)?.sync_all()
}

#[cfg(test)]
mod tests;
