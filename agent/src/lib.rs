//! The node agent: `host` readers feed `source` observations, `detect` turns them into findings, `spool` keeps them and
//! `uplink` sends them. `run` wires.

pub mod conclude;
pub mod detect;
pub mod host;
pub mod log_record;
pub mod metrics;
pub mod observation;
pub mod outgoing;
pub mod run;
pub mod source;
pub mod spool;
pub mod spool_status;
pub mod state;
pub mod uplink;
