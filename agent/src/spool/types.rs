//! The words of the spool: classes, limits, figures and errors.
//!
//! Owns types without behaviour. Must not know files.

use std::collections::BTreeMap;
use std::io;
use std::path::PathBuf;

/// Largest record, in bytes; the same as the largest message that ingest takes.
pub const MAX_RECORD_BYTES: u32 = 256 * 1024;

/// Number of a record: ascending, never used twice within one epoch.
pub type Seq = u64;

/// How soon a record is given up when space runs out; the first goes first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Shed {
    /// Detail such as log lines.
    Detail,
    /// Findings of low severity.
    Low,
    /// Ordinary findings.
    Normal,
    /// What opens incidents. Given up only for newer ones of its kind.
    High,
}

impl Shed {
    /// All classes, the first to go first.
    pub const ALL: [Self; 4] = [Self::Detail, Self::Low, Self::Normal, Self::High];

    /// The name in file names and metric labels.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Detail => "detail",
            Self::Low => "low",
            Self::Normal => "normal",
            Self::High => "high",
        }
    }
}

/// Why a record was given up.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ShedReason {
    /// The byte limit on disk.
    DiskLimit,
    /// The disk takes nothing and the queue in memory is full.
    MemoryLimit,
    /// The record is larger than any that is stored.
    TooLarge,
}

impl ShedReason {
    /// The name in metric labels.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::DiskLimit => "disk_limit",
            Self::MemoryLimit => "memory_limit",
            Self::TooLarge => "too_large",
        }
    }
}

/// How much disk the spool may use.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// Bytes of all record files together.
    pub max_bytes: u64,
    /// Bytes after which a new file is begun: the amount that is given up or freed at once.
    pub segment_bytes: u64,
}

impl Limits {
    /// Files of a 32nd of the whole, between 64 KiB and 1 MiB.
    #[must_use]
    pub fn of(max_bytes: u64) -> Self {
        Self {
            max_bytes,
            segment_bytes: (max_bytes / 32).clamp(64 * 1024, 1024 * 1024),
        }
    }
}

/// Where new records go.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Mode {
    /// To disk.
    Disk,
    /// To a queue of 512 KiB in memory, because the disk is full, read-only or broken. Every append
    /// and every sync tries the disk again; only a folder that could not be opened at the start
    /// needs a new `Spool::open`.
    Memory {
        /// What the operating system said.
        reason: String,
    },
}

/// A record as it was appended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Record {
    /// Its number.
    pub seq: Seq,
    /// Its class.
    pub class: Shed,
    /// What the caller gave.
    pub payload: Vec<u8>,
}

/// Figures for metrics. Law: recovered + observed = acknowledged + pending + the sum of shed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stats {
    /// Records that an earlier run had left, found at the opening.
    pub recovered: u64,
    /// Records given to the spool since opening, taken or not.
    pub observed: u64,
    /// Records acknowledged since opening.
    pub acknowledged: u64,
    /// Records not acknowledged yet, on disk and in memory.
    pub pending: u64,
    /// Of those, in memory only.
    pub in_memory: u64,
    /// Bytes of all record files.
    pub disk_bytes: u64,
    /// Damaged places found since opening, by recovery and by reading.
    pub damaged: u64,
    /// Files that a sync did not bring to disk, since opening.
    pub sync_failures: u64,
    /// Records given up since opening.
    pub shed: BTreeMap<(Shed, ShedReason), u64>,
}

/// Why the spool did not do what was asked. Running out of disk is not among them: then records
/// wait in memory.
#[derive(Debug, thiserror::Error)]
pub enum SpoolError {
    /// Another process uses the folder; trying again helps when it ends.
    #[error("spool {path} is in use by another process", path = path.display())]
    Locked {
        /// The folder.
        path: PathBuf,
    },
    /// The record is larger than [`MAX_RECORD_BYTES`] or than the whole spool; trying again does
    /// not help.
    #[error("record of {bytes} bytes is too large for the spool")]
    TooLarge {
        /// Its size.
        bytes: usize,
    },
    /// The record was given up at once and counted, because only more important ones are stored;
    /// trying again does not help.
    #[error("record of class {} was shed", class.name())]
    Shed {
        /// Its class.
        class: Shed,
    },
    /// A file cannot be read or synced; trying again may help.
    #[error("cannot use spool {path}", path = path.display())]
    Io {
        /// The file or folder.
        path: PathBuf,
        /// What the operating system said.
        #[source]
        source: io::Error,
    },
}
