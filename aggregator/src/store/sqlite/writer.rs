//! The one writing connection: taken in turn, and thrown away after any failure.
//!
//! SQLite ends a transaction by itself when the disk is full, and a caller may go away in the middle of one. A
//! connection in an unknown state is never used again: closing it rolls back, and the next writer opens a new one.
//! Must not know tables.

use std::{
    ops::{Deref, DerefMut},
    sync::{Mutex, PoisonError},
};

use sqlx::{ConnectOptions as _, SqliteConnection, sqlite::SqliteConnectOptions};
use tokio::sync::{Semaphore, SemaphorePermit};

use super::{
    checkpoint::Checkpointer,
    error::{FenceLost, commit_failed, refused},
    migrations,
};
use crate::store::StoreError;

/// The right to write, held by one transaction at a time.
#[derive(Debug)]
pub(super) struct Writer {
    options: SqliteConnectOptions,
    fence: i64,
    turn: Semaphore,
    idle: Mutex<Option<SqliteConnection>>,
    checkpoints: Checkpointer,
}

/// A transaction; rolled back unless committed.
pub(super) struct Transaction<'a> {
    writer: &'a Writer,
    connection: SqliteConnection,
    what: &'static str,
    _turn: SemaphorePermit<'a>,
}

impl Writer {
    /// Opens the database, migrates it and takes its fence.
    pub(super) async fn open(options: SqliteConnectOptions) -> Result<Self, StoreError> {
        let mut connection = options.connect().await.map_err(refused("open the database"))?;
        migrations::run(&mut connection).await?;
        let fence = migrations::take_fence(&mut connection).await?;
        Ok(Self {
            checkpoints: Checkpointer::start(options.clone()),
            options,
            fence,
            turn: Semaphore::new(1),
            idle: Mutex::new(Some(connection)),
        })
    }

    /// Waits for its turn, takes SQLite's write lock and checks that this process still is the writer.
    pub(super) async fn begin(&self, what: &'static str) -> Result<Transaction<'_>, StoreError> {
        let turn = self.turn.acquire().await.map_err(|closed| StoreError::Refused {
            what,
            source: closed.into(),
        })?;
        let idle = self.idle().take();
        let connection = match idle {
            Some(connection) => connection,
            None => self.options.connect().await.map_err(refused(what))?,
        };
        let mut tx = Transaction {
            writer: self,
            connection,
            what,
            _turn: turn,
        };
        sqlx::query("BEGIN IMMEDIATE")
            .execute(&mut *tx)
            .await
            .map_err(refused(what))?;
        let held: bool = sqlx::query_scalar("SELECT fence = ? FROM meta")
            .bind(self.fence)
            .fetch_one(&mut *tx)
            .await
            .map_err(refused(what))?;
        if held {
            Ok(tx)
        } else {
            Err(StoreError::Doubtful {
                what,
                source: FenceLost { held: self.fence }.into(),
            })
        }
    }

    fn idle(&self) -> std::sync::MutexGuard<'_, Option<SqliteConnection>> {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Transaction<'_> {
    /// Makes it durable and leaves the connection for the next one.
    pub(super) async fn commit(mut self) -> Result<(), StoreError> {
        sqlx::query("COMMIT")
            .execute(&mut self.connection)
            .await
            .map_err(commit_failed(self.what))?;
        *self.writer.idle() = Some(self.connection);
        self.writer.checkpoints.committed();
        Ok(())
    }
}

impl Deref for Transaction<'_> {
    type Target = SqliteConnection;

    fn deref(&self) -> &SqliteConnection {
        &self.connection
    }
}

impl DerefMut for Transaction<'_> {
    fn deref_mut(&mut self) -> &mut SqliteConnection {
        &mut self.connection
    }
}
