//! Health: named conditions that components set and the status server shows.
//!
//! Owns the map and the verdict. Must not know what the names stand for.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;

use super::Registry;

/// Longest reason that is kept, in characters; reasons may quote foreign text.
const MAX_REASON_CHARS: usize = 200;

/// Whether readiness depends on a condition.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Need {
    /// `/readyz` fails while it is degraded.
    Required,
    /// Shown, but without influence on readiness.
    Informational,
}

/// State of one dependency.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Condition {
    /// It works.
    Ok,
    /// It does not work, or only in part.
    Degraded {
        /// What an operator reads; bounded and escaped when it is stored.
        reason: String,
    },
}

impl Condition {
    /// A degraded condition.
    pub fn degraded(reason: impl fmt::Display) -> Self {
        Self::Degraded {
            reason: reason.to_string(),
        }
    }
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ConditionLabel {
    condition: &'static str,
}

#[derive(Debug, Default)]
struct Inner {
    conditions: Mutex<BTreeMap<&'static str, (Need, Condition)>>,
    gauge: Family<ConditionLabel, Gauge>,
}

/// Shared map of conditions; clones are the same map.
#[derive(Debug, Clone, Default)]
pub struct Health(Arc<Inner>);

impl Health {
    /// An empty map, shown as `inquest_condition_ok{condition}` (1 works, 0 degraded).
    #[must_use]
    pub fn new(registry: &Registry) -> Self {
        let health = Self::default();
        registry.register(
            "condition_ok",
            "1 when a dependency works, 0 when it is degraded",
            health.0.gauge.clone(),
        );
        health
    }

    /// Introduces a condition, degraded as "starting" until it is set: a component that never
    /// reports cannot look healthy.
    pub fn declare(&self, name: &'static str, need: Need) {
        self.store(name, Some(need), Condition::degraded("starting"));
    }

    /// Sets a condition; one that was not declared is informational.
    pub fn set(&self, name: &'static str, condition: Condition) {
        self.store(name, None, condition);
    }

    /// The condition of that name.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<Condition> {
        let conditions = self.0.conditions.lock().unwrap_or_else(PoisonError::into_inner);
        conditions.get(name).map(|(_, condition)| condition.clone())
    }

    /// All conditions, sorted by name.
    #[must_use]
    pub fn snapshot(&self) -> Vec<(&'static str, Need, Condition)> {
        let conditions = self.0.conditions.lock().unwrap_or_else(PoisonError::into_inner);
        conditions
            .iter()
            .map(|(name, (need, condition))| (*name, *need, condition.clone()))
            .collect()
    }

    /// Whether every required condition works.
    #[must_use]
    pub fn is_ready(&self) -> bool {
        self.snapshot()
            .iter()
            .all(|(_, need, condition)| *need == Need::Informational || *condition == Condition::Ok)
    }

    /// One line per condition, for `/readyz`.
    #[must_use]
    pub fn report(&self) -> String {
        let line = |(name, need, condition): (&str, Need, Condition)| match (condition, need) {
            (Condition::Ok, _) => format!("ok {name}\n"),
            (Condition::Degraded { reason }, Need::Required) => format!("failed {name}: {reason}\n"),
            (Condition::Degraded { reason }, Need::Informational) => format!("degraded {name}: {reason}\n"),
        };
        self.snapshot().into_iter().map(line).collect()
    }

    fn store(&self, name: &'static str, need: Option<Need>, condition: Condition) {
        let works = i64::from(condition == Condition::Ok);
        let condition = match condition {
            Condition::Ok => Condition::Ok,
            Condition::Degraded { reason } => Condition::Degraded {
                reason: bounded(&reason),
            },
        };
        let mut conditions = self.0.conditions.lock().unwrap_or_else(PoisonError::into_inner);
        let entry = conditions.entry(name).or_insert((Need::Informational, Condition::Ok));
        entry.0 = need.unwrap_or(entry.0);
        entry.1 = condition;
        self.0
            .gauge
            .get_or_create(&ConditionLabel { condition: name })
            .set(works);
    }
}

fn bounded(reason: &str) -> String {
    let escaped = reason.chars().flat_map(|char| {
        let escape = if char.is_control() {
            Some(char.escape_default())
        } else {
            None
        };
        let plain = if char.is_control() { None } else { Some(char) };
        escape.into_iter().flatten().chain(plain)
    });
    escaped.take(MAX_REASON_CHARS).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_component_that_never_reported_is_not_ready() {
        let health = Health::default();
        health.declare("store", Need::Required);
        assert!(!health.is_ready());
        assert_eq!(health.report(), "failed store: starting\n");
        health.set("store", Condition::Ok);
        assert!(health.is_ready());
    }

    #[test]
    fn an_informational_failure_is_named_but_stays_ready() {
        let health = Health::default();
        health.declare("kmsg", Need::Informational);
        health.set("kmsg", Condition::degraded("permission denied"));
        assert!(health.is_ready());
        assert_eq!(health.report(), "degraded kmsg: permission denied\n");
    }

    #[test]
    fn a_hostile_reason_cannot_forge_lines_or_flood() {
        let health = Health::default();
        health.set(
            "webhook",
            Condition::degraded(format!("x\nok store\u{1b}[2J{}", "y".repeat(9_999))),
        );
        let report = health.report();
        assert_eq!(report.lines().count(), 1, "{report}");
        assert!(report.len() < 300 && report.contains("x\\nok store\\u{1b}"), "{report}");
    }
}
