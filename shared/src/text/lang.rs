//! The languages of the catalogue.

use std::str::FromStr;

use crate::model::UnknownCode;

/// Language of a text.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Lang {
    /// English.
    #[default]
    En,
    /// Chinese, simplified.
    Zh,
}

impl Lang {
    /// Every language.
    pub const ALL: &'static [Self] = &[Self::En, Self::Zh];

    /// BCP 47 code.
    #[must_use]
    pub const fn code(self) -> &'static str {
        self.pick("en", "zh")
    }

    /// One of two versions of a text. Every text is given in all languages at once, so none can be missing.
    pub(super) const fn pick<'a>(self, en: &'a str, zh: &'a str) -> &'a str {
        match self {
            Self::En => en,
            Self::Zh => zh,
        }
    }

    /// Between statements.
    pub(super) const fn semicolon(self) -> &'static str {
        self.pick("; ", "；")
    }

    /// Between names.
    pub(super) const fn comma(self) -> &'static str {
        self.pick(", ", "，")
    }

    /// A remark.
    pub(super) fn parenthesis(self, remark: &str) -> String {
        match self {
            Self::En => format!(" ({remark})"),
            Self::Zh => format!("（{remark}）"),
        }
    }
}

impl FromStr for Lang {
    type Err = UnknownCode;

    fn from_str(text: &str) -> Result<Self, UnknownCode> {
        Self::ALL
            .iter()
            .copied()
            .find(|l| l.code() == text)
            .ok_or_else(|| UnknownCode {
                kind: "language",
                given: text.chars().take(64).collect(),
                known: "en, zh".to_owned(),
            })
    }
}
