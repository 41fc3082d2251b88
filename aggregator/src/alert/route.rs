//! Which receivers are told of a notice.
//!
//! Owns the compiled routing tree and the labels of an incident. Pure: must not know how anything is delivered.

use std::sync::Arc;

use inquest_shared::clock::UnixNanos;
use inquest_shared::config::{self, LABELS};
use inquest_shared::matcher::{Matcher, MatcherError};
use inquest_shared::model::{DeliveryState, Incident};
use thiserror::Error;
use ulid::Ulid;

use crate::record::{Notice, OutboxRow};

/// A route that cannot be used. Trying again helps only after the configuration was changed.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum RouteError {
    /// The text is no matcher.
    #[error("route.routes[{route}].matchers[{matcher}]")]
    Matcher {
        /// Index of the child route.
        route: usize,
        /// Index of its matcher.
        matcher: usize,
        /// What is wrong, with the position.
        #[source]
        source: MatcherError,
    },
    /// Incidents have no such label, so the matcher could never mean what it says.
    #[error("route.routes[{route}].matchers[{matcher}]: unknown label {name}; one of: {}", LABELS.join(", "))]
    Label {
        /// Index of the child route.
        route: usize,
        /// Index of its matcher.
        matcher: usize,
        /// The label.
        name: String,
    },
}

/// The routing tree, ready for use.
#[derive(Debug, Clone)]
pub struct Routes {
    fallback: String,
    children: Vec<Child>,
}

#[derive(Debug, Clone)]
struct Child {
    matchers: Vec<Matcher>,
    receiver: String,
    proceed: bool,
}

impl Routes {
    /// Compiles the `route` section of the configuration.
    ///
    /// # Errors
    /// The first [`RouteError`] in the order of the file.
    pub fn compile(route: &config::Route) -> Result<Self, RouteError> {
        let children = route
            .routes
            .iter()
            .enumerate()
            .map(|(index, child)| Child::compile(index, child));
        Ok(Self {
            fallback: route.receiver.clone(),
            children: children.collect::<Result<_, _>>()?,
        })
    }

    /// Names of the receivers of an incident, each once, in the order of the file: the first child that matches and
    /// those that `continue` led on to; the root's receiver if none matches.
    #[must_use]
    pub fn receivers(&self, incident: &Incident) -> Vec<&str> {
        let mut receivers: Vec<&str> = Vec::new();
        for child in &self.children {
            if !child.matches(incident) {
                continue;
            }
            if !receivers.contains(&child.receiver.as_str()) {
                receivers.push(&child.receiver);
            }
            if !child.proceed {
                break;
            }
        }
        if receivers.is_empty() {
            receivers.push(&self.fallback);
        }
        receivers
    }
}

impl Child {
    fn compile(route: usize, child: &config::SubRoute) -> Result<Self, RouteError> {
        let compile = |(matcher, text): (usize, &String)| {
            let parsed = Matcher::parse(text).map_err(|source| RouteError::Matcher { route, matcher, source })?;
            if LABELS.contains(&parsed.name()) {
                Ok(parsed)
            } else {
                Err(RouteError::Label {
                    route,
                    matcher,
                    name: parsed.name().to_owned(),
                })
            }
        };
        Ok(Self {
            matchers: child
                .matchers
                .iter()
                .enumerate()
                .map(compile)
                .collect::<Result<_, _>>()?,
            receiver: child.receiver.clone(),
            proceed: child.proceed,
        })
    }

    fn matches(&self, incident: &Incident) -> bool {
        self.matchers
            .iter()
            .all(|matcher| matcher.matches(label(incident, matcher.name())))
    }
}

/// Value of a label; empty when unknown. `node` is the first node of the episode, so that it does not change while a
/// workload moves.
fn label<'a>(incident: &'a Incident, name: &str) -> &'a str {
    match name {
        "cluster" => &incident.cluster,
        "namespace" => &incident.workload.namespace,
        "workload" => &incident.workload.owner.name,
        "kind" => &incident.workload.owner.kind,
        "container" => &incident.workload.container,
        "cause" => incident.cause.code(),
        "severity" => incident.severity.code(),
        "node" => incident.nodes.names.first().map_or("", String::as_str),
        "state" => incident.state.code(),
        _ => "",
    }
}

/// The outbox rows of a batch's notices, to be committed with it. `ids` gives rising ULIDs.
pub fn plan(notices: Vec<Notice>, routes: &Routes, now: UnixNanos, mut ids: impl FnMut() -> Ulid) -> Vec<OutboxRow> {
    let mut rows = Vec::new();
    for notice in notices {
        let notice = Arc::new(notice);
        for receiver in routes.receivers(&notice.incident) {
            rows.push(OutboxRow {
                id: ids(),
                receiver: receiver.to_owned(),
                notice: Arc::clone(&notice),
                planned_at: now,
                state: DeliveryState::Pending,
                attempts: 0,
                next_at: now,
                delivered_at: None,
                last_error: String::new(),
            });
        }
    }
    rows
}

#[cfg(test)]
mod tests {
    use inquest_shared::config::{Route, SubRoute};
    use inquest_shared::model::{Severity, TransitionKind};

    use super::*;
    use crate::alert::sample::incident;

    fn child(matchers: &[&str], receiver: &str, proceed: bool) -> SubRoute {
        let matchers = matchers.iter().map(|text| (*text).to_owned()).collect();
        SubRoute {
            matchers,
            receiver: receiver.to_owned(),
            proceed,
        }
    }

    fn routes(routes: Vec<SubRoute>) -> Result<Routes, RouteError> {
        Routes::compile(&Route {
            receiver: "all".to_owned(),
            routes,
        })
    }

    #[test]
    fn the_first_match_takes_the_incident_and_the_root_takes_the_rest() {
        let routes = routes(vec![
            child(&["namespace=pay"], "pay", false),
            child(&["severity=~\"high|critical\"", "cause=oom_limit"], "pager", false),
            child(&["namespace=shop"], "shop", false),
        ])
        .unwrap();
        let mut oom = incident(1);
        oom.severity = Severity::High;
        assert_eq!(routes.receivers(&oom), ["pager"]);
        oom.severity = Severity::Low;
        assert_eq!(routes.receivers(&oom), ["shop"]);
        oom.workload.namespace = "other".to_owned();
        assert_eq!(routes.receivers(&oom), ["all"]);
    }

    #[test]
    fn continue_goes_on_to_the_next_sibling_and_nobody_is_told_twice() {
        let routes = routes(vec![
            child(&["namespace=shop"], "archive", true),
            child(&["kind=Deployment"], "archive", true),
            child(&[], "team", false),
            child(&[], "never", false),
        ])
        .unwrap();
        assert_eq!(routes.receivers(&incident(1)), ["archive", "team"]);
    }

    #[test]
    fn a_misspelt_label_is_refused_with_its_place() {
        let error = routes(vec![child(&["namespace=a", "sevrity=high"], "x", false)]).unwrap_err();
        assert!(
            error
                .to_string()
                .starts_with("route.routes[0].matchers[1]: unknown label sevrity"),
            "{error}"
        );
    }

    #[test]
    fn every_label_can_be_matched() {
        let incident = incident(1);
        for name in LABELS {
            assert_ne!(label(&incident, name), "", "{name}");
        }
    }

    #[test]
    fn a_plan_has_one_row_per_receiver_ready_to_go() {
        let routes = routes(vec![child(&[], "a", true), child(&[], "b", false)]).unwrap();
        let mut next = 0;
        let ids = || {
            next += 1;
            Ulid::from(next)
        };
        let notice = Notice {
            incident: incident(1),
            kind: TransitionKind::Opened,
        };
        let rows = plan(vec![notice], &routes, UnixNanos(5), ids);
        let names: Vec<&str> = rows.iter().map(|row| row.receiver.as_str()).collect();
        assert_eq!(names, ["a", "b"]);
        assert!(rows.iter().all(|row| (row.next_at, row.attempts) == (UnixNanos(5), 0)));
        assert!(rows[0].id < rows[1].id);
    }
}
