//! What can be typed: commands, options and the help that teaches them.
//!
//! Owns the grammar and the help texts. Must not know what a command does.

mod filter;
mod value;

use std::path::{Path, PathBuf};

use clap::{Args, Parser, Subcommand, ValueEnum};
use clap_complete::Shell;
use inquest_shared::{
    config::ConfigDuration,
    model::{DeliveryState, Severity},
    text::Lang,
};

pub(crate) use filter::FilterArgs;
pub(crate) use value::Server;
use value::{delivery_state, duration, lang, server, severity};

/// File name that makes the program a kubectl plugin.
const PLUGIN: &str = "kubectl-inquest";

/// Stands for the name of the program in help texts.
const BIN: &str = "{bin}";

/// Says why containers die: which one, on which node, what proves it and who was told.
#[derive(Debug, Parser)]
#[command(
    name = "inquest",
    version,
    max_term_width = 110,
    subcommand_required = true,
    arg_required_else_help = true,
    after_help = "Try it on this host:\n  {bin} demo\n\n\
        Exit status: 0 success, 1 found something at or above --fail-on, 2 failure, 3 could not connect,\n\
        4 partial result, 64 usage or configuration."
)]
pub(crate) struct Cli {
    #[command(flatten)]
    pub(crate) global: Global,
    #[command(subcommand)]
    pub(crate) command: Command,
}

/// Options of every command.
#[derive(Debug, Args)]
#[command(next_help_heading = "Everywhere")]
pub(crate) struct Global {
    /// Address of the aggregator's API
    #[arg(long, global = true, value_name = "URL", env = "INQUEST_SERVER", default_value = "http://127.0.0.1:7441", value_parser = server)]
    pub(crate) server: Server,
    /// Form of the output; json and yaml are the API's own messages
    #[arg(short, long, global = true, value_name = "FORM", default_value = "table")]
    pub(crate) output: Form,
    /// No colours; NO_COLOR does the same
    #[arg(long, global = true)]
    pub(crate) no_color: bool,
    /// Language of explanations: en or zh
    #[arg(long, global = true, value_name = "LANG", env = "INQUEST_LANG", default_value = "en", value_parser = lang)]
    pub(crate) lang: Lang,
}

/// Form of the output.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Form {
    /// For people
    Table,
    /// For people with wide screens
    Wide,
    /// For programs
    Json,
    /// For programs and people
    Yaml,
}

impl Form {
    /// Whether the output is for people.
    pub(crate) const fn is_text(self) -> bool {
        matches!(self, Self::Table | Self::Wide)
    }
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Kills a container on this host and shows who is told what, from the kernel to the alert
    #[command(after_help = "Examples:\n  \
        {bin} demo                            a real OOM kill, then follow what happens until Ctrl-C\n  \
        {bin} demo --trigger crash --once     a program that fails; ends after the first alert\n  \
        {bin} demo --trigger none             only watch this host\n\n\
        As root, with containerd, runc and busybox-static installed, the demo runs a container runtime of its own\n\
        in a temporary folder; the one of this host is never touched.")]
    Demo(DemoArgs),
    /// Lists incidents, newest first
    #[command(after_help = "Examples:\n  \
        {bin} incidents --open                what is going on now\n  \
        {bin} incidents -n shop --since 2h    one namespace, the last two hours\n  \
        {bin} incidents --cause oom_limit -o json\n  \
        {bin} incidents --open --fail-on high && deploy")]
    Incidents(IncidentsArgs),
    /// Explains one incident: cause, evidence, notifications and the last log lines
    #[command(after_help = "Examples:\n  \
        {bin} incident 01J9ZK\n  \
        {bin} incident 01J9ZK -o yaml\n\n\
        The first characters of the id are enough when no other incident has them (at least 6).")]
    Incident(IncidentArgs),
    /// Lists crashes one by one, newest first
    #[command(after_help = "Examples:\n  \
        {bin} findings --workload checkout\n  \
        {bin} findings --node n1 --since 1d -o wide")]
    Findings(ListArgs),
    /// Lists notifications over all incidents, newest first: who was told, who waits, what was given up
    #[command(after_help = "Examples:\n  \
        {bin} deliveries --state dead         what was given up, and why\n  \
        {bin} deliveries --state pending --receiver team")]
    Deliveries(DeliveriesArgs),
    /// Prints every change of an incident as it comes
    #[command(after_help = "Examples:\n  \
        {bin} watch -n shop\n  \
        {bin} watch --min-severity high --once && notify-send 'something died'\n  \
        {bin} watch -o json | jq .latest.subject")]
    Watch(WatchArgs),
    /// Lists nodes with what each can see, and what would open what it cannot
    #[command(after_help = "Examples:\n  \
        {bin} nodes\n  \
        {bin} nodes -o wide                   each source with the reason and the remedy")]
    Nodes(NodesArgs),
    /// Works on configuration files
    #[command(subcommand)]
    Config(ConfigCommand),
    /// Prints the manifests of this version for Kubernetes
    #[command(after_help = "Examples:\n  \
        {bin} install --print | kubectl apply -f -\n  \
        {bin} install --print --profile minimal > inquest.yaml\n\n\
        The namespace and the authority come first; the handbook's page on installation says how to make them.\n\
        Applied again, it changes only what differs.")]
    Install(InstallArgs),
    /// Prints the manifests that are to be deleted; the database and the authority stay
    #[command(after_help = "Examples:\n  \
        {bin} uninstall --print | kubectl delete --ignore-not-found -f -")]
    Uninstall(InstallArgs),
    /// Writes a completion script for a shell
    #[command(after_help = "Examples:\n  \
        inquest completion bash > /etc/bash_completion.d/inquest\n  \
        inquest completion zsh > ~/.zfunc/_inquest")]
    Completion {
        /// Shell that reads the script
        shell: Shell,
    },
}

#[derive(Debug, Args)]
pub(crate) struct InstallArgs {
    /// Print the manifests; this program changes no cluster
    #[arg(long, required = true)]
    pub(crate) print: bool,
    /// What the agents may see
    #[arg(long, value_name = "NAME", default_value = "standard")]
    pub(crate) profile: Profile,
}

/// What agents are granted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Profile {
    /// No root, no runtime socket: counters only
    Minimal,
    /// Root without any capability: counters, runtime, trace events
    Standard,
    /// The kernel log as well
    Privileged,
}

#[derive(Debug, Args)]
pub(crate) struct DemoArgs {
    /// How to make something die
    #[arg(long, value_name = "WHAT", default_value = "oom")]
    pub(crate) trigger: TriggerKind,
    /// End after the first delivered alert
    #[arg(long)]
    pub(crate) once: bool,
    /// Give up when no alert was delivered after this time
    #[arg(long, value_name = "TIME", default_value = "60s", value_parser = duration)]
    pub(crate) timeout: ConfigDuration,
    /// Keep the folder with configuration, database and logs
    #[arg(long)]
    pub(crate) keep: bool,
}

/// How the demo makes something die.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum TriggerKind {
    /// A container that takes more memory than it may
    Oom,
    /// A container whose program fails
    Crash,
    /// Nothing dies by the demo's hand
    None,
}

#[derive(Debug, Args)]
pub(crate) struct ListArgs {
    #[command(flatten)]
    pub(crate) filter: FilterArgs,
    /// List at most this many
    #[arg(long, value_name = "COUNT", default_value = "100", value_parser = clap::value_parser!(u32).range(1..))]
    pub(crate) limit: u32,
}

#[derive(Debug, Args)]
pub(crate) struct IncidentsArgs {
    #[command(flatten)]
    pub(crate) list: ListArgs,
    /// Only incidents that are not resolved
    #[arg(long)]
    pub(crate) open: bool,
    /// End with status 1 when one of the listed incidents is at least this severe
    #[arg(long, value_name = "SEVERITY", value_parser = severity)]
    pub(crate) fail_on: Option<Severity>,
}

#[derive(Debug, Args)]
pub(crate) struct IncidentArgs {
    /// Id, or its first characters
    pub(crate) id: String,
}

#[derive(Debug, Args)]
pub(crate) struct DeliveriesArgs {
    /// Only this state: pending, delivered, dead or superseded
    #[arg(long, value_name = "STATE", value_parser = delivery_state)]
    pub(crate) state: Option<DeliveryState>,
    /// Only this receiver
    #[arg(long, value_name = "NAME")]
    pub(crate) receiver: Option<String>,
    /// List at most this many
    #[arg(long, value_name = "COUNT", default_value = "100", value_parser = clap::value_parser!(u32).range(1..))]
    pub(crate) limit: u32,
}

#[derive(Debug, Args)]
pub(crate) struct WatchArgs {
    #[command(flatten)]
    pub(crate) filter: FilterArgs,
    /// Begin with the incidents that are open now
    #[arg(long)]
    pub(crate) current: bool,
    /// End after the first change
    #[arg(long)]
    pub(crate) once: bool,
}

#[derive(Debug, Args)]
pub(crate) struct NodesArgs {
    /// Only this cluster
    #[arg(long, value_name = "NAME")]
    pub(crate) cluster: Option<String>,
}

#[derive(Debug, Subcommand)]
pub(crate) enum ConfigCommand {
    /// Checks a configuration file and says everything that is wrong with it at once
    #[command(after_help = "Examples:\n  \
        {bin} config check aggregator.yaml\n  \
        {bin} config check agent.yaml -o wide    every effective value with its origin")]
    Check(CheckArgs),
    /// Prints the keys of a program's file as a JSON Schema, for editors
    #[command(after_help = "Examples:\n  \
        {bin} config schema agent > agent.schema.json\n\n\
        The YAML language server takes it by the first line of a file:\n  \
        # yaml-language-server: $schema=agent.schema.json")]
    Schema {
        /// Program that reads the file
        program: Program,
    },
}

#[derive(Debug, Args)]
pub(crate) struct CheckArgs {
    /// The file
    pub(crate) file: PathBuf,
    /// Program that reads the file; without it the better fit is taken
    #[arg(long, value_name = "NAME")]
    pub(crate) program: Option<Program>,
}

/// Programs with a configuration file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Program {
    /// inquest-agent
    Agent,
    /// inquest-aggregator
    Aggregator,
}

impl Program {
    /// The word used on the command line.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Agent => "agent",
            Self::Aggregator => "aggregator",
        }
    }
}

/// How people call this program, from its file name.
pub(crate) fn program_name(argv0: &Path) -> &'static str {
    let name = argv0.file_name().and_then(|name| name.to_str()).unwrap_or_default();
    match name.starts_with(PLUGIN) {
        true => "kubectl inquest",
        false => "inquest",
    }
}

/// The grammar, with the program's name in usage lines and examples.
pub(crate) fn grammar(name: &'static str) -> clap::Command {
    named(<Cli as clap::CommandFactory>::command(), name).bin_name(name)
}

fn named(command: clap::Command, name: &str) -> clap::Command {
    let help = command.get_after_help().map(|help| help.to_string().replace(BIN, name));
    let command = match help {
        Some(help) => command.after_help(help),
        None => command,
    };
    command.mut_subcommands(|below| named(below, name))
}

#[cfg(test)]
mod tests;
