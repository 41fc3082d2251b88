use proptest::prelude::*;

use super::*;
use crate::detect::oom::words::{LITERALS, is_shape};

#[test]
fn the_first_5_4_kernels_print_bytes_as_kilobytes() {
    let text = "Memory cgroup out of memory: Killed process 1 (a) total-vm:22168kB, anon-rss:19968kB, file-rss:1264kB, shmem-rss:0kB, UID:0 pgtables:81920kB oom_score_adj:9";
    let Some(OomLine::Kill { victim, .. }) = OomLine::parse(text) else {
        panic!()
    };
    assert_eq!(victim.pgtables_kb, Some(80));
}

#[test]
fn no_limit_is_not_a_number() {
    let Some(OomLine::Usage(counter, usage)) =
        OomLine::parse("memory+swap: usage 1kB, limit 9007199254740988kB, failcnt 0")
    else {
        panic!()
    };
    assert_eq!((counter, usage.limit_kb), (Counter::Swap, None));
}

#[test]
fn what_only_looks_like_a_report_is_none() {
    for text in [
        "",
        "\n",
        "oom-kill:",
        "Killed process x (a) total-vm:1kB",
        "[ pid ] nothing",
        "memory: usage low",
        "Task in /a",
    ] {
        assert_eq!(OomLine::parse(text), None, "{text:?}");
    }
}

#[test]
fn every_line_that_is_understood_also_passes_the_filter() {
    let folder = std::path::PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../tests/fixtures/kmsg");
    for entry in std::fs::read_dir(folder).unwrap() {
        for line in std::fs::read_to_string(entry.unwrap().path().join("input.txt"))
            .unwrap()
            .lines()
        {
            let raw = line.split_once(';').unwrap().1;
            let record = crate::host::kmsg::Record::parse(line.as_bytes()).unwrap();
            let passes = LITERALS.iter().any(|literal| raw.contains(literal)) || is_shape(raw.as_bytes());
            assert!(passes || OomLine::parse(&record.text).is_none(), "{line}");
        }
    }
}

proptest! {
    #[test]
    fn any_text_is_read_without_panic(text in ".{0,300}", head in prop::sample::select(vec!["oom-kill:constraint=", "Killed process 7 (", "[ 7]", "Task in ", "memory: usage "])) {
        for text in [text.clone(), format!("{head}{text}")] {
            if let Some(OomLine::Kill { victim, .. }) = OomLine::parse(&text) {
                prop_assert!(victim.comm.chars().count() <= MAX_COMM);
            }
        }
    }

    #[test]
    fn any_name_comes_back_from_kill_line_and_summary(comm in "[ -~]{0,15}|(\\) \\(|,pid=7,|,task=|\n){0,2}", pid in any::<u32>()) {
        let kill = format!("Memory cgroup out of memory: Killed process {pid} ({comm}) total-vm:1kB, anon-rss:2kB, file-rss:3kB, shmem-rss:4kB, UID:5 pgtables:6kB oom_score_adj:-7");
        let Some(OomLine::Kill { victim, .. }) = OomLine::parse(&kill) else { panic!("{kill}") };
        prop_assert_eq!((victim.pid, &victim.comm, victim.oom_score_adj), (pid, &comm, Some(-7)));
        let summary = format!("oom-kill:constraint=CONSTRAINT_MEMCG,nodemask=(null),cpuset=c,mems_allowed=0,oom_memcg=/a,task_memcg=/a/b,task={comm},pid={pid},uid=0");
        let Some(OomLine::Summary(read)) = OomLine::parse(&summary) else { panic!("{summary}") };
        prop_assert_eq!((read.comm, read.pid, read.task_memcg), (comm.as_str(), pid, "/a/b"));
    }
}
