//! The spool's identity: a random id, and which opening this is.
//!
//! Owns the file `spool.id` and the lock on it. Must not know records.
//!
//! The file holds two equal slots (magic, id, opening, checksum) that are rewritten in place: that
//! needs no free disk block, and one damaged slot costs nothing.

use std::fs::{File, OpenOptions, TryLockError};
use std::hash::{BuildHasher, Hasher, RandomState};
use std::io;
use std::os::unix::fs::FileExt;
use std::path::Path;

const MAGIC: u64 = u64::from_le_bytes(*b"INQSPL01");
const SLOT: usize = 28;
const SLOT_BYTES: u64 = 28;

/// What the file says, and the lock that lasts as long as this value.
#[derive(Debug)]
pub(super) struct Identity {
    /// Random id of the spool.
    pub(super) epoch: u64,
    /// Number of the last opening.
    pub(super) opening: u64,
    /// Whether the id is new.
    pub(super) created: bool,
    file: File,
}

impl Identity {
    /// Locks and reads the file; makes a new id when there is none or both slots are damaged.
    pub(super) fn open(path: &Path) -> io::Result<Self> {
        let file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .open(path)?;
        file.try_lock().map_err(|error| match error {
            TryLockError::WouldBlock => io::Error::from(io::ErrorKind::ResourceBusy),
            TryLockError::Error(error) => error,
        })?;
        let slots = [0, SLOT_BYTES].map(|at| read_slot(&file, at));
        let best = slots.into_iter().flatten().max_by_key(|(_, opening)| *opening);
        let created = best.is_none();
        let (epoch, opening) = best.unwrap_or_else(|| (fresh_id(), 0));
        Ok(Self {
            epoch,
            opening,
            created,
            file,
        })
    }

    /// Makes `opening` durable, so that no later start uses its numbers again.
    pub(super) fn store(&mut self, opening: u64) -> io::Result<()> {
        let mut slot = Vec::with_capacity(SLOT);
        for part in [MAGIC, self.epoch, opening] {
            slot.extend_from_slice(&part.to_le_bytes());
        }
        slot.extend_from_slice(&crc32fast::hash(&slot).to_le_bytes());
        for at in [0, SLOT_BYTES] {
            self.file.write_all_at(&slot, at)?;
            self.file.sync_data()?;
        }
        self.opening = opening;
        Ok(())
    }
}

fn read_slot(file: &File, at: u64) -> Option<(u64, u64)> {
    let mut slot = [0; SLOT];
    file.read_exact_at(&mut slot, at).ok()?;
    let (body, crc) = slot.split_last_chunk::<4>()?;
    let (magic, rest) = body.split_first_chunk()?;
    let (epoch, rest) = rest.split_first_chunk()?;
    let (opening, _) = rest.split_first_chunk()?;
    let sound = u64::from_le_bytes(*magic) == MAGIC && u32::from_le_bytes(*crc) == crc32fast::hash(body);
    sound.then(|| (u64::from_le_bytes(*epoch), u64::from_le_bytes(*opening)))
}

/// A random number from the seed that the standard library takes from the operating system.
pub(super) fn fresh_id() -> u64 {
    RandomState::new().build_hasher().finish()
}
