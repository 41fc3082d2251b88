//! From bytes of `trace_pipe` to events. Owns the head of a line, the joining of lines that a process name broke, and the
//! count of what was no event; pure.
//!
//! A line is `COMM-PID [CPU] FLAGS SECONDS.MICROS: EVENT: BODY`. A name of at most 15 bytes may hold spaces, dashes, colons
//! and line feeds, and the kernel prints it as it is. So the head is read from the right, and a piece that is no event waits
//! for the next one. A whole head with its event does not fit into a name, so none can be forged.
use super::event::{Formats, Task, TraceEvent};

/// `TASK_COMM_LEN` of the kernel, without the zero.
const MAX_COMM: usize = 15;
/// Most bytes of one event that are kept: two names, a head and the longest body are below 300.
const MAX_EVENT: usize = 512;
/// What the kernel prints for a name that it has forgotten.
const FORGOTTEN: &[u8] = b"<...>";

/// What the pipe told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Item {
    /// An event.
    Event(TraceEvent),
    /// The ring lost this many events before this point.
    Lost(u64),
}

/// The state between two reads. Bounded: one unfinished event.
#[derive(Debug)]
pub struct Lines {
    formats: Formats,
    /// Bytes behind the last line feed.
    rest: Vec<u8>,
    /// Pieces that are no event by themselves.
    pending: Vec<u8>,
    unreadable: u64,
}

impl Lines {
    /// A reader of the events that a kernel prints in these formats.
    #[must_use]
    pub const fn new(formats: Formats) -> Self {
        Self {
            formats,
            rest: Vec::new(),
            pending: Vec::new(),
            unreadable: 0,
        }
    }

    /// Takes what one read gave.
    pub fn push(&mut self, bytes: &[u8]) -> Vec<Item> {
        let mut items = Vec::new();
        let mut lines = bytes.split(|b| *b == b'\n');
        let last = lines.next_back().unwrap_or_default();
        for line in lines {
            let mut whole = std::mem::take(&mut self.rest);
            whole.extend_from_slice(line.get(..MAX_EVENT).unwrap_or(line));
            items.extend(self.line(&whole));
        }
        let room = MAX_EVENT.saturating_sub(self.rest.len());
        self.rest.extend_from_slice(last.get(..room).unwrap_or(last));
        items
    }

    /// Pieces that were no event since the last call.
    pub fn take_unreadable(&mut self) -> u64 {
        std::mem::take(&mut self.unreadable)
    }

    fn line(&mut self, line: &[u8]) -> Option<Item> {
        if let Some(lost) = lost(line) {
            self.drop_pending();
            return Some(Item::Lost(lost));
        }
        if !self.pending.is_empty() {
            self.pending.push(b'\n');
        }
        self.pending.extend_from_slice(line);
        if let Some(event) = self.event(&self.pending) {
            self.pending.clear();
            return Some(Item::Event(event));
        }
        if let Some(event) = self.event(line) {
            self.unreadable += 1;
            self.pending.clear();
            return Some(Item::Event(event));
        }
        if self.pending.len() > MAX_EVENT {
            self.drop_pending();
        }
        None
    }

    fn drop_pending(&mut self) {
        if !self.pending.is_empty() {
            self.unreadable += 1;
            self.pending.clear();
        }
    }

    /// The first place where a head ends and one of our events with a whole body begins.
    fn event(&self, text: &[u8]) -> Option<TraceEvent> {
        let mut ends = (0..text.len()).filter(|at| text.get(*at..).is_some_and(|rest| rest.starts_with(b": ")));
        ends.find_map(|at| {
            let (head, rest) = (text.get(..at)?, text.get(at + 2..)?);
            let name = rest.split(|b| *b == b':').next()?;
            let body = rest.get(name.len()..)?.strip_prefix(b": ")?;
            let (task, at_us) = head_of(head)?;
            self.formats.read(name, body, task, at_us)
        })
    }
}

/// `CPU:1 [LOST 234 EVENTS]`, or without the number where the kernel does not know it.
fn lost(line: &[u8]) -> Option<u64> {
    let text = std::str::from_utf8(line).ok()?;
    let (_, what) = text.strip_prefix("CPU:")?.split_once(" [LOST ")?;
    match what.strip_suffix(" EVENTS]") {
        Some(count) => count.parse().ok(),
        None => (what == "EVENTS]").then_some(1),
    }
}

fn head_of(head: &[u8]) -> Option<(Task, u64)> {
    let (rest, time) = last_word(head)?;
    let (rest, word) = last_word(rest)?;
    let (rest, cpu) = if word.starts_with(b"[") {
        (rest, word)
    } else {
        last_word(rest)?
    };
    let cpu = cpu.strip_prefix(b"[")?.strip_suffix(b"]")?;
    cpu.iter().all(u8::is_ascii_digit).then_some(())?;
    let rest = rest.trim_ascii_end();
    let dash = rest.iter().rposition(|b| *b == b'-')?;
    let pid = std::str::from_utf8(rest.get(dash + 1..)?).ok()?.parse().ok()?;
    // The kernel fills the name up to 16 columns from the left; a longer one has a piece of another line in it.
    let padded = rest.get(..dash)?;
    (padded.len() <= MAX_COMM + 1).then_some(())?;
    let blank = padded.iter().take_while(|b| **b == b' ').count();
    let comm = padded.get(blank..)?;
    let comm = if comm == FORGOTTEN { Vec::new() } else { comm.to_vec() };
    Some((Task { pid, comm }, micros(time)?))
}

fn last_word(text: &[u8]) -> Option<(&[u8], &[u8])> {
    let text = text.trim_ascii_end();
    let space = text.iter().rposition(|b| *b == b' ')?;
    Some((text.get(..space)?, text.get(space + 1..)?))
}

/// `SECONDS.MICROS` with six digits.
fn micros(time: &[u8]) -> Option<u64> {
    let (seconds, fraction) = std::str::from_utf8(time).ok()?.split_once('.')?;
    let digits = |text: &str| text.bytes().all(|b| b.is_ascii_digit()) && !text.is_empty();
    (fraction.len() == 6 && digits(seconds) && digits(fraction)).then_some(())?;
    seconds
        .parse::<u64>()
        .ok()?
        .checked_mul(1_000_000)?
        .checked_add(fraction.parse().ok()?)
}

#[cfg(test)]
mod tests;
