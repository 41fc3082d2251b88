//! `streams`: what an idle agent costs the aggregator's memory, and how soon all are back after it was killed.
//!
//! Owns the number of agents and the reconnection. The agents are this process; the aggregator has its own.

use std::{sync::Arc, time::Duration};

use anyhow::{Context as _, Result, ensure};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use tokio::{
    sync::Semaphore,
    task::JoinSet,
    time::{Instant, sleep},
};
use tonic::transport::Endpoint;

use super::{
    agents::{Door, Session},
    aggregator::Aggregator,
    line::{Line, Target},
    proc,
    receiver::Receiver,
    report::Report,
    say,
};
use crate::TestDir;

/// Handshakes at once; more only time out on two cores.
const AT_ONCE: usize = 64;
/// An agent tries again after this long, then twice as long, as the shipped one does on average.
const RETRY: (Duration, Duration) = (Duration::from_millis(250), Duration::from_secs(2));
const GIVE_UP: Duration = Duration::from_secs(60);
const SETTLE: Duration = Duration::from_secs(5);

/// Runs the bench.
///
/// # Errors
/// When the machine does not allow so many connections, or one does not come about.
pub(super) async fn run(agents: usize) -> Result<Vec<Line>> {
    allow_descriptors(agents)?;
    let dir = TestDir::new("bench")?;
    let mut report = Report::before(dir.path()).await?;
    let receiver = Receiver::start()?;
    let mut aggregator = Aggregator::start(dir.path(), receiver.url()).await?;
    let door = Arc::new(Door::of(&aggregator)?);
    let ways = enrol(&door, agents).await?;
    sleep(SETTLE).await;
    let alone = proc::memory(aggregator.pid())?.rss;
    let begun = Instant::now();
    let sessions = open_all(&ways).await?;
    report.notes.push(format!(
        "{agents} streams opened in {:.1} s",
        begun.elapsed().as_secs_f64()
    ));
    sleep(SETTLE).await;
    let full = proc::memory(aggregator.pid())?.rss;
    say(&format!(
        "{agents} streams: {} MiB before, {} MiB with them",
        alone >> 20,
        full >> 20
    ));
    drop(sessions);
    let begun = Instant::now();
    aggregator.restart().await?;
    let back = open_all(&ways).await?;
    let seconds = begun.elapsed().as_secs_f64();
    report.notes.push(format!(
        "RSS {} KiB before the streams and {} KiB with them",
        alone >> 10,
        full >> 10
    ));
    report.close(&Aggregator::config())?;
    let each = full.saturating_sub(alone) as f64 / agents as f64 / 1_000.0;
    let target = |max| Target {
        max: Some(max),
        missing: Some(0),
        samples: 1,
        ..Target::default()
    };
    let missing = agents.saturating_sub(back.len());
    Ok(vec![
        report.line("streams-memory", &[each], "kB per agent", target(40.0), 0),
        report.line(
            "streams-back",
            &[seconds],
            "s from kill to the last welcome",
            target(10.0),
            missing,
        ),
    ])
}

/// One descriptor for each connection and some for the rest; the aggregator inherits the limit.
fn allow_descriptors(agents: usize) -> Result<()> {
    let hard = getrlimit(Resource::Nofile).maximum;
    let wanted = u64::try_from(agents)?.saturating_add(1_000);
    ensure!(
        hard.is_none_or(|hard| hard >= wanted),
        "needs {wanted} descriptors (ulimit -Hn)"
    );
    setrlimit(
        Resource::Nofile,
        Rlimit {
            current: hard,
            maximum: hard,
        },
    )
    .context("cannot raise the limit of descriptors")
}

async fn enrol(door: &Arc<Door>, agents: usize) -> Result<Vec<Endpoint>> {
    let (turns, mut running) = (Arc::new(Semaphore::new(AT_ONCE)), JoinSet::new());
    for number in 0..agents {
        let (door, turns) = (Arc::clone(door), Arc::clone(&turns));
        running.spawn(async move {
            let _turn = turns.acquire().await?;
            persistently(|| {
                let door = Arc::clone(&door);
                async move { door.enrol(number).await }
            })
            .await
        });
    }
    let mut ways = Vec::with_capacity(agents);
    while let Some(done) = running.join_next().await {
        ways.push(done??);
        if ways.len() % 500 == 0 {
            say(&format!("{} agents enrolled", ways.len()));
        }
    }
    Ok(ways)
}

async fn open_all(ways: &[Endpoint]) -> Result<Vec<Session>> {
    let (turns, mut running) = (Arc::new(Semaphore::new(AT_ONCE)), JoinSet::new());
    for way in ways {
        let (way, turns) = (way.clone(), Arc::clone(&turns));
        running.spawn(async move {
            let _turn = turns.acquire().await?;
            persistently(|| {
                let way = way.clone();
                async move { Session::open(&way).await }
            })
            .await
        });
    }
    let mut open = Vec::with_capacity(ways.len());
    while let Some(done) = running.join_next().await {
        open.push(done??);
    }
    Ok(open)
}

async fn persistently<T, F: Future<Output = Result<T>>>(attempt: impl Fn() -> F) -> Result<T> {
    let (begun, mut wait) = (Instant::now(), RETRY.0);
    loop {
        match attempt().await {
            Err(_) if begun.elapsed() < GIVE_UP => sleep(wait).await,
            done => return done,
        }
        wait = (wait * 2).min(RETRY.1);
    }
}
