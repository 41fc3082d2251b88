//! Takes secrets out of log lines before they leave the node, or the apiserver's answer. Owns the patterns; pure.
//!
//! A pattern errs on the side of taking too much: a lost word is cheaper than a leaked password.

use std::sync::{Arc, PoisonError, RwLock};

use regex_lite::Regex;

/// What stands where a secret was.
pub const MASK: &str = "[redacted]";

/// Shapes of secrets. The part named `secret` is replaced; without that name the whole match is.
const PATTERNS: &[&str] = &[
    // HTTP credentials (RFC 9110 section 11, RFC 6750).
    r"(?i)\b(?:authorization|proxy-authorization)\b\s*[:=]\s*(?:bearer|basic|token)?\s*(?P<secret>[^\s,;]{4,})",
    r"(?i)\bbearer\s+(?P<secret>[A-Za-z0-9._~+/=-]{8,})",
    // JSON web token (RFC 7519): three base64url parts.
    r"\beyJ[A-Za-z0-9_-]{6,}\.[A-Za-z0-9_-]{6,}\.[A-Za-z0-9_-]*",
    // Key blocks (RFC 7468); a tail may hold only a part of one.
    r"-----BEGIN [A-Z ]*PRIVATE KEY-----.*",
    // Access keys of AWS, Google, GitHub, Slack, by their published prefixes.
    r"\b(?:AKIA|ASIA)[0-9A-Z]{16}\b",
    r"\bAIza[0-9A-Za-z_-]{35}",
    r"\bgh[pousr]_[0-9A-Za-z]{20,}",
    r"\bxox[abeprs]-[0-9A-Za-z-]{10,}",
    // User information of a URL (RFC 3986 section 3.2.1).
    r"[a-z][a-z0-9+.-]*://[^\s/:@]*:(?P<secret>[^\s/@]+)@",
    // name=value pairs whose name says it.
    r#"(?i)(?:password|passwd|pwd|secret|api[_-]?key|access[_-]?key|private[_-]?key|client[_-]?secret|token)["']?\s*[:=]\s*["']?(?P<secret>[^\s"',;&]{3,})"#,
];

/// A pattern of the configuration that does not compile.
#[derive(Debug, thiserror::Error)]
#[error("redaction pattern {index} is not a regular expression: {pattern}")]
pub struct BadPattern {
    /// Place in the list, from 0.
    pub index: usize,
    /// The pattern.
    pub pattern: String,
    /// What is wrong.
    #[source]
    pub source: regex_lite::Error,
}

/// Built-in and configured patterns, compiled once.
#[derive(Debug)]
pub struct Redactor {
    /// Replaced as a whole while lines are read.
    patterns: RwLock<Arc<[Regex]>>,
}

impl Redactor {
    /// Compiles the built-in patterns and `extra`.
    ///
    /// # Errors
    /// [`BadPattern`] names the pattern; retrying does not help.
    pub fn new(extra: &[String]) -> Result<Self, BadPattern> {
        Ok(Self {
            patterns: RwLock::new(compile(extra)?),
        })
    }

    /// Uses the built-in patterns and `extra` from the next line on.
    ///
    /// # Errors
    /// As [`Redactor::new`]; the old ones stay.
    pub fn replace(&self, extra: &[String]) -> Result<(), BadPattern> {
        let patterns = compile(extra)?;
        *self.patterns.write().unwrap_or_else(PoisonError::into_inner) = patterns;
        Ok(())
    }

    /// Masks every secret of a line; returns the line and how many were taken out.
    #[must_use]
    pub fn redact(&self, line: &str) -> (String, u32) {
        let mut text = line.to_owned();
        let mut count = 0;
        let patterns = Arc::clone(&self.patterns.read().unwrap_or_else(PoisonError::into_inner));
        for pattern in patterns.iter() {
            if pattern.is_match(&text) {
                text = mask(pattern, &text, &mut count);
            }
        }
        (text, count)
    }
}

fn compile(extra: &[String]) -> Result<Arc<[Regex]>, BadPattern> {
    let all = PATTERNS
        .iter()
        .map(|p| (*p).to_owned())
        .chain(extra.iter().cloned())
        .enumerate();
    let compile = |(index, pattern): (usize, String)| {
        Regex::new(&pattern).map_err(|source| BadPattern {
            index: index.saturating_sub(PATTERNS.len()),
            pattern,
            source,
        })
    };
    all.map(compile).collect()
}

fn mask(pattern: &Regex, text: &str, count: &mut u32) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = 0;
    for found in pattern.captures_iter(text) {
        let Some(secret) = found.name("secret").or_else(|| found.get(0)) else {
            continue;
        };
        out.push_str(text.get(rest..secret.start()).unwrap_or_default());
        rest = secret.end();
        out.push_str(MASK);
        *count = count.saturating_add(u32::from(secret.as_str() != MASK));
    }
    out.push_str(text.get(rest..).unwrap_or_default());
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn secrets_of_every_known_shape_stay_on_the_node() {
        let redactor = Redactor::new(&[r"card-(?P<secret>\d{4})".to_owned()]).unwrap();
        let lines = [
            ("Authorization: Bearer canary12345", "Authorization: Bearer [redacted]"),
            ("got eyJhbGciOiJI.eyJzdWIiOiIx.c2lnbmF0 ok", "got [redacted] ok"),
            ("-----BEGIN RSA PRIVATE KEY----- canary", "[redacted]"),
            ("key AKIAIOSFODNN7EXAMPLE", "key [redacted]"),
            (
                "dial postgres://app:canary@db:5432/x",
                "dial postgres://app:[redacted]@db:5432/x",
            ),
            (
                r#"{"password": "canary", "user": "u"}"#,
                r#"{"password": "[redacted]", "user": "u"}"#,
            ),
            ("DB_PASSWORD=canary retry", "DB_PASSWORD=[redacted] retry"),
            ("api-key: canary;", "api-key: [redacted];"),
            ("card-1234", "card-[redacted]"),
        ];
        for (line, expected) in lines {
            let (text, count) = redactor.redact(line);
            assert_eq!(text, expected);
            assert!(count >= 1, "{line}");
        }
    }

    #[test]
    fn ordinary_lines_pass_unchanged() {
        let redactor = Redactor::new(&[]).unwrap();
        for line in [
            "GET /tokens 200",
            "config key DB_URL missing",
            "author: x",
            "https://example.org/a:b@c",
        ] {
            assert_eq!(redactor.redact(line), (line.to_owned(), 0));
        }
    }

    #[test]
    fn patterns_are_replaced_as_a_whole_and_a_broken_list_leaves_the_old() {
        let redactor = Redactor::new(&["one".to_owned()]).unwrap();
        redactor.replace(&["two".to_owned()]).unwrap();
        assert!(redactor.replace(&["three".to_owned(), "(".to_owned()]).is_err());
        assert_eq!(redactor.redact("one two three").0, "one [redacted] three");
        assert_eq!(redactor.redact("Bearer canary12345").0, "Bearer [redacted]");
    }

    #[test]
    fn a_broken_pattern_is_named() {
        let error = Redactor::new(&["ok".to_owned(), "(".to_owned()]).unwrap_err();
        assert_eq!(error.to_string(), "redaction pattern 1 is not a regular expression: (");
    }
}
