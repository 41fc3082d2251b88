//! Receivers that misbehave towards the real aggregator. Hours of it, in virtual time, are in
//! `aggregator/src/alert/dispatch/tests`; what each answer means is in `aggregator/src/notify/webhook/tests.rs`.

use std::{fs, net::SocketAddr, process::Command, time::Duration};

use anyhow::{Context as _, Result, ensure};
use inquest_proto::query::v1::{Delivery, DeliveryState};
use inquest_tests::{
    Behaviour, TestDir, Webhook, bin, http, wait_for,
    world::{Options, PATIENCE, Through, World},
};

use super::tally::kill;

/// A broken receiver is tested every 30 s, so its return is noticed a little later.
const PROBED: Duration = Duration::from_secs(90);
/// More than a receiver may cost the aggregator; an answer of 2 GiB that was read would be far beyond.
const MEMORY_KIB: u64 = 16 * 1024;

fn memory_kib(world: &World) -> Result<u64> {
    let status = fs::read_to_string(format!("/proc/{}/status", world.aggregator.pid()))?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let words = line.context("no VmRSS")?.trim().trim_end_matches(" kB");
    Ok(words.parse()?)
}

/// Everything that was planned for a receiver.
pub(super) async fn deliveries(world: &World, receiver: &str) -> Result<Vec<Delivery>> {
    let mut all = Vec::new();
    for incident in world.incidents().await? {
        all.extend(world.incident(&incident.id).await?.deliveries);
    }
    all.retain(|delivery| delivery.receiver == receiver);
    Ok(all)
}

async fn wait_settled(world: &World, receiver: &str, state: DeliveryState, count: usize) -> Result<Vec<Delivery>> {
    wait_for("deliveries", PROBED, async || {
        let all = deliveries(world, receiver).await?;
        let right = all.iter().filter(|delivery| delivery.state() == state).count();
        ensure!(right >= count, "{all:?}");
        Ok::<_, anyhow::Error>(all)
    })
    .await
}

/// A receiver that takes 30 s for each answer is a dead one to us, and nobody else's business.
#[tokio::test(flavor = "multi_thread")]
async fn a_slow_receiver_delays_no_other_and_costs_no_memory() -> Result<()> {
    let slow = Webhook::start()?;
    slow.otherwise(Behaviour::Late(Duration::from_secs(30)));
    let options = Options {
        route: Some("{receiver: hook, routes: [{receiver: slow, continue: true}, {receiver: hook}]}".to_owned()),
        aggregator_extra: format!("  - name: slow\n    webhook: {{url: \"{}\"}}", slow.url()),
        ..Options::default()
    };
    let world = World::start("slow", &options).await?;
    kill(&world, 1)?;
    world.webhook.wait_accepted(1, PATIENCE).await?;
    let before = memory_kib(&world)?;
    kill(&world, 5)?;
    world.webhook.wait_accepted(2, PATIENCE).await?;
    wait_for("the slow receiver is asked as well", PATIENCE, async || {
        ensure!(!slow.received().is_empty(), "nothing came");
        Ok::<_, anyhow::Error>(())
    })
    .await?;
    let others = deliveries(&world, "hook").await?;
    let waiting = deliveries(&world, "slow").await?;
    ensure!(
        others.iter().any(|d| d.state() == DeliveryState::Delivered),
        "{others:?}"
    );
    ensure!(
        waiting.iter().all(|d| d.state() != DeliveryState::Delivered),
        "{waiting:?}"
    );
    let after = memory_kib(&world)?;
    ensure!(after <= before + MEMORY_KIB, "{before} KiB grew to {after} KiB");
    Ok(())
}

/// `Retry-After` as seconds, as a fraction and as a date: nothing comes sooner, and the message comes in the end.
#[tokio::test(flavor = "multi_thread")]
async fn a_receiver_that_asks_for_patience_in_any_form_gets_it() -> Result<()> {
    let world = World::start("patience", &Options::default()).await?;
    world.webhook.script([
        Behaviour::RetryAfter(2),
        Behaviour::RetryAfterFraction(1_500),
        Behaviour::RetryAfterDate(3),
    ]);
    kill(&world, 1)?;
    let accepted = world.webhook.wait_accepted(1, PATIENCE).await?;
    let tries = world.webhook.received();
    let gaps: Vec<_> = tries.windows(2).map(|pair| pair[1].at - pair[0].at).collect();
    // A date has no fractions, so up to one of its seconds has passed already.
    let asked = [2_000, 1_500, 2_000].map(Duration::from_millis);
    ensure!(gaps.iter().zip(asked).all(|(gap, asked)| *gap >= asked), "{gaps:?}");
    ensure!((tries.len(), accepted.len()) == (4, 1), "{} tries", tries.len());
    Ok(())
}

/// The receiver has it and could not say so: it is sent again under the same key, and a receiver that looks at keys tells
/// people once.
#[tokio::test(flavor = "multi_thread")]
async fn a_message_whose_answer_was_lost_is_told_once_by_a_receiver_that_looks_at_keys() -> Result<()> {
    let world = World::start("ambiguous", &Options::default()).await?;
    world.webhook.script([Behaviour::TakeThenReset]);
    kill(&world, 1)?;
    world.webhook.wait_accepted(1, PATIENCE).await?;
    let settled = wait_settled(&world, "hook", DeliveryState::Delivered, 1).await?;
    ensure!(
        settled.iter().map(|d| d.attempts).collect::<Vec<_>>() == [2],
        "{settled:?}"
    );
    ensure!(world.webhook.received().len() == 2, "sent again once");
    ensure!(world.webhook.told().len() == 1, "told once");
    Ok(())
}

/// One message that the receiver will never take does not hold the others back, and can be found with its reason.
#[tokio::test(flavor = "multi_thread")]
async fn a_poisoned_message_becomes_a_dead_letter_and_the_rest_flows() -> Result<()> {
    let world = World::start("poison", &Options::default()).await?;
    world.webhook.script([Behaviour::Status(400)]);
    kill(&world, 1)?;
    let dead = wait_settled(&world, "hook", DeliveryState::Dead, 1).await?;
    ensure!(
        dead.iter().all(|d| d.last_error == "http 400" && d.attempts == 1),
        "{dead:?}"
    );
    kill(&world, 2)?;
    world.webhook.wait_accepted(1, PATIENCE).await?;

    let port = world.api_url().rsplit_once(':').context("no port")?.1.parse()?;
    let (status, json) = http::get(port, "/api/v1/deliveries?state=dead")?;
    ensure!(status == 200, "{status} {json}");
    let json: serde_json::Value = serde_json::from_str(&json)?;
    let listed = json["deliveries"].as_array().context("no list")?;
    ensure!(listed.len() == 1, "{json}");
    ensure!(listed[0]["delivery"]["lastError"] == "http 400", "{json}");
    let mut inquest = Command::new(bin("inquest")?);
    let output = inquest
        .args(["--server", &world.api_url(), "deliveries", "--state", "dead"])
        .output()?;
    let table = String::from_utf8_lossy(&output.stdout).into_owned();
    ensure!(table.contains("http 400") && table.lines().count() == 2, "{table}");
    Ok(())
}

/// 2 GiB as an answer: the status is the answer, the rest is not read.
#[tokio::test(flavor = "multi_thread")]
async fn an_answer_without_end_is_not_read_to_its_end() -> Result<()> {
    let world = World::start("endless", &Options::default()).await?;
    kill(&world, 1)?;
    world.webhook.wait_accepted(1, PATIENCE).await?;
    let before = memory_kib(&world)?;
    world.webhook.otherwise(Behaviour::EndlessBody);
    kill(&world, 2)?;
    world.webhook.wait_accepted(2, PATIENCE).await?;
    wait_settled(&world, "hook", DeliveryState::Delivered, 2).await?;
    let after = memory_kib(&world)?;
    ensure!(after <= before + MEMORY_KIB, "{before} KiB grew to {after} KiB");
    Ok(())
}

/// SX-20: what was planned while the receiver was down comes in the order of planning, each once.
#[tokio::test(flavor = "multi_thread")]
async fn a_receiver_that_was_down_gets_everything_in_order() -> Result<()> {
    let mut world = World::start("down", &Options::default()).await?;
    world.webhook.go_down();
    kill(&world, 4)?;
    wait_for("an attempt has failed", PATIENCE, async || {
        let all = deliveries(&world, "hook").await?;
        ensure!(all.iter().any(|d| !d.last_error.is_empty()), "{all:?}");
        Ok::<_, anyhow::Error>(())
    })
    .await?;
    world.webhook.come_back()?;
    let planned = deliveries(&world, "hook").await?;
    let superseded = planned
        .iter()
        .filter(|d| d.state() == DeliveryState::Superseded)
        .count();
    wait_settled(&world, "hook", DeliveryState::Delivered, planned.len() - superseded).await?;
    let told = world.webhook.accepted();
    ensure!(told.len() == world.webhook.told().len(), "something was told twice");
    for incident in world.incidents().await? {
        let of = |r: &&inquest_tests::webhook::Received| r.body["data"]["id"] == incident.id.as_str();
        let order: Vec<u64> = told
            .iter()
            .filter(of)
            .filter_map(|r| r.body["data"]["transition"].as_u64())
            .collect();
        ensure!(order.is_sorted(), "out of order: {order:?}");
    }
    Ok(())
}

/// The receiver's name does not resolve, then does, then means another host. No restart is needed.
#[tokio::test(flavor = "multi_thread")]
async fn a_name_that_does_not_resolve_and_then_moves_is_followed() -> Result<()> {
    let dir = TestDir::new("names")?;
    let (hosts, resolver) = (dir.join("hosts"), dir.join("resolv.conf"));
    fs::write(&hosts, "127.0.0.1 localhost\n")?;
    // Nobody answers there, so a name that is not in the file is unknown at once.
    fs::write(&resolver, "nameserver 127.0.0.53\noptions timeout:1 attempts:1\n")?;
    let script = format!(
        "mount --bind {} /etc/hosts && mount --bind {} /etc/resolv.conf && exec \"$@\"",
        hosts.display(),
        resolver.display()
    );
    let words = ["unshare", "--mount", "sh", "-c", &script, "sh"];
    let first = Webhook::start()?;
    let port = first
        .url()
        .rsplit_once(':')
        .and_then(|(_, rest)| rest.split('/').next()?.parse::<u16>().ok());
    let second = Webhook::start_at(SocketAddr::from(([127, 0, 0, 2], port.context("no port")?)))?;
    let options = Options {
        route: Some("{receiver: moving}".to_owned()),
        aggregator_extra: format!(
            "  - name: moving\n    webhook: {{url: \"http://receiver.test:{}/hook\"}}",
            port.context("no port")?
        ),
        through: Through {
            aggregator: words.map(str::to_owned).to_vec(),
            ..Through::default()
        },
        ..Options::default()
    };
    let world = World::start("names", &options).await?;
    kill(&world, 1)?;
    wait_for("the name is said to be unknown", PATIENCE, async || {
        let all = deliveries(&world, "moving").await?;
        ensure!(all.iter().any(|d| d.last_error == "cannot resolve the name"), "{all:?}");
        Ok::<_, anyhow::Error>(())
    })
    .await?;
    fs::write(&hosts, "127.0.0.1 localhost receiver.test\n")?;
    first.wait_accepted(1, PROBED).await?;
    fs::write(&hosts, "127.0.0.1 localhost\n127.0.0.2 receiver.test\n")?;
    drop(first);
    kill(&world, 2)?;
    second.wait_accepted(1, PROBED).await?;
    Ok(())
}
