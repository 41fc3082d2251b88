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
pub use enrol::{
    Admitted, Bound, Enrolment, KubeReviewer, MAX_ENROL_BYTES, Owner, PodIndex, PodLookup, PublishedKeys, Refusal,
    Review, ReviewError, TokenReviewer, TokenRules, Tokens,
};
pub use handshake::TlsSetupError;
pub use identity::{IdentityError, Peer, peer_of};
pub use metrics::IngestMetrics;
pub use nodes::{NodeView, Nodes, NodesFull, NodesMetrics, Seat, Skew, keep_statuses};
pub use service::{Ingest, LIMITS, ServeError, serve};

#[cfg(test)]
mod tests;
