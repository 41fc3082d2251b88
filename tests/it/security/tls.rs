//! The eight ways in which a stranger is refused on the agents' port, each with its own count.

use anyhow::{Result, ensure};
use inquest_tests::world::{Options, PATIENCE, World};
use rcgen::ExtendedKeyUsagePurpose;
use rustls::version::{TLS12, TLS13};

use super::{
    attacker::{
        ELSEWHERE, ENROL, PREFACE, Pems, REPORT, certificate, connect, days, foreign_certificate, handshake, message,
        request, until_closed, write,
    },
    refusals, still_serves, wait_refusals,
};

/// What the server says over a connection that has a certificate, after a request for a report stream.
async fn answer_to(world: &World, pems: &Pems) -> Result<Vec<u8>> {
    let mut stream = match handshake(world, ELSEWHERE, &TLS13, Some(pems)).await {
        Ok(stream) => stream,
        Err(_) => return Ok(Vec::new()),
    };
    write(&mut stream, &[PREFACE, &request(1, REPORT, &[])].concat()).await;
    until_closed(&mut stream, PATIENCE).await
}

#[tokio::test(flavor = "multi_thread")]
async fn each_of_eight_strangers_is_refused_and_counted_by_its_own_reason() -> Result<()> {
    let world = World::start("sec-tls", &Options::default()).await?;
    // Plaintext.
    let mut plain = connect(&world, ELSEWHERE).await?;
    write(&mut plain, PREFACE).await;
    let said = until_closed(&mut plain, PATIENCE).await?;
    // At most an alert of TLS, which is seven bytes.
    ensure!(said.len() <= 7, "plaintext was answered: {said:?}");
    wait_refusals(&world, "not_tls", 1).await?;
    // TLS 1.2.
    ensure!(
        handshake(&world, ELSEWHERE, &TLS12, None).await.is_err(),
        "TLS 1.2 was accepted"
    );
    wait_refusals(&world, "tls_version", 1).await?;
    // Certificates that are not good enough.
    let (past, future) = (days(-3)?, days(2)?);
    let cases: [(&str, Pems); 5] = [
        ("certificate_issuer", foreign_certificate()?),
        (
            "certificate_expired",
            certificate(&world, |c| {
                (c.not_before, c.not_after) = (past.not_before, past.not_after);
            })?,
        ),
        (
            "certificate_not_yet_valid",
            certificate(&world, |c| {
                (c.not_before, c.not_after) = (future.not_before, future.not_after);
            })?,
        ),
        (
            "certificate_purpose",
            certificate(&world, |c| {
                c.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
            })?,
        ),
        (
            "certificate_identity",
            certificate(&world, |c| c.subject_alt_names.clear())?,
        ),
    ];
    for (reason, pems) in cases {
        let said = answer_to(&world, &pems).await?;
        ensure!(said.is_empty(), "{reason}: {} bytes of an answer", said.len());
        wait_refusals(&world, reason, 1).await?;
        ensure!(refusals(&world, reason)? == 1, "{reason} is counted once");
    }
    // The same name with everything in order is let in: the cases above fail for their reason only.
    let mut good = handshake(&world, ELSEWHERE, &TLS13, Some(&certificate(&world, |_| {})?)).await?;
    write(&mut good, &[PREFACE, &request(1, REPORT, &[])].concat()).await;
    let said = until_closed(&mut good, PATIENCE).await?;
    ensure!(!said.is_empty(), "a good certificate got no answer");
    still_serves(&world, 1).await
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_certificate_nothing_but_a_small_enrolment_is_read() -> Result<()> {
    let world = World::start("sec-nocert", &Options::default()).await?;
    let mut stream = handshake(&world, ELSEWHERE, &TLS13, None).await?;
    write(&mut stream, &[PREFACE, &request(1, REPORT, &[])].concat()).await;
    until_closed(&mut stream, PATIENCE).await?;
    wait_refusals(&world, "certificate_missing", 1).await?;
    let mut stream = handshake(&world, ELSEWHERE, &TLS13, None).await?;
    let huge = message(1, false, &vec![b'x'; 30_000], false);
    write(&mut stream, &[PREFACE, &request(1, ENROL, &[]), &huge].concat()).await;
    until_closed(&mut stream, PATIENCE).await?;
    wait_refusals(&world, "enrolment_too_large", 1).await?;
    still_serves(&world, 1).await
}
