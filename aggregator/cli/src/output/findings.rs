//! The crash history.

use inquest_proto::query::v1::StoredFinding;
use inquest_shared::{
    model::{Cause, Finding},
    text::clock_time,
    wire::WireError,
};
use jiff::{Timestamp, tz::TimeZone};

use super::{
    incidents::Look,
    table::{Rows, cell},
};

/// A stored finding, read.
pub(crate) struct Crash {
    finding: Finding,
    cause: Option<Cause>,
    stored: StoredFinding,
}

impl TryFrom<StoredFinding> for Crash {
    type Error = WireError;

    fn try_from(stored: StoredFinding) -> Result<Self, WireError> {
        let wire = stored.finding.clone().ok_or(WireError::Missing("finding"))?;
        let cause = wire
            .verdict
            .as_ref()
            .and_then(|verdict| Cause::from_number(verdict.cause));
        Ok(Self {
            finding: wire.try_into()?,
            cause,
            stored,
        })
    }
}

/// One row for each crash.
pub(crate) fn table(crashes: &[Crash], look: Look, zone: &TimeZone) -> String {
    let mut header = vec![
        "TIME",
        "NAMESPACE",
        "POD",
        "CONTAINER",
        "CODE",
        "REASON",
        "CAUSE",
        "INCIDENT",
    ];
    if look.wide {
        header.extend(["NODE", "KIND", "DISCOVERY", "IMAGE", "LOG", "KEY"]);
    }
    let mut rows = Rows::new(&header, look.paint);
    for crash in crashes {
        rows.add(row(crash, look, zone));
    }
    rows.finish()
}

fn row(crash: &Crash, look: Look, zone: &TimeZone) -> Vec<comfy_table::Cell> {
    let Crash { finding, cause, stored } = crash;
    let exit = finding.evidence.exit();
    let mut cells = vec![
        cell(&time(finding.observed_at, zone)),
        cell(&finding.subject.namespace),
        cell(&finding.subject.pod),
        cell(&finding.subject.container),
        cell(&exit.map(|exit| exit.exit_code.to_string()).unwrap_or_default()),
        cell(exit.map(|exit| exit.reason.raw()).unwrap_or_default()),
        cell(cause.map(Cause::code).unwrap_or_default()),
        cell(&stored.incident_id),
    ];
    if look.wide {
        cells.extend([
            cell(&stored.node_name),
            cell(finding.kind.code()),
            cell(finding.discovery.code()),
            cell(&finding.subject.image),
            cell(if stored.has_log { "yes" } else { "no" }),
            cell(&finding.key.to_string()),
        ]);
    }
    cells
}

/// Date and time of day without offset, for columns.
pub(super) fn time(at: inquest_shared::clock::UnixNanos, zone: &TimeZone) -> String {
    let date = Timestamp::from_nanosecond(i128::from(at.0)).map(|t| t.to_zoned(zone.clone()).date().to_string());
    format!("{} {}", date.unwrap_or_default(), clock_time(at, zone))
}

#[cfg(test)]
mod tests {
    use inquest_shared::text::{Lang, Paint};

    use super::*;
    use crate::output::sample;

    #[test]
    fn a_crash_is_one_row_with_code_reason_and_incident() {
        let crashes = [Crash::try_from(sample::finding()).unwrap()];
        let look = |wide| Look {
            wide,
            lang: Lang::En,
            paint: Paint::Plain,
            now: sample::AT,
        };
        insta::assert_snapshot!(table(&crashes, look(false), &TimeZone::UTC), @r#"
        TIME                      NAMESPACE   POD                     CONTAINER   CODE   REASON      CAUSE       INCIDENT
        2026-03-01 12:01:07.186   shop        checkout-7d4b9c-abcde   app         137    OOMKilled   oom_limit   01KJMMC43F0000000000000007
        "#);
        insta::assert_snapshot!(table(&crashes, look(true), &TimeZone::UTC), @r#"
        TIME                      NAMESPACE   POD                     CONTAINER   CODE   REASON      CAUSE       INCIDENT                     NODE   KIND   DISCOVERY   IMAGE             LOG   KEY
        2026-03-01 12:01:07.186   shop        checkout-7d4b9c-abcde   app         137    OOMKilled   oom_limit   01KJMMC43F0000000000000007   n1     exit   live        img.local/app:1   yes   9a493f302da905ecba171bfbb15965f5
        "#);
    }

    #[test]
    fn a_finding_of_a_newer_aggregator_is_refused_with_a_reason() {
        let mut newer = sample::finding();
        newer.finding.as_mut().unwrap().kind = 99;
        let refused = Crash::try_from(newer).err().unwrap();
        assert_eq!(refused.to_string(), "kind has no meaning: 99");
    }
}
