//! The metrics of one program.
//!
//! Owns the common prefix and the build information. Must not know any other metric: components
//! register their own.

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

use prometheus_client::metrics::info::Info;
use prometheus_client::registry::{Metric, Registry as Families};

/// Shared list of metrics; clones are the same list. Every name gets the prefix `inquest_`.
#[derive(Clone)]
pub struct Registry(Arc<Mutex<Families>>);

impl Registry {
    /// A registry that holds `inquest_build_info{program, version}`.
    #[must_use]
    pub fn new(program: &'static str, version: &'static str) -> Self {
        let mut families = Families::with_prefix("inquest");
        let build = Info::new(vec![("program", program), ("version", version)]);
        families.register("build", "Program and version", build);
        Self(Arc::new(Mutex::new(families)))
    }

    /// Adds a metric and gives it back. `name` is without prefix; a counter gets the suffix
    /// `_total` when it is shown.
    pub fn register<M: Metric + Clone>(&self, name: &str, help: &str, metric: M) -> M {
        let mut families = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        families.register(name, help, metric.clone());
        metric
    }

    /// All metrics in the OpenMetrics text format.
    ///
    /// # Errors
    /// [`fmt::Error`] if a metric cannot be written as text; trying again does not help.
    pub fn encode(&self) -> Result<String, fmt::Error> {
        let mut text = String::new();
        let families = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        prometheus_client::encoding::text::encode(&mut text, &families)?;
        Ok(text)
    }
}

impl fmt::Debug for Registry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Registry")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use prometheus_client::metrics::counter::Counter;

    #[test]
    fn metrics_carry_our_prefix_and_the_version() {
        let registry = Registry::new("agent", "1.2.3");
        let records = registry.register("records", "Records read", Counter::<u64>::default());
        records.inc_by(3);
        let text = registry.encode().unwrap();
        assert!(text.contains("inquest_records_total 3"), "{text}");
        assert!(
            text.contains(r#"inquest_build_info{program="agent",version="1.2.3"} 1"#),
            "{text}"
        );
        assert!(text.ends_with("# EOF\n"), "{text}");
    }
}
