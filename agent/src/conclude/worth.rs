//! How soon the spool may give a record of a finding up: logs have a spool of their own, then goes evidence that changes
//! nothing, then low severities.
//!
//! Owns what was spooled of the findings of the last minute, as fingerprints. Must not know the spool.

use std::collections::VecDeque;

use inquest_proto::ingest::v1 as pb;
use inquest_shared::{
    cause::judge,
    model::{Cause, EvidenceSet, Fact, Finding, Key, Severity},
};
use prost::Message as _;

use crate::spool::Shed;

/// Findings remembered; one that is older is classed as if it were new, which only keeps more.
const MAX_TOLD: usize = 512;

/// What people would notice of a finding: everything but its quoted facts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Gist {
    cause: Cause,
    severity: Severity,
    /// CRC-32 of the message without evidence and revision.
    rest: u32,
}

impl Gist {
    fn of(finding: &Finding) -> Self {
        let verdict = judge(&finding.evidence);
        let bare = Finding {
            evidence: EvidenceSet::default(),
            revision: 0,
            ..finding.clone()
        };
        Self {
            cause: verdict.cause,
            severity: verdict.severity,
            rest: crc32fast::hash(&pb::Finding::from(&bare).encode_to_vec()),
        }
    }
}

/// What was spooled lately.
#[derive(Debug, Default)]
pub struct Told(VecDeque<(Key, Gist)>);

impl Told {
    /// The class of a version of a finding. A later one that adds only evidence is detail: without it the earlier one
    /// still tells the death.
    pub(super) fn class(&mut self, finding: &Finding) -> Shed {
        let gist = Gist::of(finding);
        match self.0.iter_mut().rev().find(|(key, _)| *key == finding.key) {
            Some((_, held)) if *held == gist => return Shed::Detail,
            Some((_, held)) => *held = gist,
            None => {
                if self.0.len() >= MAX_TOLD {
                    self.0.pop_front();
                }
                self.0.push_back((finding.key, gist));
            }
        }
        match gist.severity {
            Severity::Critical | Severity::High => Shed::High,
            Severity::Medium => Shed::Normal,
            Severity::Low | Severity::Info => Shed::Low,
        }
    }
}

/// The finding without the lines of its log, if it has any: they are most of its bytes.
pub(super) fn without_log(finding: &Finding) -> Option<Finding> {
    finding.evidence.log()?;
    let mut bare = Finding {
        evidence: EvidenceSet::default(),
        ..finding.clone()
    };
    for (source, position, evidence) in finding.evidence.iter() {
        if !matches!(evidence.fact, Fact::LogExcerpt(_)) {
            bare.evidence.insert(source, position, evidence.clone());
        }
    }
    Some(bare)
}
