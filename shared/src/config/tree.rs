//! A YAML document as a tree in which every node knows its line and column.
//!
//! Owns parsing and nothing else. Must not know which keys exist or what they mean.

use std::fmt;

use serde::de::{Deserialize, Deserializer, MapAccess, SeqAccess, Visitor};
use serde_saphyr::{Location, Spanned};

use super::problem::{Place, Problem, quote};

/// Deepest nesting; reading is recursive, and the deepest key of our schemas is on level 5.
const MAX_DEPTH: usize = 32;
/// Most values in one file; the largest that the size limit allows without nonsense has fewer.
const MAX_NODES: usize = 100_000;
/// Most anchors; each can be used many times, so they bound how much a small file can grow.
const MAX_ANCHORS: usize = 100;

/// A value and where it stands in the file.
#[derive(Debug, Clone)]
pub(super) struct Node {
    pub(super) value: Value,
    pub(super) place: Place,
}

/// The shape of a value. Scalars keep the text as it was written.
#[derive(Debug, Clone)]
pub(super) enum Value {
    Null,
    Scalar(String),
    List(Vec<Node>),
    Map(Vec<(String, Place, Node)>),
}

impl Value {
    /// What the value is, in the words of an error message.
    pub(super) const fn describe(&self) -> &'static str {
        match self {
            Self::Null => "nothing",
            Self::Scalar(_) => "a single value",
            Self::List(_) => "a list",
            Self::Map(_) => "a section",
        }
    }
}

/// Parses one document. An empty one is an empty map.
pub(super) fn parse(text: &str) -> Result<Node, Problem> {
    let options = serde_saphyr::options! {
        strict_booleans: true,
        budget: serde_saphyr::budget! { max_depth: MAX_DEPTH, max_nodes: MAX_NODES, max_anchors: MAX_ANCHORS },
    };
    match serde_saphyr::from_str_with_options::<Spanned<Raw>>(text, options) {
        Ok(root) => Ok(node_of(root, text)),
        Err(error) => {
            let plain = error.without_snippet();
            let place = plain.location().map_or_else(Place::start, place_of);
            Err(Problem::syntax(place, explain(plain)))
        }
    }
}

/// The parser's words, without the position that the message has already.
fn explain(error: &serde_saphyr::Error) -> String {
    if let serde_saphyr::Error::DuplicateMappingKey { key, .. } = error {
        let key = key.as_deref().map_or_else(|| "a key".to_owned(), quote);
        return format!("{key} is given twice in one section");
    }
    if matches!(error, serde_saphyr::Error::MultipleDocuments { .. }) {
        return "a second document begins here; expected one".to_owned();
    }
    let text = error.to_string();
    // An alias wraps the error of what it stands for, so the words tell more than the variant.
    if text.contains("budget breached: Depth") {
        return format!("nested deeper than {MAX_DEPTH} levels");
    }
    if text.contains("budget breached") {
        return "grows too large when its aliases are put in".to_owned();
    }
    let what = text.rsplit_once(" at line ").map_or(text.as_str(), |(what, _)| what);
    format!("not valid YAML: {what}")
}

/// What serde can tell about a node before its text is looked up.
enum Raw {
    Null,
    /// A quoted or untyped scalar: its text.
    Text(String),
    /// A scalar that YAML takes for a number or a boolean: `007` must stay `007`, so the text is
    /// taken from the source, and this spelling is only for nodes without a position.
    Typed(String),
    List(Vec<Spanned<Raw>>),
    Map(Vec<(Spanned<String>, Spanned<Raw>)>),
}

fn node_of(raw: Spanned<Raw>, text: &str) -> Node {
    let place = place_of(raw.referenced);
    let value = match raw.value {
        Raw::Null => Value::Null,
        Raw::Text(scalar) => Value::Scalar(scalar),
        Raw::Typed(fallback) => Value::Scalar(source_text(raw.defined, text).unwrap_or(fallback)),
        Raw::List(items) => Value::List(items.into_iter().map(|item| node_of(item, text)).collect()),
        Raw::Map(entries) => Value::Map(
            entries
                .into_iter()
                .map(|(key, value)| {
                    let place = place_of(key.referenced);
                    (key.value, place, node_of(value, text))
                })
                .collect(),
        ),
    };
    Node { value, place }
}

fn source_text(location: Location, text: &str) -> Option<String> {
    let span = location.span();
    let start = usize::try_from(span.byte_offset()?).ok()?;
    let len = usize::try_from(span.byte_len()?).ok()?;
    let written = text.get(start..start.checked_add(len)?)?.trim();
    (!written.is_empty()).then(|| written.to_owned())
}

fn place_of(location: Location) -> Place {
    Place {
        line: location.line().max(1),
        column: location.column().max(1),
    }
}

impl<'de> Deserialize<'de> for Raw {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(RawVisitor)
    }
}

struct RawVisitor;

impl<'de> Visitor<'de> for RawVisitor {
    type Value = Raw;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a value, a list or a section")
    }

    fn visit_unit<E>(self) -> Result<Raw, E> {
        Ok(Raw::Null)
    }

    fn visit_none<E>(self) -> Result<Raw, E> {
        Ok(Raw::Null)
    }

    fn visit_bool<E>(self, value: bool) -> Result<Raw, E> {
        Ok(Raw::Typed(value.to_string()))
    }

    fn visit_i64<E>(self, value: i64) -> Result<Raw, E> {
        Ok(Raw::Typed(value.to_string()))
    }

    fn visit_u64<E>(self, value: u64) -> Result<Raw, E> {
        Ok(Raw::Typed(value.to_string()))
    }

    fn visit_f64<E>(self, value: f64) -> Result<Raw, E> {
        Ok(Raw::Typed(value.to_string()))
    }

    fn visit_str<E>(self, value: &str) -> Result<Raw, E> {
        Ok(Raw::Text(value.to_owned()))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Raw, A::Error> {
        let mut items = Vec::new();
        while let Some(item) = seq.next_element()? {
            items.push(item);
        }
        Ok(Raw::List(items))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Raw, A::Error> {
        let mut entries = Vec::new();
        while let Some(entry) = map.next_entry()? {
            entries.push(entry);
        }
        Ok(Raw::Map(entries))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn map_of(text: &str) -> Vec<(String, Place, Node)> {
        match parse(text).unwrap().value {
            Value::Map(entries) => entries,
            other => panic!("not a map: {other:?}"),
        }
    }

    #[test]
    fn keys_and_values_know_where_they_stand() {
        let entries = map_of("a: 1\nb:\n  - x\n");
        assert_eq!(entries[1].1, Place { line: 2, column: 1 });
        let Value::List(items) = &entries[1].2.value else {
            panic!("not a list")
        };
        assert_eq!(items[0].place, Place { line: 3, column: 5 });
    }

    #[test]
    fn scalars_keep_the_spelling_of_the_file() {
        for spelling in ["007", "1e3", "0x10", "1.50", "true", "30s", "\u{e9}t\u{e9}"] {
            let entries = map_of(&format!("# \u{e9}\nkey: {spelling} # why\n"));
            let Value::Scalar(text) = &entries[0].2.value else {
                panic!("{spelling}: not a scalar")
            };
            assert_eq!(text, spelling);
        }
    }

    #[test]
    fn an_empty_file_has_no_keys() {
        for text in ["", "# only a comment\n", "---\n"] {
            assert!(matches!(parse(text).unwrap().value, Value::Null), "{text:?}");
        }
    }

    #[test]
    fn broken_yaml_and_repeated_keys_name_their_line() {
        for (text, line) in [("a: 1\nb: [1, 2\n", 2), ("a: 1\na: 2\n", 2)] {
            let problem = parse(text).unwrap_err();
            assert!(problem.to_string().contains(&format!("{line}:")), "{problem}");
        }
    }

    proptest::proptest! {
        #[test]
        fn no_text_makes_the_parser_panic(text in "\\PC*") {
            drop(parse(&text));
        }
    }
}
