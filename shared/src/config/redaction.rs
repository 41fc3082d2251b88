//! `redaction`: what is blanked in log lines beside the built-in patterns, in both programs.

use super::Section;

/// Reads `redaction.patterns`: regular expressions.
pub(super) fn patterns(section: &mut Section<'_, '_>) -> Vec<String> {
    let patterns: Vec<String> = section.list("patterns", Vec::new());
    for (index, pattern) in patterns.iter().enumerate() {
        if let Err(error) = regex_lite::Regex::new(pattern) {
            section.reject(
                "patterns",
                &format!("item {index} is not a regular expression: {error}"),
            );
        }
    }
    patterns
}
