//! Secrets that are guessed, keys that are stolen.

use anyhow::{Result, ensure};
use inquest_proto::ingest::v1::{
    EnrolRequest, Hello, ReportRequest, enrol_request::Proof, ingest_service_client::IngestServiceClient,
    report_request::Message as Up,
};
use inquest_tests::{
    wait_for,
    world::{Options, PATIENCE, World},
};
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{
    Code,
    transport::{Certificate, Channel, ClientTlsConfig, Identity},
};

use super::{
    attacker::{ELSEWHERE, Pems, certificate},
    figure, still_serves,
};

async fn client(world: &World, identity: Option<&Pems>) -> Result<IngestServiceClient<Channel>> {
    inquest_shared::tls::install_provider();
    let authority = Certificate::from_pem(std::fs::read_to_string(world.path("data/ca/ca.crt"))?);
    let mut tls = ClientTlsConfig::new()
        .ca_certificate(authority)
        .domain_name("localhost");
    if let Some((chain, key)) = identity {
        tls = tls.identity(Identity::from_pem(chain, key));
    }
    let endpoint = Channel::from_shared(format!("https://127.0.0.1:{}", world.ingest_port()))?
        .local_address(Some(ELSEWHERE))
        .tls_config(tls)?;
    Ok(IngestServiceClient::new(endpoint.connect().await?))
}

#[tokio::test(flavor = "multi_thread")]
async fn guessing_the_bootstrap_secret_is_slowed_down_for_the_guesser_only() -> Result<()> {
    let mut world = World::start("sec-guess", &Options::default()).await?;
    let mut guesser = client(&world, None).await?;
    let attempt = |secret: &str| EnrolRequest {
        proof: Some(Proof::BootstrapSecret(secret.to_owned())),
        node_name: "n1".to_owned(),
        host_id: "h".to_owned(),
        ..EnrolRequest::default()
    };
    let mut codes = Vec::new();
    for n in 0..14 {
        let refused = guesser.enrol(attempt(&format!("guess {n}"))).await.err();
        codes.push(refused.map(|status| status.code()));
    }
    assert_eq!(codes.first(), Some(&Some(Code::Unauthenticated)));
    assert_eq!(codes.last(), Some(&Some(Code::ResourceExhausted)));
    // Even the right secret is not looked at now: the answer would tell that it is the right one.
    let right = std::fs::read_to_string(world.path("bootstrap"))?;
    let refused = guesser.enrol(attempt(&right)).await.err();
    assert_eq!(refused.map(|status| status.code()), Some(Code::ResourceExhausted));
    let none = guesser.enrol(EnrolRequest::default()).await.err();
    ensure!(none.is_some(), "no proof is no enrolment");
    for reason in ["wrong_secret", "too_many_wrong"] {
        let label = format!("reason=\"{reason}\"");
        ensure!(
            figure(&world, "inquest_enrolments_refused_total", &[&label])? > 0,
            "{reason}"
        );
    }
    // An honest agent elsewhere enrols anew.
    world.agent.kill9()?;
    world.start_agent()?;
    world.wait_connected().await?;
    still_serves(&world, 1).await
}

/// The thief has the key of n1 itself: its certificate is signed for the uid that the agent enrolled with.
#[tokio::test(flavor = "multi_thread")]
async fn a_stolen_identity_from_a_second_address_is_noticed() -> Result<()> {
    let world = World::start("sec-stolen", &Options::default()).await?;
    let node = world.wait_connected().await?;
    let uri = format!("spiffe://inquest/cluster/test/node/{}", node.uid);
    let uri = rcgen::SanType::URI(uri.try_into()?);
    let stolen = certificate(&world, |c| c.subject_alt_names = vec![uri])?;
    let mut thief = client(&world, Some(&stolen)).await?;
    let (up, messages) = mpsc::channel(4);
    let hello = Up::Hello(Hello {
        epoch: 7,
        ..Hello::default()
    });
    up.send(ReportRequest { message: Some(hello) }).await?;
    let _answers = thief.report(ReceiverStream::new(messages)).await?.into_inner();
    wait_for("the second address is counted", PATIENCE, async || {
        let seen = figure(&world, "inquest_ingest_identity_conflicts_total", &[])?;
        ensure!(seen > 0, "{seen}");
        Ok::<_, anyhow::Error>(())
    })
    .await?;
    ensure!(
        world.aggregator.stderr().contains("its key is stolen"),
        "nobody was told"
    );
    // The newest wins: the agent comes back and is served.
    drop(up);
    still_serves(&world, 1).await
}
