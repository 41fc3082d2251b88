//! States that the apiserver reports.

use inquest_proto::ingest::v1 as pb;

use super::WireError;
use crate::{
    clock::UnixNanos,
    model::{Report, ReportKind, Untrusted},
};

/// Longest reason kept; the API's own have at most 40 bytes.
const MAX_REASON: usize = 64;
/// Longest message kept.
const MAX_MESSAGE: usize = 1024;

impl From<&Report> for pb::Report {
    fn from(report: &Report) -> Self {
        Self {
            kind: report.kind.number(),
            reason: report.reason.raw().to_owned(),
            message: report.message.raw().to_owned(),
            since_ns: report.since.map(|at| at.0),
            affected: report.affected,
        }
    }
}

impl TryFrom<pb::Report> for Report {
    type Error = WireError;

    fn try_from(report: pb::Report) -> Result<Self, WireError> {
        let kind = ReportKind::from_number(report.kind).ok_or(WireError::Number {
            field: "report.kind",
            number: report.kind,
        })?;
        Ok(Self {
            kind,
            reason: Untrusted::bounded(&report.reason, MAX_REASON),
            message: Untrusted::bounded(&report.message, MAX_MESSAGE),
            since: report.since_ns.map(UnixNanos),
            affected: report.affected,
        })
    }
}
