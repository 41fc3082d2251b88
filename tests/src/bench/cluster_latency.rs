//! `cluster-latency`: from an exit in a real Kubernetes to an alert that names its owner, and to a plain watch of pods.
//!
//! Owns the course and what counts. Every victim is a Deployment of one pod, so that the name of its owner is known only from the
//! apiserver. The exit begins when containerd recorded it; both ends are stamped in one clock.

mod podwatch;
mod stage;
mod victims;

use std::time::Duration;

use anyhow::{Result, ensure};
use tokio::time::{Instant, sleep, sleep_until};

use super::{
    clocks,
    line::{Line, Lost, Target, met},
    machine::{self, MAX_STEAL_PERCENT, Machine, Ticks},
    receiver::Receiver,
    rounds, say,
    statistics::milliseconds,
};
use crate::{Cluster, TestDir, cluster};
use podwatch::PodWatch;
use stage::Stage;
use victims::{Victim, Victims};

/// Time between two deaths.
const PACE: Duration = Duration::from_millis(300);
/// A death without an alert for so long is missing, one that the watch has not shown as well.
const PATIENCE: Duration = Duration::from_secs(30);
const POLL: Duration = Duration::from_millis(200);
const TARGET: Target = Target {
    p50: Some(50.0),
    p99: Some(500.0),
    mean: None,
    max: None,
    missing: Some(0),
    least: None,
    samples: 100,
};

/// What all rounds gave; nanoseconds.
#[derive(Default)]
struct Tally {
    alerts: Vec<u64>,
    watched: Vec<u64>,
    lost: Lost,
    unwatched: usize,
    unconfirmed: usize,
    discarded: usize,
}

/// Runs the bench.
///
/// # Errors
/// When the cluster or the programs do not come up, or nothing could be measured.
pub(super) async fn run(samples: usize) -> Result<Vec<Line>> {
    let dir = TestDir::new("bench")?;
    let mut machine = Machine::before(dir.path()).await?;
    let cluster = Cluster::start(&cluster::Options {
        nodes: 1,
        ..cluster::Options::default()
    })?;
    let mut receiver = Receiver::start()?;
    let stage = Stage::set(&cluster, dir.path(), receiver.url()).await?;
    let watch = PodWatch::start(&cluster)?;
    let before = Ticks::now()?;
    let mut tally = Tally::default();
    for round in 1..=samples.div_ceil(rounds::SIZE).saturating_mul(2) {
        let left = samples.saturating_sub(tally.alerts.len());
        if left == 0 {
            break;
        }
        let victims = Victims::make(&cluster, round, left.min(rounds::SIZE)).await?;
        play(&mut receiver, &watch, &stage, &victims, &mut tally).await?;
        say(&format!(
            "round {round}: {} samples, {:?}",
            tally.alerts.len(),
            tally.lost
        ));
    }
    machine.steal_percent = Ticks::now()?.steal_percent_since(before);
    tally.lost.repeated = receiver.repeated();
    ensure!(!tally.alerts.is_empty(), "no death was measured\n{}", stage.logs());
    let config = stage.config();
    drop(watch);
    drop(stage);
    cluster.down()?;
    Ok(lines(&tally, &machine, &config))
}

/// Lets the victims of a round die one after another, and waits for what is told about them.
async fn play(
    receiver: &mut Receiver,
    watch: &PodWatch,
    stage: &Stage,
    victims: &Victims<'_>,
    tally: &mut Tally,
) -> Result<()> {
    // the agent has heard of them by then
    sleep(Duration::from_secs(2)).await;
    let before = Ticks::now()?;
    let mut offsets = Vec::new();
    let mut next = Instant::now();
    for victim in &victims.all {
        sleep_until(next).await;
        next = Instant::now() + PACE;
        offsets.push(clocks::wall_offset());
        victim.fire()?;
    }
    let steal = Ticks::now()?.steal_percent_since(before);
    let deadline = Instant::now() + PATIENCE;
    let told = |receiver: &Receiver, victim: &Victim| {
        receiver.arrival(&victim.name).is_some() && watch.shown(&victim.container).is_some()
    };
    receiver.fetch()?;
    while !victims.all.iter().all(|victim| told(receiver, victim)) && Instant::now() < deadline {
        sleep(POLL).await;
        receiver.fetch()?;
    }
    let quiet = steal <= MAX_STEAL_PERCENT;
    tally.discarded += usize::from(!quiet);
    for (victim, offset) in victims.all.iter().zip(offsets) {
        let ended = stage.ended_at(&victim.container).await?;
        let begin = ended.and_then(|at| u64::try_from(at.saturating_sub(offset)).ok());
        tally.add(begin, receiver, watch, victim, quiet);
    }
    Ok(())
}

impl Tally {
    fn add(&mut self, begin: Option<u64>, receiver: &Receiver, watch: &PodWatch, victim: &Victim, quiet: bool) {
        let Some(arrival) = receiver.arrival(&victim.name) else {
            self.lost.missing += 1;
            return;
        };
        self.lost.wrong_cause += usize::from(arrival.cause != "CAUSE_APP_ERROR");
        // Without its owner it is not the alert that was asked for.
        if !(arrival.confirmed && arrival.owner == victim.name) {
            self.unconfirmed += 1;
            self.lost.missing += 1;
            return;
        }
        let Some((begin, took)) = begin.and_then(|begin| Some((begin, arrival.at.checked_sub(begin)?))) else {
            self.lost.unmeasured += 1;
            return;
        };
        if quiet {
            self.alerts.push(took);
            match watch.shown(&victim.container).and_then(|at| at.checked_sub(begin)) {
                Some(took) => self.watched.push(took),
                None => self.unwatched += 1,
            }
        }
    }
}

fn lines(tally: &Tally, machine: &Machine, config: &str) -> Vec<Line> {
    let mut notes = machine.doubts();
    notes.extend([
        "Kubernetes v1.34 of one node on this machine; agent and aggregator are processes of the host, the agent at the node's containerd and with its cgroup as scope, the aggregator with the administrator's kubeconfig".to_owned(),
        "each victim is a Deployment of one pod whose container exits with status 1 after 2 s and more; the watch is kubectl's".to_owned(),
        format!("{} alerts without a confirmed owner count as missing, {} ends the watch did not show within 30 s", tally.unconfirmed, tally.unwatched),
    ]);
    let figures = milliseconds(&tally.alerts);
    let alerts = Line {
        name: "cluster-latency",
        figures,
        unit: "ms",
        target: Some(TARGET),
        met: met(TARGET, &figures, tally.lost),
        lost: tally.lost,
        discarded: tally.discarded,
        commit: machine::commit(),
        config: config.to_owned(),
        machine: machine.clone(),
        notes,
    };
    let watch = Line {
        name: "cluster-pod-watch",
        figures: milliseconds(&tally.watched),
        target: None,
        met: None,
        lost: Lost {
            missing: tally.unwatched,
            ..Lost::default()
        },
        ..alerts.clone()
    };
    vec![alerts, watch]
}
