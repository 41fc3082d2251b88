//! Exit codes that the author of a workload provided for.
//!
//! Owns what is kept of a job's failure policy and of a container's restart rules, and what they cover. Must not know tables.

use super::wire::{FailurePolicyWire, FailureRuleWire, RestartRuleWire};

/// A set of exit codes. Zero is in none: both kinds of rules are about failures.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct ExitCodes {
    values: Box<[i32]>,
    /// All codes but these.
    inverted: bool,
}

impl ExitCodes {
    fn read(operator: &str, values: &[i32]) -> Self {
        Self {
            values: values.into(),
            inverted: operator == "NotIn",
        }
    }

    /// Whether the code is in the set.
    #[must_use]
    pub fn cover(&self, code: i32) -> bool {
        code != 0 && self.values.contains(&code) != self.inverted
    }
}

/// What a job makes of the ends of its pods (`spec.podFailurePolicy`).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FailurePolicy(Box<[Rule]>);

#[derive(Debug, Clone, PartialEq, Eq)]
struct Rule {
    ignores: bool,
    /// Of the container with this name, or of any.
    codes: Option<(Option<Box<str>>, ExitCodes)>,
    /// It is about pods that were to be disrupted.
    of_disruption: bool,
}

impl FailurePolicy {
    pub(super) fn read(wire: &FailurePolicyWire) -> Self {
        Self(wire.rules.iter().map(Rule::read).collect())
    }

    /// Whether the job does not count this end as a failure. The first rule that fits decides. Source: kubernetes.io, "Pod
    /// failure policy".
    #[must_use]
    pub fn ignores(&self, container: &str, code: i32, disrupted: bool) -> bool {
        let fits = |rule: &&Rule| rule.fits(container, code, disrupted);
        self.0.iter().find(fits).is_some_and(|rule| rule.ignores)
    }
}

impl Rule {
    fn read(wire: &FailureRuleWire) -> Self {
        let codes = wire.on_exit_codes.as_ref().map(|on| {
            let container = (!on.container_name.is_empty()).then(|| on.container_name.as_str().into());
            (container, ExitCodes::read(&on.operator, &on.values))
        });
        let disruption = |condition: &super::wire::FailureCondition| condition.r#type == "DisruptionTarget";
        Self {
            ignores: wire.action == "Ignore",
            codes,
            of_disruption: wire.on_pod_conditions.iter().any(disruption),
        }
    }

    fn fits(&self, container: &str, code: i32, disrupted: bool) -> bool {
        let of = |name: &Option<Box<str>>| name.as_deref().is_none_or(|name| name == container);
        let by_code = self
            .codes
            .as_ref()
            .is_some_and(|(name, codes)| of(name) && codes.cover(code));
        by_code || (self.of_disruption && disrupted)
    }
}

/// The codes after which a container is started again by a rule of its own (`restartPolicyRules`, KEP-5307).
pub(super) fn restart_rules(wires: &[RestartRuleWire]) -> Box<[ExitCodes]> {
    let restarts = wires.iter().filter(|rule| rule.action == "Restart");
    restarts
        .map(|rule| ExitCodes::read(&rule.exit_codes.operator, &rule.exit_codes.values))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn policy(text: &str) -> FailurePolicy {
        FailurePolicy::read(&serde_json::from_str(text).unwrap())
    }

    #[test]
    fn the_first_rule_that_fits_decides_whether_a_job_ignores_an_end() {
        let policy = policy(
            r#"{"rules": [
                {"action": "FailJob", "onExitCodes": {"containerName": "main", "operator": "In", "values": [1]}},
                {"action": "Ignore", "onExitCodes": {"operator": "In", "values": [1, 42]}},
                {"action": "Ignore", "onPodConditions": [{"type": "DisruptionTarget"}]},
                {"action": "Count", "onExitCodes": {"operator": "NotIn", "values": [7]}}]}"#,
        );
        assert!(policy.ignores("main", 42, false));
        assert!(!policy.ignores("main", 1, false), "the job fails at once");
        assert!(policy.ignores("side", 1, false));
        assert!(!policy.ignores("main", 3, false));
        assert!(policy.ignores("main", 3, true));
        assert!(!policy.ignores("main", 7, false), "no rule fits");
        assert!(!policy.ignores("main", 0, false));
    }

    #[test]
    fn restart_rules_are_about_failures_only() {
        let wires: Vec<RestartRuleWire> = serde_json::from_str(
            r#"[{"action": "Restart", "exitCodes": {"operator": "NotIn", "values": [1]}},
                {"action": "Unheard", "exitCodes": {"operator": "In", "values": [1]}}]"#,
        )
        .unwrap();
        let rules = restart_rules(&wires);
        let covered = |code| rules.iter().any(|codes| codes.cover(code));
        assert!(covered(42) && !covered(1) && !covered(0));
    }
}
