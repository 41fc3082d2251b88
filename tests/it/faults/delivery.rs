//! Findings that arrive again, out of order, over streams that are cut before their acknowledgement, from spools that lost
//! their identity: the store must hold what the orderly run leaves, byte by byte.

use std::collections::BTreeMap;

use anyhow::{Result, ensure};
use inquest_proto::{ingest::v1 as ingest, query::v1 as query};
use inquest_shared::{
    clock::UnixNanos,
    model::{
        Discovery, Evidence, EvidenceSet, EvidenceSource, Fact, Finding, FindingKind, KernelKill, Key, LimitLevel,
        Owner, RuntimeExit, Subject,
    },
    wire::orderless,
};
use inquest_tests::{
    peer::Peer,
    wait_for,
    world::{Options, PATIENCE, World},
};
use prost::Message as _;

const HOSTS: [&str; 2] = ["replayed-a", "replayed-b"];
/// Any number; another one gives another order.
const SEED: u64 = 0x1d87_2b41;

/// Numbers that look random and are the same in every run (Knuth's MMIX generator).
struct Dice(u64);

impl Dice {
    fn below(&mut self, limit: usize) -> Result<usize> {
        self.0 = self
            .0
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        Ok(usize::try_from((self.0 >> 33) % u64::try_from(limit.max(1))?)?)
    }

    fn shuffle<T>(&mut self, items: &mut [T]) -> Result<()> {
        for last in (1..items.len()).rev() {
            items.swap(last, self.below(last + 1)?);
        }
        Ok(())
    }
}

fn finding(key: Key, kind: FindingKind, n: u32, source: EvidenceSource, fact: Fact) -> Finding {
    let at = UnixNanos::from_secs(1_700_000_000 + i64::from(n));
    let mut evidence = EvidenceSet::default();
    evidence.insert(source, n.to_string(), Evidence { at, fact });
    let workload = format!("web-{}", n % 3);
    Finding {
        key,
        kind,
        discovery: Discovery::Live,
        observed_at: at,
        subject: Subject {
            namespace: "shop".to_owned(),
            pod: format!("{workload}-{n}"),
            container: "app".to_owned(),
            instance: format!("instance-{n}"),
            owner: Owner {
                kind: "Deployment".to_owned(),
                name: workload,
            },
            ..Subject::default()
        },
        evidence,
        cites: [].into(),
        revision: 0,
    }
}

/// Death number `n`: every other one is a kill and the exit that cites it, the others are application errors.
fn death(n: u32) -> Vec<Finding> {
    let exit = |exit_code| {
        let fact = RuntimeExit {
            exit_code,
            finished_at: UnixNanos::from_secs(1_700_000_000 + i64::from(n)),
            ..RuntimeExit::default()
        };
        let key = Key::exit(&format!("instance-{n}"), fact.finished_at);
        finding(
            key,
            FindingKind::Exit,
            n,
            EvidenceSource::Containerd,
            Fact::RuntimeExit(fact),
        )
    };
    if n.is_multiple_of(2) {
        return vec![exit(1)];
    }
    let report = KernelKill {
        pid: n,
        level: Some(LimitLevel::Container),
        main_process: Some(true),
        ..KernelKill::default()
    };
    let key = Key::kill("boot", "kmsg", &n.to_string());
    let kill = finding(
        key,
        FindingKind::Kill,
        n,
        EvidenceSource::Kmsg,
        Fact::KernelKill(report),
    );
    let exit = Finding {
        cites: [key].into(),
        ..exit(137)
    };
    vec![kill, exit]
}

/// What each host sends in the orderly run.
fn orderly() -> BTreeMap<&'static str, Vec<ingest::Finding>> {
    let mut sent: BTreeMap<_, Vec<_>> = BTreeMap::new();
    for (n, host) in (0..60).zip(HOSTS.into_iter().cycle()) {
        sent.entry(host)
            .or_default()
            .extend(death(n).iter().map(ingest::Finding::from));
    }
    sent
}

async fn enrol(world: &World, host: &str) -> Result<Peer> {
    let secret = std::fs::read_to_string(world.path("bootstrap"))?;
    Peer::enrol(world.ingest_port(), &world.path("data/ca/ca.crt"), &secret, host).await
}

async fn send_in_order(world: &World) -> Result<()> {
    for (host, findings) in orderly() {
        let mut stream = enrol(world, host).await?.talk(1).await?;
        stream.send(1, &findings).await?;
        stream.wait_acked(u64::try_from(findings.len())?).await?;
    }
    Ok(())
}

/// Sends everything one to three times in any order, over streams that are cut at any place. Each host loses the identity
/// of its spool half way and begins anew.
async fn send_badly(world: &World, dice: &mut Dice) -> Result<()> {
    for (host, findings) in orderly() {
        for epoch in [1, 2] {
            let mut all = Vec::new();
            for finding in &findings {
                all.extend(vec![finding.clone(); 1 + dice.below(3)?]);
            }
            dice.shuffle(&mut all)?;
            send_over_broken_streams(world, (host, epoch), &all, dice).await?;
        }
    }
    Ok(())
}

async fn send_over_broken_streams(
    world: &World,
    (host, epoch): (&str, u64),
    all: &[ingest::Finding],
    dice: &mut Dice,
) -> Result<()> {
    // As an agent does; the aggregator notes a position only together with something new.
    let mut acked = 0;
    loop {
        let mut stream = enrol(world, host).await?.talk(epoch).await?;
        acked = stream.acked().max(acked);
        let mut next = usize::try_from(acked)?;
        if next >= all.len() {
            return Ok(());
        }
        // Cut while messages and acknowledgements are on their way, except now and then.
        let messages = 1 + dice.below(12)?;
        for _ in 0..messages {
            let end = all.len().min(next + 1 + dice.below(12)?);
            stream
                .send(u64::try_from(next)? + 1, all.get(next..end).unwrap_or_default())
                .await?;
            next = end;
        }
        if dice.below(2)? == 0 {
            stream.wait_acked(u64::try_from(next)?).await?;
            acked = stream.acked();
        }
    }
}

/// The records of both hosts as bytes, sorted, without what follows the order of arrival.
async fn export(world: &World) -> Result<Vec<u8>> {
    let mut client = world.query().await?;
    let request = query::ListFindingsRequest {
        page_size: 1000,
        ..query::ListFindingsRequest::default()
    };
    let findings = client.list_findings(request).await?.into_inner().findings;
    let incidents = wait_for("every cause has settled", PATIENCE, async || {
        let incidents = world.incidents().await?;
        ensure!(
            incidents.iter().all(|incident| incident.announce_at_ns == 0),
            "{incidents:?}"
        );
        Ok::<_, anyhow::Error>(incidents)
    })
    .await?;
    let workload = |incident: &query::Incident| incident.workload.as_ref().map(|w| w.name.clone()).unwrap_or_default();
    let names: BTreeMap<_, _> = incidents
        .iter()
        .map(|incident| (incident.id.clone(), workload(incident)))
        .collect();
    let mut records: Vec<Vec<u8>> = findings
        .into_iter()
        .map(|mut finding| {
            finding.stored_at_ns = 0;
            finding.incident_id = names.get(&finding.incident_id).cloned().unwrap_or_default();
            finding.encode_to_vec()
        })
        .collect();
    ensure!(records.len() == 90, "{} findings", records.len());
    records.extend(
        incidents
            .into_iter()
            .map(|incident| orderless(incident, false).encode_to_vec()),
    );
    ensure!(records.len() == 93, "{} records", records.len());
    records.sort();
    Ok(records.concat())
}

#[tokio::test(flavor = "multi_thread")]
async fn repeated_and_reordered_deliveries_over_broken_streams_leave_the_same_store() -> Result<()> {
    let (straight, crooked) = (
        World::start("straight", &Options::default()).await?,
        World::start("crooked", &Options::default()).await?,
    );
    send_in_order(&straight).await?;
    send_badly(&crooked, &mut Dice(SEED)).await?;
    assert!(
        export(&straight).await? == export(&crooked).await?,
        "the exports differ, seed {SEED:#x}"
    );
    let mut told: Vec<_> = crooked
        .webhook
        .accepted()
        .iter()
        .map(|r| r.header("webhook-id").to_owned())
        .collect();
    let all = told.len();
    told.sort();
    told.dedup();
    assert_eq!(told.len(), all, "something was told twice");
    Ok(())
}
