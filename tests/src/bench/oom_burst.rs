//! `oom-burst`: 300 kills at once over 30 cgroups: how many are told, and how many with their cgroup.
//!
//! Owns the comparison with the truth, which is the victims' pids and the counters of their cgroups.

use std::{collections::BTreeMap, time::Duration};

use anyhow::Result;
use inquest_proto::ingest::v1::{KernelKill, evidence::Fact};

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
    burst::{Burst, Fallen},
    wait_for,
};

const CGROUPS: usize = 30;
const EACH: usize = 10;
/// Rests between rounds, so that each begins with the kernel's full allowance of report heads.
const ROUND_WITHIN: Duration = Duration::from_secs(30);
const REST: Duration = Duration::from_secs(6);

/// Kills by pid: what was told, with the cgroup of the finding.
type Told = BTreeMap<u32, (KernelKill, String)>;

/// Runs the bench.
///
/// # Errors
/// When the programs do not come up or the victims do not die.
pub(super) async fn run(rounds: usize) -> Result<Vec<Line>> {
    let dir = TestDir::new("bench")?;
    let mut report = Report::before(dir.path()).await?;
    let _settings = Printk::prepare(false)?;
    let receiver = Receiver::start()?;
    let installation = Installation::start(dir.path(), receiver.url(), false).await?;
    let (mut counted, mut attributed, mut heads, mut wrong) = (Vec::new(), Vec::new(), Vec::new(), 0);
    for round in 0..rounds {
        let folder = dir.path().join(format!("round-{round}"));
        std::fs::create_dir(&folder)?;
        let mut burst = Burst::prepare(&folder, CGROUPS, EACH)?;
        let fallen = burst.fire().await?;
        let told = told(&installation, &fallen).await?;
        let share = |yes: usize| yes as f64 * 100.0 / fallen.victims.len() as f64;
        let named = told.values().filter(|(_, cgroup)| !cgroup.is_empty()).count();
        wrong += told
            .iter()
            .filter(|(pid, (_, cgroup))| !cgroup.is_empty() && fallen.victims.get(pid) != Some(cgroup))
            .count();
        wrong += burst.counted()?.values().filter(|kills| **kills != EACH as u64).count();
        counted.push(share(told.len()));
        attributed.push(share(named));
        heads.push(told.values().filter(|(kill, _)| !kill.limit_cgroup.is_empty()).count());
        say(&format!(
            "{} of {} told, {named} with their cgroup, in {:?}",
            told.len(),
            fallen.victims.len(),
            fallen.took
        ));
        report.notes.push(format!(
            "{} kills in {:.2} s",
            fallen.victims.len(),
            fallen.took.as_secs_f64()
        ));
        tokio::time::sleep(REST).await;
    }
    report.notes.push(format!(
        "reports with a head: {heads:?}; told under a wrong cgroup: {wrong}"
    ));
    let config = installation.config().to_owned();
    installation.stop().await?;
    report.close(&config)?;
    let all = Target {
        least: Some(100.0),
        missing: Some(0),
        samples: 1,
        ..Target::default()
    };
    let any = Target {
        samples: 1,
        ..Target::default()
    };
    let missing = counted.iter().filter(|share| **share < 100.0).count() + wrong;
    Ok(vec![
        report.line("oom-burst-counted", &counted, "% of the kills", all, missing),
        report.line("oom-burst-attributed", &attributed, "% of the kills", any, 0),
    ])
}

async fn told(installation: &Installation, fallen: &Fallen) -> Result<Told> {
    let mut told = Told::new();
    let all = wait_for("every kill is told", ROUND_WITHIN, async || {
        told = ours(installation, fallen).await?;
        anyhow::ensure!(
            told.len() == fallen.victims.len(),
            "{} of {}",
            told.len(),
            fallen.victims.len()
        );
        anyhow::Ok(())
    })
    .await;
    if let Err(error) = all {
        say(&format!("{error:#}"));
    }
    Ok(told)
}

async fn ours(installation: &Installation, fallen: &Fallen) -> Result<Told> {
    let mut told = Told::new();
    for finding in installation.findings().await? {
        let cgroup = finding.subject.unwrap_or_default().cgroup;
        for evidence in finding.evidence {
            if let Some(Fact::KernelKill(kill)) = evidence.fact
                && fallen.victims.contains_key(&kill.pid)
            {
                told.insert(kill.pid, (kill, cgroup.clone()));
            }
        }
    }
    Ok(told)
}
