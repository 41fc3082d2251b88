//! Bringing records to disk, and what is done with a file that did not get there.
//!
//! Owns the rule for a failed sync. Must not know what a record means.
//!
//! After a failed fsync(2) the kernel may call pages clean that never reached the disk, so that a second fsync of the
//! same file says "done" for nothing (PostgreSQL wiki, "Fsync Errors"). So that file is never trusted again: its records
//! are copied, out of the page cache, into a new one that takes its place once it is on disk itself.

use std::fs::File;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;

use inquest_shared::failpoint::{self, Point};

use super::segment::Segment;
use super::{Seq, Shed, Spool, SpoolError, sync_dir};

/// Files with writes that no sync has covered; may be moved to a thread that is allowed to block.
#[derive(Debug)]
pub struct SyncHandle(Vec<((Shed, Seq), Arc<File>)>);

/// Files that a sync did not bring to disk; belongs back to [`Spool::settle`].
#[derive(Debug)]
pub struct Synced(Vec<((Shed, Seq), io::Error)>);

impl SyncHandle {
    /// Waits until everything appended before the handle was taken is on disk, or is known not to be.
    #[must_use]
    pub fn sync(self) -> Synced {
        let failed = |(id, file): ((Shed, Seq), Arc<File>)| file.sync_data().err().map(|error| (id, error));
        failpoint::reach(Point::SpoolBeforeSync);
        let synced = Synced(self.0.into_iter().filter_map(failed).collect());
        failpoint::reach(Point::SpoolAfterSync);
        synced
    }

    /// Whether there is nothing to wait for.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl Spool {
    /// The files to sync. Also notes the acknowledgement on disk.
    #[must_use]
    pub fn sync_handle(&mut self) -> SyncHandle {
        self.return_to_disk();
        self.store_ack();
        SyncHandle(std::mem::take(&mut self.dirty).into_iter().collect())
    }

    /// Brings everything to disk, in this thread.
    ///
    /// # Errors
    /// As [`Spool::settle`].
    pub fn sync(&mut self) -> Result<(), SpoolError> {
        let synced = self.sync_handle().sync();
        self.settle(synced)
    }

    /// Takes note of what is on disk. A file that failed is replaced by a copy, now or with the next sync.
    ///
    /// # Errors
    /// [`SpoolError::Io`] while records of a file are not on disk. They are still sent, and do not survive a loss of power.
    pub fn settle(&mut self, synced: Synced) -> Result<(), SpoolError> {
        let mut doubtful = None;
        for ((class, first), source) in synced.0 {
            self.sync_failures += 1;
            let Some(segment) = self.segment(class, first) else {
                continue;
            };
            let path = segment.path.clone();
            tracing::error!(error = %source, path = %path.display(), "spool file did not reach the disk; copying it");
            if let Err(source) = segment.replace_file() {
                self.try_again(class, first);
                doubtful.get_or_insert((path, source));
            }
        }
        if let Err(error) = sync_dir(&self.dir) {
            tracing::debug!(%error, "names in the spool may not be on disk");
        }
        doubtful.map_or(Ok(()), |(path, source): (PathBuf, _)| {
            Err(SpoolError::Io { path, source })
        })
    }

    /// The copy did not reach the disk either: the next sync comes back to this file.
    fn try_again(&mut self, class: Shed, first: Seq) {
        let open = self.segment(class, first).and_then(|segment| segment.open().ok());
        self.dirty.extend(open.map(|file| ((class, first), file)));
    }

    fn segment(&mut self, class: Shed, first: Seq) -> Option<&mut Segment> {
        let lane = self.lanes.get_mut(class as usize)?;
        lane.iter_mut().find(|segment| segment.first == first)
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::MetadataExt as _;

    use super::*;
    use crate::spool::Limits;

    /// fsync says no once, then yes for nothing: the file that failed must not be trusted again.
    #[test]
    fn a_file_whose_sync_failed_is_replaced_by_a_copy_that_is_on_disk() {
        let dir = tempfile::tempdir().unwrap();
        let (mut spool, _) = Spool::open(dir.path(), Limits::of(1 << 20)).unwrap();
        let first = spool.append(b"doubtful", Shed::High).unwrap();
        let path = spool.segment(Shed::High, first).unwrap().path.clone();
        let inode = || std::fs::metadata(&path).unwrap().ino();
        let before = inode();
        let handle = spool.sync_handle();
        let failed = Synced(vec![((Shed::High, first), io::Error::from_raw_os_error(5))]);
        drop(handle);
        spool.settle(failed).unwrap();
        assert_ne!(inode(), before, "another file");
        assert_eq!(spool.stats().sync_failures, 1);
        spool.append(b"later", Shed::High).unwrap();
        spool.sync().unwrap();
        let mut reader = spool.unacked(0);
        let mut held = Vec::new();
        while let Some(record) = spool.read(&mut reader).unwrap() {
            held.push(record.payload);
        }
        assert_eq!(held, [b"doubtful".to_vec(), b"later".to_vec()]);
        drop(spool);
        let (spool, recovery) = Spool::open(dir.path(), Limits::of(1 << 20)).unwrap();
        assert_eq!((recovery.records, recovery.damaged, recovery.torn_bytes), (2, 0, 0));
        drop(spool);
    }

    #[test]
    fn a_copy_that_a_crash_left_unfinished_is_removed() {
        let dir = tempfile::tempdir().unwrap();
        drop(Spool::open(dir.path(), Limits::of(1 << 20)).unwrap());
        let left = dir.path().join("high-00000000000000000001.new");
        std::fs::write(&left, b"half").unwrap();
        drop(Spool::open(dir.path(), Limits::of(1 << 20)).unwrap());
        assert!(!left.exists());
    }
}
