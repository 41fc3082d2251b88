//! Which records are wanted.

use clap::Args;
use inquest_proto::query::v1::Filter;
use inquest_shared::{
    clock::UnixNanos,
    config::ConfigDuration,
    model::{Cause, Severity},
};

use super::value::{cause, duration, severity};

#[derive(Debug, Args, Default)]
#[command(next_help_heading = "Which ones")]
pub(crate) struct FilterArgs {
    /// Only this namespace
    #[arg(short, long, value_name = "NAME")]
    namespace: Option<String>,
    /// Only this cluster
    #[arg(long, value_name = "NAME")]
    cluster: Option<String>,
    /// Only this workload, by the name of its Deployment, Job and so on
    #[arg(long, value_name = "NAME")]
    workload: Option<String>,
    /// Only this pod
    #[arg(long, value_name = "NAME")]
    pod: Option<String>,
    /// Only containers of this name
    #[arg(long, value_name = "NAME")]
    container: Option<String>,
    /// Only this cause, such as oom_limit or app_error
    #[arg(long, value_name = "CODE", value_parser = cause)]
    cause: Option<Cause>,
    /// Only this node
    #[arg(long, value_name = "NAME")]
    node: Option<String>,
    /// Only what is at least this severe: info, low, medium, high, critical
    #[arg(long, value_name = "SEVERITY", value_parser = severity)]
    min_severity: Option<Severity>,
    /// Only what was seen within this time, such as 30m, 2h or 1d
    #[arg(long, value_name = "TIME", value_parser = duration)]
    since: Option<ConfigDuration>,
}

impl FilterArgs {
    /// The filter as it is sent.
    pub(crate) fn to_wire(&self, now: UnixNanos) -> Filter {
        let text = |value: &Option<String>| value.clone().unwrap_or_default();
        Filter {
            cluster: text(&self.cluster),
            namespace: text(&self.namespace),
            workload: text(&self.workload),
            container: text(&self.container),
            cause: self.cause.map(|cause| cause.code().to_owned()).unwrap_or_default(),
            node: text(&self.node),
            min_severity: self.min_severity.map_or(0, Severity::number),
            since_ns: self.since.map_or(0, |span| now.saturating_sub(span.get()).as_nanos()),
            open_only: false,
            pod: text(&self.pod),
        }
    }
}
