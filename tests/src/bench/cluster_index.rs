//! `cluster-index`: what 150,000 pods and 5,000 nodes cost the aggregator, and how soon it knows them.
//!
//! Owns the size of the cluster and the moments of looking. The apiserver is made up and a process of its own; the aggregator
//! is the real one. A pod's share is the difference to a start with the same nodes and no pod.

use std::{fs, path::Path, time::Duration};

use anyhow::{Result, ensure};

use super::{
    aggregator::Aggregator,
    apiserver::{Apiserver, Sent},
    line::{Line, Target},
    proc,
    receiver::Receiver,
    report::Report,
    say,
};
use crate::{TestDir, monotonic_nanos, wait_for};

const NODES: usize = 5_000;
const KNOWN_WITHIN: Duration = Duration::from_mins(5);
const MIB: f64 = 1_048_576.0;

/// What one start showed.
struct Round {
    /// Seconds from the last byte of the lists until the aggregator says that it knows the cluster.
    after_last_byte: f64,
    /// Seconds from the start of the aggregator until then.
    after_start: f64,
    /// Processor seconds of the aggregator until then.
    processor: f64,
    steady: u64,
    peak: u64,
    sent: Sent,
    /// Objects that were listed and that it does not have.
    missing: usize,
}

/// Runs the bench.
///
/// # Errors
/// When the aggregator does not come up, or does not get to know the cluster.
pub(super) async fn run(quick: bool) -> Result<Vec<Line>> {
    let (pods, rounds) = match quick {
        true => (10_000, 1),
        false => (150_000, 3),
    };
    let dir = TestDir::new("bench")?;
    let mut report = Report::before(dir.path()).await?;
    let receiver = Receiver::start()?;
    let without = play(&dir.join("0"), receiver.url(), 0).await?;
    let mut full = Vec::new();
    for round in 1..=rounds {
        full.push(play(&dir.join(&round.to_string()), receiver.url(), pods).await?);
    }
    report.close(&Aggregator::watching_config())?;
    report.notes.extend(notes(&without, &full, pods));
    Ok(lines(&report, &without, &full, pods))
}

/// Starts an apiserver and an aggregator, and looks at the aggregator once it knows everything.
async fn play(dir: &Path, webhook: &str, pods: usize) -> Result<Round> {
    fs::create_dir_all(dir)?;
    let mut apiserver = Apiserver::start(pods, NODES)?;
    let kubeconfig = dir.join("kubeconfig");
    fs::write(&kubeconfig, apiserver.kubeconfig())?;
    let begun = monotonic_nanos();
    let aggregator = Aggregator::start_watching(dir, webhook, &kubeconfig).await?;
    wait_for("a known cluster", KNOWN_WITHIN, async || {
        let said = aggregator.readiness()?;
        ensure!(said.lines().any(|line| line == "ok kubernetes"), "{said}");
        anyhow::Ok(())
    })
    .await?;
    let known = monotonic_nanos();
    let processor = proc::processor_time(aggregator.pid())?.as_secs_f64();
    let sent = apiserver.sent()?;
    ensure!(sent.lists > 0, "nothing was asked for");
    let counted = counted(&aggregator, pods).await?;
    let round = Round {
        after_last_byte: seconds(sent.last, known),
        after_start: seconds(begun, known),
        processor,
        steady: proc::memory(aggregator.pid())?.rss,
        peak: proc::peak(aggregator.pid())?,
        sent,
        missing: (pods + NODES).saturating_sub(counted),
    };
    say(&format!(
        "{pods} pods: known {:.2} s after the last byte, {:.0} MiB, at most {:.0} MiB",
        round.after_last_byte,
        round.steady as f64 / MIB,
        round.peak as f64 / MIB
    ));
    Ok(round)
}

/// How many pods and nodes it has. The counts on its page are brought up to date twice a minute: memory is looked at after
/// that, when everything that came with the lists has been dealt with.
async fn counted(aggregator: &Aggregator, pods: usize) -> Result<usize> {
    let count = |kind: &str| {
        let name = format!(r#"inquest_cluster_objects{{cluster="bench",kind="{kind}"}}"#);
        aggregator.counter(&name)
    };
    let brought = wait_for("the counts of the index", Duration::from_mins(1), async || {
        let (nodes, found) = (count("nodes")?, count("pods")?);
        ensure!(nodes >= NODES && found >= pods, "{nodes} nodes, {found} pods");
        anyhow::Ok(nodes + found)
    });
    match brought.await {
        Ok(all) => Ok(all),
        Err(_) => Ok(count("nodes")? + count("pods")?),
    }
}

fn seconds(from: u64, to: u64) -> f64 {
    Duration::from_nanos(to.saturating_sub(from)).as_secs_f64()
}

fn notes(without: &Round, full: &[Round], pods: usize) -> Vec<String> {
    let middle = |of: &dyn Fn(&Round) -> f64| super::statistics::plain(&full.iter().map(of).collect::<Vec<_>>()).p50;
    let of = |of: &dyn Fn(&Round) -> f64| middle(of).unwrap_or_default();
    vec![
        format!(
            "{pods} pods with two containers on {NODES} nodes, lists as streams, {:.0} MiB of JSON from a process on the same machine",
            of(&|round| round.sent.bytes as f64 / MIB)
        ),
        format!(
            "p50: {:.1} s from the start of the aggregator until it knew all, {:.1} s of them its processor time",
            of(&|round| round.after_start),
            of(&|round| round.processor)
        ),
        format!(
            "p50: RSS {:.1} MiB steady and {:.1} MiB at most; {:.1} MiB with the nodes alone",
            of(&|round| round.steady as f64 / MIB),
            of(&|round| round.peak as f64 / MIB),
            without.steady as f64 / MIB
        ),
        "the aggregator says every 5 s whether it knows the cluster".to_owned(),
    ]
}

fn lines(report: &Report, without: &Round, full: &[Round], pods: usize) -> Vec<Line> {
    let values = |of: &dyn Fn(&Round) -> f64| full.iter().map(of).collect::<Vec<_>>();
    let target = |max| Target {
        max: Some(max),
        missing: Some(0),
        samples: 3,
        ..Target::default()
    };
    let missing = full.iter().map(|round| round.missing).sum();
    let line = |name, values: &[f64], unit, max| report.line(name, values, unit, target(max), missing);
    let share = |round: &Round| round.steady.saturating_sub(without.steady) as f64 / pods as f64;
    let growth = |round: &Round| round.peak as f64 / round.steady as f64;
    vec![
        line("cluster-index-memory", &values(&share), "B of RSS per pod", 500.0),
        line(
            "cluster-index-time",
            &values(&|round| round.after_last_byte),
            "s from the last byte",
            10.0,
        ),
        line("cluster-index-peak", &values(&growth), "peak RSS / steady RSS", 1.3),
    ]
}
