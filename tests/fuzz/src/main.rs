//! Fuzz targets of every parser that reads what others wrote. `INQUEST_FUZZ_TARGET` names the one to run; one program
//! holds them all, since linking each by itself takes longer than running it.
//!
//! | target | what it reads | its stable twin |
//! | --- | --- | --- |
//! | `kmsg` | records of `/dev/kmsg` | property tests in `agent/src/host/kmsg/tests.rs` |
//! | `oom` | lines of out-of-memory reports, with gaps | property tests in `agent/src/detect/oom/assembler/tests.rs` |
//! | `trace` | lines of `trace_pipe` and `format` files | property tests in `agent/src/host/tracefs/{lines/tests,format}.rs` |
//! | `cgroup` | paths of control groups | property tests in `agent/src/host/cgroup/path/tests.rs` |
//! | `host` | files of procfs and of control groups | property tests in `agent/src/host/procfs.rs` and `cgroup/counters/tests.rs` |
//! | `runtime` | answers and events of the container runtime | decoding is generated; the conversion is covered by `finding` |
//! | `spool` | files of the spool that a crash or a bad disk left | property tests in `agent/src/spool/tests.rs` |
//! | `finding` | messages of agents, to the model and back | property tests in `shared/src/wire/finding.rs` |
//! | `config` | configuration files | property tests in `shared/src/config/tests.rs` and `tree.rs` |
//! | `matcher` | matchers of routes and filters | property tests in `shared/src/matcher.rs` |
//! | `escape` | names and log lines on their way to people | property test in `shared/src/text/tests.rs` |
//! | `card` | incidents on their way to a terminal or a receiver | property tests in `shared/src/text/tests.rs` |
//! | `log` | log files of containers, with redaction | property test in `agent/src/source/log_tail.rs` |
#![no_main]

use std::{fs, sync::OnceLock};

use inquest_agent::{
    detect::oom::Assembler,
    host::{
        cgroup::{counters, mount::MemoryMount, path::CgroupPath},
        kmsg::{Record, Stamped},
        paths::HostPaths,
        procfs,
        tracefs::{Lines, event::Formats, format::Format},
    },
    source::{
        log_tail::{TailLimits, read_tail},
        redact::Redactor,
    },
    spool::{Limits, Shed, Spool},
};
use inquest_proto::{containerd, ingest::v1 as pb, query::v1 as query, runtime::v1 as cri};
use inquest_shared::{
    clock::UnixNanos,
    config::{AgentConfig, AggregatorConfig, Inputs, load},
    matcher::Matcher,
    model::{Finding, Incident, Untrusted},
    text::{Lang, Paint, card as shown},
};
use jiff::tz::TimeZone;
use libfuzzer_sys::fuzz_target;
use prost::Message as _;

type Target = fn(&[u8]);

fn target() -> Target {
    static TARGET: OnceLock<Target> = OnceLock::new();
    *TARGET.get_or_init(|| {
        let name = std::env::var("INQUEST_FUZZ_TARGET").unwrap_or_default();
        match name.as_str() {
            "kmsg" => kmsg,
            "oom" => oom,
            "trace" => trace,
            "cgroup" => cgroup,
            "host" => host,
            "runtime" => runtime,
            "spool" => spool,
            "finding" => finding,
            "config" => config,
            "matcher" => matcher,
            "escape" => escape,
            "card" => card,
            "log" => log,
            other => panic!("INQUEST_FUZZ_TARGET names no target: {other:?}"),
        }
    })
}

fuzz_target!(|data: &[u8]| target()(data));

fn kmsg(data: &[u8]) {
    let _record = Record::parse(data);
}

/// Each line is a record; an empty one is a gap.
fn oom(data: &[u8]) {
    let text = String::from_utf8_lossy(data);
    let mut assembler = Assembler::new(4_096);
    for (seq, line) in (0_u64..).zip(text.lines().take(1_000)) {
        if line.is_empty() {
            assembler.gap();
            continue;
        }
        let bare = || Record::parse(format!("4,{seq},{},-;{line}", seq * 1_000).as_bytes());
        let Ok(record) = Record::parse(line.as_bytes()).or_else(|_| bare()) else {
            continue;
        };
        let stamped = Stamped {
            record,
            wall: UnixNanos(1),
            backlog: false,
        };
        let _reports = assembler.push(&stamped, seq * 1_000);
    }
    let _rest = assembler.flush(u64::MAX);
}

/// The same bytes as a format file and as lines in the formats of a real kernel.
fn trace(data: &[u8]) {
    if let Ok(format) = Format::parse(&String::from_utf8_lossy(data)) {
        let _fields = format.read(data);
    }
    let real = |text| Format::parse(text).expect("a real format");
    let mut lines = Lines::new(Formats {
        signal: real(include_str!("../../fixtures/trace/6.18/signal_generate.format")),
        victim: Some(real(include_str!("../../fixtures/trace/6.18/mark_victim.format"))),
    });
    for part in data.chunks(64) {
        let _items = lines.push(part);
    }
}

fn cgroup(data: &[u8]) {
    if let Ok(path) = std::str::from_utf8(data) {
        let located = CgroupPath::parse(path);
        let _chosen = located.choose(|_| true);
    }
}

/// One text as each file of procfs and of a control group that the agent reads.
fn host(data: &[u8]) {
    let folder = tempfile::tempdir_in("/dev/shm").expect("a folder");
    let paths = HostPaths {
        kmsg: folder.path().join("kmsg"),
        proc: folder.path().to_owned(),
        cgroup: folder.path().to_owned(),
    };
    for name in [
        "1/cgroup",
        "1/status",
        "1/smaps",
        "self/mountinfo",
        "vmstat",
        "sys/kernel/random/boot_id",
    ] {
        let file = folder.path().join(name);
        fs::create_dir_all(file.parent().expect("a parent")).expect("a folder");
        fs::write(file, data).expect("a write");
    }
    let _id = procfs::boot_id(&paths);
    let _page = procfs::page_bytes(&paths);
    let _pids = procfs::namespace_pids(&paths, 1);
    let _kills = counters::node_oom_kills(&paths);
    let path = procfs::memory_cgroup(&paths, 1);
    if let (Ok(mount), Ok(path)) = (MemoryMount::find(&paths), path) {
        let _folder = mount.folder(&path);
        let _memory = counters::read_path(&mount, &path);
    }
    if let Ok(text) = std::str::from_utf8(data) {
        let _events = counters::parse_memory_events(text);
        let _control = counters::parse_oom_control(text);
        let _limit = counters::parse_limit(text);
    }
}

fn runtime(data: &[u8]) {
    let _status = cri::ContainerStatusResponse::decode(data);
    let _list = cri::ListContainersResponse::decode(data);
    let _event = containerd::services::events::v1::Envelope::decode(data);
    let _exit = containerd::events::TaskExit::decode(data);
}

/// A file of the spool with other bytes at its end or in its middle.
fn spool(data: &[u8]) {
    let folder = tempfile::tempdir_in("/dev/shm").expect("a folder");
    let path = folder.path().join("s");
    let limits = Limits::of(1 << 20);
    {
        let (mut spool, _) = Spool::open(&path, limits).expect("a new spool");
        for n in 0..3_u8 {
            spool.append(&[n; 40], Shed::Normal).expect("room");
        }
    }
    let Some((place, bytes)) = data.split_first() else {
        return;
    };
    for entry in fs::read_dir(&path).expect("its files").flatten() {
        if let Ok(mut held) = fs::read(entry.path()) {
            let at = usize::from(*place) % (held.len() + 1);
            for (into, from) in held.iter_mut().skip(at).zip(bytes) {
                *into = *from;
            }
            held.extend(bytes.iter().skip(held.len() - at.min(held.len())));
            fs::write(entry.path(), held).expect("a write");
        }
    }
    if let Ok((mut spool, _)) = Spool::open(&path, limits) {
        let mut reader = spool.unacked(0);
        for _ in 0..1_000 {
            match spool.read(&mut reader) {
                Ok(Some(_)) => {}
                Ok(None) | Err(_) => break,
            }
        }
        let _added = spool.append(b"later", Shed::Normal);
    }
}

/// What is understood says the same after another journey.
fn finding(data: &[u8]) {
    let Ok(message) = pb::Finding::decode(data) else {
        return;
    };
    let Ok(finding) = Finding::try_from(message) else {
        return;
    };
    let again = pb::Finding::from(&finding);
    let again = Finding::try_from(again).expect("our own message");
    assert_eq!(finding, again);
}

fn config(data: &[u8]) {
    let file = tempfile::NamedTempFile::new_in("/dev/shm").expect("a file");
    fs::write(file.path(), data).expect("a write");
    let inputs = Inputs {
        file: Some(file.path().to_owned()),
        ..Inputs::default()
    };
    for shown in [
        load::<AgentConfig>(&inputs).map(|loaded| loaded.effective.to_string()),
        load::<AggregatorConfig>(&inputs).map(|loaded| loaded.effective.to_string()),
    ] {
        let _text = shown.unwrap_or_else(|error| error.to_string());
    }
}

fn matcher(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    let (pattern, value) = text.split_once('\n').unwrap_or((text, ""));
    if let Ok(matcher) = Matcher::parse(pattern) {
        let _matched = matcher.matches(value);
    }
}

fn escape(data: &[u8]) {
    let text = Untrusted::from_bytes(data, 256);
    assert!(text.raw().len() <= 256);
    let shown = text.escaped();
    assert!(!shown.chars().any(char::is_control), "{shown:?}");
}

/// No incident, whatever an aggregator sends, commands the terminal of the person who reads it.
fn card(data: &[u8]) {
    let Ok(message) = query::Incident::decode(data) else {
        return;
    };
    let Ok(incident) = Incident::try_from(message) else {
        return;
    };
    for lang in [Lang::En, Lang::Zh] {
        let text = shown(&incident, &[], lang, &TimeZone::UTC, Paint::Plain);
        assert!(!text.chars().any(|c| c.is_control() && c != '\n'), "{text:?}");
    }
}

fn log(data: &[u8]) {
    static REDACTOR: OnceLock<Redactor> = OnceLock::new();
    let redactor = REDACTOR.get_or_init(|| Redactor::new(&[]).expect("the built-in patterns"));
    let folder = tempfile::tempdir_in("/dev/shm").expect("a folder");
    let path = folder.path().join("0.log");
    fs::write(&path, data).expect("a write");
    let limits = TailLimits {
        bytes: 4_096,
        lines: 20,
    };
    let tail = read_tail(&path, limits, redactor).expect("a file");
    assert!(tail.lines.len() <= 20 && tail.excerpt().lines.len() <= 20);
    for line in &tail.lines {
        assert_eq!(redactor.redact(line).1, 0, "a secret is left in {line:?}");
    }
}
