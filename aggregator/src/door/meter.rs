//! Counts the frames of HTTP/2 that cost the reader work and carry nothing.
//!
//! The library answers every PING and SETTINGS frame and closes every stream that is reset, as often as a peer likes; it
//! limits pending resets and continuations only. This meter ends a connection that sends more of them than any honest
//! peer has a reason to. Pure: it reads frame headers (RFC 9113, 4.1) off the bytes that pass by and keeps none of them.

use std::time::Duration;

use tokio::time::Instant;

use super::bucket::{Bucket, Budget};

/// What an HTTP/2 client sends first. Source: RFC 9113, 3.4.
const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
/// Bytes of a frame header.
const HEADER: usize = 9;
/// Control frames at once, and the time for one more. An agent sends a PING in 20 s, and a few SETTINGS at the start;
/// libraries that measure bandwidth send one PING for each round trip in which data flowed towards them.
const CONTROL: Budget = Budget {
    burst: 200,
    refill: Duration::from_millis(50),
};

/// Frame types. Source: RFC 9113, 6.
const DATA: u8 = 0;
const HEADERS: u8 = 1;
const WINDOW_UPDATE: u8 = 8;
const END_STREAM: u8 = 1;

/// The peer sends nothing but work; the connection has to end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Flood;

#[derive(Debug)]
enum Place {
    /// So many bytes of the preface were seen.
    Preface(usize),
    /// In a frame header.
    Header([u8; HEADER], usize),
    /// In a payload, with so many bytes to come.
    Payload(usize),
    /// Not HTTP/2: nothing is counted.
    Other,
}

/// State of one connection.
#[derive(Debug)]
pub(super) struct Meter {
    place: Place,
    control: Bucket,
}

impl Meter {
    pub(super) const fn new(now: Instant) -> Self {
        Self {
            place: Place::Preface(0),
            control: Bucket::new(now),
        }
    }

    /// Takes note of bytes as they arrived.
    ///
    /// # Errors
    /// [`Flood`]
    pub(super) fn take(&mut self, mut bytes: &[u8], now: Instant) -> Result<(), Flood> {
        while !bytes.is_empty() {
            bytes = match &mut self.place {
                Place::Other => return Ok(()),
                Place::Preface(seen) => {
                    let wanted = PREFACE.get(*seen..).unwrap_or_default();
                    let part = wanted.len().min(bytes.len());
                    let (head, rest) = bytes.split_at(part);
                    *seen += part;
                    let done = *seen == PREFACE.len();
                    if !wanted.starts_with(head) {
                        self.place = Place::Other;
                    } else if done {
                        self.place = Place::Header([0; HEADER], 0);
                    }
                    rest
                }
                Place::Payload(left) => {
                    let part = (*left).min(bytes.len());
                    *left -= part;
                    if *left == 0 {
                        self.place = Place::Header([0; HEADER], 0);
                    }
                    bytes.get(part..).unwrap_or_default()
                }
                Place::Header(header, seen) => {
                    let part = (HEADER - *seen).min(bytes.len());
                    let (head, rest) = bytes.split_at(part);
                    for (into, from) in header.iter_mut().skip(*seen).zip(head) {
                        *into = *from;
                    }
                    *seen += part;
                    if *seen == HEADER {
                        let header = *header;
                        self.frame(header, now)?;
                    }
                    rest
                }
            };
        }
        Ok(())
    }

    fn frame(&mut self, header: [u8; HEADER], now: Instant) -> Result<(), Flood> {
        let [a, b, c, kind, flags, ..] = header;
        let length = usize::from(a) << 16 | usize::from(b) << 8 | usize::from(c);
        self.place = if length == 0 {
            Place::Header([0; HEADER], 0)
        } else {
            Place::Payload(length)
        };
        let carries = match kind {
            DATA => length > 0 || flags & END_STREAM != 0,
            HEADERS | WINDOW_UPDATE => true,
            _ => false,
        };
        if carries { Ok(()) } else { self.charge(now) }
    }

    fn charge(&mut self, now: Instant) -> Result<(), Flood> {
        if self.control.spend(CONTROL, now) {
            Ok(())
        } else {
            Err(Flood)
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn frame(kind: u8, flags: u8, payload: &[u8]) -> Vec<u8> {
        let length = u32::try_from(payload.len()).unwrap().to_be_bytes();
        let mut bytes = vec![length[1], length[2], length[3], kind, flags, 0, 0, 0, 1];
        bytes.extend_from_slice(payload);
        bytes
    }

    fn begun(frames: impl IntoIterator<Item = Vec<u8>>) -> Vec<u8> {
        let mut bytes = PREFACE.to_vec();
        bytes.extend(frames.into_iter().flatten());
        bytes
    }

    #[test]
    fn a_flood_of_pings_settings_or_resets_is_one_and_a_flood_of_data_is_not() {
        for (kind, payload) in [(6, 8), (4, 0), (3, 4), (0, 0), (2, 5), (99, 3)] {
            let flood = begun((0..=CONTROL.burst).map(|_| frame(kind, 0, &vec![0; payload])));
            let now = Instant::now();
            assert_eq!(Meter::new(now).take(&flood, now), Err(Flood), "type {kind}");
        }
        let data = begun((0..10_000).map(|_| frame(0, 0, b"finding")));
        let now = Instant::now();
        assert_eq!(Meter::new(now).take(&data, now), Ok(()));
    }

    #[test]
    fn a_ping_each_second_may_go_on_for_ever() {
        let mut now = Instant::now();
        let mut meter = Meter::new(now);
        meter.take(PREFACE, now).unwrap();
        for _ in 0..10_000 {
            now += Duration::from_secs(1);
            meter.take(&frame(6, 0, &[0; 8]), now).unwrap();
        }
    }

    #[test]
    fn what_is_not_http_2_is_not_counted() {
        let now = Instant::now();
        let mut meter = Meter::new(now);
        let line = b"GET / HTTP/1.1\r\nhost: x\r\n\r\n".repeat(1_000);
        assert_eq!(meter.take(&line, now), Ok(()));
    }

    proptest! {
        /// Where the reads happen to be cut changes nothing.
        #[test]
        fn the_cut_of_the_reads_does_not_matter(
            frames in prop::collection::vec((0_u8..12, 0_u8..2, prop::collection::vec(any::<u8>(), 0..40)), 0..400),
            size in 1_usize..70,
        ) {
            let bytes = begun(frames.iter().map(|(kind, flags, payload)| frame(*kind, *flags, payload)));
            let now = Instant::now();
            let whole = Meter::new(now).take(&bytes, now);
            let mut meter = Meter::new(now);
            let parts = bytes.chunks(size).try_for_each(|part| meter.take(part, now));
            prop_assert_eq!(whole, parts);
        }

        #[test]
        fn garbage_never_panics(bytes in prop::collection::vec(any::<u8>(), 0..4_000), preface in any::<bool>()) {
            let now = Instant::now();
            let mut meter = Meter::new(now);
            if preface { meter.take(PREFACE, now).unwrap(); }
            let taken = meter.take(&bytes, now);
            prop_assert!(taken.is_ok() || bytes.len() > 200);
        }
    }
}
