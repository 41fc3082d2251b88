//! One file of records in ascending order.
//!
//! Owns reading, appending, and finding the way behind damage. Must not know limits or other files.

use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::record::{HEADER, HEADER_BYTES, Header};
use super::{MAX_RECORD_BYTES, Record, Shed};

/// Bytes read at once when looking for the next sound record behind damage.
const SEARCH: usize = 16 * 1024;

/// Ending of a copy that is not finished; the next opening removes what a crash left of one.
pub(super) const UNFINISHED: &str = "new";

/// One file and what is known about it.
#[derive(Debug)]
pub(super) struct Segment {
    pub(super) path: PathBuf,
    /// Number in the file's name: that of its first record.
    pub(super) first: u64,
    pub(super) last: u64,
    pub(super) bytes: u64,
    pub(super) records: u64,
    /// Records at the start that are acknowledged, and where they end.
    acked_records: u64,
    acked_offset: u64,
    /// Up to here damage has been counted.
    pub(super) checked: u64,
    /// Open while this is the segment that is written.
    pub(super) file: Option<Arc<File>>,
}

/// What a scan of a file found.
#[derive(Debug, Default, Clone, Copy)]
pub(super) struct Scan {
    pub(super) damaged: u64,
    pub(super) torn_bytes: u64,
}

/// How records are told from other bytes.
#[derive(Debug, Clone, Copy)]
pub(super) struct Key {
    pub(super) epoch: u64,
    /// Numbers from here on cannot exist.
    pub(super) limit: u64,
}

/// A sound record and where the next one starts.
#[derive(Debug)]
pub(super) struct Found {
    pub(super) record: Record,
    pub(super) next: u64,
    /// Whether bytes in front of it had to be skipped.
    pub(super) skipped: bool,
}

impl Segment {
    /// Makes an empty file. The folder must be synced by the caller. A file of that name can only
    /// be left from an attempt that failed, because no number is used twice.
    pub(super) fn create(dir: &Path, class: Shed, first: u64) -> io::Result<Self> {
        let path = dir.join(format!("{}-{first:020}.seg", class.name()));
        let file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(true)
            .open(&path)?;
        let file = Some(Arc::new(file));
        Ok(Self {
            path,
            first,
            last: 0,
            bytes: 0,
            records: 0,
            acked_records: 0,
            acked_offset: 0,
            checked: 0,
            file,
        })
    }

    /// Reads a file of an earlier opening; cuts a torn tail.
    pub(super) fn recover(path: PathBuf, class: Shed, first: u64, key: Key) -> io::Result<(Self, Scan)> {
        let file = OpenOptions::new().read(true).write(true).open(&path)?;
        let end = file.metadata()?.len();
        let mut segment = Self {
            path,
            first,
            last: 0,
            bytes: end,
            records: 0,
            acked_records: 0,
            acked_offset: 0,
            checked: 0,
            file: None,
        };
        let mut scan = Scan::default();
        let mut offset = 0;
        while let Some(found) = find(&file, class, offset, end, segment.last, key)? {
            scan.damaged += u64::from(found.skipped);
            segment.records += 1;
            segment.last = found.record.seq;
            offset = found.next;
        }
        if offset < end {
            scan.torn_bytes = end - offset;
            file.set_len(offset)?;
            segment.bytes = offset;
        }
        segment.checked = segment.bytes;
        Ok((segment, scan))
    }

    /// Appends an encoded record. After a failure the file is as before.
    pub(super) fn append(&mut self, encoded: &[u8], seq: u64) -> io::Result<()> {
        let file = self.file.as_ref().ok_or(io::ErrorKind::NotConnected)?;
        if let Err(error) = file.write_all_at(encoded, self.bytes) {
            // What was written of it lies behind the end that we know; the next write covers it,
            // and a restart cuts it.
            if let Err(cut) = file.set_len(self.bytes) {
                tracing::debug!(error = %cut, "cannot cut a partly written record");
            }
            return Err(error);
        }
        self.bytes = self
            .bytes
            .saturating_add(u64::try_from(encoded.len()).unwrap_or(u64::MAX));
        self.records += 1;
        self.last = seq;
        Ok(())
    }

    /// Puts a copy, synced, in the place of a file whose own sync failed.
    pub(super) fn replace_file(&mut self) -> io::Result<()> {
        let fresh = self.path.with_extension(UNFINISHED);
        let copied = self.copy_to(&fresh).and_then(|file| {
            fs::rename(&fresh, &self.path)?;
            Ok(file)
        });
        match copied {
            Ok(file) => {
                self.file = self.file.as_ref().map(|_| Arc::new(file));
                Ok(())
            }
            Err(error) => {
                if let Err(left) = fs::remove_file(&fresh) {
                    tracing::debug!(error = %left, "an unfinished copy stays until the next opening");
                }
                Err(error)
            }
        }
    }

    fn copy_to(&self, path: &Path) -> io::Result<File> {
        let from = self.open()?;
        let to = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(true)
            .open(path)?;
        let mut buffer = vec![0; SEARCH];
        let mut at = 0;
        while at < self.bytes {
            let room = usize::try_from(self.bytes - at).unwrap_or(SEARCH).min(SEARCH);
            let bytes = buffer.get_mut(..room).unwrap_or_default();
            from.read_exact_at(bytes, at)?;
            to.write_all_at(bytes, at)?;
            at += u64::try_from(room).unwrap_or(0);
        }
        to.sync_data()?;
        Ok(to)
    }

    /// The file for reading.
    pub(super) fn open(&self) -> io::Result<Arc<File>> {
        match &self.file {
            Some(file) => Ok(Arc::clone(file)),
            None => File::open(&self.path).map(Arc::new),
        }
    }

    /// Takes note that all records up to `seq` are acknowledged.
    pub(super) fn ack(&mut self, seq: u64) -> io::Result<()> {
        if seq >= self.last {
            self.acked_records = self.records;
            self.acked_offset = self.bytes;
            return Ok(());
        }
        if seq < self.first {
            return Ok(());
        }
        let file = self.open()?;
        let mut header = [0; HEADER];
        while self.acked_offset + HEADER_BYTES <= self.bytes {
            file.read_exact_at(&mut header, self.acked_offset)?;
            let Some(parsed) = Header::parse(&header).filter(|parsed| parsed.seq <= seq) else {
                break;
            };
            self.acked_offset += HEADER_BYTES + u64::from(parsed.len);
            self.acked_records = (self.acked_records + 1).min(self.records);
        }
        Ok(())
    }

    /// Records that are not acknowledged.
    pub(super) const fn pending(&self) -> u64 {
        self.records.saturating_sub(self.acked_records)
    }
}

/// The first sound record at or behind `offset` whose number is above `after`.
pub(super) fn find(file: &File, class: Shed, offset: u64, end: u64, after: u64, key: Key) -> io::Result<Option<Found>> {
    if let Some((record, next)) = read_at(file, class, offset, end, after, key)? {
        return Ok(Some(Found {
            record,
            next,
            skipped: false,
        }));
    }
    let mut window = vec![0; SEARCH];
    let mut start = offset.saturating_add(1);
    while start.saturating_add(HEADER_BYTES) <= end {
        let room = usize::try_from(end - start).unwrap_or(SEARCH).min(SEARCH);
        let bytes = window.get_mut(..room).unwrap_or_default();
        file.read_exact_at(bytes, start)?;
        let mut at = start;
        for candidate in bytes.windows(HEADER) {
            let plausible = Header::parse(candidate).is_some_and(|header| fits(header, at, end, after, key));
            if plausible && let Some((record, next)) = read_at(file, class, at, end, after, key)? {
                return Ok(Some(Found {
                    record,
                    next,
                    skipped: true,
                }));
            }
            at += 1;
        }
        start = at;
    }
    Ok(None)
}

fn fits(header: Header, at: u64, end: u64, after: u64, key: Key) -> bool {
    let next = at.saturating_add(HEADER_BYTES).saturating_add(u64::from(header.len));
    next <= end && header.seq > after && header.seq < key.limit && header.len <= MAX_RECORD_BYTES
}

fn read_at(file: &File, class: Shed, at: u64, end: u64, after: u64, key: Key) -> io::Result<Option<(Record, u64)>> {
    if at.saturating_add(HEADER_BYTES) > end {
        return Ok(None);
    }
    let mut header = [0; HEADER];
    file.read_exact_at(&mut header, at)?;
    let Some(header) = Header::parse(&header).filter(|header| fits(*header, at, end, after, key)) else {
        return Ok(None);
    };
    let mut payload = vec![0; usize::try_from(header.len).unwrap_or(0)];
    file.read_exact_at(&mut payload, at + HEADER_BYTES)?;
    if !header.matches(key.epoch, &payload) {
        return Ok(None);
    }
    let next = at + HEADER_BYTES + u64::from(header.len);
    Ok(Some((
        Record {
            seq: header.seq,
            class,
            payload,
        },
        next,
    )))
}
