//! What must hold before the database is opened: a local file system, and no other aggregator.
//!
//! Must not know SQLite.

use std::{
    ffi::OsString,
    fs::{File, OpenOptions},
    io,
    path::{Path, PathBuf},
};

use rustix::fs::{FlockOperation, flock, fstatfs};

use crate::store::StoreError;

/// Proof that this process alone has the database; ends when dropped, also by kill -9.
#[derive(Debug)]
pub(super) struct Exclusive {
    lock: File,
}

impl Drop for Exclusive {
    /// Closing alone would not do: a child being started elsewhere holds a copy of the descriptor until its exec, and
    /// the lock with it (flock(2): the lock ends with the last copy, or with an explicit unlock of any).
    fn drop(&mut self) {
        if let Err(errno) = flock(&self.lock, FlockOperation::Unlock) {
            tracing::warn!(%errno, "the lock of the database could not be released");
        }
    }
}

/// How far a file system can be trusted with locks and shared memory.
#[derive(Debug, PartialEq, Eq)]
enum Locality {
    Local,
    /// May be either.
    Uncertain(&'static str),
    Network(&'static str),
}

/// Takes the lock file `<database>.lock`, creating it if needed.
///
/// # Errors
/// [`StoreError::Locked`] while another process runs, [`StoreError::NetworkFileSystem`] (retrying does not help),
/// [`StoreError::Refused`] when the file cannot be made or locked.
pub(super) fn take(database: &Path) -> Result<Exclusive, StoreError> {
    let path = lock_path(database);
    let lock = OpenOptions::new()
        .create(true)
        .truncate(false)
        .write(true)
        .open(&path)
        .map_err(refused)?;
    match locality(&lock)? {
        Locality::Local => {}
        Locality::Uncertain(kind) => {
            tracing::warn!(path = %database.display(), kind, "the database may be on a remote file system; its locks must work");
        }
        Locality::Network(kind) => {
            return Err(StoreError::NetworkFileSystem {
                path: database.to_owned(),
                kind,
            });
        }
    }
    match flock(&lock, FlockOperation::NonBlockingLockExclusive) {
        Ok(()) => Ok(Exclusive { lock }),
        Err(rustix::io::Errno::WOULDBLOCK) => Err(StoreError::Locked { path }),
        Err(errno) => Err(refused(errno.into())),
    }
}

fn refused(source: io::Error) -> StoreError {
    StoreError::Refused {
        what: "lock the database",
        source: source.into(),
    }
}

fn lock_path(database: &Path) -> PathBuf {
    let mut name = OsString::from(database);
    name.push(".lock");
    name.into()
}

fn locality(file: &File) -> Result<Locality, StoreError> {
    let stat = fstatfs(file).map_err(|errno| refused(errno.into()))?;
    Ok(u32::try_from(stat.f_type).map_or(Locality::Local, of_magic))
}

/// Numbers from the kernel's `include/uapi/linux/magic.h` and, for Lustre, its own headers.
const fn of_magic(magic: u32) -> Locality {
    match magic {
        0x6969 => Locality::Network("NFS"),
        0x517b => Locality::Network("SMB"),
        0xfe53_4d42 => Locality::Network("SMB2"),
        0xff53_4d42 => Locality::Network("CIFS"),
        0x6b41_4653 | 0x5346_414f => Locality::Network("AFS"),
        0x00c3_6400 => Locality::Network("Ceph"),
        0x0bd0_0bd0 => Locality::Network("Lustre"),
        0x6573_5546 => Locality::Uncertain("FUSE"),
        0x0102_1997 => Locality::Uncertain("9P"),
        _ => Locality::Local,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn network_file_systems_are_told_from_local_ones() {
        assert_eq!(of_magic(0x6969), Locality::Network("NFS"));
        assert_eq!(of_magic(0xff53_4d42), Locality::Network("CIFS"));
        assert_eq!(of_magic(0x6573_5546), Locality::Uncertain("FUSE"));
        assert_eq!(of_magic(0xef53), Locality::Local);
    }

    #[test]
    fn the_lock_ends_with_its_holder() {
        let dir = tempfile::tempdir().unwrap();
        let database = dir.path().join("x.db");
        let held = take(&database).unwrap();
        let refusal = take(&database).unwrap_err().to_string();
        assert!(refusal.contains("x.db.lock"), "{refusal}");
        drop(held);
        take(&database).unwrap();
    }

    /// A child between fork and exec shares every descriptor: here a duplicate stands for it.
    #[test]
    fn the_lock_ends_although_a_child_still_shares_it() {
        let dir = tempfile::tempdir().unwrap();
        let database = dir.path().join("x.db");
        let held = take(&database).unwrap();
        let shared = held.lock.try_clone().unwrap();
        drop(held);
        take(&database).unwrap();
        drop(shared);
    }
}
