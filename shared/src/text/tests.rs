use std::collections::{BTreeMap, BTreeSet};

use jiff::tz::TimeZone;
use proptest::prelude::*;
use ulid::Ulid;

use super::*;
use crate::{
    cause::{self, judge},
    clock::UnixNanos,
    model::{
        Cause, CounterStep, Delivery, DeliveryState, Evidence, EvidenceSet, EvidenceSource, Fact, FindingKind,
        IncidentState, KernelKill, Key, LimitLevel, LogExcerpt, MemoryConsumer, Names, Owner, RuntimeExit, Severity,
        Subject, TransitionKind, Untrusted, Workload,
    },
};

mod changed;
mod sender;
mod words;

/// 2026-03-01T12:01:07.183Z
const AT: UnixNanos = UnixNanos(1_772_366_467_183_000_000);

fn after(ms: i64) -> UnixNanos {
    UnixNanos(AT.0 + ms * 1_000_000)
}

fn text(text: &str) -> Untrusted {
    Untrusted::bounded(text, 4096)
}

fn set(facts: Vec<(EvidenceSource, UnixNanos, Fact)>) -> EvidenceSet {
    let mut set = EvidenceSet::default();
    for (source, at, fact) in facts {
        set.insert(source, "1", Evidence { at, fact });
    }
    set
}

fn kill() -> KernelKill {
    KernelKill {
        pid: 11_219,
        comm: text("tail"),
        anon_bytes: 20_447_232,
        level: Some(LimitLevel::Container),
        limit_bytes: Some(20_971_520),
        main_process: Some(true),
        ..KernelKill::default()
    }
}

fn exit(exit_code: i32) -> RuntimeExit {
    RuntimeExit {
        exit_code,
        finished_at: after(2),
        started_at: Some(after(-3_200)),
        ..RuntimeExit::default()
    }
}

fn log(lines: &[&str]) -> Fact {
    Fact::LogExcerpt(LogExcerpt {
        lines: lines.iter().map(|l| text(l)).collect(),
        redactions: 1,
        truncated: true,
        origin: None,
    })
}

fn occurrence(evidence: EvidenceSet) -> Occurrence {
    let subject = Subject {
        namespace: "shop".into(),
        pod: "web-7d4b9c-abcde".into(),
        container: "app".into(),
        image: "img.local/app:1".into(),
        ..Subject::default()
    };
    let (key, verdict) = (Key::exit("i", AT), judge(&evidence));
    Occurrence {
        key,
        kind: FindingKind::Exit,
        at: AT,
        subject,
        evidence,
        verdict,
        cites: BTreeSet::new(),
        node_name: "n1".into(),
    }
}

fn incident(evidence: EvidenceSet) -> Incident {
    let latest = occurrence(evidence);
    Incident {
        id: Ulid::from_parts(1, 2),
        fingerprint: Key::exit("i", AT),
        state: IncidentState::Open,
        cause: latest.verdict.cause,
        severity: latest.verdict.severity,
        confidence_percent: latest.verdict.confidence_percent,
        cluster: "default-cluster".into(),
        workload: Workload {
            namespace: "shop".into(),
            owner: Owner::default(),
            container: "app".into(),
        },
        opened_at: AT,
        first_seen: AT,
        last_seen: AT,
        last_arrival: AT,
        resolved_at: None,
        quiet_until: after(600_000),
        occurrences: 1,
        transition: 1,
        transition_kind: TransitionKind::Opened,
        reopened: 0,
        merged_into: None,
        pods: Names::default(),
        nodes: Names::default(),
        exit_codes: BTreeMap::new(),
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

fn delivery(receiver: &str, state: DeliveryState, delivered_at: Option<UnixNanos>, last_error: &str) -> Delivery {
    Delivery {
        receiver: receiver.into(),
        transition: 1,
        kind: TransitionKind::Opened,
        state,
        attempts: 2,
        planned_at: AT,
        delivered_at,
        last_error: last_error.into(),
    }
}

fn plain(incident: &Incident, deliveries: &[Delivery], lang: Lang) -> String {
    card(incident, deliveries, lang, &TimeZone::UTC, Paint::Plain)
}

fn oom() -> EvidenceSet {
    set(vec![
        (EvidenceSource::Kmsg, AT, Fact::KernelKill(kill())),
        (EvidenceSource::Containerd, after(4), Fact::RuntimeExit(exit(137))),
        (
            EvidenceSource::Log,
            after(5),
            log(&["reading all of it", "token=[redacted]"]),
        ),
    ])
}

#[test]
fn a_proved_oom_tells_the_whole_story() {
    let deliveries = [
        delivery("stdout", DeliveryState::Delivered, Some(after(3)), ""),
        delivery("ops", DeliveryState::Pending, None, "timeout"),
    ];
    insta::assert_snapshot!(plain(&incident(oom()), &deliveries, Lang::En), @r#"
    OOM at container limit   container "app", image img.local/app:1, pod shop/web-7d4b9c-abcde, node n1    SIGKILL
      why      kernel killed "tail" (pid 11219, anon 19.5 MiB); limit 20.0 MiB; the container's main process
      hint     it ran for 3.2 s only: the limit may be below what it needs to start
      when     2026-03-01 12:01:07.183 +00:00
      exit     137 (SIGKILL), confirmed by containerd 4 ms later; ran 3.2 s
      log      [older lines left out, secrets taken out: 1]
               reading all of it
               token=[redacted]
      told     stdout delivered 3 ms after the event
               ops pending (tries: 2, timeout)
      id       00000000010000000000000002 (cluster default-cluster, severity high, 99 % sure)
    "#);
    insta::assert_snapshot!(plain(&incident(oom()), &deliveries, Lang::Zh), @r#"
    容器内存超限（OOM）   容器 "app"，镜像 img.local/app:1，pod shop/web-7d4b9c-abcde，节点 n1    SIGKILL
      依据     内核杀死了 "tail"（pid 11219，匿名内存 19.5 MiB）；上限 20.0 MiB；容器的主进程
      提示     仅运行 3.2 秒：上限可能低于启动所需
      时间     2026-03-01 12:01:07.183 +00:00
      退出     137（SIGKILL），containerd 4 毫秒后确认；运行了 3.2 秒
      日志     [省略了较早的行，已去除敏感信息 1 处]
               reading all of it
               token=[redacted]
      通知     stdout 已送达，事件发生后 3 毫秒
               ops 待发送（已尝试 2 次，timeout）
      编号     00000000010000000000000002（集群 default-cluster，级别 高，把握 99%）
    "#);
}

#[test]
fn a_kill_that_no_runtime_confirmed_says_so() {
    let unknown = KernelKill {
        comm: text(""),
        anon_bytes: 0,
        main_process: None,
        level: None,
        limit_bytes: None,
        ..kill()
    };
    let early = incident(set(vec![(EvidenceSource::Trace, AT, Fact::KernelKill(unknown))]));
    insta::assert_snapshot!(plain(&early, &[], Lang::En), @r#"
    OOM at a memory limit   container "app", image img.local/app:1, pod shop/web-7d4b9c-abcde, node n1    SIGKILL
      why      kernel killed a process (pid 11219); which limit was hit is not known
      when     2026-03-01 12:01:07.183 +00:00
      exit     not yet confirmed by the runtime
      id       00000000010000000000000002 (cluster default-cluster, severity high, 75 % sure)
    "#);
}

#[test]
fn a_killed_worker_does_not_end_its_container() {
    let worker = KernelKill {
        main_process: Some(false),
        ..kill()
    };
    let event = occurrence(set(vec![(EvidenceSource::Kmsg, AT, Fact::KernelKill(worker))]));
    assert_eq!(occurrence_headline(&event, Lang::En), "OOM killed a child process");
    assert_eq!(exit_line(&event, Lang::En), "none seen, the container may live on");
}

#[test]
fn a_crash_loop_is_one_story() {
    let panic = log(&["listening", "panic: boom", "goroutine 1 [running]:"]);
    let mut looping = incident(set(vec![
        (EvidenceSource::Containerd, after(2), Fact::RuntimeExit(exit(2))),
        (EvidenceSource::Log, after(2), panic),
    ]));
    looping.looping = true;
    looping.occurrences = 7;
    looping.first_seen = after(-57_000);
    looping.transition_kind = TransitionKind::Milestone;
    insta::assert_snapshot!(plain(&looping, &[], Lang::En), @r#"
    Exits with 2, crash loop (7 times)   container "app", image img.local/app:1, pod shop/web-7d4b9c-abcde, node n1
      why      Go: panic: boom
      when     2026-03-01 12:01:07.183 +00:00 (7 times since 12:00:10.183)
      exit     2, confirmed by containerd; ran 3.2 s
      log      [older lines left out, secrets taken out: 1]
               listening
               panic: boom
               goroutine 1 [running]:
      state    still going on, 7 times so far
      id       00000000010000000000000002 (cluster default-cluster, severity medium, 90 % sure)
    "#);
    insta::assert_snapshot!(plain(&looping, &[], Lang::Zh), @r#"
    以状态码 2 退出，反复崩溃（7 次）   容器 "app"，镜像 img.local/app:1，pod shop/web-7d4b9c-abcde，节点 n1
      依据     Go：panic: boom
      时间     2026-03-01 12:01:07.183 +00:00（自 12:00:10.183 起共 7 次）
      退出     2，containerd 确认；运行了 3.2 秒
      日志     [省略了较早的行，已去除敏感信息 1 处]
               listening
               panic: boom
               goroutine 1 [running]:
      状态     仍在持续，已发生 7 次
      编号     00000000010000000000000002（集群 default-cluster，级别 中，把握 90%）
    "#);
}

#[test]
fn a_sigkill_without_a_sender_is_told_as_such() {
    let killed = incident(set(vec![(
        EvidenceSource::Docker,
        after(2),
        Fact::RuntimeExit(exit(137)),
    )]));
    insta::assert_snapshot!(plain(&killed, &[], Lang::En), @r#"
    Killed by an unknown sender (SIGKILL)   container "app", image img.local/app:1, pod shop/web-7d4b9c-abcde, node n1    SIGKILL
      why      SIGKILL, and no witness on the node names its sender
      hint     find the sender: probes, operators, supervisors, people
      when     2026-03-01 12:01:07.183 +00:00
      exit     137 (SIGKILL), confirmed by Docker; ran 3.2 s
      id       00000000010000000000000002 (cluster default-cluster, severity high, 60 % sure)
    "#);
}

#[test]
fn a_command_that_is_missing_quotes_the_runtime() {
    let reason = RuntimeExit {
        reason: text("StartError"),
        message: text("exec: \"nope\": executable file not found in $PATH"),
        started_at: None,
        ..exit(128)
    };
    let mut missing = incident(set(vec![(
        EvidenceSource::Containerd,
        after(2),
        Fact::RuntimeExit(reason),
    )]));
    missing.state = IncidentState::Resolved;
    missing.resolved_at = Some(after(725_000));
    missing.transition_kind = TransitionKind::Resolved;
    insta::assert_snapshot!(plain(&missing, &[], Lang::En), @r#"
    Cannot start   container "app", image img.local/app:1, pod shop/web-7d4b9c-abcde, node n1
      why      the runtime could not start it; containerd: exec: "nope": executable file not found in $PATH
      when     2026-03-01 12:01:07.183 +00:00
      exit     128, confirmed by containerd
      state    resolved after 12 min 5 s
      id       00000000010000000000000002 (cluster default-cluster, severity high, 98 % sure)
    "#);
}

#[test]
fn a_counter_without_a_record_says_what_is_not_known() {
    let step = CounterStep {
        counter: "oom_kill".into(),
        cgroup: String::new(),
        before: 395,
        after: 397,
        survived: false,
    };
    let mut node = incident(set(vec![
        (EvidenceSource::Procfs, AT, Fact::CounterStep(step)),
        (EvidenceSource::Kmsg, AT, Fact::KernelLoss(12)),
    ]));
    node.latest.kind = FindingKind::UnexplainedKills;
    node.latest.subject = Subject::default();
    insta::assert_snapshot!(plain(&node, &[], Lang::En), @r#"
    OOM kill that no record explains   node n1
      why      the node's oom_kill counter rose from 395 to 397; the kernel's own record was not seen; 12 kernel records were lost
      when     2026-03-01 12:01:07.183 +00:00
      id       00000000010000000000000002 (cluster default-cluster, severity medium, 50 % sure)
    "#);
}

#[test]
fn figures_and_other_victims_are_named() {
    let consumer = MemoryConsumer {
        pid: 3,
        comm: text("java"),
        bytes: 1 << 30,
    };
    let big = KernelKill {
        consumers: vec![consumer],
        level: Some(LimitLevel::Node),
        main_process: Some(false),
        ..kill()
    };
    let mut evidence = oom();
    evidence.insert(
        EvidenceSource::Kmsg,
        "2",
        Evidence {
            at: after(1),
            fact: Fact::KernelKill(KernelKill { pid: 9, ..big.clone() }),
        },
    );
    let event = occurrence(evidence);
    assert_eq!(
        why(&event, Lang::En),
        "kernel killed \"tail\" (pid 11219, anon 19.5 MiB); limit 20.0 MiB; the container's main process; 1 more killed"
    );
    let killed_for_another = KernelKill { pid: 9, ..big };
    let only = occurrence(set(vec![(
        EvidenceSource::Kmsg,
        AT,
        Fact::KernelKill(killed_for_another),
    )]));
    assert!(
        why(&only, Lang::En).ends_with("; the node was out of memory; a child process, not the container's main one")
    );
    assert!(
        plain(&incident(only.evidence), &[], Lang::En).contains("the largest process was \"java\" (pid 3, 1024.0 MiB)")
    );
}

#[test]
fn a_signal_alone_never_mentions_memory_in_any_language() {
    for code in [137, 143, 139, 1] {
        let killed = incident(set(vec![(
            EvidenceSource::Containerd,
            after(2),
            Fact::RuntimeExit(exit(code)),
        )]));
        for lang in Lang::ALL {
            let story = plain(&killed, &[], *lang).to_lowercase();
            for word in ["memory", "oom", "limit", "内存", "超限", "上限"] {
                assert!(!story.contains(word), "{code} {lang:?}: {story}");
            }
        }
    }
}

#[test]
fn every_cause_has_words_of_its_own_in_every_language() {
    for lang in Lang::ALL {
        let mut any = incident(EvidenceSet::default());
        let titles: BTreeSet<String> = Cause::ALL
            .iter()
            .map(|cause| {
                any.cause = *cause;
                headline(&any, *lang)
            })
            .collect();
        assert_eq!(titles.len(), Cause::ALL.len(), "{lang:?}: {titles:?}");
        assert!(titles.iter().all(|title| *lang == Lang::En || !title.is_ascii()));
    }
}

#[test]
fn every_exit_code_is_worded_in_every_language() {
    for code in -1..=255 {
        let meaning = cause::exit_code::meaning(code);
        for lang in Lang::ALL {
            assert!(!meaning_text(meaning.usual, *lang).is_empty() && !next_check(meaning.next, *lang).is_empty());
        }
    }
}

#[test]
fn states_and_witnesses_are_worded() {
    for lang in Lang::ALL {
        let mut any = incident(oom());
        for kind in TransitionKind::ALL {
            any.transition_kind = *kind;
            assert!(!transition(&any, *lang).is_empty());
        }
        let states: BTreeSet<&str> = DeliveryState::ALL.iter().map(|s| delivery_state(*s, *lang)).collect();
        assert_eq!(states.len(), DeliveryState::ALL.len());
        let levels: BTreeSet<&str> = Severity::ALL.iter().map(|s| severity(*s, *lang)).collect();
        assert_eq!(levels.len(), Severity::ALL.len());
        let names: BTreeSet<&str> = EvidenceSource::ALL.iter().map(|s| source_name(*s, *lang)).collect();
        assert_eq!(names.len(), EvidenceSource::ALL.len());
    }
}

#[test]
fn a_quoted_code_belongs_to_the_cause_of_the_incident() {
    let mut other = incident(set(vec![(
        EvidenceSource::Containerd,
        AT,
        Fact::RuntimeExit(exit(137)),
    )]));
    other.cause = Cause::AppError;
    assert_eq!(headline(&other, Lang::En), "Exits with a failure status");
    assert_eq!(
        occurrence_headline(&other.latest, Lang::En),
        "Killed by an unknown sender (SIGKILL)"
    );
}

#[test]
fn colours_touch_only_title_and_labels() {
    let painted = card(&incident(oom()), &[], Lang::En, &TimeZone::UTC, Paint::Ansi);
    assert!(painted.starts_with("\u{1b}[1;31mOOM at container limit\u{1b}[0m   container"));
    let mut stripped = painted;
    for code in ["\u{1b}[1;31m", "\u{1b}[2m", "\u{1b}[0m"] {
        stripped = stripped.replace(code, "");
    }
    assert_eq!(stripped, plain(&incident(oom()), &[], Lang::En));
}

proptest! {
    /// A process name, a log line or a webhook's error must not steer the terminal of the reader or forge a line.
    #[test]
    fn hostile_text_stays_on_its_line(evil in any::<String>(), code in -1..256i32) {
        let hostile = KernelKill { comm: text(&evil), consumers: vec![MemoryConsumer { pid: 1, comm: text(&evil), bytes: 1 << 40 }], ..kill() };
        let ended = RuntimeExit { reason: text(&evil), message: text(&evil), ..exit(code) };
        let evidence = set(vec![
            (EvidenceSource::Kmsg, AT, Fact::KernelKill(hostile)),
            (EvidenceSource::Containerd, AT, Fact::RuntimeExit(ended.clone())),
            (EvidenceSource::Log, AT, log(&["panic: ", &evil, &format!("panic: {evil}")])),
        ]);
        let mut stories = vec![incident(evidence), incident(set(vec![(EvidenceSource::Docker, AT, Fact::RuntimeExit(ended))]))];
        for story in &mut stories {
            story.cluster.clone_from(&evil);
            story.latest.subject.image.clone_from(&evil);
            story.latest.node_name.clone_from(&evil);
            for lang in Lang::ALL {
                let block = plain(story, &[delivery(&evil, DeliveryState::Dead, None, &evil)], *lang);
                prop_assert!(!block.chars().any(|c| c != '\n' && c.is_control()));
                prop_assert!(block.lines().skip(1).all(|line| line.starts_with("  ")));
                prop_assert!(block.lines().count() <= 20);
                prop_assert!(block.len() < 16 * 1024 + 24 * evil.len());
            }
        }
    }
}
