use std::fmt::Write as _;
use std::path::PathBuf;

use inquest_shared::clock::UnixNanos;
use proptest::prelude::*;

use super::*;
use crate::detect::oom::Usage;
use crate::host::kmsg::Record;

const PAGE: u64 = 4096;

fn stamped(line: &str) -> Stamped {
    Stamped {
        record: Record::parse(line.as_bytes()).unwrap(),
        wall: UnixNanos::from_secs(1),
        backlog: false,
    }
}

/// All reports of a log, and then those that time brings out.
fn reports(input: &str) -> Vec<OomReport> {
    let mut assembler = Assembler::new(PAGE);
    let mut out: Vec<_> = input
        .lines()
        .flat_map(|line| assembler.push(&stamped(line), 0))
        .collect();
    out.extend(assembler.flush(GATHER_US));
    out
}

fn fixtures() -> Vec<(PathBuf, String)> {
    let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../tests/fixtures/kmsg");
    let mut found: Vec<_> = std::fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .collect();
    found.sort();
    found
        .into_iter()
        .map(|path| (path.clone(), std::fs::read_to_string(path.join("input.txt")).unwrap()))
        .collect()
}

fn process(process: &Process) -> String {
    let Process {
        pid,
        comm,
        uid,
        total_vm_kb,
        anon_kb,
        file_kb,
        shmem_kb,
        pgtables_kb,
        oom_score_adj,
    } = process;
    let sizes =
        [total_vm_kb, anon_kb, file_kb, shmem_kb, pgtables_kb].map(|size| size.map_or("-".into(), |kb| kb.to_string()));
    let adj = oom_score_adj.map_or("-".into(), |adj| adj.to_string());
    format!(
        "{pid} {comm:?} uid {} sizes {} adj {adj}",
        uid.map_or("-".into(), |uid| uid.to_string()),
        sizes.join(" ")
    )
}

fn usage(usage: Option<Usage>) -> String {
    usage.map_or("-".into(), |u| {
        format!(
            "{} of {} failed {}",
            u.usage_kb,
            u.limit_kb.map_or("-".into(), |kb| kb.to_string()),
            u.failcnt
        )
    })
}

/// A report as flat YAML, one list item.
fn render(report: &OomReport) -> String {
    let mut out = String::new();
    let text = |value: &Option<String>| value.clone().unwrap_or_else(|| "-".into());
    let trigger = report
        .trigger
        .as_ref()
        .map_or("-".into(), |t| format!("{:?} {:?} order {:?}", t.comm, t.pid, t.order));
    let top = report
        .top
        .iter()
        .map(|row| format!("{} {:?} {} kB", row.pid, row.comm, row.memory_kb()))
        .collect::<Vec<_>>()
        .join("; ");
    let members = report.members.iter().map(process).collect::<Vec<_>>().join("; ");
    writeln!(
        out,
        "- stage: {:?}\n  seq: {} from {}\n  boot_us: {}",
        report.stage, report.kill_seq, report.first_seq, report.boot_us
    )
    .unwrap();
    writeln!(
        out,
        "  victim: '{}'\n  kills: {}\n  members: '{members}'",
        process(&report.victim),
        report.kills
    )
    .unwrap();
    writeln!(out, "  trigger: '{trigger}'\n  constraint: {:?}", report.constraint).unwrap();
    writeln!(
        out,
        "  oom_memcg: '{}'\n  task_memcg: '{}'",
        text(&report.oom_memcg),
        text(&report.task_memcg)
    )
    .unwrap();
    writeln!(
        out,
        "  cpuset: '{}'\n  memory: '{}'",
        text(&report.cpuset),
        usage(report.memory)
    )
    .unwrap();
    writeln!(
        out,
        "  swap: '{}'\n  kmem: '{}'",
        usage(report.swap),
        usage(report.kmem)
    )
    .unwrap();
    writeln!(out, "  stats: '{:?}'\n  top: '{top}'", report.stats).unwrap();
    writeln!(
        out,
        "  flags: 'group {} reaped {} partial {}'",
        report.group, report.reaped, report.partial
    )
    .unwrap();
    out
}

#[test]
fn every_kernel_generation_and_every_lying_name_gives_the_report_of_its_fixture() {
    let fixtures = fixtures();
    assert!(fixtures.len() >= 10);
    for (path, input) in fixtures {
        let last: Vec<_> = reports(&input)
            .into_iter()
            .filter(|report| report.stage != Stage::Provisional)
            .collect();
        let got: String = if last.is_empty() {
            "[]\n".into()
        } else {
            last.iter().map(render).collect()
        };
        let expected = std::fs::read_to_string(path.join("expect.yaml")).unwrap_or_default();
        assert_eq!(got, expected, "{}", path.display());
    }
}

#[test]
fn the_report_is_sent_on_the_kill_line_and_revised_after_the_grace() {
    let (_, input) = fixtures()
        .into_iter()
        .find(|(path, _)| path.ends_with("6.18-v1-pod-limit"))
        .unwrap();
    let mut assembler = Assembler::new(PAGE);
    let sent: Vec<_> = input
        .lines()
        .flat_map(|line| assembler.push(&stamped(line), 1_000))
        .collect();
    assert_eq!(
        (sent.len(), sent[0].stage, sent[0].kill_seq),
        (1, Stage::Provisional, 2273)
    );
    assert_eq!(assembler.next_deadline(), Some(201_000));
    assert!(assembler.flush(200_999).is_empty());
    let revised = assembler.flush(201_000);
    assert_eq!((revised[0].stage, revised[0].kill_seq), (Stage::Final, 2273));
    assert_eq!((assembler.next_deadline(), assembler.stats().reports), (None, 1));
}

const KILL: &str =
    "3,9,5000000,-;Memory cgroup out of memory: Killed process 8 (b) total-vm:20kB, anon-rss:15kB, file-rss:1kB";
const SUMMARY: &str = "6,8,4999999,-;oom-kill:constraint=CONSTRAINT_MEMCG,nodemask=(null),cpuset=x,mems_allowed=0,oom_memcg=/g,task_memcg=/g/a,task=b,pid=8,uid=0";

#[test]
fn the_kill_line_alone_is_enough() {
    let sent = reports(KILL);
    assert_eq!(
        (sent.len(), sent[0].victim.pid, sent[0].kill_seq, sent[0].first_seq),
        (2, 8, 9, 9)
    );
    assert_eq!(
        (sent[0].constraint, sent[0].victim.anon_kb),
        (Some(crate::detect::oom::Constraint::Memcg), Some(15))
    );
}

#[test]
fn a_summary_without_its_kill_line_is_announced_after_two_seconds() {
    let mut assembler = Assembler::new(PAGE);
    assert!(assembler.push(&stamped(SUMMARY), 0).is_empty());
    assert!(assembler.flush(GATHER_US - 1).is_empty());
    let sent = assembler.flush(GATHER_US);
    assert_eq!(
        (sent[0].stage, sent[0].kills, sent[0].kill_seq, sent[0].victim.pid),
        (Stage::Announced, 0, 8, 8)
    );
}

#[test]
fn a_loss_inside_a_report_makes_it_partial_and_one_before_it_does_not() {
    let mut inside = Assembler::new(PAGE);
    inside.push(&stamped(SUMMARY), 0);
    inside.gap();
    assert!(inside.push(&stamped(KILL), 0)[0].partial);

    let mut cut_off = Assembler::new(PAGE);
    cut_off.gap();
    assert!(
        cut_off.push(&stamped(KILL), 0)[0].partial,
        "its beginning may be among the lost"
    );

    let mut before = Assembler::new(PAGE);
    before.gap();
    before.push(
        &stamped("4,7,4999990,-;b invoked oom-killer: gfp_mask=0xcc0(GFP_KERNEL), order=0, oom_score_adj=0"),
        0,
    );
    assert!(!before.push(&stamped(KILL), 0)[0].partial);
}

#[test]
fn a_storm_keeps_memory_bounded_and_loses_no_kill() {
    let mut assembler = Assembler::new(PAGE);
    let mut finals = 0;
    for pid in 1..=1000 {
        let line = format!(
            "3,{pid},{},-;Killed process {pid} (b) total-vm:20kB, anon-rss:15kB, file-rss:1kB",
            pid * 100_000
        );
        finals += assembler
            .push(&stamped(&line), 0)
            .iter()
            .filter(|report| report.stage == Stage::Final)
            .count();
        assert!(assembler.open.len() <= MAX_OPEN && assembler.recent.len() <= MAX_RECENT);
    }
    finals += assembler.flush(u64::MAX).len();
    assert_eq!((finals, assembler.stats().reports), (1000, 1000));
}

proptest! {
    #[test]
    fn any_lines_in_any_order_keep_the_assembler_bounded(picks in proptest::collection::vec((0_usize..400, any::<bool>()), 0..200), noise in ".{0,80}") {
        let lines: Vec<String> = fixtures().iter().flat_map(|(_, input)| input.lines().map(str::to_owned).collect::<Vec<_>>()).collect();
        let mut assembler = Assembler::new(PAGE);
        for (now, (pick, gap)) in (0_u64..).zip(&picks) {
            if *gap {
                assembler.gap();
                let mut record = stamped("6,1,1,-;");
                record.record.text.clone_from(&noise);
                assembler.push(&record, now * 50_000);
            }
            for report in assembler.push(&stamped(&lines[pick % lines.len()]), now * 50_000) {
                prop_assert!(report.top.len() <= 5 && report.members.len() <= 32);
            }
            prop_assert!(assembler.open.len() <= MAX_OPEN);
        }
    }
}
