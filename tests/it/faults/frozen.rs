//! Programs that stand still without dying (SIGSTOP, a stalled disk, a starved node) and go on later.

use anyhow::{Result, ensure};
use inquest_cli::sandbox::{ContainerSpec, PodSpec};
use inquest_proto::ingest::v1::Cause;
use inquest_tests::{
    wait_for,
    world::{Options, PATIENCE, Program, World},
};

use super::tally::{kill, told_once, wait_occurrences, wait_spool};

/// The kernel of a frozen aggregator still acknowledges TCP and accepts connections: only the keep-alive notices.
#[tokio::test(flavor = "multi_thread")]
async fn an_agent_notices_a_frozen_aggregator_and_delivers_after_the_thaw() -> Result<()> {
    let options = Options {
        agent_uplink: "keep_alive: {interval: 1s, timeout: 1s},".to_owned(),
        ..Options::default()
    };
    let world = World::start("frozen", &options).await?;
    kill(&world, 1)?;
    wait_occurrences(&world, 1).await?;
    world.aggregator.freeze().await?;
    wait_for("the agent says that the aggregator is away", PATIENCE, async || {
        let (status, body) = world.status_page(Program::Agent, "/readyz")?;
        ensure!(status == 503 && body.contains("aggregator"), "{status} {body}");
        Ok::<_, anyhow::Error>(())
    })
    .await?;
    kill(&world, 2)?;
    wait_spool(|| world.status_page(Program::Agent, "/metrics"), |waiting| waiting >= 2).await?;
    world.aggregator.thaw()?;
    wait_occurrences(&world, 3).await?;
    wait_spool(|| world.status_page(Program::Agent, "/metrics"), |waiting| waiting == 0).await?;
    told_once(&world, 3).await
}

/// While the agent stands still containers start, fail and stop; the runtime's list and the kernel log still have them.
#[tokio::test(flavor = "multi_thread")]
async fn deaths_during_a_freeze_of_the_agent_are_told_after_the_thaw() -> Result<()> {
    let options = Options {
        containerd: true,
        ..Options::default()
    };
    let world = World::start("thaw", &options).await?;
    world.agent.freeze().await?;
    for number in 1..=3 {
        let app = ContainerSpec::shell("app", &format!("exit {}", 3 + number));
        let pod = PodSpec::new("shop", &format!("failing-{number}"), number).container(app);
        world.runtime()?.cri().run_pod(&pod).await?;
    }
    let hog = ContainerSpec::shell("app", "exec tail /dev/zero").memory_limit(20_000_000);
    let pod = PodSpec::new("shop", "hungry-1", 9).container(hog);
    world.runtime()?.cri().run_pod(&pod).await?;
    world.agent.thaw()?;
    for number in 1..=3 {
        let workload = format!("failing-{number}");
        let incident = world.wait_incident(&workload, Cause::AppError, |_| true).await?;
        ensure!(incident.occurrences == 1, "{incident:?}");
        ensure!(
            incident
                .exit_codes
                .iter()
                .all(|c| i64::from(c.exit_code) == i64::from(3 + number)),
            "{incident:?}"
        );
    }
    world
        .wait_incident("hungry-1", Cause::OomLimit, |i| i.occurrences == 1)
        .await?;
    told_once(&world, 4).await
}
