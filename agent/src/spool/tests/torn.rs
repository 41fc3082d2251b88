//! Torn writes and flipped bits all over the last 64 KiB of a file.

use super::super::segment::{Key, Scan, Segment};
use super::*;

const EPOCH: u64 = 7;
const KEY: Key = Key {
    epoch: EPOCH,
    limit: 1 << 40,
};

/// A file of records of 1 KiB, a little more than 64 KiB of them, and where each ends.
struct Tape {
    dir: TempDir,
    bytes: Vec<u8>,
    ends: Vec<usize>,
}

impl Tape {
    fn new() -> Self {
        let (mut bytes, mut ends, mut one) = (Vec::new(), Vec::new(), Vec::new());
        for number in 1..=65_u8 {
            let payload = [number; 1024];
            record::encode(&mut one, EPOCH, u64::from(number), 1024, &payload);
            bytes.extend_from_slice(&one);
            ends.push(bytes.len());
        }
        Self {
            dir: TempDir::new().unwrap(),
            bytes,
            ends,
        }
    }

    fn recover(&self, bytes: &[u8]) -> (Segment, Scan) {
        let path = self.dir.path().join("high-00000000000000000001.seg");
        if path.exists() {
            // a file that is written anew in place would reach the disk each time (ext4, auto_da_alloc)
            fs::remove_file(&path).unwrap();
        }
        fs::write(&path, bytes).unwrap();
        Segment::recover(path, Shed::High, 1, KEY).unwrap()
    }

    /// Every byte of the last record and of its header's neighbours, and each 61st (a prime) of the last 64 KiB.
    fn offsets(&self) -> impl Iterator<Item = usize> {
        let (all, begin) = (self.bytes.len(), self.bytes.len() - 64 * 1024);
        (begin..all - 1100).step_by(61).chain(all - 1100..all)
    }

    fn whole_before(&self, at: usize) -> usize {
        self.ends.iter().take_while(|end| **end <= at).count()
    }
}

/// Power failed while the file grew.
#[test]
fn a_cut_anywhere_keeps_every_record_before_it_and_reports_the_bytes() {
    let tape = Tape::new();
    for at in tape.offsets() {
        let (segment, scan) = tape.recover(&tape.bytes[..at]);
        let whole = tape.whole_before(at);
        let end = if whole == 0 { 0 } else { tape.ends[whole - 1] };
        assert_eq!(segment.records, whole as u64, "cut at {at}");
        assert_eq!(scan.torn_bytes, (at - end) as u64, "cut at {at}");
        assert_eq!(scan.damaged, 0);
    }
}

/// A sector in the middle was not written: what lies before and behind it is kept.
#[test]
fn a_sector_of_garbage_anywhere_costs_the_records_that_it_touches_and_is_reported() {
    let tape = Tape::new();
    for at in tape.offsets().step_by(3) {
        let mut bytes = tape.bytes.clone();
        let end = bytes.len().min(at + 512);
        bytes[at..end].fill(0xa5);
        let (segment, scan) = tape.recover(&bytes);
        let hit = tape.whole_before(end - 1) - tape.whole_before(at) + 1;
        assert_eq!(segment.records, (65 - hit) as u64, "torn at {at}");
        assert!(scan.damaged == 1 || scan.torn_bytes > 0, "torn at {at}");
    }
}

/// A bit that flips in old data is found, costs its record and is reported.
#[test]
fn a_flipped_bit_anywhere_costs_one_record() {
    let tape = Tape::new();
    for at in tape.offsets().step_by(3) {
        let mut bytes = tape.bytes.clone();
        bytes[at] ^= 1 << (at % 8);
        let (segment, scan) = tape.recover(&bytes);
        assert_eq!(segment.records, 64, "flipped at {at}");
        assert!(scan.damaged == 1 || scan.torn_bytes > 0, "flipped at {at}");
    }
}
