//! One incident, one finding and one node, for the tests of this crate.

use std::collections::{BTreeMap, BTreeSet};

use inquest_proto::{
    ingest::v1::{AgentStatus, SourceState, SourceStatus},
    query::v1::{Node, StoredFinding, VersionSkew},
};
use inquest_shared::{
    clock::UnixNanos,
    model::{
        Cause, CounterStep, Discovery, Evidence, EvidenceSet, EvidenceSource, Fact, Finding, FindingKind, Incident,
        IncidentState, KernelKill, Key, LimitLevel, LogExcerpt, Names, Occurrence, Owner, RuntimeExit, Severity,
        Subject, TransitionKind, Untrusted, Verdict, Workload,
    },
};
use ulid::Ulid;

/// 2026-03-01T12:01:07.183Z
pub(crate) const AT: UnixNanos = UnixNanos(1_772_366_467_183_000_000);

pub(crate) fn after(ms: i64) -> UnixNanos {
    UnixNanos(AT.0 + ms * 1_000_000)
}

fn text(text: &str) -> Untrusted {
    Untrusted::bounded(text, 4096)
}

pub(crate) fn evidence() -> EvidenceSet {
    let kill = KernelKill {
        pid: 11_219,
        comm: text("tail"),
        anon_bytes: 20_447_232,
        level: Some(LimitLevel::Container),
        limit_bytes: Some(20_971_520),
        main_process: Some(true),
        limit_cgroup: "/kubepods/burstable/podu1/c1".to_owned(),
        ..KernelKill::default()
    };
    let exit = RuntimeExit {
        exit_code: 137,
        finished_at: after(3),
        started_at: Some(after(-3_200)),
        reason: text("OOMKilled"),
        memory_limit_bytes: Some(20_971_520),
        ..RuntimeExit::default()
    };
    let step = CounterStep {
        counter: "oom_kill".to_owned(),
        cgroup: String::new(),
        before: 4,
        after: 5,
        survived: false,
    };
    let log = LogExcerpt {
        lines: vec![text("listening on :8080"), text("login password=***")],
        redactions: 1,
        truncated: false,
        origin: None,
    };
    let mut set = EvidenceSet::default();
    let mut add = |source, position: &str, at, fact| set.insert(source, position, Evidence { at, fact });
    add(EvidenceSource::Kmsg, "4711", AT, Fact::KernelKill(kill));
    add(
        EvidenceSource::Containerd,
        "c1@2026-03-01T12:01:07.186Z",
        after(3),
        Fact::RuntimeExit(exit),
    );
    add(EvidenceSource::Procfs, "5", after(1), Fact::CounterStep(step));
    add(EvidenceSource::Log, "c1", after(4), Fact::LogExcerpt(log));
    set
}

pub(crate) fn subject() -> Subject {
    Subject {
        namespace: "shop".to_owned(),
        pod: "checkout-7d4b9c-abcde".to_owned(),
        container: "app".to_owned(),
        instance: "c1".to_owned(),
        image: "img.local/app:1".to_owned(),
        runtime: "containerd".to_owned(),
        owner: Owner {
            kind: "Deployment".to_owned(),
            name: "checkout".to_owned(),
        },
        ..Subject::default()
    }
}

pub(crate) fn incident() -> Incident {
    let verdict = Verdict {
        cause: Cause::OomLimit,
        confidence_percent: 98,
        severity: Severity::High,
    };
    let latest = Occurrence {
        key: Key::of(b"kill", &[b"1"]),
        kind: FindingKind::Kill,
        at: AT,
        subject: subject(),
        evidence: evidence(),
        verdict,
        cites: BTreeSet::new(),
        node_name: "n1".to_owned(),
    };
    let mut pods = Names::default();
    pods.note("checkout-7d4b9c-abcde");
    let mut nodes = Names::default();
    nodes.note("n1");
    Incident {
        id: Ulid::from_parts(1_772_366_467_183, 7),
        fingerprint: Key::of(b"incident", &[b"1"]),
        state: IncidentState::Open,
        cause: Cause::OomLimit,
        severity: Severity::High,
        confidence_percent: 98,
        cluster: "default-cluster".to_owned(),
        workload: Workload {
            namespace: "shop".to_owned(),
            owner: subject().owner,
            container: "app".to_owned(),
        },
        opened_at: after(2),
        first_seen: AT,
        last_seen: AT,
        last_arrival: after(2),
        resolved_at: None,
        quiet_until: after(600_000),
        occurrences: 1,
        transition: 1,
        transition_kind: TransitionKind::Opened,
        reopened: 0,
        merged_into: None,
        pods,
        nodes,
        exit_codes: BTreeMap::from([(137, 1)]),
        secondary_causes: BTreeSet::new(),
        latest,
        gaps: Vec::new(),
        counted: Vec::new(),
        looping: false,
        announce_at: None,
        uncertain: Vec::new(),
        standing: [].into(),
    }
}

pub(crate) fn finding() -> StoredFinding {
    let finding = Finding {
        key: Key::of(b"exit", &[b"1"]),
        kind: FindingKind::Exit,
        discovery: Discovery::Live,
        observed_at: after(3),
        subject: subject(),
        evidence: evidence(),
        cites: BTreeSet::new(),
        revision: 1,
    };
    StoredFinding {
        finding: Some((&finding).into()),
        cluster: "default-cluster".to_owned(),
        node_uid: "u1".to_owned(),
        node_name: "n1".to_owned(),
        stored_at_ns: after(5).0,
        incident_id: incident().id.to_string(),
        has_log: true,
    }
}

fn source(name: &str, state: SourceState, detail: &str, remedy: &str) -> SourceStatus {
    SourceStatus {
        name: name.to_owned(),
        state: state.into(),
        detail: detail.to_owned(),
        remedy: remedy.to_owned(),
        since_ns: AT.0,
        lost_total: 0,
    }
}

pub(crate) fn node() -> Node {
    let status = AgentStatus {
        at_ns: AT.0,
        agent_version: "0.1.0".to_owned(),
        sources: vec![
            source("cgroups", SourceState::Live, "v1", ""),
            source(
                "containerd",
                SourceState::Absent,
                "no socket",
                "set sources.containerd.socket",
            ),
            source(
                "kernel log",
                SourceState::Blind,
                "permission denied",
                "run as root or with CAP_SYSLOG",
            ),
        ],
        ..AgentStatus::default()
    };
    Node {
        cluster: "default-cluster".to_owned(),
        uid: "u1".to_owned(),
        name: "n1".to_owned(),
        connected: true,
        last_seen_ns: AT.0,
        status: Some(status),
        enrolled_at_ns: after(-60_000).0,
        clock_offset_ns: Some(90_000_000_000),
        version_skew: VersionSkew::Older.into(),
        silent: false,
    }
}
