//! A finding as it reaches an incident: merged with its stored version and with the kills that it cites.

use std::borrow::Cow;

use inquest_shared::{
    cause,
    model::{EvidenceSet, Finding, Occurrence, Subject, Verdict},
};

use crate::record::NodeIdentity;

/// One event with all that is known about it.
#[derive(Debug)]
pub(super) struct Arrival<'a> {
    /// Who sent it.
    pub(super) node: &'a NodeIdentity,
    /// Exit code that earlier versions told.
    pub(super) code_before: Option<i32>,
    /// All versions merged.
    pub(super) finding: &'a Finding,
    /// Union with the subjects of the cited kills.
    pub(super) subject: Cow<'a, Subject>,
    /// Union with the evidence of the cited kills.
    pub(super) evidence: Cow<'a, EvidenceSet>,
    /// Verdict on the union.
    pub(super) verdict: Verdict,
}

impl<'a> Arrival<'a> {
    /// Unites a finding with the kills that it cites; without any it is taken as it is.
    pub(super) fn new<'k>(
        node: &'a NodeIdentity,
        before: Option<&Finding>,
        finding: &'a Finding,
        kills: impl Iterator<Item = &'k Finding>,
    ) -> Self {
        let (mut subject, mut evidence) = (Cow::Borrowed(&finding.subject), Cow::Borrowed(&finding.evidence));
        for kill in kills {
            subject.to_mut().merge(&kill.subject);
            evidence.to_mut().merge(&kill.evidence);
        }
        let verdict = cause::judge(&evidence);
        let code_before = before.and_then(exit_code);
        Self {
            node,
            code_before,
            finding,
            subject,
            evidence,
            verdict,
        }
    }

    /// Exit code that is known now.
    pub(super) fn code(&self) -> Option<i32> {
        exit_code(self.finding)
    }

    /// As the latest event of an incident.
    pub(super) fn occurrence(&self) -> Occurrence {
        Occurrence {
            key: self.finding.key,
            kind: self.finding.kind,
            at: self.finding.observed_at,
            subject: self.subject.clone().into_owned(),
            evidence: self.evidence.clone().into_owned(),
            verdict: self.verdict,
            cites: self.finding.cites.clone(),
            node_name: self.node.name.clone(),
        }
    }
}

fn exit_code(finding: &Finding) -> Option<i32> {
    finding.evidence.exit().map(|exit| exit.exit_code)
}
