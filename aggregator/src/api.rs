//! What people and programs ask on port 7441: gRPC, and the same answers as JSON under `/api/v1`.
//!
//! Owns the checks of questions, paging, watches, and the limits of the listener. Must not know the engine's rules or
//! SQL: it reads through the store and hears of changes from the pipeline. Nothing here changes anything.

mod admin;
mod connections;
mod delivery;
mod filter;
mod gate;
mod health;
mod http;
mod page;
mod query;
mod serve;
mod status;
#[cfg(test)]
mod tests;
mod watch;

use std::sync::Arc;

use inquest_shared::{clock::UnixNanos, model::Incident, telemetry::Health};
use tokio::sync::broadcast;

pub use connections::LIMITS;
pub use serve::{ServeError, serve};

use crate::{ingest::Nodes, store::Store};

/// Gives each watcher its own end of the pipeline's news: `move || intake.watch()`.
pub type Changes = Arc<dyn Fn() -> broadcast::Receiver<Arc<Incident>> + Send + Sync>;

/// What this process says of itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ServerInfo {
    /// The same id that agents get in their welcome.
    pub server_id: String,
    /// Release of the program.
    pub version: String,
    /// The aggregator's clock at start.
    pub started_at: UnixNanos,
    /// `cluster.name` of the configuration.
    pub cluster: String,
}

/// Where answers come from.
#[derive(Clone)]
pub struct Api {
    /// Everything that was stored.
    pub store: Arc<dyn Store>,
    /// Incidents as they change.
    pub changes: Changes,
    /// Agents as they are connected now.
    pub nodes: Nodes,
    /// Readiness, shown by the gRPC health service.
    pub health: Health,
    /// What `GetServer` says besides.
    pub server: ServerInfo,
}
