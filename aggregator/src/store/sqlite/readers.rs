//! The reading connections: a few, each used by one query at a time.
//!
//! Not sqlx's pool: its timeouts run on tokio's clock, which tests pause. A connection whose query failed or was
//! abandoned is thrown away, and the next query opens a new one. Must not know tables.

use std::sync::{
    Mutex, MutexGuard, PoisonError,
    atomic::{AtomicU64, Ordering},
};

use sqlx::{
    ConnectOptions as _, FromRow, Sqlite, SqliteConnection,
    query::QueryAs,
    sqlite::{SqliteArguments, SqliteConnectOptions, SqliteRow},
};
use tokio::sync::Semaphore;

use super::error::refused;
use crate::store::StoreError;

/// Most reading connections; each has a thread and a page cache of up to 2 MB.
const CONNECTIONS: usize = 2;

/// Connections that cannot write.
#[derive(Debug)]
pub(super) struct Readers {
    options: SqliteConnectOptions,
    turns: Semaphore,
    idle: Mutex<Vec<SqliteConnection>>,
    damaged: AtomicU64,
}

impl Readers {
    /// Opens them all, so that no query pays for it.
    pub(super) async fn open(options: SqliteConnectOptions) -> Result<Self, StoreError> {
        let mut idle = Vec::with_capacity(CONNECTIONS);
        for _ in 0..CONNECTIONS {
            idle.push(
                options
                    .connect()
                    .await
                    .map_err(refused("open the database for reading"))?,
            );
        }
        Ok(Self {
            options,
            turns: Semaphore::new(CONNECTIONS),
            idle: Mutex::new(idle),
            damaged: AtomicU64::new(0),
        })
    }

    /// All rows of a query, in its turn.
    pub(super) async fn all<T>(
        &self,
        what: &'static str,
        query: QueryAs<'_, Sqlite, T, SqliteArguments>,
    ) -> Result<Vec<T>, StoreError>
    where
        T: for<'r> FromRow<'r, SqliteRow> + Send + Unpin,
    {
        let _turn = self.turns.acquire().await.map_err(|closed| StoreError::Refused {
            what,
            source: closed.into(),
        })?;
        let idle = self.idle().pop();
        let mut connection = match idle {
            Some(connection) => connection,
            None => self.options.connect().await.map_err(refused(what))?,
        };
        let rows = query.fetch_all(&mut connection).await.map_err(refused(what))?;
        self.idle().push(connection);
        Ok(rows)
    }

    /// A record that decoded; one that did not is counted, named in the log and left out, so that it hides no other.
    pub(super) fn sound<T>(&self, id: &str, record: Result<T, StoreError>) -> Option<T> {
        record
            .map_err(|error| {
                self.damaged.fetch_add(1, Ordering::Relaxed);
                let cause = std::error::Error::source(&error).map(ToString::to_string);
                tracing::error!(id, %error, cause, "a damaged record is left out");
            })
            .ok()
    }

    /// Damaged records met so far.
    pub(super) fn damaged(&self) -> u64 {
        self.damaged.load(Ordering::Relaxed)
    }

    fn idle(&self) -> MutexGuard<'_, Vec<SqliteConnection>> {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
