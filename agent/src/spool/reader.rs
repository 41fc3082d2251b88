//! Reading in the order of the numbers, over all classes.
//!
//! Owns positions in files. Must not keep a file from being deleted: it notices and goes on.

use std::fs::File;
use std::io;
use std::sync::Arc;

use super::segment::find;
use super::{Record, Seq, Shed, Spool, SpoolError};

/// A place in the spool. Any number of readers may exist; each keeps one record per class.
#[derive(Debug, Default)]
pub struct Reader {
    last: Seq,
    lanes: [Position; 4],
}

#[derive(Debug, Default)]
struct Position {
    segment: Seq,
    offset: u64,
    file: Option<Arc<File>>,
    peeked: Option<Record>,
}

impl Spool {
    /// A reader of everything that is not acknowledged and has a number above `after`.
    #[must_use]
    pub fn unacked(&self, after: Seq) -> Reader {
        Reader {
            last: after.max(self.acked),
            ..Reader::default()
        }
    }

    /// The next record in order; `None` when all that was appended so far has been read. A later
    /// call sees what was appended since. Records that were acknowledged or shed meanwhile are
    /// left out.
    ///
    /// # Errors
    /// [`SpoolError::Io`]; trying again may help and loses nothing.
    pub fn read(&mut self, reader: &mut Reader) -> Result<Option<Record>, SpoolError> {
        reader.last = reader.last.max(self.acked);
        let last = reader.last;
        for (class, position) in Shed::ALL.into_iter().zip(&mut reader.lanes) {
            self.peek(class, position, last).map_err(|source| SpoolError::Io {
                path: self.dir.clone(),
                source,
            })?;
        }
        let seq_of = |position: &Position| position.peeked.as_ref().map(|record| record.seq);
        let first = reader
            .lanes
            .iter_mut()
            .filter(|position| position.peeked.is_some())
            .min_by_key(|position| seq_of(position));
        // What is in memory is younger than all that is on disk.
        let record = first
            .and_then(|position| position.peeked.take())
            .or_else(|| self.memory.after(last).cloned());
        reader.last = record.as_ref().map_or(last, |record| record.seq);
        Ok(record)
    }

    /// Makes sure that the position holds the next record of its class, if there is one.
    fn peek(&mut self, class: Shed, position: &mut Position, last: Seq) -> io::Result<()> {
        let Some(lane) = self.lanes.get_mut(class as usize) else {
            return Ok(());
        };
        let exists = lane.iter().any(|segment| segment.first == position.segment);
        position.peeked = position.peeked.take().filter(|record| exists && record.seq > last);
        while position.peeked.is_none() {
            let at = (position.segment, position.offset);
            let unread = lane.iter_mut().find(|segment| {
                let behind = segment.first > at.0 || (segment.first == at.0 && at.1 < segment.bytes);
                behind && segment.last > last
            });
            let Some(segment) = unread else { return Ok(()) };
            if segment.first != position.segment || position.file.is_none() {
                let offset = if segment.first == position.segment {
                    position.offset
                } else {
                    0
                };
                *position = Position {
                    segment: segment.first,
                    offset,
                    file: Some(segment.open()?),
                    peeked: None,
                };
            }
            let Some(file) = &position.file else { return Ok(()) };
            let found = find(file, class, position.offset, segment.bytes, 0, self.key)?;
            let next = found.as_ref().map_or(segment.bytes, |found| found.next);
            if found.as_ref().is_none_or(|found| found.skipped) && position.offset >= segment.checked {
                self.damaged += 1;
            }
            segment.checked = segment.checked.max(next);
            position.offset = next;
            position.peeked = found.map(|found| found.record).filter(|record| record.seq > last);
        }
        Ok(())
    }
}
