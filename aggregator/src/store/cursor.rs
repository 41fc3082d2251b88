//! Positions in listings: how a page's last record becomes the start of the next page.

use std::fmt::Write as _;

use inquest_shared::model::{Incident, Key};

use crate::record::{Cursor, OutboxRow, StoredOccurrence};

/// The position after `incident`.
#[must_use]
pub fn cursor_of_incident(incident: &Incident) -> Cursor {
    Cursor {
        at: incident.last_seen,
        id: incident.id.to_string(),
    }
}

/// The position after `row`.
#[must_use]
pub fn cursor_of_delivery(row: &OutboxRow) -> Cursor {
    Cursor {
        at: row.planned_at,
        id: row.id.to_string(),
    }
}

/// The position after `occurrence`: its primary key as hexadecimal digits, joined by dashes.
#[must_use]
pub fn cursor_of_finding(occurrence: &StoredOccurrence) -> Cursor {
    let node = &occurrence.node;
    let id = format!("{}-{}-{}", hex(&node.cluster), hex(&node.uid), occurrence.finding.key);
    Cursor {
        at: occurrence.finding.observed_at,
        id,
    }
}

/// Cluster, node uid and key of a finding's cursor; `None` for one that no listing gave out.
pub(crate) fn finding_key(id: &str) -> Option<(String, String, Key)> {
    let mut parts = id.split('-');
    let found = (
        unhex(parts.next()?)?,
        unhex(parts.next()?)?,
        parts.next()?.parse().ok()?,
    );
    parts.next().is_none().then_some(found)
}

fn hex(text: &str) -> String {
    text.bytes().fold(String::new(), |mut out, byte| {
        let _infallible = write!(out, "{byte:02x}");
        out
    })
}

fn unhex(digits: &str) -> Option<String> {
    let nibble = |c: u8| char::from(c).to_digit(16).and_then(|d| u8::try_from(d).ok());
    if !digits.len().is_multiple_of(2) {
        return None;
    }
    let bytes: Option<Vec<u8>> = digits
        .as_bytes()
        .chunks_exact(2)
        .map(|pair| Some(nibble(*pair.first()?)? << 4 | nibble(*pair.last()?)?))
        .collect();
    String::from_utf8(bytes?).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cursor_names_any_cluster_and_node() {
        let key = Key::kill("b", "kmsg", "1");
        let id = format!("{}-{}-{key}", hex("prod-é"), hex(""));
        assert_eq!(finding_key(&id), Some(("prod-é".to_owned(), String::new(), key)));
    }

    #[test]
    fn a_forged_cursor_is_no_position() {
        for id in [
            "",
            "-",
            "6-6-6",
            "zz-61-00000000000000000000000000000000",
            "ff-61-00000000000000000000000000000000",
            "é--x",
        ] {
            assert_eq!(finding_key(id), None, "{id}");
        }
    }
}
