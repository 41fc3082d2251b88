//! The store for one aggregator: one SQLite file in write-ahead mode, one writing connection, a few reading ones.
//!
//! Owns opening and transactions; the statements are in the submodules, one per kind of record. Must not know the
//! engine's rules.

mod checkpoint;
mod error;
mod guard;
mod incident;
mod log;
mod migrations;
mod node;
mod occurrence;
mod outbox;
mod payload;
mod prune;
mod readers;
mod rows;
mod scope;
#[cfg(test)]
mod tests;
mod writer;

use std::{
    path::{Path, PathBuf},
    time::Duration,
};

use inquest_shared::{
    clock::UnixNanos,
    model::{Delivery, DeliveryState, Incident, Key},
};
use sqlx::{
    ConnectOptions as _,
    sqlite::{SqliteAutoVacuum, SqliteConnectOptions, SqliteJournalMode, SqliteSynchronous},
};
use ulid::Ulid;

use self::{readers::Readers, writer::Writer};
use super::{Pruned, Store, StoreError, StoreFigures, StoreFuture};
use crate::record::{
    Commit, Cursor, Filter, NodeIdentity, OutboxRow, OutboxTotals, Scope, StoredLog, StoredNode, StoredOccurrence,
};

/// How long a statement waits for a lock of another program, such as a backup.
const BUSY_TIMEOUT: Duration = Duration::from_secs(5);
/// A write-ahead log that a burst made larger is cut back to this (16 MiB).
/// Source: SQLite documentation, "PRAGMA journal_size_limit".
const WAL_KEPT_BYTES: &str = "16777216";

/// Pages in the write-ahead log after which a commit copies it into the database itself, for a burst that the checkpoints beside
/// it do not keep up with: as much as is kept of the log. Source: SQLite documentation, "PRAGMA wal_autocheckpoint" (1,000).
const CHECKPOINT_PAGES: &str = "4000";
/// Where a statement keeps what it needs to be undone or sorted. A container with a read-only root has no folder for
/// temporary files, and a batch that needed one would be refused for ever; a batch and a page are bounded, so is this.
/// Source: SQLite documentation, "PRAGMA temp_store".
const TEMPORARY: &str = "MEMORY";
/// Pages that the writer keeps in memory; a negative number is KiB. Source: SQLite documentation, "PRAGMA cache_size" (2 MiB).
const WRITER_CACHE_KIB: &str = "-16384";

/// One SQLite database, held by this process alone.
#[derive(Debug)]
pub struct SqliteStore {
    writer: Writer,
    readers: Readers,
    path: PathBuf,
    _exclusive: guard::Exclusive,
}

impl SqliteStore {
    /// Opens the database, creating or migrating it as needed. Its directory must exist.
    ///
    /// # Errors
    /// [`StoreError::Locked`] while another aggregator has it; [`StoreError::Newer`] and
    /// [`StoreError::NetworkFileSystem`], where retrying does not help; [`StoreError::Refused`] when it cannot be opened
    /// or written.
    pub async fn open(path: &Path) -> Result<Self, StoreError> {
        let exclusive = guard::take(path)?;
        let writer = Writer::open(writer_options(path)).await?;
        let readers = Readers::open(reader_options(path)).await?;
        sync_folder_of(path)?;
        Ok(Self {
            writer,
            readers,
            path: path.to_owned(),
            _exclusive: exclusive,
        })
    }

    async fn write(&self, commit: &Commit) -> Result<(), StoreError> {
        const WHAT: &str = "commit";
        let mut tx = self.writer.begin(WHAT).await?;
        occurrence::put(&mut tx, WHAT, &commit.occurrences).await?;
        incident::put(&mut tx, WHAT, &commit.incidents).await?;
        outbox::plan(&mut tx, WHAT, &commit.outbox).await?;
        node::raise_marks(&mut tx, WHAT, &commit.marks).await?;
        tx.commit().await
    }

    async fn write_node(
        &self,
        what: &'static str,
        node: &NodeIdentity,
        at: UnixNanos,
        status: Option<&[u8]>,
    ) -> Result<(), StoreError> {
        let mut tx = self.writer.begin(what).await?;
        node::put(&mut tx, what, node, at, status).await?;
        tx.commit().await
    }

    async fn write_log(
        &self,
        node: &NodeIdentity,
        key: Key,
        offset: u32,
        log: &StoredLog,
        at: UnixNanos,
    ) -> Result<(), StoreError> {
        const WHAT: &str = "store a log";
        let mut tx = self.writer.begin(WHAT).await?;
        log::put(&mut tx, WHAT, node, key, offset, log, at).await?;
        tx.commit().await
    }

    async fn write_outcome(&self, row: &OutboxRow) -> Result<(), StoreError> {
        const WHAT: &str = "note a delivery";
        let mut tx = self.writer.begin(WHAT).await?;
        outbox::settle(&mut tx, WHAT, row).await?;
        tx.commit().await
    }

    async fn read_outbox(&self, receiver: &str, after: Option<Ulid>, limit: u32) -> Result<Vec<OutboxRow>, StoreError> {
        const WHAT: &str = "give up damaged notifications";
        loop {
            let (rows, damaged) = outbox::page(&self.readers, receiver, after, limit).await?;
            if damaged.is_empty() {
                return Ok(rows);
            }
            let mut tx = self.writer.begin(WHAT).await?;
            outbox::bury_damaged(&mut tx, WHAT, &damaged).await?;
            tx.commit().await?;
        }
    }

    async fn forget(&self, before: UnixNanos, limit: u32) -> Result<Pruned, StoreError> {
        const WHAT: &str = "prune";
        let mut tx = self.writer.begin(WHAT).await?;
        let gone = prune::run(&mut tx, WHAT, before, limit).await?;
        tx.commit().await?;
        Ok(gone)
    }

    async fn touch(&self) -> Result<(), StoreError> {
        const WHAT: &str = "probe the store";
        let mut tx = self.writer.begin(WHAT).await?;
        sqlx::query("UPDATE meta SET fence = fence")
            .execute(&mut *tx)
            .await
            .map_err(error::refused(WHAT))?;
        tx.commit().await
    }
}

/// Makes the name of a new database durable: SQLite does so for its logs, not for the file itself.
fn sync_folder_of(path: &Path) -> Result<(), StoreError> {
    let refused = |source: std::io::Error| StoreError::Refused {
        what: "sync the folder of the database",
        source: source.into(),
    };
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty());
    let folder = std::fs::File::open(folder.unwrap_or(Path::new("."))).map_err(refused)?;
    folder.sync_all().map_err(refused)
}

fn writer_options(path: &Path) -> SqliteConnectOptions {
    SqliteConnectOptions::new()
        .filename(path)
        .create_if_missing(true)
        .auto_vacuum(SqliteAutoVacuum::Incremental)
        .journal_mode(SqliteJournalMode::Wal)
        .synchronous(SqliteSynchronous::Full)
        .pragma("journal_size_limit", WAL_KEPT_BYTES)
        .pragma("wal_autocheckpoint", CHECKPOINT_PAGES)
        .pragma("cache_size", WRITER_CACHE_KIB)
        .pragma("temp_store", TEMPORARY)
        .busy_timeout(BUSY_TIMEOUT)
        .disable_statement_logging()
}

fn reader_options(path: &Path) -> SqliteConnectOptions {
    SqliteConnectOptions::new()
        .filename(path)
        .read_only(true)
        .pragma("temp_store", TEMPORARY)
        .busy_timeout(BUSY_TIMEOUT)
        .disable_statement_logging()
}

impl Store for SqliteStore {
    fn findings<'a>(&'a self, keys: &'a [(NodeIdentity, Key)]) -> StoreFuture<'a, Vec<StoredOccurrence>> {
        Box::pin(occurrence::by_keys(&self.readers, keys))
    }

    fn commit<'a>(&'a self, commit: &'a Commit) -> StoreFuture<'a, ()> {
        Box::pin(self.write(commit))
    }

    fn live_incidents(&self, resolved_since: UnixNanos) -> StoreFuture<'_, Vec<Incident>> {
        Box::pin(incident::live(&self.readers, resolved_since))
    }

    fn open_incidents(&self) -> StoreFuture<'_, u64> {
        Box::pin(incident::count_open(&self.readers))
    }

    fn mark<'a>(&'a self, node: &'a NodeIdentity, epoch: u64) -> StoreFuture<'a, u64> {
        Box::pin(node::mark(&self.readers, node, epoch))
    }

    fn put_log<'a>(
        &'a self,
        node: &'a NodeIdentity,
        key: Key,
        offset: u32,
        log: &'a StoredLog,
        at: UnixNanos,
    ) -> StoreFuture<'a, ()> {
        Box::pin(self.write_log(node, key, offset, log, at))
    }

    fn put_node<'a>(&'a self, node: &'a NodeIdentity, at: UnixNanos) -> StoreFuture<'a, ()> {
        Box::pin(self.write_node("register a node", node, at, None))
    }

    fn put_status<'a>(&'a self, node: &'a NodeIdentity, at: UnixNanos, status: &'a [u8]) -> StoreFuture<'a, ()> {
        Box::pin(self.write_node("store a status", node, at, Some(status)))
    }

    fn outbox_page<'a>(
        &'a self,
        receiver: &'a str,
        after: Option<Ulid>,
        limit: u32,
    ) -> StoreFuture<'a, Vec<OutboxRow>> {
        Box::pin(self.read_outbox(receiver, after, limit))
    }

    fn outbox_receivers(&self) -> StoreFuture<'_, Vec<String>> {
        Box::pin(outbox::receivers(&self.readers))
    }

    fn put_outcome<'a>(&'a self, row: &'a OutboxRow) -> StoreFuture<'a, ()> {
        Box::pin(self.write_outcome(row))
    }

    fn outbox_totals(&self) -> StoreFuture<'_, OutboxTotals> {
        Box::pin(outbox::totals(&self.readers))
    }

    fn deliveries(&self, incident: Ulid) -> StoreFuture<'_, Vec<Delivery>> {
        Box::pin(outbox::deliveries(&self.readers, incident))
    }

    fn list_deliveries<'a>(
        &'a self,
        scope: &'a Scope,
        state: Option<DeliveryState>,
        receiver: &'a str,
        after: Option<&'a Cursor>,
        limit: u32,
    ) -> StoreFuture<'a, Vec<OutboxRow>> {
        Box::pin(outbox::list(&self.readers, scope, state, receiver, after, limit))
    }

    fn list_incidents<'a>(
        &'a self,
        scope: &'a Scope,
        filter: &'a Filter,
        after: Option<&'a Cursor>,
        limit: u32,
    ) -> StoreFuture<'a, Vec<Incident>> {
        Box::pin(incident::list(&self.readers, scope, filter, after, limit))
    }

    fn find_incidents<'a>(&'a self, scope: &'a Scope, prefix: &'a str) -> StoreFuture<'a, Vec<Incident>> {
        Box::pin(incident::find(&self.readers, scope, prefix))
    }

    fn list_findings<'a>(
        &'a self,
        scope: &'a Scope,
        filter: &'a Filter,
        after: Option<&'a Cursor>,
        limit: u32,
    ) -> StoreFuture<'a, Vec<(StoredOccurrence, bool)>> {
        Box::pin(occurrence::list(&self.readers, scope, filter, after, limit))
    }

    fn log<'a>(&'a self, scope: &'a Scope, key: Key) -> StoreFuture<'a, Option<StoredLog>> {
        Box::pin(log::get(&self.readers, scope, key))
    }

    fn nodes<'a>(
        &'a self,
        cluster: &'a str,
        after: Option<&'a NodeIdentity>,
        limit: u32,
    ) -> StoreFuture<'a, Vec<StoredNode>> {
        Box::pin(node::list(&self.readers, cluster, after, limit))
    }

    fn prune(&self, before: UnixNanos, limit: u32) -> StoreFuture<'_, Pruned> {
        Box::pin(self.forget(before, limit))
    }

    fn oldest(&self, limit: u32) -> StoreFuture<'_, Option<UnixNanos>> {
        Box::pin(prune::oldest(&self.readers, limit))
    }

    fn figures(&self) -> StoreFuture<'_, StoreFigures> {
        Box::pin(prune::figures(&self.readers))
    }

    fn probe(&self) -> StoreFuture<'_, ()> {
        Box::pin(self.touch())
    }

    fn describe(&self) -> (String, u32) {
        (format!("sqlite {}", self.path.display()), migrations::KNOWN)
    }
}
