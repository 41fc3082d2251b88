//! The aggregator's process: arguments, configuration, then `run`.

use std::process::ExitCode;

use inquest_shared::{config::AggregatorConfig, start};

fn main() -> ExitCode {
    start::main::<AggregatorConfig, _>(
        start::About {
            name: "inquest-aggregator",
            version: env!("CARGO_PKG_VERSION"),
            what: "Takes findings from agents, keeps incidents and alerts people.",
            default_file: "/etc/inquest/aggregator.yaml",
        },
        inquest_aggregator::run::run,
        start::Threads::Cores,
    )
}
