//! What happens when the spool is opened.
//!
//! Owns finding and checking the files of earlier runs, and the note of what was acknowledged.
//! Must not know how records are appended.

use std::collections::{BTreeMap, VecDeque};
use std::fs::{self, OpenOptions};
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use super::identity::{Identity, fresh_id};
use super::memory::Memory;
use super::segment::{Key, Scan, Segment, UNFINISHED};
use super::{Limits, Mode, Seq, Shed, Spool, sync_dir};

/// Numbers per opening, as a power of two: at 1000 records a second enough for 34 years, and
/// 16 million openings fit.
const SPAN_BITS: u32 = 40;

/// What an earlier run left behind.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Recovery {
    /// Whether the spool is new, so that nothing of an earlier run can be expected.
    pub created: bool,
    /// Records that are not acknowledged as far as we know.
    pub records: u64,
    /// Bytes cut from the ends of files: records whose writing was interrupted.
    pub torn_bytes: u64,
    /// Places in files that could not be read and were skipped.
    pub damaged: u64,
}

pub(super) fn open(dir: &Path, limits: Limits) -> io::Result<(Spool, Recovery)> {
    make_dir(dir)?;
    let mut identity = Identity::open(&dir.join("spool.id"))?;
    let opening = identity.opening;
    identity.store(opening + 1)?;
    sync_dir(dir)?;
    let start = opening << SPAN_BITS;
    let key = Key {
        epoch: identity.epoch,
        limit: start + (1 << SPAN_BITS),
    };
    let acked = load_ack(dir, key.epoch).unwrap_or(0).min(start);
    let mut recovery = Recovery {
        created: identity.created,
        ..Recovery::default()
    };
    let mut spool = empty(dir, limits, key, start + 1);
    (spool.acked, spool.stored_ack) = (acked, acked);
    spool.identity = Some(identity);
    for (class, first, path) in segment_files(dir)? {
        let (segment, scan) = Segment::recover(path, class, first, key)?;
        recovery.damaged += scan.damaged;
        recovery.torn_bytes += scan.torn_bytes;
        if let Some(lane) = spool.lanes.get_mut(class as usize) {
            lane.push_back(segment);
        }
        note(&spool.dir, class, first, scan);
    }
    spool.damaged = recovery.damaged;
    spool.ack(acked);
    recovery.records = spool.pending();
    (spool.recovered, spool.acknowledged) = (recovery.records, 0);
    Ok((spool, recovery))
}

/// Makes the folder and its name durable, and that of the folder above, which may be new too.
fn make_dir(dir: &Path) -> io::Result<()> {
    fs::create_dir_all(dir)?;
    for above in dir.ancestors().skip(1).take(2) {
        if let Err(error) = sync_dir(above) {
            tracing::debug!(%error, path = %above.display(), "a folder's names may not be on disk");
        }
    }
    Ok(())
}

/// A spool without a folder, for as long as it lives.
pub(super) fn in_memory(dir: &Path, limits: Limits, error: &io::Error) -> (Spool, Recovery) {
    tracing::error!(%error, dir = %dir.display(), "spool cannot be opened; records wait in memory");
    let key = Key {
        epoch: fresh_id(),
        limit: 1 << SPAN_BITS,
    };
    let mut spool = empty(dir, limits, key, 1);
    spool.mode = Mode::Memory {
        reason: error.to_string(),
    };
    (
        spool,
        Recovery {
            created: true,
            ..Recovery::default()
        },
    )
}

fn empty(dir: &Path, limits: Limits, key: Key, next: Seq) -> Spool {
    Spool {
        dir: dir.to_owned(),
        limits,
        identity: None,
        key,
        next,
        acked: 0,
        stored_ack: 0,
        lanes: [const { VecDeque::new() }; 4],
        dirty: BTreeMap::new(),
        memory: Memory::default(),
        mode: Mode::Disk,
        shed: BTreeMap::new(),
        damaged: 0,
        sync_failures: 0,
        recovered: 0,
        observed: 0,
        acknowledged: 0,
        buffer: Vec::new(),
    }
}

fn note(dir: &Path, class: Shed, first: Seq, scan: Scan) {
    if scan.damaged > 0 || scan.torn_bytes > 0 {
        let (damaged, torn_bytes) = (scan.damaged, scan.torn_bytes);
        tracing::warn!(dir = %dir.display(), class = class.name(), first, damaged, torn_bytes, "spool file was damaged");
    }
}

/// Record files by class and first number; other files are none of our business.
fn segment_files(dir: &Path) -> io::Result<Vec<(Shed, Seq, PathBuf)>> {
    let mut files = Vec::new();
    for entry in fs::read_dir(dir)? {
        let path = entry?.path();
        if path.extension().is_some_and(|ending| ending == UNFINISHED) {
            fs::remove_file(&path)?;
        }
        if let Some((class, first)) = parse_name(&path) {
            files.push((class, first, path));
        }
    }
    files.sort();
    Ok(files)
}

fn parse_name(path: &Path) -> Option<(Shed, Seq)> {
    let stem = path.file_name()?.to_str()?.strip_suffix(".seg")?;
    let (class, first) = stem.split_once('-')?;
    let class = Shed::ALL.into_iter().find(|known| known.name() == class)?;
    let digits = first.len() == 20 && first.bytes().all(|byte| byte.is_ascii_digit());
    Some((class, if digits { first.parse().ok()? } else { return None }))
}

fn ack_bytes(epoch: u64, seq: Seq) -> [u8; 12] {
    let mut hasher = crc32fast::Hasher::new();
    hasher.update(&epoch.to_le_bytes());
    hasher.update(&seq.to_le_bytes());
    let mut bytes = [0; 12];
    let (number, checksum) = bytes.split_at_mut(8);
    number.copy_from_slice(&seq.to_le_bytes());
    checksum.copy_from_slice(&hasher.finalize().to_le_bytes());
    bytes
}

/// Notes the acknowledged number, in place and without waiting for the disk.
pub(super) fn store_ack(dir: &Path, epoch: u64, seq: Seq) -> io::Result<()> {
    let file = OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(false)
        .open(dir.join("spool.ack"))?;
    file.write_all_at(&ack_bytes(epoch, seq), 0)
}

fn load_ack(dir: &Path, epoch: u64) -> Option<Seq> {
    let bytes: [u8; 12] = fs::read(dir.join("spool.ack")).ok()?.try_into().ok()?;
    let seq = Seq::from_le_bytes(*bytes.first_chunk()?);
    (bytes == ack_bytes(epoch, seq)).then_some(seq)
}
