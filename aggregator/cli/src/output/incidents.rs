//! The list of incidents.

use inquest_shared::{
    clock::UnixNanos,
    model::Incident,
    text::{Lang, Paint, duration, headline, incident_state, severity},
};

use super::table::{Rows, cell, names, severity_cell};

/// How a list is shown.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Look {
    /// More columns.
    pub(crate) wide: bool,
    /// Language of words.
    pub(crate) lang: Lang,
    /// Colours.
    pub(crate) paint: Paint,
    /// For ages.
    pub(crate) now: UnixNanos,
}

impl Look {
    /// Time that passed since.
    pub(super) fn age(&self, at: UnixNanos) -> String {
        duration(self.now.since(at), self.lang)
    }
}

/// One row for each incident.
pub(crate) fn table(incidents: &[Incident], look: Look) -> String {
    let mut header = vec![
        "ID",
        "AGE",
        "SEVERITY",
        "STATE",
        "WHAT",
        "NAMESPACE",
        "WORKLOAD",
        "CONTAINER",
        "TIMES",
    ];
    if look.wide {
        header.extend(["CAUSE", "SURE", "NODES", "PODS", "CLUSTER"]);
    }
    let mut rows = Rows::new(&header, look.paint);
    for incident in incidents {
        let workload = &incident.workload;
        let mut cells = vec![
            cell(&incident.id.to_string()),
            cell(&look.age(incident.last_seen)),
            severity_cell(incident.severity, severity(incident.severity, look.lang)),
            cell(incident_state(incident.state, look.lang)),
            cell(&headline(incident, look.lang)),
            cell(&workload.namespace),
            cell(&owner(&workload.owner.kind, &workload.owner.name)),
            cell(&workload.container),
            cell(&incident.occurrences.to_string()),
        ];
        if look.wide {
            cells.extend([
                cell(incident.cause.code()),
                cell(&format!("{} %", incident.confidence_percent)),
                cell(&names(&incident.nodes.names, incident.nodes.total)),
                cell(&names(&incident.pods.names, incident.pods.total)),
                cell(&incident.cluster),
            ]);
        }
        rows.add(cells);
    }
    rows.finish()
}

/// "Deployment/web", or what of it is known.
pub(super) fn owner(kind: &str, name: &str) -> String {
    match (kind, name) {
        (_, "") => kind.to_owned(),
        ("", name) => name.to_owned(),
        (kind, name) => format!("{kind}/{name}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::output::sample;

    fn look(wide: bool, paint: Paint) -> Look {
        Look {
            wide,
            lang: Lang::En,
            paint,
            now: sample::after(200_000),
        }
    }

    #[test]
    fn the_list_says_what_died_and_where() {
        insta::assert_snapshot!(table(&[sample::incident()], look(false, Paint::Plain)), @r#"
        ID                           AGE          SEVERITY   STATE   WHAT                     NAMESPACE   WORKLOAD              CONTAINER   TIMES
        01KJMMC43F0000000000000007   3 min 20 s   high       open    OOM at container limit   shop        Deployment/checkout   app         1
        "#);
    }

    #[test]
    fn the_wide_list_adds_cause_nodes_and_pods() {
        let mut incident = sample::incident();
        incident.pods.total = 9;
        incident.workload.namespace = "a\u{1b}[31m\nb".to_owned();
        insta::assert_snapshot!(table(&[incident], look(true, Paint::Plain)), @r#"
        ID                           AGE          SEVERITY   STATE   WHAT                     NAMESPACE           WORKLOAD              CONTAINER   TIMES   CAUSE       SURE   NODES   PODS                               CLUSTER
        01KJMMC43F0000000000000007   3 min 20 s   high       open    OOM at container limit   a\u{1b}[31m\u{a}b   Deployment/checkout   app         1       oom_limit   98 %   n1      checkout-7d4b9c-abcde and 8 more   default-cluster
        "#);
    }

    #[test]
    fn only_the_severity_is_coloured() {
        let plain = table(&[sample::incident()], look(false, Paint::Plain));
        let painted = table(&[sample::incident()], look(false, Paint::Ansi));
        assert!(!plain.contains('\u{1b}') && painted.contains("\u{1b}["), "{painted:?}");
    }
}
