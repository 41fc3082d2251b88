//! The agent's process: arguments, configuration, then `run`.

use std::process::ExitCode;

use inquest_shared::{config::AgentConfig, start};

fn main() -> ExitCode {
    start::main::<AgentConfig, _>(
        start::About {
            name: "inquest-agent",
            version: env!("CARGO_PKG_VERSION"),
            what: "Reads this node's own truth and streams findings to the aggregator.",
            default_file: "/etc/inquest/agent.yaml",
        },
        inquest_agent::run::run,
        start::Threads::One,
    )
}
