//! Bad days of the real processes: killed, restarted, refused, flooded. Nothing acknowledged may be lost, nothing told twice.

mod cli;

use std::{io::Write as _, net::TcpStream, time::Duration};

use anyhow::{Context as _, Result, ensure};
use inquest_proto::query::v1::DeliveryState;
use inquest_tests::{
    Behaviour, wait_for,
    world::{Options, PATIENCE, Program, World},
};

/// Kills `count` processes in cgroups of their own; every cgroup is gone afterwards.
fn kill(world: &World, count: usize) -> Result<()> {
    for _ in 0..count {
        world.kill_one()?.remove()?;
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn an_aggregator_that_was_away_gets_everything_once() -> Result<()> {
    let mut world = World::start("away", &Options::default()).await?;
    kill(&world, 1)?;
    world.wait_occurrences(1).await?;
    // What is in flight at a death may be told again; here nothing is.
    wait_for("the first alert is recorded", PATIENCE, async || {
        let first = world.incidents().await?.into_iter().next().context("no incident")?;
        let told = world.incident(&first.id).await?.deliveries;
        ensure!(
            told.iter().all(|d| d.state() == DeliveryState::Delivered) && !told.is_empty(),
            "{told:?}"
        );
        Ok::<_, anyhow::Error>(())
    })
    .await?;
    world.aggregator.kill9()?;
    kill(&world, 3)?;
    world.start_aggregator()?;
    world.wait_occurrences(4).await?;
    let told = world.webhook.wait_accepted(2, PATIENCE).await?;
    let mut ids: Vec<_> = told.iter().map(|r| r.header("webhook-id").to_owned()).collect();
    ids.sort();
    ids.dedup();
    assert_eq!(ids.len(), told.len(), "something was told twice");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_killed_agent_repeats_nothing_and_misses_nothing() -> Result<()> {
    let mut world = World::start("agent9", &Options::default()).await?;
    kill(&world, 2)?;
    world.wait_occurrences(2).await?;
    for round in 1..=3 {
        world.agent.kill9()?;
        kill(&world, 1)?;
        world.start_agent()?;
        world.wait_occurrences(2 + round).await?;
    }
    Ok(())
}

/// Kills while both are down, in every order of coming back.
#[tokio::test(flavor = "multi_thread")]
async fn kills_while_nobody_runs_are_told_afterwards() -> Result<()> {
    let mut world = World::start("both", &Options::default()).await?;
    world.agent.kill9()?;
    world.aggregator.kill9()?;
    kill(&world, 2)?;
    world.start_agent()?;
    world.start_aggregator()?;
    world.wait_occurrences(2).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_receiver_that_fails_in_every_way_still_gets_the_alert_once() -> Result<()> {
    let options = Options {
        webhook_extra: "timeout: 1s".to_owned(),
        ..Options::default()
    };
    let world = World::start("receiver", &options).await?;
    world.webhook.script([
        Behaviour::Status(500),
        Behaviour::RetryAfter(1),
        Behaviour::Hang,
        Behaviour::Reset,
    ]);
    kill(&world, 1)?;
    let accepted = world.webhook.wait_accepted(1, Duration::from_secs(60)).await?;
    let tries = world.webhook.received();
    assert!(tries.len() >= 5, "{}", tries.len());
    let key = accepted[0].header("idempotency-key");
    assert!(
        !key.is_empty() && tries.iter().all(|t| t.header("idempotency-key") == key),
        "every try carries one key"
    );
    Ok(())
}

/// S1-14: a restart neither repeats an old alert nor forgets one that was not delivered.
#[tokio::test(flavor = "multi_thread")]
async fn an_alert_that_was_not_delivered_survives_the_aggregator() -> Result<()> {
    let mut world = World::start("outbox", &Options::default()).await?;
    world.webhook.go_down();
    kill(&world, 1)?;
    world.wait_occurrences(1).await?;
    world.aggregator.kill9()?;
    world.webhook.come_back()?;
    world.start_aggregator()?;
    let told = world.webhook.wait_accepted(1, PATIENCE).await?;
    assert_eq!(told.len(), 1);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn garbage_and_oversize_on_the_agents_port_hurt_nobody() -> Result<()> {
    let world = World::start("garbage", &Options::default()).await?;
    for round in 0..20u8 {
        let mut stream = TcpStream::connect(("127.0.0.1", world.ingest_port()))?;
        let noise = vec![round.wrapping_mul(37); 300 * 1024];
        // The server may close before all of it is taken.
        let _closed_early = stream.write_all(&noise).is_err();
    }
    kill(&world, 1)?;
    world.wait_occurrences(1).await?;
    assert_eq!(world.status_page(Program::Aggregator, "/livez")?.0, 200);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stop_does_not_wait_for_open_streams() -> Result<()> {
    let mut world = World::start("stop", &Options::default()).await?;
    let status = world.aggregator.terminate(Duration::from_secs(10)).await?;
    assert!(status.success(), "{status}: {}", world.aggregator.stderr());
    let status = world.agent.terminate(Duration::from_secs(10)).await?;
    assert!(status.success(), "{status}: {}", world.agent.stderr());
    Ok(())
}
