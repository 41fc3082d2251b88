//! Copies the write-ahead log into the database beside the writer, so that no commit waits for it.
//!
//! SQLite checkpoints within the commit that makes the log long; that commit, and all findings in it, then wait for two
//! more fsyncs and thousands of pages. A passive checkpoint on a connection of its own blocks nobody (SQLite
//! documentation, "Write-Ahead Logging", section 3.1). Must not know tables.

use std::{sync::Arc, time::Duration};

use sqlx::{ConnectOptions as _, SqliteConnection, sqlite::SqliteConnectOptions};
use tokio::{sync::Notify, time::sleep};
use tokio_util::task::AbortOnDropHandle;

/// Pause between two checkpoints: long enough that pages which are written again and again are copied once, short enough that
/// no copying takes the disk away for long (after 5 s commits waited up to 190 ms for it).
const EVERY: Duration = Duration::from_secs(1);

/// A task that checkpoints after commits, until it is dropped.
#[derive(Debug)]
pub(super) struct Checkpointer {
    committed: Arc<Notify>,
    _task: AbortOnDropHandle<()>,
}

impl Checkpointer {
    /// Starts it; the connection is opened when it is needed.
    pub(super) fn start(options: SqliteConnectOptions) -> Self {
        let committed = Arc::new(Notify::new());
        let task = tokio::spawn(work(options, Arc::clone(&committed)));
        Self {
            committed,
            _task: AbortOnDropHandle::new(task),
        }
    }

    /// There is something in the log.
    pub(super) fn committed(&self) {
        self.committed.notify_one();
    }
}

/// A failure is no news: the log grows until the writer checkpoints by itself, and says what is wrong.
async fn work(options: SqliteConnectOptions, committed: Arc<Notify>) {
    let mut connection = None;
    loop {
        committed.notified().await;
        sleep(EVERY).await;
        match checkpoint(connection.take(), &options).await {
            Ok(open) => connection = Some(open),
            Err(error) => tracing::debug!(%error, "no checkpoint"),
        }
    }
}

async fn checkpoint(
    open: Option<SqliteConnection>,
    options: &SqliteConnectOptions,
) -> Result<SqliteConnection, sqlx::Error> {
    let mut connection = match open {
        Some(connection) => connection,
        None => options.connect().await?,
    };
    sqlx::raw_sql("PRAGMA wal_checkpoint(PASSIVE)")
        .execute(&mut connection)
        .await?;
    Ok(connection)
}
