//! Text that somebody else wrote: process names, log lines, runtime messages.

use std::fmt::{self, Write as _};

/// Text from outside, bounded where it enters and escaped where it leaves. It has no `Display`: a sink must choose
/// [`Untrusted::escaped`] for people or [`Untrusted::raw`] for a serializer that escapes by itself.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Untrusted(String);

impl Untrusted {
    /// Keeps at most `max_bytes`, cut on a character boundary.
    #[must_use]
    pub fn bounded(text: &str, max_bytes: usize) -> Self {
        let mut end = text.len().min(max_bytes);
        while !text.is_char_boundary(end) {
            end -= 1;
        }
        Self(text.get(..end).unwrap_or_default().to_owned())
    }

    /// The same for bytes; invalid UTF-8 becomes U+FFFD.
    #[must_use]
    pub fn from_bytes(bytes: &[u8], max_bytes: usize) -> Self {
        let cut = bytes.get(..max_bytes).unwrap_or(bytes);
        Self::bounded(&String::from_utf8_lossy(cut), max_bytes)
    }

    /// As it came; only for comparing, matching and serializers that escape.
    #[must_use]
    pub fn raw(&self) -> &str {
        &self.0
    }

    /// True when there is nothing.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Safe on a terminal and in one-line logs: control characters, bidirectional overrides and zero-width characters
    /// become visible escapes.
    #[must_use]
    pub fn escaped(&self) -> String {
        let mut out = String::with_capacity(self.0.len());
        for c in self.0.chars() {
            if is_deceptive(c) {
                let _infallible = write!(out, "\\u{{{:x}}}", u32::from(c));
            } else {
                out.push(c);
            }
        }
        out
    }
}

impl fmt::Debug for Untrusted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", self.0)
    }
}

/// Characters that could forge a line, hide text or steer a terminal.
fn is_deceptive(c: char) -> bool {
    c.is_control()
        || matches!(c, '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{2069}' | '\u{feff}' | '\u{e0000}'..='\u{e007f}')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cut_never_splits_a_character() {
        assert_eq!(Untrusted::bounded("aé", 2).raw(), "a");
        assert_eq!(Untrusted::from_bytes(b"a\xff\xffb", 3).raw(), "a");
        assert_eq!(Untrusted::from_bytes(b"a\xff", 9).raw(), "a\u{fffd}");
    }

    #[test]
    fn a_log_line_cannot_steer_a_terminal_or_forge_a_line() {
        let text = Untrusted::bounded("ok\x1b[31m\nfake\u{202e}", 100);
        assert_eq!(text.escaped(), "ok\\u{1b}[31m\\u{a}fake\\u{202e}");
    }
}
