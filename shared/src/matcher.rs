//! The one matcher grammar, as in Alertmanager: `name="value"` with `=`, `!=`, `=~` or `!~`.
//!
//! Owns parsing and comparing. Must not know which labels exist.

use std::fmt;

use regex_lite::{Regex, RegexBuilder};
use thiserror::Error;

/// Longest accepted matcher; a pattern this long cannot grow past [`MAX_PROGRAM_BYTES`] by accident.
const MAX_MATCHER_BYTES: usize = 1024;
/// Characters that a value has only in quotes, so that `a == b` is a mistake and not the value `=`. Source:
/// Alertmanager's matcher syntax.
const RESERVED: &str = "{}!=~,\\\"'`";
/// Most memory that one compiled pattern may take.
const MAX_PROGRAM_BYTES: usize = 256 * 1024;

/// One condition on one label. A label that is missing has the empty value.
#[derive(Debug, Clone)]
pub struct Matcher {
    name: String,
    value: String,
    test: Test,
}

#[derive(Debug, Clone)]
enum Test {
    Equal,
    NotEqual,
    Like(Regex),
    Unlike(Regex),
}

/// Why a text is no matcher. Positions count characters from 1. Trying again does not help.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum MatcherError {
    /// There is no label name where one must be.
    #[error("position {position}: expected a label name of letters, digits and _")]
    Name {
        /// Where.
        position: usize,
    },
    /// There is no operator after the name.
    #[error("position {position}: expected one of =, !=, =~, !~")]
    Operator {
        /// Where.
        position: usize,
    },
    /// A quoted value does not end, or has an escape other than `\"`, `\\` and `\n`.
    #[error("position {position}: {expected}")]
    Value {
        /// Where.
        position: usize,
        /// What should stand there.
        expected: &'static str,
    },
    /// Something follows the value.
    #[error("position {position}: unexpected text after the value")]
    Trailing {
        /// Where.
        position: usize,
    },
    /// The pattern is no regular expression.
    #[error("position {position}: invalid pattern: {source}")]
    Pattern {
        /// Where the value begins.
        position: usize,
        /// What is wrong with it.
        #[source]
        source: regex_lite::Error,
    },
    /// The text is longer than 1024 bytes.
    #[error("longer than {MAX_MATCHER_BYTES} bytes")]
    TooLong,
}

impl Matcher {
    /// Reads one matcher: `severity=~"high|critical"`; the quotes may be left out around a value without spaces
    /// and without any of ``{}!=~,\"'` ``. Patterns are anchored at both ends.
    ///
    /// # Errors
    /// [`MatcherError`] with the position; the same text fails again.
    pub fn parse(text: &str) -> Result<Self, MatcherError> {
        if text.len() > MAX_MATCHER_BYTES {
            return Err(MatcherError::TooLong);
        }
        let mut rest = Rest { text, left: text };
        rest.skip_spaces();
        let name = rest.name()?;
        rest.skip_spaces();
        let operator = rest.operator()?;
        rest.skip_spaces();
        let position = rest.position();
        let value = rest.value()?;
        rest.skip_spaces();
        if !rest.left.is_empty() {
            return Err(MatcherError::Trailing {
                position: rest.position(),
            });
        }
        let pattern = || anchored(&value).map_err(|source| MatcherError::Pattern { position, source });
        let test = match operator {
            "=" => Test::Equal,
            "!=" => Test::NotEqual,
            "=~" => Test::Like(pattern()?),
            _ => Test::Unlike(pattern()?),
        };
        Ok(Self { name, value, test })
    }

    /// The label that it looks at.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Whether the label's value fulfils the condition; pass the empty string for a missing label.
    #[must_use]
    pub fn matches(&self, value: &str) -> bool {
        match &self.test {
            Test::Equal => value == self.value,
            Test::NotEqual => value != self.value,
            Test::Like(pattern) => pattern.is_match(value),
            Test::Unlike(pattern) => !pattern.is_match(value),
        }
    }
}

impl fmt::Display for Matcher {
    /// The form that [`Matcher::parse`] reads, always quoted.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let operator = match self.test {
            Test::Equal => "=",
            Test::NotEqual => "!=",
            Test::Like(_) => "=~",
            Test::Unlike(_) => "!~",
        };
        let value = self
            .value
            .replace('\\', "\\\\")
            .replace('"', "\\\"")
            .replace('\n', "\\n");
        write!(f, "{}{operator}\"{value}\"", self.name)
    }
}

/// Compiles the pattern alone first, so that an unbalanced one cannot break out of the anchors.
fn anchored(pattern: &str) -> Result<Regex, regex_lite::Error> {
    let compile = |pattern: &str| RegexBuilder::new(pattern).size_limit(MAX_PROGRAM_BYTES).build();
    compile(pattern)?;
    compile(&format!("^(?:{pattern})$"))
}

/// What is still to be read.
struct Rest<'a> {
    text: &'a str,
    left: &'a str,
}

impl<'a> Rest<'a> {
    fn position(&self) -> usize {
        self.text
            .chars()
            .count()
            .saturating_sub(self.left.chars().count())
            .saturating_add(1)
    }

    fn skip_spaces(&mut self) {
        self.left = self.left.trim_start();
    }

    /// Takes the characters for which `belongs` holds.
    fn take(&mut self, belongs: impl Fn(char) -> bool) -> &'a str {
        let end = self.left.find(|c| !belongs(c)).unwrap_or(self.left.len());
        let (taken, left) = self.left.split_at_checked(end).unwrap_or((self.left, ""));
        self.left = left;
        taken
    }

    fn name(&mut self) -> Result<String, MatcherError> {
        let position = self.position();
        let name = self.take(|c| c.is_ascii_alphanumeric() || c == '_');
        if name.is_empty() || name.starts_with(|c: char| c.is_ascii_digit()) {
            return Err(MatcherError::Name { position });
        }
        Ok(name.to_owned())
    }

    fn operator(&mut self) -> Result<&'static str, MatcherError> {
        for operator in ["=~", "!~", "!=", "="] {
            if let Some(left) = self.left.strip_prefix(operator) {
                self.left = left;
                return Ok(operator);
            }
        }
        Err(MatcherError::Operator {
            position: self.position(),
        })
    }

    fn value(&mut self) -> Result<String, MatcherError> {
        match self.left.strip_prefix('"') {
            Some(left) => {
                self.left = left;
                self.quoted()
            }
            None => Ok(self.take(|c| !c.is_whitespace() && !RESERVED.contains(c)).to_owned()),
        }
    }

    fn quoted(&mut self) -> Result<String, MatcherError> {
        let mut value = String::new();
        let mut chars = self.left.chars();
        loop {
            let position = self.position();
            match chars.next() {
                Some('"') => {
                    self.left = chars.as_str();
                    return Ok(value);
                }
                Some('\\') => value.push(match chars.next() {
                    Some('n') => '\n',
                    Some(c @ ('"' | '\\')) => c,
                    _ => {
                        return Err(MatcherError::Value {
                            position,
                            expected: "expected \\\", \\\\ or \\n after \\",
                        });
                    }
                }),
                Some(c) => value.push(c),
                None => {
                    return Err(MatcherError::Value {
                        position,
                        expected: "expected a closing quote",
                    });
                }
            }
            self.left = chars.as_str();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_operator_means_what_it_means_in_alertmanager() {
        for (matcher, value, expected) in [
            (r#"severity="high""#, "high", true),
            ("severity=high", "higher", false),
            (r#"namespace != "kube-system""#, "shop", true),
            (r#"namespace!="kube-system""#, "kube-system", false),
            (r#"severity=~"high|critical""#, "critical", true),
            (r#"severity=~"high|critical""#, "highest", false),
            (r#"severity=~"igh""#, "high", false),
            (r#" workload !~ "web-.*" "#, "api", true),
            (r#"workload!~"web-.*""#, "web-1", false),
            (r#"node="""#, "", true),
            ("node=", "", true),
            (r#"workload=~".+""#, "", false),
        ] {
            assert_eq!(
                Matcher::parse(matcher).unwrap().matches(value),
                expected,
                "{matcher} on {value:?}"
            );
        }
    }

    #[test]
    fn a_mistake_is_shown_with_its_position() {
        for (text, expected) in [
            ("", "position 1: expected a label name"),
            ("9x=1", "position 1: expected a label name"),
            ("severity", "position 9: expected one of"),
            ("severity == high", "position 11: unexpected text"),
            ("a=\"b", "position 5: expected a closing quote"),
            ("é", "position 1: expected a label name"),
            ("a=\"é\\x\"", "position 5: expected \\\""),
            ("a=\"b\" c", "position 7: unexpected text"),
            ("a=b c", "position 5: unexpected text"),
            ("a=~\"(\"", "position 4: invalid pattern"),
            ("a=~\"x)|(?:.*\"", "position 4: invalid pattern"),
        ] {
            let error = Matcher::parse(text).unwrap_err().to_string();
            assert!(error.starts_with(expected), "{text}: {error}");
        }
    }

    #[test]
    fn a_pattern_that_would_eat_the_memory_is_refused() {
        let error = Matcher::parse(r#"a=~"((x{1000}){1000}){1000}""#).unwrap_err();
        assert!(matches!(error, MatcherError::Pattern { .. }), "{error}");
        assert_eq!(Matcher::parse(&"a".repeat(1025)).unwrap_err(), MatcherError::TooLong);
    }

    proptest::proptest! {
        #[test]
        fn no_text_breaks_the_parser(text in "\\PC{0,60}|[a-z]=~?\"?[^a]{0,20}\"?") {
            if let Ok(matcher) = Matcher::parse(&text) {
                let again = Matcher::parse(&matcher.to_string()).unwrap();
                proptest::prop_assert_eq!(again.to_string(), matcher.to_string());
            }
        }

        #[test]
        fn any_value_can_be_quoted(value in "\\PC{0,40}") {
            let quoted = value.replace('\\', "\\\\").replace('"', "\\\"");
            let matcher = Matcher::parse(&format!("a=\"{quoted}\"")).unwrap();
            proptest::prop_assert!(matcher.matches(&value));
        }
    }
}
