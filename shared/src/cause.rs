//! The one cause table: from evidence to verdict, and what follows from a cause.
//!
//! Pure: the same set of facts gives the same answer on the node and in the aggregator. Must not know who asks, what
//! time it is, or how a cause is worded.

use std::time::Duration;

use crate::model::{Cause, EvidenceSet, Verdict};

pub mod exit_code;
pub(crate) mod facts;
pub mod hint;
mod pod;
mod refine;
pub(crate) mod sender;
mod table;

pub use exit_code::{ExitMeaning, Signal};
use facts::Facts;
pub use hint::{Hint, hints};
pub use pod::EVICTIONS;
pub use refine::more_specific;

/// Time that a death without evidence waits for the cluster's view before people are told. A planned stop is known to
/// the apiserver before the container ends; three seconds cover a watch that lags.
const WAIT_FOR_CONTEXT: Duration = Duration::from_secs(3);

/// The verdict on a set of evidence: the first row of the table that fits. A pure function of the set.
#[must_use]
pub fn judge(evidence: &EvidenceSet) -> Verdict {
    table::first_match(&Facts::of(evidence))
}

/// How long the opening of an incident of this cause waits for a better cause. Zero where the evidence is already
/// proof or where the container ended by itself.
#[must_use]
pub const fn settle(cause: Cause) -> Duration {
    match cause {
        Cause::KilledUnknown | Cause::StoppedBy | Cause::KilledBy => WAIT_FOR_CONTEXT,
        _ => Duration::ZERO,
    }
}

/// What tells two incidents of one cause and one workload apart: the exit code of an application error, the signal of
/// a fault; else nothing.
#[must_use]
pub fn discriminator(evidence: &EvidenceSet, cause: Cause) -> String {
    let facts = Facts::of(evidence);
    match cause {
        Cause::AppError => facts.code().map(|code| code.to_string()),
        Cause::FaultSignal => facts
            .code()
            .and_then(|code| exit_code::meaning(code).signal)
            .map(|s| s.to_string()),
        _ => None,
    }
    .unwrap_or_default()
}

/// Whether people are told of incidents of this cause. What somebody wanted is stored and stays silent.
#[must_use]
pub const fn alerts(cause: Cause) -> bool {
    !matches!(cause, Cause::ExpectedExit | Cause::PlannedStop)
}

#[cfg(test)]
mod tests;
