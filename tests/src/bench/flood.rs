//! `kmsg-flood`: 20,000 lines in the kernel log in about 0.1 s, and how many of them the agent's reader gets.
//!
//! Owns the rounds. The lines come from user space through the device: the reader reads and numbers each, and its
//! detection takes none of them for the kernel's word. So "read" is the share that reached the reader.

use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use tokio::time::sleep;

use super::{
    installation::Installation,
    line::{Line, Target},
    printk::Printk,
    receiver::Receiver,
    report::Report,
    say,
};
use crate::{
    TestDir,
    kernel_lines::{KernelLines, ReaderCounters, newest},
    wait_for,
};

/// Lines of a round.
const LINES: u32 = 20_000;
/// Time of a round: as fast as kernels were seen to write in a storm, not as fast as a loop can.
const OVER: Duration = Duration::from_millis(100);
/// Between rounds.
const REST: Duration = Duration::from_secs(1);
const PATIENCE: Duration = Duration::from_secs(30);

struct Round {
    lost_percent: f64,
    unaccounted: u64,
    blind_ms: f64,
    took_ms: f64,
}

/// Runs the bench.
///
/// # Errors
/// When the programs do not come up.
pub(super) async fn run(rounds: usize) -> Result<Vec<Line>> {
    let dir = TestDir::new("bench")?;
    let mut report = Report::before(dir.path()).await?;
    let _settings = Printk::prepare(false)?;
    let receiver = Receiver::start()?;
    let installation = Installation::start(dir.path(), receiver.url(), false).await?;
    let mut lines = KernelLines::open()?;
    let mut done = Vec::new();
    for _ in 0..rounds {
        sleep(REST).await;
        let round = flood(&installation, &mut lines).await?;
        say(&format!(
            "{:.1} % lost, blind for {:.2} ms, {} unaccounted",
            round.lost_percent, round.blind_ms, round.unaccounted
        ));
        done.push(round);
    }
    let config = installation.config().to_owned();
    installation.stop().await?;
    let of = |value: fn(&Round) -> f64| done.iter().map(value).collect::<Vec<_>>();
    report.notes.push(format!(
        "{LINES} lines from user space in {:.0?} ms; blind = from the last line until the reader had everything",
        of(|r| r.took_ms)
    ));
    report.close(&config)?;
    let missing = done
        .iter()
        .map(|round| usize::try_from(round.unaccounted).unwrap_or(usize::MAX))
        .sum();
    let lost = Target {
        p50: Some(25.0),
        max: Some(40.0),
        missing: Some(0),
        samples: 20,
        ..Target::default()
    };
    let blind = Target {
        p50: Some(1.0),
        p99: Some(10.0),
        samples: 20,
        ..Target::default()
    };
    Ok(vec![
        report.line(
            "kmsg-flood-lost",
            &of(|r| r.lost_percent),
            "% of the lines",
            lost,
            missing,
        ),
        report.line("kmsg-flood-blind", &of(|r| r.blind_ms), "ms", blind, 0),
    ])
}

/// Position of the reader when it has read everything, and the newest record at that moment.
async fn at_end(installation: &Installation) -> Result<(ReaderCounters, u64)> {
    wait_for("the reader at the end of the log", PATIENCE, async || {
        let first = newest()?;
        let counters = installation.reader()?;
        let second = newest()?;
        let later = installation.reader()?;
        let moved = (second - first, later.position() - counters.position());
        ensure!(moved.0 == moved.1, "{moved:?}");
        anyhow::Ok((later, second))
    })
    .await
}

async fn flood(installation: &Installation, lines: &mut KernelLines) -> Result<Round> {
    let (before, first) = at_end(installation).await?;
    let took = lines.spread(LINES, OVER)?;
    let begun = Instant::now();
    let expected = before.position() + u64::from(LINES);
    let deadline = begun + PATIENCE;
    // Asking costs what it costs: the page is small and the reader has a thread of its own.
    while installation.reader()?.position() < expected && Instant::now() < deadline {}
    let blind = begun.elapsed();
    let (after, last) = at_end(installation).await?;
    let written = last - first;
    Ok(Round {
        lost_percent: (after.lost - before.lost) as f64 * 100.0 / f64::from(LINES),
        unaccounted: written.abs_diff(after.position() - before.position()),
        blind_ms: blind.as_secs_f64() * 1_000.0,
        took_ms: took.as_secs_f64() * 1_000.0,
    })
}
