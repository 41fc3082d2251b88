//! An hour without an aggregator, with findings as large as real ones. No clock is waited for: only bytes matter.

use std::collections::BTreeMap;

use inquest_shared::{
    clock::{FakeClock, UnixNanos},
    config::{AgentConfig, Inputs},
    model::{
        Discovery, Evidence, EvidenceSet, EvidenceSource, Fact, FindingKind, KernelKill, Key, LimitLevel, LogExcerpt,
        MemoryConsumer, Owner, RuntimeExit, Subject, Untrusted,
    },
};

use super::*;
use crate::spool::{Limits, Shed, ShedReason, Spool, Stats};

const AN_HOUR: u32 = 10 * 3600;
const ID: &str = "9135c97b4d0966f40d39feba36904f6c2506a977a2c3fc151ff1c5ebd295a5b0";

/// An exit with the kernel's report and the last lines, with names of ordinary length. `n` makes it another death.
fn death(n: u32, code: i32) -> Finding {
    let at = UnixNanos::from_secs(1_800_000_000 + i64::from(n));
    let text = |text: &str| Untrusted::bounded(text, 4096);
    let pod =
        "/kubepods.slice/kubepods-burstable.slice/kubepods-burstable-pod4b0b5df8_f863_4bcb_a48d_887a4749fecd.slice";
    let cgroup = format!("{pod}/cri-containerd-{ID}.scope");
    let consumer = |pid| MemoryConsumer {
        pid,
        comm: text("java-worker"),
        bytes: 268_435_456,
    };
    let kill = KernelKill {
        pid: 11_219,
        comm: text("java"),
        total_vm_bytes: 5_000_000_000,
        anon_bytes: 268_435_456,
        trigger_comm: text("java"),
        level: Some(LimitLevel::Container),
        limit_cgroup: cgroup.clone(),
        victim_cgroup: cgroup.clone(),
        usage_bytes: Some(268_435_456),
        limit_bytes: Some(268_435_456),
        consumers: vec![consumer(11_219), consumer(11_220), consumer(11_221)],
        ..KernelKill::default()
    };
    let exit = RuntimeExit {
        exit_code: code,
        started_at: Some(at),
        finished_at: at,
        reason: text(if code == 137 { "OOMKilled" } else { "Completed" }),
        memory_limit_bytes: Some(268_435_456),
        ..RuntimeExit::default()
    };
    let lines = LogExcerpt {
        lines: (0..20)
            .map(|line| {
                text(&format!(
                    "2026-11-21T12:00:{line:02}.123Z INFO request {n} of the checkout was handled"
                ))
            })
            .collect(),
        ..LogExcerpt::default()
    };
    let mut evidence = EvidenceSet::default();
    let mut add = |source, position: String, fact| evidence.insert(source, position, Evidence { at, fact });
    if code == 137 {
        add(EvidenceSource::Kmsg, n.to_string(), Fact::KernelKill(kill));
    }
    add(
        EvidenceSource::Containerd,
        format!("{ID}@{}", at.0),
        Fact::RuntimeExit(exit),
    );
    add(EvidenceSource::Log, format!("{ID}@{}", at.0), Fact::LogExcerpt(lines));
    Finding {
        key: Key::exit(ID, at),
        kind: FindingKind::Exit,
        discovery: Discovery::Live,
        observed_at: at,
        subject: Subject {
            namespace: "checkout-production".to_owned(),
            pod: "checkout-api-7c9d8b6f5d-x2x4z".to_owned(),
            pod_uid: "4b0b5df8-f863-4bcb-a48d-887a4749fecd".to_owned(),
            container: "checkout-api".to_owned(),
            instance: ID.to_owned(),
            image: "registry.example.com/checkout/api@sha256:9135c97b4d0966f40d39feba36904f6c".to_owned(),
            owner: Owner {
                kind: "ReplicaSet".to_owned(),
                name: "checkout-api-7c9d8b6f5d".to_owned(),
            },
            cgroup,
            ..Subject::default()
        },
        evidence,
        cites: [Key::kill("boot", "kmsg", &n.to_string())].into(),
        revision: 0,
    }
}

/// Spools deaths as the agent would while nobody acknowledges.
fn spooled(limit: u64, deaths: impl Iterator<Item = Finding>) -> (Stats, Vec<Finding>) {
    let dir = tempfile::tempdir().unwrap();
    let (spool, _) = Spool::open(&dir.path().join("findings"), Limits::of(limit)).unwrap();
    let mut conclude = Conclude {
        fusion: Fusion::new("boot".to_owned(), UnixNanos(5), "/", 4096),
        findings: Outgoing::new(spool),
        state: StateFile::open(dir.path(), "boot", UnixNanos(5)),
        through: None,
        clock: Arc::new(FakeClock::at(UnixNanos(9))),
        made: Counter::default(),
        forgotten: Counter::default(),
        told: Told::default(),
    };
    for death in deaths {
        conclude.spool(&[death]);
    }
    let mut spool = conclude.findings.lock();
    let (stats, mut reader, mut held) = (spool.stats(), spool.unacked(0), Vec::new());
    while let Some(record) = spool.read(&mut reader).unwrap() {
        let message = pb::Finding::decode(record.payload.as_slice()).unwrap();
        held.push(Finding::try_from(message).unwrap());
    }
    (stats, held)
}

fn default_limit() -> u64 {
    let config = inquest_shared::config::load::<AgentConfig>(&Inputs::default()).unwrap();
    config.value.spool.findings_max.0
}

/// Without its aggregator for an hour, at ten deaths a second, a node loses no finding.
#[test]
fn the_default_spool_holds_one_hour_of_outage_at_ten_findings_a_second() {
    let limit = default_limit();
    let (stats, held) = spooled(limit, (0..AN_HOUR).map(|n| death(n, 137)));
    assert!(stats.disk_bytes <= limit, "{stats:?}");
    assert!(stats.shed.keys().all(|(class, _)| *class == Shed::Detail), "{stats:?}");
    let keys: std::collections::BTreeSet<Key> = held.iter().map(|finding| finding.key).collect();
    assert_eq!(keys.len(), usize::try_from(AN_HOUR).unwrap());
    assert!(
        held.iter().all(|finding| finding.evidence.kills().count() == 1),
        "the kernel's report stays"
    );
}

/// What goes first, and that every record that goes is counted under its class and reason.
#[test]
fn at_the_limit_evidence_goes_before_low_severities_and_those_before_what_opens_incidents() {
    let limit = 1 << 20;
    let kind = |n: u32| death(n, if n.is_multiple_of(2) { 137 } else { 0 });
    let (stats, held) = spooled(limit, (0..600).map(kind));
    let shed = |class: Shed| stats.shed.get(&(class, ShedReason::DiskLimit)).copied().unwrap_or(0);
    assert!(stats.disk_bytes <= limit);
    assert!(shed(Shed::Detail) > 0 && shed(Shed::High) == 0, "{stats:?}");
    let oom = held.iter().filter(|finding| finding.evidence.kills().count() == 1);
    let keys: BTreeMap<Key, ()> = oom.map(|finding| (finding.key, ())).collect();
    assert_eq!(keys.len(), 300, "no death that opens an incident is gone");
    // and with more of them than fit even bare, low severities have gone, the oldest first
    let (stats, held) = spooled(limit, (0..1_400).map(kind));
    let low = stats
        .shed
        .get(&(Shed::Low, ShedReason::DiskLimit))
        .copied()
        .unwrap_or(0);
    assert!(low > 0, "{stats:?}");
    assert_eq!(
        stats.shed.values().sum::<u64>() + stats.pending,
        observed(1_400, limit),
        "everything is accounted for"
    );
    let first_low = held.iter().find(|finding| finding.evidence.kills().count() == 0);
    assert!(
        first_low.is_none_or(|finding| finding.key != death(1, 0).key),
        "the oldest went first"
    );
}

/// Records that the same deaths make in a spool that gives up nothing would be more; this counts what was given to it.
fn observed(count: u32, limit: u64) -> u64 {
    let dir = tempfile::tempdir().unwrap();
    let (spool, _) = Spool::open(&dir.path().join("findings"), Limits::of(limit)).unwrap();
    let outgoing = Outgoing::new(spool);
    let mut told = Told::default();
    for n in 0..count {
        let death = death(n, if n.is_multiple_of(2) { 137 } else { 0 });
        spool_one(&outgoing, &mut told, &death);
    }
    outgoing.observed()
}

/// A version that only adds evidence is the first to go; one that names the pod or changes the cause is not.
#[test]
fn a_later_version_is_detail_only_if_it_changes_nothing_that_people_see() {
    let mut told = Told::default();
    let full = death(1, 137);
    let bare = worth::without_log(&full).unwrap();
    assert_eq!(told.class(&bare), Shed::High);
    assert_eq!(told.class(&full), Shed::Detail);
    let mut named = full.clone();
    named.subject.pod = "another".to_owned();
    assert_eq!(told.class(&named), Shed::High);
    assert_eq!(told.class(&death(2, 0)), Shed::Low);
}
