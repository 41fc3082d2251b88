//! The end of a log, as it is kept and as it travels. Pure: who reads it does not matter.

use crate::{
    model::{LogExcerpt, Untrusted},
    redact::Redactor,
};

/// Bytes of the excerpt that travels with the finding; the whole tail goes by the log stream.
const EXCERPT_BYTES: usize = 4096;
/// Lines of the excerpt.
const EXCERPT_LINES: usize = 40;
/// Longest line kept, in bytes.
pub const LINE_BYTES: usize = 2048;

/// The end of a log.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Tail {
    /// Oldest first, redacted, without the runtime's prefix.
    pub lines: Vec<String>,
    /// Secrets taken out.
    pub redactions: u32,
    /// Whether older lines exist.
    pub truncated: bool,
}

impl Tail {
    /// The newest `limit` of some lines, redacted; `cut` says that older ones exist.
    #[must_use]
    pub fn of_lines(mut lines: Vec<String>, cut: bool, limit: usize, redactor: &Redactor) -> Self {
        let dropped = lines.len().saturating_sub(limit);
        let mut redactions = 0;
        let lines = lines.split_off(dropped);
        let mut clean = Vec::with_capacity(lines.len());
        for line in lines {
            let (line, count) = redactor.redact(&line);
            redactions += count;
            clean.push(line);
        }
        Self {
            lines: clean,
            truncated: cut || dropped > 0,
            redactions,
        }
    }

    /// The part that travels with the finding: the newest lines that fit.
    #[must_use]
    pub fn excerpt(&self) -> LogExcerpt {
        let mut bytes = 0;
        let fits = |line: &&String| {
            bytes += line.len() + 1;
            bytes <= EXCERPT_BYTES
        };
        let mut lines: Vec<Untrusted> = self
            .lines
            .iter()
            .rev()
            .take(EXCERPT_LINES)
            .take_while(fits)
            .map(|l| Untrusted::bounded(l, LINE_BYTES))
            .collect();
        lines.reverse();
        let truncated = self.truncated || lines.len() < self.lines.len();
        LogExcerpt {
            lines,
            redactions: self.redactions,
            truncated,
            origin: None,
        }
    }

    /// The whole tail as text.
    #[must_use]
    pub fn text(&self) -> String {
        self.lines.join("\n")
    }
}
