//! `crash-loops`: ten thousand containers of 50 nodes that crash again and again, as when a whole cluster is broken.
//!
//! Owns how many loops there are and how fast they turn. The agents are this process; the aggregator and the webhook receiver
//! have their own.

use std::time::Duration;

use anyhow::{Result, ensure};

use super::{
    agents::{Door, Session, crash},
    aggregator::Aggregator,
    ingest::paced,
    line::{Line, Target},
    proc,
    receiver::Receiver,
    report::Report,
    say,
};
use crate::TestDir;

const AGENTS: usize = 50;
/// Ends of all loops together: each ends every 10 s, as the kubelet's first back-off lets it.
const PER_SECOND: u32 = 1_000;

/// Runs the bench.
///
/// # Errors
/// When the aggregator does not come up, a stream ends, or an incident is missing.
pub(super) async fn run(quick: bool) -> Result<Vec<Line>> {
    let (loops_each, turns): (u32, u32) = if quick { (4, 3) } else { (200, 5) };
    let dir = TestDir::new("bench")?;
    let mut report = Report::before(dir.path()).await?;
    let receiver = Receiver::start()?;
    let aggregator = Aggregator::start(dir.path(), receiver.url()).await?;
    let door = Door::of(&aggregator)?;
    let mut agents = Vec::new();
    for number in 0..AGENTS {
        agents.push(Session::open(&door.enrol(number).await?).await?);
    }
    let before = proc::memory(aggregator.pid())?.rss;
    let loops = AGENTS * usize::try_from(loops_each)?;
    say(&format!(
        "{AGENTS} agents are connected; {loops} loops turn {turns} times"
    ));
    let make = move |agent, number| crash(agent, number, u64::from(loops_each));
    let latencies = paced(agents, loops_each * turns, PER_SECOND, 0, make).await?;
    let missing = latencies
        .len()
        .saturating_sub(aggregator.counter("inquest_findings_stored_total")?);
    let open = aggregator.counter("inquest_incidents_open")?;
    ensure!(open == loops, "{open} incidents of {loops} loops");
    // What is still on its way to the receiver is part of the price.
    tokio::time::sleep(Duration::from_secs(5)).await;
    let (after, peak) = (proc::memory(aggregator.pid())?.rss, proc::peak(aggregator.pid())?);
    report.notes.push(format!(
        "{loops} incidents open at the end; RSS {} MiB without loops, {} MiB 5 s after the last end; {PER_SECOND} ends a second",
        before >> 20,
        after >> 20
    ));
    report.close(&Aggregator::config())?;
    let memory = Target {
        max: Some(300.0),
        samples: 1,
        ..Target::default()
    };
    let ack = Target {
        p99: Some(1_000.0),
        missing: Some(0),
        samples: 10_000,
        ..Target::default()
    };
    Ok(vec![
        report.line(
            "crash-loops-memory",
            &[peak as f64 / f64::from(1 << 20)],
            "MiB at most",
            memory,
            0,
        ),
        report.line("crash-loops-ack", &latencies, "ms", ack, missing),
    ])
}
