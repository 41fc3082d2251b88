//! Chooses records by their raw text, before anything is copied. Owns the search automaton; the words come from the detectors.
use aho_corasick::{AhoCorasick, BuildError};

use super::Header;

/// Lets a record pass that holds one of some literals, has a given shape, or is a fragment of a line.
#[derive(Debug, Clone)]
pub struct Filter {
    literals: AhoCorasick,
    shape: fn(&[u8]) -> bool,
}

impl Filter {
    /// A filter for these literals, which may stand anywhere in the text, and for texts of a shape that no literal tells.
    /// Both see the text as it stands on the device, with `\xNN` in it.
    ///
    /// # Errors
    /// When the automaton would be too large, which only a changed table can cause. Retrying does not help.
    pub fn new(literals: &[&str], shape: fn(&[u8]) -> bool) -> Result<Self, BuildError> {
        Ok(Self {
            literals: AhoCorasick::new(literals)?,
            shape,
        })
    }

    pub(crate) fn passes(&self, header: &Header<'_>) -> bool {
        let text = header.raw_text();
        header.is_fragment() || self.literals.is_match(text) || (self.shape)(text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn passes(record: &str) -> bool {
        let filter = Filter::new(&["Killed process"], |text| text.starts_with(b"[ ")).unwrap();
        filter.passes(&Header::parse(record.as_bytes()).unwrap())
    }

    #[test]
    fn literals_shapes_and_fragments_pass_and_the_rest_does_not() {
        assert!(passes("3,1,1,-;Memory cgroup out of memory: Killed process 7 (a)"));
        assert!(passes("6,1,1,-;[   7]     0     7"));
        assert!(passes("6,1,1,c;anything"));
        assert!(!passes("6,1,1,-;usb 1-1: new device\n TEXT=Killed process"));
    }
}
