//! Secrets that are guessed, keys that are stolen, streams that are repeated, names that are borrowed, certificates that end.

use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use inquest_proto::{
    ingest::v1::{
        Discovery, EnrolRequest, Evidence, EvidenceSource, Finding, FindingKind, Hello, ReportRequest, RuntimeExit,
        Subject, enrol_request::Proof, evidence::Fact, ingest_service_client::IngestServiceClient,
        report_request::Message as Up,
    },
    query::v1::{Filter, ListFindingsRequest, StoredFinding},
};
use inquest_tests::{
    peer::Peer,
    wait_for,
    world::{Options, PATIENCE, Through, World},
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

/// The end of a container of the workload `web`, as the agent of any node would tell it.
fn crash(number: u8) -> Finding {
    let at_ns = 1_700_000_000_000_000_000 + i64::from(number) * 1_000_000_000;
    let instance = format!("{number:064}");
    let exit = RuntimeExit {
        exit_code: 1,
        started_at_ns: at_ns - 1_000_000_000,
        finished_at_ns: at_ns,
        reason: "Error".to_owned(),
        ..RuntimeExit::default()
    };
    Finding {
        key: vec![number; 16],
        kind: FindingKind::Exit.into(),
        discovery: Discovery::Live.into(),
        observed_at_ns: at_ns,
        subject: Some(Subject {
            namespace: "shop".to_owned(),
            pod: "web-1".to_owned(),
            container: "app".to_owned(),
            instance: instance.clone(),
            runtime: "containerd".to_owned(),
            owner_kind: "Deployment".to_owned(),
            owner_name: "web".to_owned(),
            ..Subject::default()
        }),
        evidence: vec![Evidence {
            source: EvidenceSource::Containerd.into(),
            position: format!("{instance}@{at_ns}"),
            at_ns,
            fact: Some(Fact::RuntimeExit(exit)),
        }],
        ..Finding::default()
    }
}

async fn enrolled(world: &World, host: &str) -> Result<Peer> {
    let secret = std::fs::read_to_string(world.path("bootstrap"))?;
    Peer::enrol(world.ingest_port(), &world.path("data/ca/ca.crt"), &secret, host).await
}

/// Everything stored that a node has told.
async fn told_by(world: &World, node: &str) -> Result<Vec<StoredFinding>> {
    let request = ListFindingsRequest {
        filter: Some(Filter {
            node: node.to_owned(),
            ..Filter::default()
        }),
        page_size: 1000,
        ..ListFindingsRequest::default()
    };
    let answer = world.query().await?.list_findings(request).await?;
    Ok(answer.into_inner().findings)
}

/// Recorded traffic of a node, sent again with the node's own key: under the same numbers, and as a new spool.
#[tokio::test(flavor = "multi_thread")]
async fn a_replayed_stream_changes_nothing_in_the_store() -> Result<()> {
    let world = World::start("sec-replay", &Options::default()).await?;
    let mut peer = enrolled(&world, "replayed").await?;
    let recorded: Vec<Finding> = (1..=5).map(crash).collect();
    let mut first = peer.talk(7).await?;
    first.send(1, &recorded).await?;
    first.wait_acked(5).await?;
    // The opening, and the third occurrence.
    wait_for("all of it is told", PATIENCE, async || {
        let planned = figure(&world, "inquest_notifications_planned_total", &[])?;
        let delivered = figure(
            &world,
            "inquest_notifications_settled_total",
            &["outcome=\"delivered\""],
        )?;
        ensure!(planned >= 2 && planned == delivered, "{delivered} of {planned}");
        Ok::<_, anyhow::Error>(())
    })
    .await?;
    let before = (told_by(&world, "replayed").await?, world.occurrences().await?);
    ensure!(
        before.0.len() == 5 && before.1 == 5,
        "{} stored, {} counted",
        before.0.len(),
        before.1
    );
    let told = world.webhook.told().len();
    for (round, epoch) in [(1, 7), (2, 8)] {
        let again = peer.talk(epoch).await?;
        again.send(1, &recorded).await?;
        wait_for("the repetition is noticed", PATIENCE, async || {
            let repeated = figure(&world, "inquest_findings_repeated_total", &[])?;
            ensure!(repeated == round * 5, "{repeated}");
            Ok::<_, anyhow::Error>(())
        })
        .await?;
    }
    // Once more within one stream: numbers that do not rise end it.
    let mut broken = peer.talk(9).await?;
    broken.send(1, &recorded).await?;
    broken.send(1, &recorded).await?;
    ensure!(broken.wait_acked(u64::MAX).await.is_err(), "the stream went on");
    ensure!(
        figure(&world, "inquest_ingest_replays_total", &[])? == 1,
        "the replay is counted"
    );
    ensure!(
        (told_by(&world, "replayed").await?, world.occurrences().await?) == before,
        "the store changed"
    );
    // Whatever would be told of a repetition comes before what this kill tells.
    still_serves_after(&world, 5, 1).await?;
    let alerts = world.webhook.told();
    let about = alerts
        .iter()
        .filter(|one| one.body.to_string().contains("\"web\""))
        .count();
    ensure!(about == told, "{about} alerts instead of {told}");
    Ok(())
}

/// One more kill is stored beside what the incidents count already.
async fn still_serves_after(world: &World, counted: u64, kills: u64) -> Result<()> {
    world.kill_one()?.remove()?;
    world.wait_occurrences(counted + kills).await
}

/// It sends what the other node really told, under the same key and with other words, and calls itself by its name.
#[tokio::test(flavor = "multi_thread")]
async fn a_node_cannot_store_anything_under_the_name_of_another() -> Result<()> {
    let world = World::start("sec-name", &Options::default()).await?;
    let victim = world.wait_connected().await?;
    world.kill_one()?.remove()?;
    world.wait_occurrences(1).await?;
    let before = told_by(&world, &victim.name).await?;
    let told = before
        .first()
        .and_then(|one| one.finding.clone())
        .context("nothing was told")?;
    let mut forged = told.clone();
    forged.revision = told.revision + 100;
    if let Some(subject) = &mut forged.subject {
        subject.namespace = "forged".to_owned();
        subject.pod = victim.name.clone();
    }
    let mut liar = enrolled(&world, "liar").await?;
    let mut talk = liar.talk_as(7, &victim.name).await?;
    talk.send(1, &[told, forged, crash(1)]).await?;
    talk.wait_acked(3).await?;
    ensure!(
        told_by(&world, &victim.name).await? == before,
        "the other node's findings changed"
    );
    let own = told_by(&world, "liar").await?;
    ensure!(own.len() == 2, "{} findings of its own", own.len());
    ensure!(
        own.iter().all(|one| one.node_uid != victim.uid),
        "stored under the other's uid"
    );
    let nodes = world.nodes().await?;
    let seen = nodes
        .iter()
        .find(|node| node.uid == victim.uid)
        .context("the victim is gone")?;
    ensure!(seen.name == victim.name && seen.connected, "{seen:?}");
    Ok(())
}

/// The shortest life is a minute, so the agent enrols anew after half of one, in the middle of its work.
#[tokio::test(flavor = "multi_thread")]
async fn a_certificate_is_renewed_at_half_of_its_life_and_no_finding_is_lost() -> Result<()> {
    const LIFE: &str = "INQUEST_ENROLMENT_CERTIFICATE_LIFE=1m";
    let options = Options {
        through: Through {
            aggregator: ["env", LIFE].map(str::to_owned).into(),
            ..Through::default()
        },
        ..Options::default()
    };
    let world = World::start("sec-renewal", &options).await?;
    let node = world.wait_connected().await?;
    let mut kills = 0;
    let limit = std::time::Instant::now() + Duration::from_secs(90);
    while figure(&world, "inquest_enrolments_total", &[])? < 2 {
        ensure!(
            std::time::Instant::now() < limit,
            "no renewal: {}",
            world.agent.stderr()
        );
        world.kill_one()?.remove()?;
        kills += 1;
        // The load of the test, not its synchronisation: a death every second or so.
        tokio::time::sleep(Duration::from_millis(500)).await;
    }
    for _ in 0..3 {
        world.kill_one()?.remove()?;
        kills += 1;
    }
    world.wait_occurrences(kills).await?;
    let expired = figure(&world, "inquest_ingest_streams_ended_total", &["reason=\"expired\""])?;
    ensure!(expired == 0, "the certificate ended before it was renewed");
    let nodes = world.nodes().await?;
    ensure!(
        nodes.len() == 1 && nodes.iter().all(|one| one.uid == node.uid),
        "{nodes:?}"
    );
    Ok(())
}
