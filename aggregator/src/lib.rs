//! The aggregator: `ingest` takes findings from agents, `engine` folds them into incidents, `store` keeps both,
//! `alert` tells people through `notify`, `api` answers questions. `run` wires them.

pub mod alert;
pub mod api;
pub mod cluster;
pub mod correlate;
pub mod door;
pub mod engine;
pub mod ingest;
pub mod json;
pub mod notify;
pub mod pipeline;
mod reconfigure;
pub mod record;
pub mod retention;
pub mod run;
pub mod store;
pub mod survey;
