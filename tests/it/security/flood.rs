//! Peers that send too much, too slowly, or nonsense, while an honest agent goes on.

use std::{net::IpAddr, time::Instant};

use anyhow::{Context, Result, ensure};
use inquest_tests::{
    wait_for,
    world::{Options, PATIENCE, World},
};
use rustls::version::TLS13;
use tokio::task::JoinSet;

use super::{
    attacker::{
        ELSEWHERE, ENROL, PREFACE, REPORT, certificate, connect, connect_to, frame, handshake, message, request,
        until_closed, write,
    },
    figure, refusals, still_serves, wait_refusals,
};

/// Half of them from each of two networks, since one network may hold only half as many.
fn network(n: u32) -> IpAddr {
    let second = u8::try_from(70 + n % 2).unwrap_or(70);
    IpAddr::from([127, second, 0, 1])
}

/// What the n-th slow peer does before it falls silent.
async fn fall_silent(world: &World, n: u32) -> Result<()> {
    if n % 10 > 1 {
        let mut stream = connect(world, network(n)).await?;
        if n % 10 > 5 {
            // The first bytes of a record that never ends.
            write(&mut stream, b"\x16\x03\x01\x02\x00\x01").await;
        }
        until_closed(&mut stream, PATIENCE).await?;
        return Ok(());
    }
    let mut stream = handshake(world, network(n), &TLS13, None).await?;
    if n.is_multiple_of(10) {
        // A message of which only the length ever comes.
        let begun = frame(0, 0, 1, &[0, 0, 0, 16, 0]);
        write(&mut stream, &[PREFACE, &request(1, ENROL, &[]), &begun].concat()).await;
    }
    until_closed(&mut stream, PATIENCE).await?;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn two_thousand_connections_that_never_finish_are_dropped_and_the_agent_is_served() -> Result<()> {
    const PEERS: u32 = 2_000;
    let world = std::sync::Arc::new(World::start("sec-slow", &Options::default()).await?);
    let mut peers = JoinSet::new();
    let since = Instant::now();
    for n in 0..PEERS {
        let world = std::sync::Arc::clone(&world);
        peers.spawn(async move { fall_silent(&world, n).await });
    }
    wait_for("the flood is there", PATIENCE, async || {
        let open = figure(&world, "inquest_connections_open", &["listener=\"ingest\""])?;
        ensure!(open > 500, "{open} open");
        Ok::<_, anyhow::Error>(())
    })
    .await?;
    still_serves(&world, 1).await?;
    let mut cut = 0;
    while let Some(peer) = peers.join_next().await {
        // A handshake that the server broke off is a connection that it dropped.
        match peer? {
            Err(error) if format!("{error:#}").contains("still open") => return Err(error),
            Err(_) => cut += 1,
            Ok(()) => {}
        }
    }
    println!(
        "{PEERS} silent connections were gone after {:?}, {cut} of them in the handshake",
        since.elapsed()
    );
    let late = refusals(&world, "handshake_late")? + refusals(&world, "first_message_late")?;
    ensure!(late > 0, "nobody was dropped for being late");
    still_serves(&world, 2).await
}

#[tokio::test(flavor = "multi_thread")]
async fn floods_of_control_frames_and_headers_end_the_connection() -> Result<()> {
    let world = World::start("sec-frames", &Options::default()).await?;
    let pems = certificate(&world, |_| {})?;
    let mut resets = Vec::new();
    for n in 0..2_000_u32 {
        resets.extend(request(1 + 2 * n, REPORT, &[]));
        resets.extend(frame(3, 0, 1 + 2 * n, &8_u32.to_be_bytes()));
    }
    let floods = [
        ("ping", frame(6, 0, 0, &[7; 8]).repeat(20_000)),
        ("settings", frame(4, 0, 0, &[]).repeat(20_000)),
        (
            "empty data",
            [request(1, REPORT, &[]), frame(0, 0, 1, &[]).repeat(20_000)].concat(),
        ),
        ("reset", resets),
    ];
    for (number, (name, flood)) in (1..).zip(floods) {
        let mut stream = handshake(&world, ELSEWHERE, &TLS13, Some(&pems)).await?;
        write(&mut stream, &[PREFACE, &flood].concat()).await;
        until_closed(&mut stream, PATIENCE).await.context(name)?;
        let seen = refusals(&world, "control_flood")?;
        // The library may be quicker to notice a flood of resets.
        ensure!(seen == number || name == "reset", "{name}: {seen} closed as floods");
    }
    let long = "x".repeat(12_000);
    let mut stream = handshake(&world, ELSEWHERE, &TLS13, Some(&pems)).await?;
    write(
        &mut stream,
        &[PREFACE, &request(1, REPORT, &[("x-long", &long)])].concat(),
    )
    .await;
    until_closed(&mut stream, PATIENCE).await?;
    still_serves(&world, 1).await
}

/// Bytes that look like a message and are none, and those that would grow when they are unpacked.
fn bad_messages() -> Vec<(&'static str, Vec<u8>)> {
    let mut seed = 0x2545_f491_4f6c_dd1d_u64;
    let mut noise = |count: usize| -> Vec<u8> {
        (0..count)
            .map(|_| {
                seed ^= seed << 13;
                seed ^= seed >> 7;
                seed ^= seed << 17;
                seed.to_le_bytes()[0]
            })
            .collect()
    };
    // A field that holds a field that holds a field.
    let mut nested = Vec::new();
    for _ in 0..20_000 {
        nested.extend([0x12, 0xff, 0xff, 0x03]);
    }
    vec![
        ("noise", message(1, false, &noise(5_000), false)),
        ("truncated field", message(1, false, &[0x12, 0xff, 0x01, 0x00], false)),
        ("nested", message(1, false, &nested, false)),
        ("huge", message(1, false, &vec![0; 300 * 1024], false)),
        ("length of 4 GiB", frame(0, 0, 1, &[0, 0xff, 0xff, 0xff, 0xff, 1, 2, 3])),
        (
            "compressed",
            message(1, true, b"\x1f\x8b\x08\0\0\0\0\0\0\x03bomb", false),
        ),
        ("not a frame of gRPC", frame(0, 1, 1, &[9, 9])),
        ("noise for HTTP/2", noise(5_000)),
        ("frame of 16 MiB", vec![0xff, 0xff, 0xff, 0, 0, 0, 0, 0, 1]),
    ]
}

#[tokio::test(flavor = "multi_thread")]
async fn malformed_huge_nested_and_compressed_messages_are_refused_without_growth() -> Result<()> {
    let world = World::start("sec-bad", &Options::default()).await?;
    still_serves(&world, 1).await?;
    let before = resident(world.aggregator.pid())?;
    for round in 0..5 {
        for (name, bytes) in bad_messages() {
            let pems = certificate(&world, |_| {})?;
            let mut stream = handshake(&world, ELSEWHERE, &TLS13, Some(&pems)).await?;
            // Each stream says nothing but this, so the connection ends for want of a first message at the latest.
            write(&mut stream, &[PREFACE, &request(1, REPORT, &[]), &bytes].concat()).await;
            drop(stream);
            ensure!(
                resident(world.aggregator.pid())? > 0,
                "round {round}: the aggregator died of {name}"
            );
        }
    }
    still_serves(&world, 2).await?;
    let grown = resident(world.aggregator.pid())?.saturating_sub(before);
    println!("resident memory grew by {grown} kB");
    ensure!(grown < 32 * 1024, "grew by {grown} kB");
    ensure!(
        !world.aggregator.stderr().contains("panicked"),
        "{}",
        world.aggregator.stderr()
    );
    Ok(())
}

/// Resident memory in kB.
fn resident(pid: u32) -> Result<u64> {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status"))?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    Ok(line.context("no VmRSS")?.trim().trim_end_matches(" kB").parse()?)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_source_that_only_fails_is_shut_out_and_others_are_not() -> Result<()> {
    let world = World::start("sec-rate", &Options::default()).await?;
    for _ in 0..1_500 {
        fail(&world).await;
        if refusals(&world, "source_rate")? > 0 {
            break;
        }
    }
    wait_refusals(&world, "source_rate", 1).await?;
    // The budget gives one try back every 100 ms, so a single handshake may find one; whoever goes on failing does not.
    let mut shut_out = false;
    for _ in 0..100 {
        for _ in 0..10 {
            fail(&world).await;
        }
        shut_out = handshake(&world, ELSEWHERE, &TLS13, None).await.is_err();
        if shut_out {
            break;
        }
    }
    ensure!(shut_out, "the source is still let in");
    still_serves(&world, 1).await
}

/// A connection that will never prove itself.
async fn fail(world: &World) {
    if let Ok(mut stream) = connect(world, ELSEWHERE).await {
        write(&mut stream, b"x").await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn silent_callers_of_api_and_status_pages_are_dropped_and_do_not_lock_others_out() -> Result<()> {
    let world = World::start("sec-pages", &Options::default()).await?;
    let api: u16 = world.api_url().rsplit(':').next().context("no port")?.parse()?;
    let mut silent = JoinSet::new();
    for n in 0..200 {
        silent.spawn(async move {
            let mut stream = connect_to(api, ELSEWHERE).await?;
            let begun: &[u8] = if n % 2 == 0 {
                b""
            } else {
                b"GET / HTTP/1.1\r\nHost: localhost\r\nx"
            };
            write(&mut stream, begun).await;
            until_closed(&mut stream, PATIENCE).await
        });
    }
    still_serves(&world, 1).await?;
    while let Some(ended) = silent.join_next().await {
        ended??;
    }
    let huge = format!(
        "GET / HTTP/1.1\r\nHost: localhost\r\nx: {}\r\n\r\n",
        "y".repeat(100_000)
    );
    let mut stream = connect_to(api, ELSEWHERE).await?;
    write(&mut stream, huge.as_bytes()).await;
    let said = until_closed(&mut stream, PATIENCE).await?;
    ensure!(!said.starts_with(b"HTTP/1.1 200"), "a huge header was taken");
    still_serves(&world, 2).await
}
