//! The outside oracle: it knows what happened, since it made it happen, and finds out what became of it.
//!
//! Owns the journal of causes and faults, the look at what the programs kept and told, and the comparison. Must not share
//! code with what it judges: it reads the API, the receiver's record and the metrics pages as any outsider could.

mod journal;
mod look;
mod verdict;

pub use journal::{Cause, Entry, Fault, Journal};
pub use look::look;
pub use verdict::{Law, Seen, SeenAlert, SeenFinding, SeenIncident, Verdict, judge};
