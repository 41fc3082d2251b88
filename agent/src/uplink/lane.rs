//! What both streams have in common: read the spool in order, send at once while nothing is in flight, else collect until
//! the acknowledgement returns. No timer is needed and a quiet node pays no delay.

use crate::{
    outgoing::Outgoing,
    spool::{Reader, Record, Seq},
};

/// Most bytes of one message; a single larger record goes alone.
const MAX_BATCH_BYTES: usize = 64 * 1024;
/// Most records of one message.
const MAX_BATCH_RECORDS: usize = 256;

/// Position and window of one stream.
pub(super) struct Lane {
    outgoing: Outgoing,
    reader: Reader,
    credit: u64,
    /// Highest number sent and not acknowledged.
    in_flight: Option<Seq>,
    /// Read, but too large for the credit or the batch that was being made.
    kept: Option<Record>,
}

impl Lane {
    /// A lane that begins after what the aggregator holds, with the window that it granted.
    pub(super) fn new(outgoing: Outgoing, acked: Seq, credit: u64) -> Self {
        let reader = {
            let mut spool = outgoing.lock();
            spool.ack(acked);
            spool.unacked(acked)
        };
        Self {
            outgoing,
            reader,
            credit,
            in_flight: None,
            kept: None,
        }
    }

    /// The spool's epoch.
    pub(super) fn epoch(&self) -> u64 {
        self.outgoing.lock().epoch()
    }

    /// What to send now; empty while something is in flight, the window is used up, or there is nothing.
    pub(super) fn next_batch(&mut self) -> Vec<Record> {
        let mut batch = Vec::new();
        let mut bytes = 0;
        if self.in_flight.is_some() {
            return batch;
        }
        while batch.len() < MAX_BATCH_RECORDS {
            let Some(record) = self.kept.take().or_else(|| self.read()) else {
                break;
            };
            let size = record.payload.len();
            let fits = batch.is_empty() || bytes + size <= MAX_BATCH_BYTES;
            let cost = u64::try_from(size).unwrap_or(u64::MAX);
            if !fits || cost > self.credit {
                self.kept = Some(record);
                break;
            }
            self.credit -= cost;
            bytes += size;
            self.in_flight = Some(record.seq);
            batch.push(record);
        }
        batch
    }

    fn read(&mut self) -> Option<Record> {
        let record = self.outgoing.lock().read(&mut self.reader);
        record.unwrap_or_else(|error| {
            tracing::warn!(%error, "cannot read the spool");
            None
        })
    }

    /// Everything up to `seq` is committed; `credit` more bytes may be sent.
    pub(super) fn on_ack(&mut self, seq: Seq, credit: u64) {
        self.credit = self.credit.saturating_add(credit);
        self.outgoing.lock().ack(seq);
        if self.in_flight.is_some_and(|last| last <= seq) {
            self.in_flight = None;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::spool::{Limits, Shed, Spool};

    fn outgoing(records: usize, size: usize) -> (tempfile::TempDir, Outgoing) {
        let dir = tempfile::tempdir().unwrap();
        let (spool, _) = Spool::open(&dir.path().join("s"), Limits::of(1 << 20)).unwrap();
        let outgoing = Outgoing::new(spool);
        for n in 0..records {
            outgoing
                .append(&vec![u8::try_from(n % 250).unwrap(); size], Shed::Normal)
                .unwrap();
        }
        (dir, outgoing)
    }

    #[test]
    fn nothing_overtakes_what_is_in_flight() {
        let (_dir, outgoing) = outgoing(3, 10);
        let mut lane = Lane::new(outgoing.clone(), 0, 1000);
        let batch = lane.next_batch();
        assert_eq!(batch.len(), 3);
        outgoing.append(b"later", Shed::Normal).unwrap();
        assert!(lane.next_batch().is_empty());
        lane.on_ack(batch[2].seq, 0);
        assert_eq!(lane.next_batch().len(), 1);
    }

    #[test]
    fn an_exhausted_window_holds_records_back_and_loses_none() {
        let (_dir, outgoing) = outgoing(4, 100);
        let mut lane = Lane::new(outgoing, 0, 250);
        let batch = lane.next_batch();
        assert_eq!(batch.len(), 2);
        lane.on_ack(batch[1].seq, 0);
        assert!(lane.next_batch().is_empty());
        lane.on_ack(batch[1].seq, 1000);
        assert_eq!(lane.next_batch().len(), 2);
    }

    /// No timer is needed for what is left over: it goes when the batch before it is safe.
    #[test]
    fn a_batch_goes_at_its_size_and_the_rest_with_the_next_acknowledgement() {
        let (_dir, outgoing) = outgoing(70, 1024);
        let mut lane = Lane::new(outgoing, 0, 1 << 20);
        let first = lane.next_batch();
        let bytes: usize = first.iter().map(|record| record.payload.len()).sum();
        assert_eq!((first.len(), bytes), (64, MAX_BATCH_BYTES));
        lane.on_ack(first[63].seq, 0);
        assert_eq!(lane.next_batch().len(), 6);
    }

    #[test]
    fn a_partial_acknowledgement_does_not_open_the_window_early() {
        let (_dir, outgoing) = outgoing(2, 10);
        let mut lane = Lane::new(outgoing, 0, 1000);
        let batch = lane.next_batch();
        lane.on_ack(batch[0].seq, 0);
        assert!(lane.next_batch().is_empty());
    }
}
