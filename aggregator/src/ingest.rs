//! What agents talk to on port 7440: enrolment, findings and logs over mutual TLS.
//!
//! Owns certificates, identities, credit and the life of every stream. Must not know how findings become incidents:
//! they go to the `pipeline`, which says when they are on disk.

mod authority;
mod clock_offset;
mod enrol;
mod guesses;
mod handshake;
mod identity;
mod logs;
mod metrics;
mod nodes;
mod report;
mod service;
mod visitor;

pub use authority::{Authority, AuthorityError, MAX_TTL, ServerIdentity, SignedIdentity};
pub use enrol::{Enrolment, MAX_ENROL_BYTES, Refusal};
pub use handshake::TlsSetupError;
pub use identity::{IdentityError, Peer, peer_of};
pub use metrics::IngestMetrics;
pub use nodes::{NodeView, Nodes, NodesFull, Seat, keep_statuses};
pub use service::{Ingest, LIMITS, ServeError, serve};

#[cfg(test)]
mod tests;
