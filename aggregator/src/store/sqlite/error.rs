//! What a failure of SQLite means for the caller: nothing changed, outcome unknown, or damaged.
//!
//! Must not know tables.

use sqlx::Error;
use thiserror::Error as ThisError;

use crate::store::StoreError;

// Primary result codes, the low byte of an extended one: https://www.sqlite.org/rescode.html
const BUSY: i32 = 5;
const LOCKED: i32 = 6;
const READONLY: i32 = 8;
const CORRUPT: i32 = 11;
const FULL: i32 = 13;
const CANTOPEN: i32 = 14;
const NOTADB: i32 = 26;

/// Somebody else has opened the database for writing since; retrying does not help.
#[derive(Debug, ThisError)]
#[error("this writer holds fence {held} and the database has moved on")]
pub(super) struct FenceLost {
    /// Number taken at opening.
    pub(super) held: i64,
}

/// A payload of a recipe that this release does not know.
#[derive(Debug, ThisError)]
#[error("payload version {0} is not known")]
pub(super) struct UnknownPayload(pub(super) i64);

/// A payload that is not as it was written.
#[derive(Debug, ThisError)]
#[error("the checksum does not fit")]
pub(super) struct BadChecksum;

/// A column that holds what this release never writes.
#[derive(Debug, ThisError)]
#[error("column {column} holds no valid value")]
pub(super) struct BadColumn {
    /// Which column.
    pub(super) column: &'static str,
}

/// A failure before COMMIT was sent, or of a read: nothing was changed.
pub(super) fn refused(what: &'static str) -> impl FnOnce(Error) -> StoreError {
    move |source| {
        if is_damage(&source) {
            damaged(what, source)
        } else {
            StoreError::Refused {
                what,
                source: source.into(),
            }
        }
    }
}

/// A failure of COMMIT itself. SQLite keeps or rolls back the transaction when it is busy or out of space; after an I/O
/// error or a lost connection the commit record may or may not be on disk.
pub(super) fn commit_failed(what: &'static str) -> impl FnOnce(Error) -> StoreError {
    move |source| match primary_code(&source) {
        Some(BUSY | LOCKED | READONLY | FULL | CANTOPEN) => StoreError::Refused {
            what,
            source: source.into(),
        },
        _ => StoreError::Doubtful {
            what,
            source: source.into(),
        },
    }
}

/// A stored record that does not decode.
pub(super) fn damaged(what: &'static str, source: impl std::error::Error + Send + Sync + 'static) -> StoreError {
    StoreError::Damaged {
        what,
        source: Box::new(source),
    }
}

fn is_damage(error: &Error) -> bool {
    matches!(error, Error::ColumnDecode { .. } | Error::Decode(_))
        || matches!(primary_code(error), Some(CORRUPT | NOTADB))
}

fn primary_code(error: &Error) -> Option<i32> {
    let code: i32 = error.as_database_error()?.code()?.parse().ok()?;
    Some(code & 0xff)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Taking a doubtful commit for a refused one would let memory and disk disagree.
    #[test]
    fn a_connection_lost_during_commit_is_doubtful_and_before_it_harmless() {
        assert!(matches!(
            commit_failed("x")(Error::WorkerCrashed),
            StoreError::Doubtful { .. }
        ));
        assert!(matches!(refused("x")(Error::WorkerCrashed), StoreError::Refused { .. }));
    }
}
