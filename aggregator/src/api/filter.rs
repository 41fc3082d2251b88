//! Filters of questions: their check, and the same meaning for incidents that come from memory.

use inquest_proto::query::v1 as pb;
use inquest_shared::{
    clock::UnixNanos,
    model::{Cause, Incident, IncidentState, Severity},
};

use super::status::Violations;
use crate::record::{Filter, Scope};

/// What is being listed; not every field of a filter means something for both.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum About {
    Incidents,
    Findings,
    Nodes,
    Deliveries,
}

/// The store's form of a filter. A field that cannot be honoured is a violation, not silence.
pub(super) fn checked(given: &pb::Filter, about: About, wrong: &mut Violations) -> Filter {
    if about == About::Incidents && !given.pod.is_empty() {
        wrong.add("filter.pod", "filters findings only; filter incidents by workload");
    }
    if about == About::Findings && given.min_severity != 0 {
        wrong.add("filter.min_severity", "filters incidents only");
    }
    if about == About::Findings && given.open_only {
        wrong.add(
            "filter.open_only",
            "filters incidents only; a finding is neither open nor resolved",
        );
    }
    Filter {
        cluster: given.cluster.clone(),
        namespace: given.namespace.clone(),
        workload: given.workload.clone(),
        container: given.container.clone(),
        pod: given.pod.clone(),
        node: given.node.clone(),
        cause: cause(&given.cause, wrong),
        min_severity: severity(given.min_severity, wrong),
        since: (given.since_ns != 0).then_some(UnixNanos(given.since_ns)),
        open_only: given.open_only,
    }
}

fn cause(code: &str, wrong: &mut Violations) -> Option<Cause> {
    if code.is_empty() {
        return None;
    }
    code.parse()
        .map_err(|error| wrong.add("filter.cause", format!("{error}")))
        .ok()
}

fn severity(number: i32, wrong: &mut Violations) -> Option<Severity> {
    let severity = Severity::from_number(number);
    if severity.is_none() && number != 0 {
        wrong.add("filter.min_severity", format!("no severity has the number {number}"));
    }
    severity
}

/// Whether a changed incident belongs to an answer; means the same as the store's listing.
pub(super) fn matches(scope: &Scope, filter: &Filter, incident: &Incident) -> bool {
    let workload = &incident.workload;
    let same = |wanted: &str, is: &str| wanted.is_empty() || wanted == is;
    let visible = match scope {
        Scope::All => true,
        Scope::Namespaces(names) => !workload.namespace.is_empty() && names.contains(&workload.namespace),
    };
    visible
        && same(&filter.cluster, &incident.cluster)
        && same(&filter.namespace, &workload.namespace)
        && same(&filter.workload, &workload.owner.name)
        && same(&filter.container, &workload.container)
        && (filter.node.is_empty() || incident.nodes.names.contains(&filter.node))
        && filter.cause.is_none_or(|cause| cause == incident.cause)
        && filter.min_severity.is_none_or(|least| incident.severity >= least)
        && filter.since.is_none_or(|since| incident.last_seen >= since)
        && (!filter.open_only || incident.state == IncidentState::Open)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::tests::sample;

    fn check(given: &pb::Filter, about: About) -> Result<Filter, String> {
        let mut wrong = Violations::default();
        let filter = checked(given, about, &mut wrong);
        wrong
            .check()
            .map(|()| filter)
            .map_err(|status| status.message().to_owned())
    }

    #[test]
    fn a_filter_that_cannot_be_honoured_is_refused_instead_of_ignored() {
        let cases = [
            (
                About::Incidents,
                pb::Filter {
                    pod: "web-1".to_owned(),
                    ..pb::Filter::default()
                },
                "filter.pod",
            ),
            (
                About::Incidents,
                pb::Filter {
                    min_severity: 99,
                    ..pb::Filter::default()
                },
                "filter.min_severity",
            ),
            (
                About::Incidents,
                pb::Filter {
                    cause: "oom".to_owned(),
                    ..pb::Filter::default()
                },
                "filter.cause",
            ),
            (
                About::Findings,
                pb::Filter {
                    min_severity: 1,
                    ..pb::Filter::default()
                },
                "filter.min_severity",
            ),
            (
                About::Findings,
                pb::Filter {
                    open_only: true,
                    ..pb::Filter::default()
                },
                "filter.open_only",
            ),
        ];
        for (about, filter, field) in cases {
            let message = check(&filter, about).unwrap_err();
            assert!(message.starts_with(field), "{message}");
        }
        assert_eq!(check(&pb::Filter::default(), About::Incidents), Ok(Filter::default()));
    }

    #[test]
    fn a_watcher_gets_what_the_listing_would_show() {
        let incident = sample::incident(1, 100);
        let yes = [
            Filter::default(),
            Filter {
                namespace: "shop".to_owned(),
                workload: "web".to_owned(),
                open_only: true,
                ..Filter::default()
            },
            Filter {
                cause: Some(Cause::OomLimit),
                min_severity: Some(Severity::High),
                ..Filter::default()
            },
            Filter {
                node: "node-a".to_owned(),
                since: Some(UnixNanos(100)),
                ..Filter::default()
            },
        ];
        let no = [
            Filter {
                cluster: "other".to_owned(),
                ..Filter::default()
            },
            Filter {
                container: "sidecar".to_owned(),
                ..Filter::default()
            },
            Filter {
                min_severity: Some(Severity::Critical),
                ..Filter::default()
            },
            Filter {
                cause: Some(Cause::AppError),
                ..Filter::default()
            },
            Filter {
                node: "node-b".to_owned(),
                ..Filter::default()
            },
            Filter {
                since: Some(UnixNanos(101)),
                ..Filter::default()
            },
        ];
        assert!(yes.iter().all(|filter| matches(&Scope::All, filter, &incident)));
        assert!(!no.iter().any(|filter| matches(&Scope::All, filter, &incident)));
    }

    #[test]
    fn a_caller_never_sees_other_namespaces() {
        let incident = sample::incident(1, 100);
        let scope = |name: &str| Scope::Namespaces(vec![name.to_owned()]);
        assert!(matches(&scope("shop"), &Filter::default(), &incident));
        assert!(!matches(&scope("bank"), &Filter::default(), &incident));
    }
}
