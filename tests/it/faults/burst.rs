//! 300 kills at once: the kernel prints the heads of ten reports at most, and every kill is told none the less.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::{Result, ensure};
use inquest_proto::{
    ingest::v1::{KernelKill, evidence::Fact},
    query::v1::StoredFinding,
};
use inquest_tests::{
    burst::Burst,
    wait_for,
    world::{Options, PATIENCE, World},
};

const CGROUPS: usize = 30;
const EACH: usize = 10;

/// Kills of these victims by pid, each with the finding's cgroup.
fn told(findings: &[StoredFinding], victims: &BTreeMap<u32, String>) -> Vec<(KernelKill, String)> {
    let findings = findings.iter().filter_map(|stored| stored.finding.as_ref());
    let kills = findings.flat_map(|finding| {
        let cgroup = finding.subject.clone().unwrap_or_default().cgroup;
        finding
            .evidence
            .iter()
            .filter_map(move |evidence| match &evidence.fact {
                Some(Fact::KernelKill(kill)) => Some((kill.clone(), cgroup.clone())),
                _ => None,
            })
    });
    kills.filter(|(kill, _)| victims.contains_key(&kill.pid)).collect()
}

/// The whole kernel belongs to this agent's node: a kill whose cgroup nobody knows is told too.
fn without_scope(world: &World) -> Result<()> {
    let path = world.path("agent.yaml");
    let config = std::fs::read_to_string(&path)?;
    let lines = config
        .lines()
        .map(|line| match line.trim_start().starts_with("cgroup: {scope:") {
            true => "  cgroup: {enabled: true}",
            false => line,
        });
    Ok(std::fs::write(path, lines.collect::<Vec<_>>().join("\n"))?)
}

#[tokio::test(flavor = "multi_thread")]
async fn three_hundred_kills_at_once_are_three_hundred_findings() -> Result<()> {
    let mut world = World::start("burst", &Options::default()).await?;
    world.agent.kill9()?;
    without_scope(&world)?;
    world.start_agent()?;
    world.wait_connected().await?;
    let mut burst = Burst::prepare(&world.path(""), CGROUPS, EACH)?;
    let fallen = burst.fire().await?;
    let kills = wait_for("every kill is told", PATIENCE, async || {
        let kills = told(&world.findings("").await?, &fallen.victims);
        let pids: BTreeSet<u32> = kills.iter().map(|(kill, _)| kill.pid).collect();
        ensure!(
            pids.len() == fallen.victims.len(),
            "{} of {}",
            pids.len(),
            fallen.victims.len()
        );
        Ok(kills)
    })
    .await?;
    assert_eq!(kills.len(), CGROUPS * EACH, "a kill was told twice");
    let counted = burst.counted()?;
    assert!(counted.values().all(|kills| *kills == 10), "{counted:?}");
    for (kill, cgroup) in kills.iter().filter(|(_, cgroup)| !cgroup.is_empty()) {
        assert_eq!(
            Some(cgroup),
            fallen.victims.get(&kill.pid),
            "a kill was given to another cgroup"
        );
    }
    let whole = kills.iter().filter(|(kill, _)| !kill.limit_cgroup.is_empty()).count();
    assert!((1..kills.len()).contains(&whole), "{whole} reports had a head");
    Ok(())
}
