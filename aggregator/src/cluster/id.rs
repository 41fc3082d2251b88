//! Identifiers of objects and containers in their smallest form.
//!
//! Owns the two types and their spelling. Must not know what they identify. A cluster of 150,000 pods holds more than half a
//! million of them, so a UUID is 16 bytes and a container id 32, and only what has another form is kept as text.

use std::fmt;

/// Longest identifier kept as text. Source: no name in Kubernetes has more than 253 characters.
const MAX_TEXT: usize = 253;

/// The `metadata.uid` of an object, or what stands in its place: the kubelet puts the name of the node into events about the
/// node, and the configuration hash into events about static pods.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Uid {
    /// A UUID in its canonical, lower-case spelling.
    Uuid([u8; 16]),
    /// Anything else; at most 253 bytes.
    Text(Box<str>),
}

impl Uid {
    /// Reads any text; one that is too long is cut.
    #[must_use]
    pub fn parse(text: &str) -> Self {
        match uuid(text) {
            Some(bytes) => Self::Uuid(bytes),
            None => Self::Text(bounded(text, MAX_TEXT)),
        }
    }
}

impl fmt::Display for Uid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let bytes = match self {
            Self::Text(text) => return f.write_str(text),
            Self::Uuid(bytes) => bytes,
        };
        for (index, byte) in bytes.iter().enumerate() {
            let dash = if matches!(index, 4 | 6 | 8 | 10) { "-" } else { "" };
            write!(f, "{dash}{byte:02x}")?;
        }
        Ok(())
    }
}

impl fmt::Debug for Uid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// A container id without the name of its runtime.
#[derive(Clone, PartialEq, Eq, Hash)]
pub enum ContainerId {
    /// 64 lower-case hexadecimal digits, as containerd, CRI-O and Docker make them.
    Hash([u8; 32]),
    /// Anything else; at most 253 bytes.
    Text(Box<str>),
}

impl ContainerId {
    /// Reads an id with or without its runtime (`containerd://…`); `None` when it is empty, as before the first start.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let bare = text.split_once("://").map_or(text, |(_, bare)| bare);
        let mut bytes = [0; 32];
        if hex(bare, &mut bytes) {
            return Some(Self::Hash(bytes));
        }
        (!bare.is_empty()).then(|| Self::Text(bounded(bare, MAX_TEXT)))
    }
}

impl fmt::Display for ContainerId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Text(text) => f.write_str(text),
            Self::Hash(bytes) => bytes.iter().try_for_each(|byte| write!(f, "{byte:02x}")),
        }
    }
}

impl fmt::Debug for ContainerId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// A text cut at a character boundary so that it has at most `max` bytes.
pub(super) fn bounded(text: &str, max: usize) -> Box<str> {
    text.get(..text.floor_char_boundary(max)).unwrap_or_default().into()
}

fn uuid(text: &str) -> Option<[u8; 16]> {
    let dashes = [8, 13, 18, 23];
    let well_placed = text
        .bytes()
        .enumerate()
        .all(|(index, byte)| (byte == b'-') == dashes.contains(&index));
    if text.len() != 36 || !well_placed {
        return None;
    }
    let mut digits = [0; 32];
    for (slot, byte) in digits.iter_mut().zip(text.bytes().filter(|byte| *byte != b'-')) {
        *slot = byte;
    }
    let mut bytes = [0; 16];
    hex(std::str::from_utf8(&digits).ok()?, &mut bytes).then_some(bytes)
}

/// Reads exactly as many lower-case digits as fill `bytes`.
fn hex(text: &str, bytes: &mut [u8]) -> bool {
    let digit = |byte: u8| match byte {
        b'0'..=b'9' => Some(byte - b'0'),
        b'a'..=b'f' => Some(byte - b'a' + 10),
        _ => None,
    };
    if text.len() != bytes.len() * 2 {
        return false;
    }
    for (slot, pair) in bytes.iter_mut().zip(text.as_bytes().chunks_exact(2)) {
        let (Some(high), Some(low)) = (digit(pair[0]), digit(pair[1])) else {
            return false;
        };
        *slot = high << 4 | low;
    }
    true
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_of_a_runtime_is_found_with_and_without_its_scheme() {
        let bare = "0123456789abcdef".repeat(4);
        let id = ContainerId::parse(&format!("containerd://{bare}")).unwrap();
        assert_eq!(ContainerId::parse(&bare), Some(id.clone()));
        assert_eq!(id.to_string(), bare);
        assert_eq!(ContainerId::parse(""), None);
        assert_eq!(ContainerId::parse("docker://"), None);
    }

    #[test]
    fn a_uuid_takes_sixteen_bytes_and_a_node_name_stays_text() {
        assert_eq!(
            Uid::parse("4b8a9cf2-f4f7-436c-9ca0-e229ca363d7a").to_string(),
            "4b8a9cf2-f4f7-436c-9ca0-e229ca363d7a"
        );
        assert!(matches!(
            Uid::parse("4b8a9cf2-f4f7-436c-9ca0-e229ca363d7a"),
            Uid::Uuid(_)
        ));
        assert!(matches!(Uid::parse("node1"), Uid::Text(_)));
        assert!(size_of::<Uid>() <= 24);
    }

    proptest::proptest! {
        #[test]
        fn every_short_identifier_is_given_back_as_it_came(text in "[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}|.{0,60}|[0-9a-fA-F-]{36}") {
            proptest::prop_assert_eq!(Uid::parse(&text).to_string(), text);
        }

        #[test]
        fn no_text_is_too_odd_or_too_long(text in ".{0,400}") {
            let uid = Uid::parse(&text).to_string();
            proptest::prop_assert!(uid.len() <= MAX_TEXT && text.starts_with(&uid));
            if let Some(id) = ContainerId::parse(&text) {
                proptest::prop_assert!(id.to_string().len() <= MAX_TEXT);
            }
        }
    }
}
