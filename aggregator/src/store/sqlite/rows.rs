//! Many rows in one statement. Owns how a list is cut into statements and handed over; must not know tables.
//!
//! Each statement costs a hand-over to SQLite's thread and back, which is dearer than the row. Only a few lengths are
//! used, so that every statement stays prepared in the connection's cache.

use sqlx::{Sqlite, SqliteConnection, query::Query, sqlite::SqliteArguments};

use super::error::refused;
use crate::store::StoreError;

/// A statement with values.
pub(super) type Bound<'q> = Query<'q, Sqlite, SqliteArguments>;

/// Rows of one statement, largest first. 64 rows of 14 columns stay far below SQLite's limit of 32,766 variables
/// (`SQLITE_MAX_VARIABLE_NUMBER`).
const LENGTHS: [usize; 3] = [64, 8, 1];

/// One insertion, written out for each length.
pub(super) struct Insertion([(usize, String); 3]);

impl Insertion {
    /// An insertion of `columns` values per row between `before` ("INSERT INTO … VALUES") and `after` ("ON CONFLICT …").
    pub(super) fn new(before: &str, columns: usize, after: &str) -> Self {
        let row = format!("({})", vec!["?"; columns].join(", "));
        Self(LENGTHS.map(|length| {
            let rows = vec![row.as_str(); length].join(", ");
            (length, format!("{before} {rows} {after}"))
        }))
    }

    /// Inserts rows in order; `bind` adds the values of one. While SQLite's thread works on a piece, the next one is encoded.
    pub(super) async fn put<'q, T>(
        &'static self,
        tx: &mut SqliteConnection,
        what: &'static str,
        rows: &'q [T],
        bind: fn(Bound<'q>, &'q T) -> Bound<'q>,
    ) -> Result<(), StoreError> {
        let mut pieces = self
            .cut(rows)
            .map(|(statement, piece)| piece.iter().fold(sqlx::query(statement), bind));
        let mut next = pieces.next();
        while let Some(query) = next {
            let (done, prepared) = futures::join!(query.execute(&mut *tx), async { pieces.next() });
            done.map_err(refused(what))?;
            next = prepared;
        }
        Ok(())
    }

    /// Cuts a list, in order, each piece with its statement.
    fn cut<'r, T>(&'static self, rows: &'r [T]) -> impl Iterator<Item = (&'static str, &'r [T])> {
        let mut rest = rows;
        std::iter::from_fn(move || {
            let (length, statement) = self.0.iter().find(|(length, _)| *length <= rest.len())?;
            let (piece, after) = rest.split_at_checked(*length)?;
            rest = after;
            Some((statement.as_str(), piece))
        })
    }
}

#[cfg(test)]
mod tests {
    use std::sync::LazyLock;

    use super::*;

    static PAIRS: LazyLock<Insertion> =
        LazyLock::new(|| Insertion::new("INSERT INTO t VALUES", 2, "ON CONFLICT DO NOTHING"));

    #[test]
    fn every_row_is_in_one_piece_and_in_order() {
        for count in [0_usize, 1, 7, 8, 63, 64, 65, 200] {
            let rows: Vec<usize> = (0..count).collect();
            let cut: Vec<usize> = PAIRS.cut(&rows).flat_map(|(_, piece)| piece.to_vec()).collect();
            assert_eq!(cut, rows);
        }
    }

    #[test]
    fn a_statement_has_a_place_for_every_value_of_its_piece() {
        for (statement, piece) in PAIRS.cut(&[0_u8; 73]) {
            assert_eq!(statement.matches('?').count(), 2 * piece.len(), "{statement}");
        }
        let (statement, _) = PAIRS.cut(&[0_u8]).next().unwrap();
        assert_eq!(statement, "INSERT INTO t VALUES (?, ?) ON CONFLICT DO NOTHING");
    }
}
