//! What lies between: certificates, HTTP/2, proxies that break connections in the middle.

use std::{fs, net::Ipv4Addr};

use anyhow::{Result, ensure};
use inquest_proto::query::v1::DeliveryState;
use inquest_tests::{
    TestDir, free_port,
    tls_receiver::{Manner, TlsReceiver},
    toxiproxy::Toxiproxy,
    wait_for,
    world::{Options, PATIENCE, Through, World},
};
use serde_json::json;

use super::{
    receivers::deliveries,
    tally::{kill, told_once, wait_occurrences},
};

/// Nothing is sent under a wrong name, and the reason is told; a server that sends HTTP/2 connections away is tried again.
#[tokio::test(flavor = "multi_thread")]
async fn a_wrong_certificate_is_refused_by_name_and_a_goaway_is_only_a_delay() -> Result<()> {
    let (wrong, busy) = (TlsReceiver::start("elsewhere.test")?, TlsReceiver::start("localhost")?);
    let dir = TestDir::new("tls")?;
    let trusted = dir.join("trusted.pem");
    fs::write(&trusted, format!("{}{}", wrong.authority_pem(), busy.authority_pem()))?;
    let receivers = [("wrong", &wrong), ("busy", &busy)]
        .map(|(name, receiver)| format!("  - name: {name}\n    webhook: {{url: \"{}\"}}", receiver.url()));
    let options = Options {
        route: Some("{receiver: hook, routes: [{receiver: wrong, continue: true}, {receiver: busy}]}".to_owned()),
        aggregator_extra: receivers.join("\n"),
        through: Through {
            aggregator: vec!["env".to_owned(), format!("SSL_CERT_FILE={}", trusted.display())],
            ..Through::default()
        },
        ..Options::default()
    };
    let world = World::start("tls", &options).await?;
    busy.script([Manner::Goaway, Manner::Goaway]);
    kill(&world, 1)?;
    wait_for("the busy receiver takes it in the end", PATIENCE, async || {
        ensure!(
            busy.accepted() == 1,
            "{} accepted, {} sent away",
            busy.accepted(),
            busy.sent_away()
        );
        Ok::<_, anyhow::Error>(())
    })
    .await?;
    ensure!(busy.sent_away() > 0, "no connection was sent away");
    wait_for("the wrong name is told", PATIENCE, async || {
        let all = deliveries(&world, "wrong").await?;
        let told = all
            .iter()
            .any(|d| d.last_error == "the certificate is for another name");
        ensure!(
            told && all.iter().all(|d| d.state() == DeliveryState::Pending),
            "{all:?}"
        );
        Ok::<_, anyhow::Error>(())
    })
    .await?;
    ensure!(wrong.accepted() == 0, "something was sent to a stranger");
    Ok(())
}

/// Resets, cuts in the middle of a frame, delays, late ends and crumbs between agent and aggregator.
#[tokio::test(flavor = "multi_thread")]
async fn no_damage_to_the_connection_loses_or_doubles_a_death() -> Result<()> {
    let ingest = (Ipv4Addr::LOCALHOST, free_port()?).into();
    let proxy = Toxiproxy::start(ingest).await?;
    let options = Options {
        ingest: Some(ingest),
        agent_reaches: Some(proxy.listens()),
        ..Options::default()
    };
    let world = World::start("toxic", &options).await?;
    let damages = [
        ("reset_peer", "upstream", json!({"timeout": 0})),
        ("reset_peer", "downstream", json!({"timeout": 0})),
        ("limit_data", "upstream", json!({"bytes": 3_000})),
        ("limit_data", "downstream", json!({"bytes": 5_000})),
        ("latency", "downstream", json!({"latency": 300, "jitter": 100})),
        ("slow_close", "upstream", json!({"delay": 500})),
        (
            "slicer",
            "upstream",
            json!({"average_size": 11, "size_variation": 5, "delay": 50}),
        ),
    ];
    for (deaths, (kind, stream, attributes)) in (1..).zip(&damages) {
        proxy.damage(kind, stream, attributes)?;
        kill(&world, 1)?;
        proxy.heal()?;
        wait_occurrences(&world, deaths).await?;
    }
    told_once(&world, u64::try_from(damages.len())?).await
}
