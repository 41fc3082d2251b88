//! Benches: the shipped programs with their shipped defaults, measured from outside.
//!
//! Owns what is measured, from which moment to which, and the line that is printed. It must not know how the programs
//! work inside: it sees the kernel log, the runtime, `/proc` and a webhook receiver in a process of its own.
//! `docs/performance.md` describes the method.

mod agents;
mod aggregator;
mod apiserver;
mod args;
mod clocks;
mod cluster_index;
mod cluster_latency;
mod cpu_group;
mod crash_loops;
mod flood;
mod footprint;
mod helper;
mod ingest;
mod installation;
mod kernel_log;
mod latency;
mod line;
mod load;
mod machine;
mod oom_burst;
mod printk;
mod proc;
mod receiver;
mod report;
mod rounds;
mod runtime;
mod statistics;
mod streams;
mod victims;

use std::{
    io::{self, Write as _},
    process::ExitCode,
};

use anyhow::{Result, bail};
use tokio::signal::unix::{SignalKind, signal};

use args::{Args, Bench};
use line::Line;

/// Runs the bench that the command line names. The status is 0 for a measurement, whatever it says, 2 when nothing could
/// be measured, and 64 for a command line that cannot be understood.
#[must_use]
pub fn main() -> ExitCode {
    match Args::parse(std::env::args().skip(1)) {
        Ok(Args::Receiver) => status(receiver::serve()),
        Ok(Args::Apiserver { pods, nodes }) => status(apiserver::serve(pods, nodes)),
        Ok(Args::Bench(bench)) => status(measure(&bench)),
        Err(error) => {
            say(&format!("{error}\n{}", args::USAGE));
            ExitCode::from(64)
        }
    }
}

fn status(result: Result<()>) -> ExitCode {
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            say(&format!("{error:#}"));
            ExitCode::from(2)
        }
    }
}

fn measure(bench: &Bench) -> Result<()> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .enable_all()
        .build()?;
    let lines = runtime.block_on(async {
        let mut terminate = signal(SignalKind::terminate())?;
        tokio::select! {
            lines = run(bench) => lines,
            // The guards put the machine back on their way out.
            _ = tokio::signal::ctrl_c() => bail!("stopped"),
            _ = terminate.recv() => bail!("stopped"),
        }
    })?;
    for line in &lines {
        line.publish(bench.out.as_deref())?;
    }
    Ok(())
}

async fn run(bench: &Bench) -> Result<Vec<Line>> {
    match bench.what {
        args::What::Kill { .. } | args::What::Exit { .. } => Box::pin(latency::run(bench)).await,
        args::What::Footprint { minutes, pods } => Box::pin(footprint::run(minutes, pods)).await,
        args::What::OomBurst { rounds } => Box::pin(oom_burst::run(rounds)).await,
        args::What::Flood { rounds } => Box::pin(flood::run(rounds)).await,
        args::What::Load { quick } => Box::pin(load::run(quick)).await,
        args::What::Ingest { quick } => Box::pin(ingest::run(quick)).await,
        args::What::CrashLoops { quick } => Box::pin(crash_loops::run(quick)).await,
        args::What::Streams { agents } => Box::pin(streams::run(agents)).await,
        args::What::ClusterIndex { quick } => Box::pin(cluster_index::run(quick)).await,
        args::What::ClusterLatency { samples } => Box::pin(cluster_latency::run(samples)).await,
    }
}

/// Tells the person at the terminal; the lines of the result go to the standard output.
fn say(text: &str) {
    // Nobody is left to be told when the terminal is gone.
    writeln!(io::stderr(), "{text}").unwrap_or_default();
}
