//! A finding as it reaches an incident: merged with its stored version and with the kills that it cites.

use inquest_shared::{
    cause,
    model::{EvidenceSet, Finding, Occurrence, Subject, Verdict},
};

use crate::record::NodeIdentity;

/// One event with all that is known about it.
#[derive(Debug)]
pub(super) struct Arrival {
    /// Who sent it.
    pub(super) node: NodeIdentity,
    /// Exit code that earlier versions told.
    pub(super) code_before: Option<i32>,
    /// All versions merged.
    pub(super) finding: Finding,
    /// Union with the subjects of the cited kills.
    pub(super) subject: Subject,
    /// Union with the evidence of the cited kills.
    pub(super) evidence: EvidenceSet,
    /// Verdict on the union.
    pub(super) verdict: Verdict,
}

impl Arrival {
    /// Unites a finding with the kills that it cites.
    pub(super) fn new<'a>(
        node: &NodeIdentity,
        before: Option<&Finding>,
        finding: &Finding,
        kills: impl Iterator<Item = &'a Finding>,
    ) -> Self {
        let (mut subject, mut evidence) = (finding.subject.clone(), finding.evidence.clone());
        for kill in kills {
            subject.merge(&kill.subject);
            evidence.merge(&kill.evidence);
        }
        let verdict = cause::judge(&evidence);
        let code_before = before.and_then(exit_code);
        Self {
            node: node.clone(),
            code_before,
            finding: finding.clone(),
            subject,
            evidence,
            verdict,
        }
    }

    /// Exit code that is known now.
    pub(super) fn code(&self) -> Option<i32> {
        exit_code(&self.finding)
    }

    /// As the latest event of an incident.
    pub(super) fn occurrence(&self) -> Occurrence {
        Occurrence {
            key: self.finding.key,
            kind: self.finding.kind,
            at: self.finding.observed_at,
            subject: self.subject.clone(),
            evidence: self.evidence.clone(),
            verdict: self.verdict,
            cites: self.finding.cites.clone(),
            node_name: self.node.name.clone(),
        }
    }
}

fn exit_code(finding: &Finding) -> Option<i32> {
    finding.evidence.exit().map(|exit| exit.exit_code)
}
