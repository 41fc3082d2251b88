//! What an operator may choose.

use std::sync::Arc;

use inquest_shared::{
    config::AggregatorConfig,
    redact::{BadPattern, Redactor},
};

use super::LogSettings;

/// Choices of the configuration.
#[derive(Debug, Clone)]
pub struct CorrelationSettings {
    /// Most warnings about a pod that are told with its end.
    pub event_entries: usize,
    /// How logs are asked for; `None`: they are not.
    pub logs: Option<LogSettings>,
}

impl Default for CorrelationSettings {
    fn default() -> Self {
        Self {
            event_entries: 5,
            logs: None,
        }
    }
}

impl CorrelationSettings {
    /// Those of a configuration.
    ///
    /// # Errors
    /// [`BadPattern`]; a configuration that was loaded has none.
    pub fn of(config: &AggregatorConfig) -> Result<Self, BadPattern> {
        let (number, chosen) = (|n: u32| usize::try_from(n).unwrap_or(usize::MAX), &config.log_fallback);
        let redactor = Arc::new(Redactor::new(&config.redaction_patterns)?);
        Ok(Self {
            event_entries: number(config.watch.event_entries),
            logs: chosen.enabled.then(|| LogSettings {
                lines: chosen.lines,
                attempts: chosen.attempts,
                parallel: number(chosen.parallel),
                timeout: chosen.timeout.get(),
                redactor,
            }),
        })
    }
}
