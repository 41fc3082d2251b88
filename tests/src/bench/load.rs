//! `agent-load`: what the agent costs while the kernel writes 1,000 or 10,000 lines a second, and its memory after a storm.
//!
//! Owns the pace of the lines and the moments of looking.

use std::time::Duration;

use anyhow::Result;
use tokio::time::{Instant, sleep, sleep_until};

use super::{
    cpu_group::CpuGroup,
    installation::Installation,
    line::{Line, Target},
    printk::Printk,
    proc,
    receiver::Receiver,
    report::Report,
    say,
};
use crate::{TestDir, kernel_lines::KernelLines};

/// Lines come in groups this far apart, as a driver writes them.
const TICK: Duration = Duration::from_millis(10);
/// A storm: lines without a pause.
const STORM: u32 = 200_000;
/// Time after the storm in which the memory must come back.
const CALM: Duration = Duration::from_secs(60);
const MIB: f64 = 1_048_576.0;

/// Runs the bench.
///
/// # Errors
/// When the programs do not come up, or the agent ends.
pub(super) async fn run(quick: bool) -> Result<Vec<Line>> {
    let (measured, calm) = match quick {
        true => (Duration::from_secs(5), Duration::from_secs(10)),
        false => (Duration::from_secs(20), CALM),
    };
    let dir = TestDir::new("bench")?;
    let mut report = Report::before(dir.path()).await?;
    let _settings = Printk::prepare(false)?;
    let group = CpuGroup::new()?;
    let receiver = Receiver::start()?;
    let installation = Installation::start(dir.path(), receiver.url(), false).await?;
    let pid = installation.agent.pid();
    group.add(pid)?;
    sleep(Duration::from_secs(5)).await;
    let mut lines = KernelLines::open()?;
    let slow = pace(&group, &mut lines, 10, measured).await?;
    let fast = pace(&group, &mut lines, 100, measured).await?;
    let before = rss(pid)?;
    lines.flood(STORM)?;
    let mut peak = rss(pid)?;
    let begun = Instant::now();
    while begun.elapsed() < calm {
        peak = peak.max(rss(pid)?);
        sleep(Duration::from_millis(250)).await;
    }
    let after = rss(pid)?;
    say(&format!(
        "{slow:.2} % and {fast:.2} % of a core; RSS {before:.2}, {peak:.2} at most, {after:.2} MiB after"
    ));
    let config = installation.config().to_owned();
    installation.stop().await?;
    report.notes.push(format!(
        "RSS {before:.2} MiB before a storm of {STORM} lines, {after:.2} MiB {} s after it",
        calm.as_secs()
    ));
    report
        .notes
        .push("lines from user space: read and numbered, not matched".to_owned());
    report.close(&config)?;
    let most = |max| Target {
        max: Some(max),
        samples: 1,
        ..Target::default()
    };
    Ok(vec![
        report.line("agent-load-1000", &[slow], "% of a core", most(1.0), 0),
        report.line("agent-load-10000", &[fast], "% of a core", most(2.5), 0),
        report.line("agent-storm-peak", &[peak], "MiB", most(16.0), 0),
        report.line("agent-storm-after", &[after], "MiB", most(8.0), 0),
    ])
}

fn rss(pid: u32) -> Result<f64> {
    Ok(proc::memory(pid)?.rss as f64 / MIB)
}

/// Writes `lines_per_tick` lines every tick; gives the agent's share of a core meanwhile.
async fn pace(group: &CpuGroup, lines: &mut KernelLines, lines_per_tick: u32, length: Duration) -> Result<f64> {
    let (begun, used) = (Instant::now(), group.used()?);
    let mut next = begun;
    while begun.elapsed() < length {
        lines.flood(lines_per_tick)?;
        next += TICK;
        sleep_until(next).await;
    }
    let cpu = group.used()?.saturating_sub(used);
    Ok(cpu.as_secs_f64() * 100.0 / begun.elapsed().as_secs_f64())
}
