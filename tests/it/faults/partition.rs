//! Cut networks between agent and aggregator. Keep-alives are short here so that nothing waits long; that the shipped
//! ones notice within 30 s is a test of their own (`shared/src/config/keep_alive.rs`).

use anyhow::{Result, ensure};
use inquest_tests::{
    http,
    netns::Wire,
    wait_for,
    world::{PATIENCE, Program, World},
};

use super::tally::{kill, metric, told_once, wait_occurrences, wait_spool};

/// The agent's keep-alive in these tests.
const QUICK: &str = "keep_alive: {interval: 1s, timeout: 1s},";
/// The aggregator's.
const QUICK_INGEST: &str = "ingest: {keep_alive: {interval: 1s, timeout: 1s}}";

/// Both limits of the spool as shipped.
const SPOOL_MAX: u64 = (16 + 8) << 20;

/// A page of the agent, which only its own namespace can ask for.
fn agent_page(wire: &Wire, world: &World, page: &str) -> Result<(u16, String)> {
    let port = world.status_port(Program::Agent);
    wire.far().inside(|| http::get(port, page))
}

async fn wait_cut_off(wire: &Wire, world: &World) -> Result<()> {
    wait_for("the agent says that the aggregator is away", PATIENCE, async || {
        let (status, body) = agent_page(wire, world, "/readyz")?;
        ensure!(status == 503 && body.contains("aggregator"), "{status} {body}");
        Ok::<_, anyhow::Error>(())
    })
    .await
}

/// Both sides notice, the spool holds what happens meanwhile, and all of it is told once after the network is back.
#[test]
fn a_cut_network_loses_nothing_and_repeats_nothing() -> Result<()> {
    Wire::test(async |wire| {
        let world = World::start("cut", &wire.options(QUICK, QUICK_INGEST)).await?;
        kill(&world, 1)?;
        wait_occurrences(&world, 1).await?;
        wire.cut()?;
        wait_cut_off(wire, &world).await?;
        wait_for("the aggregator frees the half-open connection", PATIENCE, async || {
            let connected = world.nodes().await?.iter().any(|node| node.connected);
            ensure!(!connected, "the node is still shown as connected");
            Ok::<_, anyhow::Error>(())
        })
        .await?;
        kill(&world, 3)?;
        wait_spool(|| agent_page(wire, &world, "/metrics"), |waiting| waiting >= 3).await?;
        let (_, page) = agent_page(wire, &world, "/metrics")?;
        ensure!(
            metric(&page, "inquest_spool_bytes")? <= SPOOL_MAX,
            "the spool is too large"
        );
        wire.heal()?;
        wait_occurrences(&world, 4).await?;
        wait_spool(|| agent_page(wire, &world, "/metrics"), |waiting| waiting == 0).await?;
        world.wait_connected().await?;
        told_once(&world, 4).await
    })
}

/// The aggregator stores and acknowledges, and the agent never hears of it: it sends again, and nothing is doubled.
#[test]
fn findings_whose_acknowledgement_was_lost_are_stored_once() -> Result<()> {
    Wire::test(async |wire| {
        // Only the agent gives up early: the aggregator has to take what still arrives.
        let world = World::start("oneway", &wire.options("keep_alive: {interval: 2s, timeout: 3s},", "")).await?;
        world.agent.freeze().await?;
        kill(&world, 2)?;
        wire.cut_towards_agent()?;
        world.agent.thaw()?;
        wait_occurrences(&world, 2).await?;
        wait_spool(|| agent_page(wire, &world, "/metrics"), |waiting| waiting > 0).await?;
        wait_cut_off(wire, &world).await?;
        wire.heal()?;
        wait_spool(|| agent_page(wire, &world, "/metrics"), |waiting| waiting == 0).await?;
        told_once(&world, 2).await
    })
}

/// Short cuts that nobody notices as such are healed by TCP alone.
#[test]
fn a_cut_shorter_than_the_keep_alive_is_no_event() -> Result<()> {
    Wire::test(async |wire| {
        let world = World::start("blink", &wire.options("", "")).await?;
        for count in 1..=2 {
            wire.cut()?;
            kill(&world, 1)?;
            wire.heal()?;
            wait_occurrences(&world, count).await?;
        }
        let (status, body) = agent_page(wire, &world, "/readyz")?;
        ensure!(status == 200, "{status} {body}");
        told_once(&world, 2).await
    })
}
