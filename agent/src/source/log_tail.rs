//! The last lines of a container, read from the runtime's log file at the moment of the exit, redacted and bounded.
//!
//! Owns the CRI log format; must not know runtimes or findings.

mod open;

use std::{
    io::{self, Read, Seek, SeekFrom},
    path::{Path, PathBuf},
};

use inquest_shared::{
    model::Untrusted,
    redact::Redactor,
    tail::{LINE_BYTES, Tail},
};

/// How much to read.
#[derive(Debug, Clone, Copy)]
pub struct TailLimits {
    /// Bytes from the end of the file.
    pub bytes: u64,
    /// Lines kept.
    pub lines: usize,
}

/// The log could not be read. Retrying helps only when the file appears later.
#[derive(Debug, thiserror::Error)]
#[error("cannot read the log {path}")]
pub struct TailError {
    /// The file.
    pub path: PathBuf,
    /// Why.
    #[source]
    pub source: io::Error,
}

/// Reads the end of a log in the CRI format (`<RFC 3339 time> stdout|stderr F|P <text>`, KEP-1602 and
/// `pkg/kubelet/kuberuntime/logs` of Kubernetes). Blocks for one read of at most `limits.bytes`.
///
/// # Errors
/// [`TailError`].
pub fn read_tail(path: &Path, limits: TailLimits, redactor: &Redactor) -> Result<Tail, TailError> {
    let (bytes, cut) = read_end(path, limits.bytes).map_err(|source| TailError {
        path: path.to_owned(),
        source,
    })?;
    Ok(parse(&bytes, cut, limits.lines, redactor))
}

/// The last `limit` bytes and whether there were more.
pub(super) fn read_end(path: &Path, limit: u64) -> io::Result<(Vec<u8>, bool)> {
    let mut file = open::log_file(path)?;
    let size = file.metadata()?.len();
    let start = size.saturating_sub(limit);
    file.seek(SeekFrom::Start(start))?;
    let mut bytes = Vec::new();
    file.take(limit).read_to_end(&mut bytes)?;
    Ok((bytes, start > 0))
}

/// Lines out of raw bytes: joins parts, drops the first line when it was cut, keeps the newest `limit`.
fn parse(bytes: &[u8], cut: bool, limit: usize, redactor: &Redactor) -> Tail {
    let text = String::from_utf8_lossy(bytes);
    let mut lines: Vec<String> = Vec::new();
    let mut open = String::new();
    for raw in text.lines().skip(usize::from(cut)) {
        let (part, complete) = message(raw);
        push_bounded(&mut open, part);
        if complete {
            lines.push(std::mem::take(&mut open));
        }
    }
    if !open.is_empty() {
        lines.push(open);
    }
    Tail::of_lines(lines, cut, limit, redactor)
}

/// Text of one log line, and whether the line ends there. A line of another format is taken whole.
fn message(raw: &str) -> (&str, bool) {
    let mut parts = raw.splitn(4, ' ');
    let (_time, stream, tag, text) = (parts.next(), parts.next(), parts.next(), parts.next());
    match (stream, tag) {
        (Some("stdout" | "stderr"), Some(tag)) => (text.unwrap_or_default(), tag.split(':').next() != Some("P")),
        _ => (raw, true),
    }
}

/// Appends up to the line bound; the rest of an endless line is given up.
fn push_bounded(line: &mut String, part: &str) {
    let room = LINE_BYTES.saturating_sub(line.len());
    line.push_str(Untrusted::bounded(part, room).raw());
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use proptest::prelude::*;

    use super::*;

    fn redactor() -> Redactor {
        Redactor::new(&[]).unwrap()
    }

    #[test]
    fn the_tail_is_joined_redacted_and_bounded() {
        let mut file = tempfile::NamedTempFile::new().unwrap();
        for n in 0..50 {
            writeln!(file, "2026-01-01T00:00:00.000000001Z stdout F line {n}").unwrap();
        }
        writeln!(file, "2026-01-01T00:00:00.1Z stderr P first half, ").unwrap();
        writeln!(file, "2026-01-01T00:00:00.2Z stderr F second half").unwrap();
        write!(file, "2026-01-01T00:00:00.3Z stderr F password=canary").unwrap();
        let tail = read_tail(file.path(), TailLimits { bytes: 400, lines: 4 }, &redactor()).unwrap();
        assert_eq!(
            tail.lines,
            ["line 48", "line 49", "first half, second half", "password=[redacted]"]
        );
        assert_eq!((tail.redactions, tail.truncated), (1, true));
    }

    #[test]
    fn an_endless_line_stays_bounded() {
        let raw = format!("t stdout P {}\n", "x".repeat(900)).repeat(20);
        let tail = parse(raw.as_bytes(), false, 10, &redactor());
        assert_eq!(tail.lines.iter().map(String::len).collect::<Vec<_>>(), [LINE_BYTES]);
    }

    #[test]
    fn a_missing_file_is_named() {
        let error = read_tail(
            Path::new("/nonexistent/0.log"),
            TailLimits { bytes: 1, lines: 1 },
            &redactor(),
        );
        assert_eq!(error.unwrap_err().to_string(), "cannot read the log /nonexistent/0.log");
    }

    proptest! {
        /// A container can write anything into its log.
        #[test]
        fn any_bytes_give_a_bounded_tail(bytes in prop::collection::vec(any::<u8>(), 0..4000), cut: bool) {
            let tail = parse(&bytes, cut, 7, &redactor());
            prop_assert!(tail.lines.len() <= 7);
            let excerpt: usize = tail.excerpt().lines.iter().map(|l| l.raw().len()).sum();
            prop_assert!(excerpt <= 4096);
        }
    }
}
