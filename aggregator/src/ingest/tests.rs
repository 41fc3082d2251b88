mod tokens;
mod world;

use std::time::{Duration, Instant};

use inquest_proto::ingest::v1::{
    EnrolRequest, Finding as WireFinding, FindingBatch, Hello, ReportRequest, SendLogsRequest, enrol_request::Proof,
    report_request::Message as Up,
};
use inquest_shared::clock::{Clock as _, SystemClock};
use tokio::{io::AsyncWriteExt as _, net::TcpStream};
use tokio_stream::wrappers::ReceiverStream;
use tonic::Code;

use self::world::{SECRET, World, client_pems, cn_only};
use super::*;
use crate::{
    pipeline::{
        BUDGET_BYTES, WINDOW_BYTES,
        tests::{memory::MemoryStore, sample::crash},
    },
    record::Scope,
    store::SqliteStore,
};

#[tokio::test]
async fn an_enrolled_agent_reports_and_learns_what_is_on_disk() {
    let world = World::new(MemoryStore::new()).await;
    let mut talk = world.agent("h1").await.talk(5).await;
    assert_eq!((talk.welcome.acked_seq, talk.welcome.credit_bytes), (0, WINDOW_BYTES));
    let bytes = talk.send(3, &crash("web", 1)).await;
    let ack = talk.ack().await;
    assert_eq!((ack.epoch, ack.acked_seq, ack.credit_bytes), (5, 3, bytes));
    let disk = world.memory().disk();
    let stored = disk.occurrences.values().next().unwrap();
    // From the certificate, whatever the message says.
    assert_eq!(
        (stored.node.cluster.as_str(), stored.node.name.as_str()),
        ("c1", "node-h1")
    );
    assert_eq!(disk.nodes.first(), Some(&stored.node));
    drop(disk);
    let view = world.nodes.snapshot().remove(0);
    assert!(view.connected && view.node.name == "node-h1");
}

#[tokio::test]
async fn without_a_certificate_only_enrolment_is_served() {
    let world = World::new(MemoryStore::new()).await;
    let mut anybody = world.client(None).await.unwrap();
    let refused = anybody.open(1).await.unwrap_err();
    assert_eq!(
        (refused.code(), refused.message()),
        (Code::Unauthenticated, "a client certificate is required: enrol first")
    );
    let logs = anybody
        .0
        .send_logs(tokio_stream::iter([SendLogsRequest::default()]))
        .await
        .unwrap_err();
    assert_eq!(logs.code(), Code::Unauthenticated);
}

#[tokio::test]
async fn foreign_expired_and_common_name_certificates_are_refused() {
    let world = World::new(MemoryStore::new()).await;
    let now = SystemClock.now();
    let elsewhere = tempfile::tempdir().unwrap();
    let foreign = client_pems(&Authority::open(elsewhere.path(), now).unwrap(), now);
    let past = now.saturating_sub(Duration::from_secs(3 * 86_400));
    let expired = client_pems(&Authority::open(world.folder(), now).unwrap(), past);
    for pems in [foreign, expired] {
        let reached = match world.client(Some(&pems)).await {
            Ok(mut client) => client.open(1).await.is_ok(),
            Err(_) => false,
        };
        assert!(!reached);
    }
    // The connection ends before a byte of it is looked at.
    let named = world.client(Some(&cn_only(world.folder(), "node-h1"))).await;
    assert!(match named {
        Ok(mut client) => client.open(1).await.is_err(),
        Err(_) => true,
    });
    world
        .until_metric("inquest_connections_refused_total{listener=\"ingest\",reason=\"certificate_identity\"} 1")
        .await;
}

#[tokio::test]
async fn a_wrong_secret_or_request_is_refused_with_what_would_help() {
    let world = World::new(MemoryStore::new()).await;
    let mut client = world.client(None).await.unwrap();
    let proof = |proof| EnrolRequest {
        proof: Some(proof),
        node_name: "n".to_owned(),
        host_id: "h".to_owned(),
        ..EnrolRequest::default()
    };
    let huge = EnrolRequest {
        agent_version: "x".repeat(9_000),
        ..proof(Proof::BootstrapSecret(SECRET.to_owned()))
    };
    let cases = [
        (
            proof(Proof::BootstrapSecret("guess".to_owned())),
            Code::Unauthenticated,
            "secret is wrong",
        ),
        (
            proof(Proof::ServiceAccountToken("t".to_owned())),
            Code::Unimplemented,
            "enrol with a bootstrap secret",
        ),
        (
            proof(Proof::BootstrapSecret(SECRET.to_owned())),
            Code::InvalidArgument,
            "PKCS#10",
        ),
        (huge, Code::InvalidArgument, "8 KiB"),
    ];
    for (request, code, words) in cases {
        let refused = client.0.enrol(request).await.unwrap_err();
        assert_eq!(refused.code(), code);
        assert!(refused.message().contains(words), "{}", refused.message());
    }
    assert!(world.memory().disk().nodes.is_empty());
    assert!(world.metric("inquest_enrolments_refused_total{reason=\"wrong_secret\"} 1"));
}

#[tokio::test]
async fn garbage_and_oversize_disturb_nobody_else() {
    let world = World::new(MemoryStore::new()).await;
    let mut honest = world.agent("h1").await.talk(1).await;
    for garbage in [
        b"GET / HTTP/1.1\r\n\r\n".to_vec(),
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_vec(),
        vec![0xff; 70_000],
    ] {
        let mut raw = TcpStream::connect(world.address).await.unwrap();
        // The server may close before everything is written.
        drop(raw.write_all(&garbage).await);
    }
    let mut greedy = world.agent("h2").await.talk(1).await;
    greedy
        .send_raw(
            1,
            WireFinding {
                key: vec![0; 300 * 1024],
                ..WireFinding::default()
            },
        )
        .await;
    assert_eq!(greedy.end().await.code(), Code::OutOfRange);
    honest.send(1, &crash("web", 1)).await;
    assert_eq!(honest.ack().await.acked_seq, 1);
}

/// It would be refused for ever: the findings behind it must not wait for it.
#[tokio::test]
async fn a_meaningless_finding_is_acknowledged_and_counted() {
    let world = World::new(MemoryStore::new()).await;
    let mut talk = world.agent("h1").await.talk(1).await;
    talk.send_raw(
        1,
        WireFinding {
            kind: 99,
            ..WireFinding::default()
        },
    )
    .await;
    talk.send(2, &crash("web", 1)).await;
    talk.acked(2).await;
    assert_eq!(world.memory().disk().occurrences.len(), 1);
    assert!(world.metric("inquest_findings_refused_total{reason=\"number\"} 1"));
}

#[tokio::test]
async fn a_replay_after_a_reconnect_makes_no_duplicate() {
    let world = World::new(MemoryStore::new()).await;
    let mut agent = world.agent("h1").await;
    let mut first = agent.talk(5).await;
    first.send(1, &crash("web", 1)).await;
    first.acked(1).await;
    drop(first);
    let mut second = agent.talk(5).await;
    assert_eq!(second.welcome.acked_seq, 1);
    second.send(1, &crash("web", 1)).await;
    second.send(2, &crash("web", 1)).await;
    second.acked(2).await;
    assert_eq!(world.memory().disk().occurrences.len(), 1);
    assert!(world.metric("inquest_findings_repeated_total 2"));
    let mut newer = crash("web", 1);
    (newer.revision, newer.subject.image) = (1, "img:2".to_owned());
    second.send(3, &newer).await;
    second.acked(3).await;
    let images = |world: &World| -> Vec<String> {
        let disk = world.memory().disk();
        disk.occurrences
            .values()
            .map(|o| o.finding.subject.image.clone())
            .collect()
    };
    assert_eq!(
        images(&world),
        ["img:2"],
        "a newer version of what was settled is taken"
    );
    assert_eq!(agent.talk(6).await.welcome.acked_seq, 0, "another epoch starts anew");
}

/// kill -9 of the agent or of the connection between the commit and its acknowledgement.
#[tokio::test]
async fn an_acknowledgement_lost_with_its_connection_is_given_to_the_next() {
    let world = World::new(MemoryStore::new()).await;
    let mut agent = world.agent("h1").await;
    let gate = world.memory().gate.acquire().await.unwrap();
    let first = agent.talk(5).await;
    first.send(1, &crash("web", 1)).await;
    world.until_metric("inquest_ingest_streams 1").await;
    drop(first);
    world.until_metric("inquest_ingest_streams 0").await;
    drop(gate);
    let mut second = agent.talk(5).await;
    second.send(1, &crash("web", 1)).await;
    second.acked(1).await;
    let disk = world.memory().disk();
    assert_eq!((disk.occurrences.len(), disk.outbox.len()), (1, 1));
}

#[tokio::test]
async fn spent_credit_comes_back_with_the_commit_and_an_overdraw_ends_the_stream() {
    let world = World::new(MemoryStore::new()).await;
    let mut agent = world.agent("h1").await;
    let gate = world.memory().gate.acquire().await.unwrap();
    let mut talk = agent.talk(1).await;
    let spent = talk.send_many(1, 1_900).await;
    drop(gate);
    let mut back = 0;
    while back < spent {
        back += talk.ack().await.credit_bytes;
    }
    assert_eq!(back, spent);
    let _closed = world.memory().gate.acquire().await.unwrap();
    talk.send_many(1_901, 1_300).await;
    talk.send_many(3_201, 1_300).await;
    let end = talk.end().await;
    assert_eq!(end.code(), Code::ResourceExhausted);
    assert!(end.message().contains("the credit is 262144"), "{}", end.message());
}

#[tokio::test]
async fn a_spent_budget_holds_findings_back_and_drops_none() {
    let world = World::new(MemoryStore::new()).await;
    let mut agent = world.agent("h1").await;
    let everything = world
        .intake
        .reserve(u32::try_from(BUDGET_BYTES).unwrap())
        .await
        .unwrap();
    let mut talk = agent.talk(1).await;
    talk.send(1, &crash("web", 1)).await;
    world.agent("h2").await;
    assert_eq!(*world.memory().commits.borrow(), 0);
    drop(everything);
    talk.acked(1).await;
}

#[tokio::test]
async fn the_newest_stream_of_a_node_wins() {
    let world = World::new(MemoryStore::new()).await;
    let mut agent = world.agent("h1").await;
    let mut older = agent.talk(1).await;
    let mut newer = agent.talk(1).await;
    assert_eq!(older.end().await.code(), Code::Aborted);
    newer.send(1, &crash("web", 1)).await;
    newer.acked(1).await;
    assert!(world.nodes.snapshot()[0].connected);
}

#[tokio::test]
async fn a_stream_that_breaks_the_order_is_told_so() {
    let world = World::new(MemoryStore::new()).await;
    let mut agent = world.agent("h1").await;
    let batch = |epoch| {
        Up::Batch(FindingBatch {
            epoch,
            findings: Vec::new(),
        })
    };
    let cases = [
        (vec![batch(1)], Code::FailedPrecondition, "first message must be hello"),
        (vec![hello(1), hello(1)], Code::FailedPrecondition, "hello came twice"),
        (vec![hello(1), batch(2)], Code::FailedPrecondition, "another epoch"),
    ];
    for (messages, code, words) in cases {
        let messages = messages.into_iter().map(|m| ReportRequest { message: Some(m) });
        let (up, requests) = tokio::sync::mpsc::channel(8);
        for message in messages {
            up.send(message).await.unwrap();
        }
        let mut answers = agent
            .0
            .report(ReceiverStream::new(requests))
            .await
            .unwrap()
            .into_inner();
        let end = loop {
            if let Err(end) = answers.message().await {
                break end;
            }
        };
        assert_eq!(end.code(), code);
        assert!(end.message().contains(words), "{}", end.message());
        drop(up);
    }
}

fn hello(epoch: u64) -> Up {
    Up::Hello(Hello {
        epoch,
        ..Hello::default()
    })
}

#[tokio::test]
async fn a_log_chunk_is_acknowledged_when_it_is_stored() {
    let world = World::new(MemoryStore::new()).await;
    let mut agent = world.agent("h1").await;
    let chunk = |seq, offset| SendLogsRequest {
        epoch: 9,
        seq,
        finding_key: vec![1; 16],
        offset,
        data: b"panic: boom".to_vec(),
        ..SendLogsRequest::default()
    };
    let chunks = tokio_stream::iter([chunk(1, 0), chunk(2, 70_000), chunk(3, 11)]);
    let mut answers = agent.0.send_logs(chunks).await.unwrap().into_inner();
    for seq in 1..=3 {
        assert_eq!(answers.message().await.unwrap().unwrap().acked_seq, seq);
    }
    assert_eq!(world.memory().disk().logs.values().map(Vec::len).sum::<usize>(), 22);
    assert!(world.metric("inquest_log_chunks_refused_total{reason=\"too_large\"} 1"));
}

#[tokio::test]
async fn a_stop_with_open_streams_is_quick_and_tells_them() {
    let world = World::new(MemoryStore::new()).await;
    let mut agent = world.agent("h1").await;
    let mut talk = agent.talk(1).await;
    let started = Instant::now();
    world.stop.cancel();
    assert_eq!(talk.end().await.code(), Code::Unavailable);
    world.served.await.unwrap().unwrap();
    assert!(started.elapsed() < Duration::from_secs(2), "{:?}", started.elapsed());
}

/// The same through the real store, across a restart of the aggregator.
#[tokio::test]
async fn a_restart_remembers_marks_and_incidents_on_disk() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("inquest.db");
    let world = World::new(std::sync::Arc::new(SqliteStore::open(&path).await.unwrap())).await;
    let mut agent = world.agent("h1").await;
    let mut talk = agent.talk(5).await;
    talk.send(1, &crash("web", 1)).await;
    talk.acked(1).await;
    let world = world.restart().await;
    let mut agent = world.client(Some(&world.pems("h1"))).await.unwrap();
    let mut talk = agent.talk(5).await;
    assert_eq!(talk.welcome.acked_seq, 1);
    talk.send(2, &crash("web", 1)).await;
    talk.send(3, &crash("web", 2)).await;
    talk.acked(3).await;
    let incidents = world
        .store
        .list_incidents(&Scope::All, &Default::default(), None, 10)
        .await
        .unwrap();
    assert_eq!(incidents.iter().map(|i| i.occurrences).collect::<Vec<_>>(), [2]);
}

#[tokio::test]
async fn findings_of_two_nodes_never_meet_even_under_one_key() {
    let world = World::new(MemoryStore::new()).await;
    let mut one = world.agent("h1").await.talk(1).await;
    let mut two = world.agent("h2").await.talk(1).await;
    for talk in [&mut one, &mut two] {
        talk.send(1, &crash("web", 1)).await;
        talk.acked(1).await;
    }
    assert_eq!(world.memory().disk().occurrences.len(), 2);
}
