//! The version of an agent against the aggregator's. Pure.
//!
//! Owns the comparison by Semantic Versioning 2.0.0, 11. Both sides speak one contract, so a difference is a note and not
//! an error.

use inquest_proto::query::v1::VersionSkew;

/// Ours.
const OURS: &str = env!("CARGO_PKG_VERSION");

/// How an agent's version stands to the aggregator's.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Skew {
    /// It said none, or none that can be compared.
    Unknown,
    /// Equal, build metadata aside.
    Same,
    /// The agent waits for its rollout.
    Older,
    /// The aggregator does.
    Newer,
}

impl Skew {
    /// Of an agent that says it has `version`.
    #[must_use]
    pub fn of(version: &str) -> Self {
        Self::between(version, OURS)
    }

    fn between(agent: &str, aggregator: &str) -> Self {
        let (Some(agent), Some(aggregator)) = (Version::parse(agent), Version::parse(aggregator)) else {
            return Self::Unknown;
        };
        match agent.cmp(&aggregator) {
            std::cmp::Ordering::Less => Self::Older,
            std::cmp::Ordering::Equal => Self::Same,
            std::cmp::Ordering::Greater => Self::Newer,
        }
    }

    /// Value of the metric label.
    #[must_use]
    pub const fn label(self) -> &'static str {
        match self {
            Self::Unknown => "unknown",
            Self::Same => "same",
            Self::Older => "older",
            Self::Newer => "newer",
        }
    }

    /// As the API tells it.
    #[must_use]
    pub const fn to_wire(self) -> VersionSkew {
        match self {
            Self::Unknown => VersionSkew::Unspecified,
            Self::Same => VersionSkew::Same,
            Self::Older => VersionSkew::Older,
            Self::Newer => VersionSkew::Newer,
        }
    }
}

/// The parts in the order of their weight. A release is newer than its pre-releases.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Version {
    numbers: [u64; 3],
    released: bool,
    pre: Vec<Word>,
}

/// One identifier of a pre-release: numbers are older than words.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Word {
    Number(u64),
    Text(String),
}

impl Version {
    fn parse(text: &str) -> Option<Self> {
        let text = text.split('+').next()?;
        let (release, pre) = text.split_once('-').unwrap_or((text, ""));
        let mut parts = release.split('.');
        let mut number = || parts.next()?.parse().ok();
        let numbers = [number()?, number()?, number()?];
        let words = pre.split('.').filter(|word| !word.is_empty());
        let word = |word: &str| word.parse().map_or_else(|_| Word::Text(word.to_owned()), Word::Number);
        parts.next().is_none().then(|| Self {
            numbers,
            released: pre.is_empty(),
            pre: words.map(word).collect(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_stand_as_semantic_versioning_orders_them() {
        let rising = [
            "0.9.9",
            "1.0.0-alpha",
            "1.0.0-alpha.1",
            "1.0.0-alpha.beta",
            "1.0.0-beta.2",
            "1.0.0-beta.11",
            "1.0.0-rc.1",
            "1.0.0",
            "1.0.1",
            "1.10.0",
        ];
        for (older, one) in rising.iter().enumerate() {
            for (newer, other) in rising.iter().enumerate() {
                let expected = match older.cmp(&newer) {
                    std::cmp::Ordering::Less => Skew::Older,
                    std::cmp::Ordering::Equal => Skew::Same,
                    std::cmp::Ordering::Greater => Skew::Newer,
                };
                assert_eq!(Skew::between(one, other), expected, "{one} {other}");
            }
        }
        assert_eq!(Skew::between("1.0.0+a", "1.0.0+b"), Skew::Same);
    }

    #[test]
    fn what_is_no_version_is_neither_older_nor_newer() {
        for text in ["", "1", "1.2", "1.2.3.4", "by hand", "v1.2.3", "1.2.-3"] {
            assert_eq!(Skew::between(text, "1.0.0"), Skew::Unknown, "{text}");
        }
        assert_eq!(Skew::of(OURS), Skew::Same);
    }

    proptest::proptest! {
        #[test]
        fn any_text_is_compared_without_panic(text in "\\PC*") {
            let _skew = Skew::of(&text);
        }
    }
}
