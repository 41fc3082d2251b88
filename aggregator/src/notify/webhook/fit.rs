//! How an event is made to fit: what is left out first, and what never is.
//!
//! Owns the order of giving up. Identity, cause, counts and the sentences for people always stay.

use inquest_proto::{ingest::v1::evidence::Fact, query::v1 as pb};

/// Size that every consumer of CloudEvents should accept (CloudEvents 1.0, "Size Limits"): 64 KiB.
pub(super) const MAX_EVENT_BYTES: usize = 64 * 1024;

/// Log lines that a shortened event keeps: the last ones tell most.
const FEW_LINES: usize = 3;
/// Facts that a much shortened event keeps: the set is ordered by worth.
const FEW_FACTS: usize = 4;

/// How much of an incident is told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Fit {
    /// Everything.
    Whole,
    /// The last log lines only.
    FewLines,
    /// No log lines.
    NoLines,
    /// The facts of most worth, without log lines.
    FewFacts,
    /// No facts.
    NoFacts,
}

impl Fit {
    /// Every way to tell, from the given one to the shortest.
    pub(super) fn downwards(self) -> impl Iterator<Item = Self> {
        const ALL: [Fit; 5] = [Fit::Whole, Fit::FewLines, Fit::NoLines, Fit::FewFacts, Fit::NoFacts];
        ALL.into_iter().skip_while(move |fit| *fit != self)
    }

    /// Leaves out what is not told, and says of log lines that older ones exist.
    pub(super) fn apply(self, incident: &mut pb::Incident) {
        let (lines, facts) = match self {
            Self::Whole => return,
            Self::FewLines => (FEW_LINES, usize::MAX),
            Self::NoLines => (0, usize::MAX),
            Self::FewFacts => (0, FEW_FACTS),
            Self::NoFacts => (0, 0),
        };
        let Some(latest) = &mut incident.latest else { return };
        latest.evidence.truncate(facts);
        for evidence in &mut latest.evidence {
            if let Some(Fact::LogExcerpt(log)) = &mut evidence.fact {
                let older = log.lines.len().saturating_sub(lines);
                log.lines.drain(..older);
                log.truncated |= older > 0;
            }
        }
    }
}
