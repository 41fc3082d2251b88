//! Terminal colours of a text block.

use crate::model::Severity;

/// Whether a text block carries terminal colours; the caller knows its terminal.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Paint {
    /// None.
    #[default]
    Plain,
    /// ANSI escapes (ECMA-48 SGR).
    Ansi,
}

/// What a piece of text is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Style {
    /// Needs somebody.
    Alarm,
    /// Needs a look.
    Warning,
    /// Is well.
    Good,
    /// Is beside the point.
    Faint,
}

impl Style {
    /// The style of a severity.
    #[must_use]
    pub const fn of(severity: Severity) -> Self {
        match severity {
            Severity::Critical | Severity::High => Self::Alarm,
            Severity::Medium => Self::Warning,
            Severity::Low | Severity::Info => Self::Faint,
        }
    }

    const fn sgr(self) -> &'static str {
        match self {
            Self::Alarm => "1;31",
            Self::Warning => "1;33",
            Self::Good => "1;32",
            Self::Faint => "2",
        }
    }
}

impl Paint {
    /// The text in that style. The text must be escaped already.
    #[must_use]
    pub fn apply(self, style: Style, text: &str) -> String {
        match self {
            Self::Plain => text.to_owned(),
            Self::Ansi => format!("\u{1b}[{}m{text}\u{1b}[0m", style.sgr()),
        }
    }
}
