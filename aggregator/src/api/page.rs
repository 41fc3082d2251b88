//! Pages of listings: their size, and the token that stands for a position.
//!
//! A token carries a check sum over itself and the filter, so that one that was changed, or is used with another question,
//! is refused instead of leaving records out. It grants nothing: the scope is applied to every page anew.

use base64::{Engine as _, prelude::BASE64_URL_SAFE_NO_PAD};
use inquest_shared::clock::UnixNanos;
use prost::Message;
use sha2::{Digest as _, Sha256};

use super::{filter::About, status::Violations};
use crate::record::Cursor;

/// Records on a page when the caller does not say.
pub(super) const DEFAULT_SIZE: u32 = 100;
/// Most records on a page.
pub(super) const MAX_SIZE: u32 = 1000;
/// A page ends early beyond this, so that it stays below the 4 MiB that gRPC clients accept by default.
/// Source: gRPC documentation, "maximum receive message size".
const MAX_PAGE_BYTES: usize = 3 * 1024 * 1024;
/// Longest token that is looked at; a position is a few hundred bytes.
const MAX_TOKEN: usize = 4 * 1024;
/// Format of tokens; the first byte that is hashed.
const VERSION: u8 = 1;
/// Bytes of the check sum.
const SUM: usize = 16;

/// Records on a page.
pub(super) fn size(given: u32, wrong: &mut Violations) -> u32 {
    match given {
        0 => DEFAULT_SIZE,
        1..=MAX_SIZE => given,
        _ => {
            wrong.add(
                "page_size",
                format!("{given} is too many; 1 to {MAX_SIZE}, or 0 for {DEFAULT_SIZE}"),
            );
            DEFAULT_SIZE
        }
    }
}

/// The token of a position in a listing.
pub(super) fn token(about: About, filter: &impl Message, cursor: &Cursor) -> String {
    let mut bytes = sum(about, filter, cursor.at.0.to_be_bytes(), &cursor.id).to_vec();
    bytes.extend(cursor.at.0.to_be_bytes());
    bytes.extend(cursor.id.as_bytes());
    BASE64_URL_SAFE_NO_PAD.encode(bytes)
}

/// The position of a token; `None` for the first page, and with a violation for a token of another listing.
pub(super) fn cursor(about: About, filter: &impl Message, token: &str, wrong: &mut Violations) -> Option<Cursor> {
    if token.is_empty() {
        return None;
    }
    let cursor = decode(about, filter, token);
    if cursor.is_none() {
        wrong.add(
            "page_token",
            "not a next_page_token of this listing with this filter; start without one",
        );
    }
    cursor
}

fn decode(about: About, filter: &impl Message, token: &str) -> Option<Cursor> {
    let bytes = (token.len() <= MAX_TOKEN)
        .then(|| BASE64_URL_SAFE_NO_PAD.decode(token).ok())
        .flatten()?;
    let (given, position) = bytes.split_first_chunk::<SUM>()?;
    let (at, id) = position.split_first_chunk::<8>()?;
    let id = std::str::from_utf8(id).ok()?;
    let right = sum(about, filter, *at, id) == *given;
    right.then(|| Cursor {
        at: UnixNanos(i64::from_be_bytes(*at)),
        id: id.to_owned(),
    })
}

fn sum(about: About, filter: &impl Message, at: [u8; 8], id: &str) -> [u8; SUM] {
    let listing = match about {
        About::Incidents => 1,
        About::Findings => 2,
        About::Nodes => 3,
        About::Deliveries => 4,
    };
    let mut hash = Sha256::new();
    hash.update([VERSION, listing]);
    hash.update(at);
    hash.update(id);
    hash.update([0]);
    hash.update(filter.encode_to_vec());
    let full: [u8; 32] = hash.finalize().into();
    full.first_chunk().copied().unwrap_or_default()
}

/// The first records as messages, at most `size` of them and about [`MAX_PAGE_BYTES`], and the position after them when
/// more follow.
pub(super) fn cut<T, M: Message>(
    records: &[T],
    size: u32,
    message: impl Fn(&T) -> M,
    position: impl Fn(&T) -> Cursor,
) -> (Vec<M>, Option<Cursor>) {
    let size = usize::try_from(size).unwrap_or(usize::MAX);
    let (mut page, mut bytes) = (Vec::new(), 0_usize);
    for record in records {
        let next = message(record);
        bytes = bytes.saturating_add(next.encoded_len());
        if page.len() >= size || (bytes > MAX_PAGE_BYTES && !page.is_empty()) {
            break;
        }
        page.push(next);
    }
    let last = page.len().checked_sub(1).and_then(|last| records.get(last));
    let next = last.filter(|_| page.len() < records.len()).map(position);
    (page, next)
}

#[cfg(test)]
mod tests {
    use inquest_proto::query::v1::Filter;
    use proptest::prelude::*;

    use super::*;

    fn read(about: About, filter: &Filter, token: &str) -> Option<Cursor> {
        cursor(about, filter, token, &mut Violations::default())
    }

    proptest! {
        /// The second page starts where the first one ended.
        #[test]
        fn a_position_survives_its_token(at in any::<i64>(), id in "[0-9A-Za-z-]{0,80}") {
            let position = Cursor { at: UnixNanos(at), id };
            let token = token(About::Findings, &Filter::default(), &position);
            prop_assert_eq!(read(About::Findings, &Filter::default(), &token), Some(position));
        }

        /// A hostile caller can at worst be refused.
        #[test]
        fn no_text_is_taken_for_a_token(text in "\\PC{1,80}") {
            prop_assert_eq!(read(About::Incidents, &Filter::default(), &text), None);
        }
    }

    #[test]
    fn a_token_is_refused_where_it_does_not_belong() {
        let filter = Filter {
            namespace: "shop".to_owned(),
            ..Filter::default()
        };
        let token = token(
            About::Incidents,
            &filter,
            &Cursor {
                at: UnixNanos(7),
                id: "x".to_owned(),
            },
        );
        assert!(read(About::Incidents, &filter, &token).is_some());
        assert_eq!(read(About::Findings, &filter, &token), None);
        assert_eq!(read(About::Incidents, &Filter::default(), &token), None);
        assert_eq!(read(About::Incidents, &filter, &format!("{token}AA")), None);
        assert_eq!(read(About::Incidents, &filter, &"A".repeat(MAX_TOKEN + 1)), None);
    }

    #[test]
    fn a_page_size_beyond_the_limit_is_named() {
        let mut wrong = Violations::default();
        assert_eq!(
            [size(0, &mut wrong), size(1, &mut wrong), size(1000, &mut wrong)],
            [100, 1, 1000]
        );
        size(1001, &mut wrong);
        assert_eq!(
            wrong.check().unwrap_err().message(),
            "page_size: 1001 is too many; 1 to 1000, or 0 for 100"
        );
    }

    #[test]
    fn a_page_of_large_records_ends_before_a_client_refuses_it() {
        let records = ["a".repeat(2 * 1024 * 1024), "b".repeat(2 * 1024 * 1024)];
        let message = |text: &String| Filter {
            cluster: text.clone(),
            ..Filter::default()
        };
        let position = |text: &String| Cursor {
            at: UnixNanos(1),
            id: text.chars().take(1).collect(),
        };
        let (page, next) = cut(&records, 10, message, position);
        assert_eq!((page.len(), next.unwrap().id.as_str()), (1, "a"));
        let (page, next) = cut(&records[..1], 10, message, position);
        assert_eq!((page.len(), next), (1, None));
    }
}
