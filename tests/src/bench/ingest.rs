//! `ingest`: what one aggregator takes from 64 agents over mutual TLS, each finding acknowledged from its disk.
//!
//! Owns the phases and their sizes. The agents are this process, the aggregator and the webhook receiver have their own.

use std::time::Duration;

use anyhow::Result;
use inquest_proto::ingest::v1::Finding;
use tokio::{
    task::JoinSet,
    time::{Instant, sleep_until},
};

use super::{
    agents::{Door, Session, finding},
    aggregator::Aggregator,
    line::{Line, Target},
    machine::sync_cost,
    receiver::Receiver,
    report::Report,
    say,
};
use crate::TestDir;

const AGENTS: usize = 64;
/// Findings of one message; with their size of about 500 bytes it is the 64 KiB that the shipped agent sends at most.
const BATCH: usize = 128;
/// All agents together, for the latency of an acknowledgement.
const PACE_PER_SECOND: u32 = 500;

/// How much is sent.
struct Plan {
    rounds: u64,
    /// Messages of each agent in a round.
    batches: u64,
    singles: u64,
    paced_each: u32,
}

type Agents = Vec<Session>;

/// Runs the bench.
///
/// # Errors
/// When the aggregator does not come up or a stream ends.
pub(super) async fn run(quick: bool) -> Result<Vec<Line>> {
    let plan = match quick {
        true => Plan {
            rounds: 2,
            batches: 2,
            singles: 20,
            paced_each: 16,
        },
        false => Plan {
            rounds: 5,
            batches: 8,
            singles: 100,
            paced_each: 80,
        },
    };
    let dir = TestDir::new("bench")?;
    let mut report = Report::before(dir.path()).await?;
    report.notes.push(sync_cost(dir.path())?);
    let receiver = Receiver::start()?;
    let aggregator = Aggregator::start(dir.path(), receiver.url()).await?;
    let door = Door::of(&aggregator)?;
    let mut agents = Agents::new();
    for number in 0..AGENTS {
        agents.push(Session::open(&door.enrol(number).await?).await?);
    }
    say("64 agents are connected; opening their incidents");
    let mut sent = 0;
    let mut next = 0;
    // Opens the ten incidents of each agent, so that no phase pays for their notifications.
    (agents, _) = rate(agents, 1, 10, next).await?;
    (next, sent) = (next + 10, sent + AGENTS * 10);
    let (mut batched, mut repeated, mut singles) = (Vec::new(), Vec::new(), Vec::new());
    for round in 1..=plan.rounds {
        let (back, per_second) = rate(agents, plan.batches, BATCH, next).await?;
        batched.push(per_second);
        let (back, per_second) = rate(back, plan.batches, BATCH, next).await?;
        repeated.push(per_second);
        next += plan.batches * BATCH as u64;
        let (back, per_second) = rate(back, plan.singles, 1, next).await?;
        singles.push(per_second);
        next += plan.singles;
        sent += AGENTS * (usize::try_from(plan.batches)? * BATCH + usize::try_from(plan.singles)?);
        agents = back;
        say(&format!(
            "round {round}: {batched:.0?} batched, {repeated:.0?} repeated, {singles:.0?} single"
        ));
    }
    let latencies = paced(agents, plan.paced_each, PACE_PER_SECOND, next, finding).await?;
    sent += latencies.len();
    let missing = sent.saturating_sub(aggregator.counter("inquest_findings_stored_total")?);
    report.notes.push(format!(
        "{sent} distinct findings; {AGENTS} agents, messages of {BATCH}, agents in the bench's process"
    ));
    report.close(&Aggregator::config())?;
    let least = |least| Target {
        least: Some(least),
        missing: Some(0),
        samples: 5,
        ..Target::default()
    };
    let ack = Target {
        p99: Some(5.0),
        missing: Some(0),
        samples: 5_000,
        ..Target::default()
    };
    Ok(vec![
        report.line("ingest-batched", &batched, "findings/s", least(12_000.0), missing),
        report.line("ingest-single", &singles, "findings/s", least(3_000.0), missing),
        report.line("ingest-repeated", &repeated, "findings/s", least(60_000.0), missing),
        report.line("ingest-ack", &latencies, "ms", ack, missing),
    ])
}

/// Each agent delivers `messages` of `size` findings from number `first` on; gives the agents back and findings per second.
async fn rate(agents: Agents, messages: u64, size: usize, first: u64) -> Result<(Agents, f64)> {
    let (total, mut running) = (agents.len() as f64 * messages as f64 * size as f64, JoinSet::new());
    let mut work = Vec::new();
    // Made before the clock runs: only the encoding is left to the measured time.
    for (place, session) in agents.into_iter().enumerate() {
        let batch = |n: u64| -> Vec<Finding> {
            (0..size as u64)
                .map(|i| finding(place, first + n * size as u64 + i))
                .collect()
        };
        work.push((place, session, (0..messages).map(batch).collect::<Vec<_>>()));
    }
    let begun = Instant::now();
    for (place, mut session, batches) in work {
        running.spawn(async move {
            for batch in batches {
                session.deliver(batch).await?;
            }
            anyhow::Ok((place, session))
        });
    }
    let mut back = Vec::new();
    while let Some(done) = running.join_next().await {
        back.push(done??);
    }
    let elapsed = begun.elapsed().as_secs_f64();
    back.sort_unstable_by_key(|(place, _)| *place);
    Ok((back.into_iter().map(|(_, session)| session).collect(), total / elapsed))
}

/// Each agent delivers one finding after the other at a fixed pace; gives the milliseconds from when each was due, so that
/// a slow one does not hide the wait of the next.
pub(super) async fn paced(
    agents: Vec<Session>,
    each: u32,
    per_second: u32,
    first: u64,
    make: impl Fn(usize, u64) -> Finding + Copy + Send + 'static,
) -> Result<Vec<f64>> {
    let mut running = JoinSet::new();
    let slot = Duration::from_secs(1) / per_second;
    let (count, begun) = (u32::try_from(agents.len())?, Instant::now() + Duration::from_millis(50));
    for (place, mut session) in (0..count).zip(agents) {
        running.spawn(async move {
            let mut latencies = Vec::new();
            for turn in 0..each {
                let due = begun + slot * (turn * count + place);
                sleep_until(due).await;
                session
                    .deliver(vec![make(usize::try_from(place)?, first + u64::from(turn))])
                    .await?;
                latencies.push(due.elapsed().as_secs_f64() * 1_000.0);
            }
            anyhow::Ok(latencies)
        });
    }
    let mut all = Vec::new();
    while let Some(done) = running.join_next().await {
        all.extend(done??);
    }
    Ok(all)
}
