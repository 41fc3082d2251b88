//! `log_fallback`: logs of containers that a node cannot give, asked of the apiserver.

use super::units::ConfigDuration;
use super::{Section, at_least};

/// Most lines asked for: what travels with a finding is bounded.
const MOST_LINES: u32 = 40;

/// How logs are asked of the apiserver.
#[derive(Debug, Clone)]
pub struct LogFallbackConfig {
    /// `log_fallback.enabled`: whether they are; needs the right to get `pods/log`. Default `false`: agents read logs on their
    /// nodes.
    pub enabled: bool,
    /// `log_fallback.lines`: how many of the last lines. Default `20`, 1 to 40.
    pub lines: u32,
    /// `log_fallback.attempts`: how often an apiserver or kubelet that does not answer is asked. Default `10`, at least `1`.
    pub attempts: u32,
    /// `log_fallback.parallel`: how many are asked for at once. Default `30`, at least `1`.
    pub parallel: u32,
    /// `log_fallback.timeout`: how long each answer may take. Default `5s`, at least `1s`.
    pub timeout: ConfigDuration,
}

impl LogFallbackConfig {
    pub(super) fn read(section: &mut Section<'_, '_>) -> Self {
        let second = ConfigDuration::from_secs;
        let lines = at_least(section, "lines", 20, &1);
        if lines > MOST_LINES {
            section.reject("lines", &format!("is {lines}; expected at most {MOST_LINES}"));
        }
        Self {
            enabled: section.value("enabled", false),
            lines,
            attempts: at_least(section, "attempts", 10, &1),
            parallel: at_least(section, "parallel", 30, &1),
            timeout: at_least(section, "timeout", second(5), &second(1)),
        }
    }
}

#[cfg(test)]
mod tests {
    use crate::config::{AggregatorConfig, Inputs, load_text};

    #[test]
    fn nothing_is_asked_for_unless_it_is_wished_and_then_twenty_lines() {
        let config = load_text::<AggregatorConfig>("", &Inputs::default()).unwrap().value;
        let asked = config.log_fallback;
        assert_eq!((asked.lines, asked.attempts, asked.parallel), (20, 10, 30));
        assert!(!asked.enabled);
        assert_eq!(config.watch.event_entries, 5);
    }
}
