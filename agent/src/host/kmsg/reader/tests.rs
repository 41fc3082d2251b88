//! A named pipe stands in for the device: one write that is read before the next is one record.
use std::fs::File;
use std::io::Write;

use inquest_shared::clock::{FakeClock, UnixNanos};

use super::*;

fn config(path: PathBuf) -> ReaderConfig {
    let clock = Arc::new(FakeClock::at(UnixNanos::from_secs(1_000)));
    ReaderConfig {
        path,
        resume_after: None,
        bell: Bell::new().unwrap(),
        filter: Filter::new(&["oom"], |_| false).unwrap(),
        clock,
    }
}

fn pipe(folder: &Path) -> (PathBuf, File) {
    let path = folder.join("kmsg");
    let fifo = rustix::fs::FileType::Fifo;
    rustix::fs::mknodat(rustix::fs::CWD, &path, fifo, Mode::RUSR | Mode::WUSR, 0).unwrap();
    let writer = File::options().read(true).write(true).open(&path).unwrap();
    (path, writer)
}

#[test]
fn records_arrive_live_with_the_cursor_behind_them() {
    let folder = tempfile::tempdir().unwrap();
    let (path, mut writer) = pipe(folder.path());
    writer.write_all(b"4,7,1,-;oom one\n").unwrap();
    let (batches, mut received) = mpsc::channel(4);
    let reader = KmsgReader::spawn(config(path), batches).unwrap();
    let first = received.blocking_recv().unwrap();
    assert!(first.caught_up && first.records[0].backlog);
    writer.write_all(b"4,9,2,-;oom two\n").unwrap();
    let second = received.blocking_recv().unwrap();
    assert_eq!(second.records[0].record.text, "oom two");
    assert_eq!(second.gap.map(|gap| gap.lost), Some(1));
    assert_eq!(second.records[0].wall, UnixNanos::from_secs(1_000));
    assert_eq!(*reader.status().borrow(), Status::Live);
    assert_eq!((first.through_seq, second.through_seq), (7, 9));
    reader.join().unwrap();
}

/// The kernel wakes readers late; what rings the bell has to be read without that.
#[test]
fn a_bell_makes_the_reader_look_and_not_only_wait() {
    let folder = tempfile::tempdir().unwrap();
    let events = folder.path().join("memory.events");
    std::fs::write(&events, "oom 0\n").unwrap();
    let (path, writer) = pipe(folder.path());
    let (batches, mut received) = mpsc::channel(4);
    let config = config(path);
    let mut ringers = crate::host::cgroup::notice::Ringers::new(config.bell.clone());
    ringers.add("a", crate::host::cgroup::mount::Version::V2, folder.path());
    let reader = KmsgReader::spawn(config, batches).unwrap();
    assert!(received.blocking_recv().unwrap().caught_up);
    let asleep = reader.stats.last_wake.swap(0, Ordering::Relaxed);
    std::fs::write(&events, "oom 1\n").unwrap();
    while reader.stats.last_wake.load(Ordering::Relaxed) == 0 {
        std::thread::yield_now();
    }
    assert_eq!(asleep, 0, "nothing had woken it before");
    drop(writer);
    reader.join().unwrap();
}

#[test]
fn a_missing_device_makes_the_source_blind_with_a_remedy_and_stops_at_once() {
    let folder = tempfile::tempdir().unwrap();
    let (batches, _received) = mpsc::channel(1);
    let reader = KmsgReader::spawn(config(folder.path().join("none")), batches).unwrap();
    let mut status = reader.status();
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    let blind = runtime.block_on(async {
        status
            .wait_for(|status| matches!(status, Status::Blind(_)))
            .await
            .unwrap()
            .clone()
    });
    let Status::Blind(why) = blind else { panic!("{blind:?}") };
    assert!(matches!(why, Blind::Missing { .. }));
    assert!(why.remedy().contains("privileged"));
    reader.join().unwrap();
}

#[test]
fn a_full_queue_holds_the_reader_back_and_a_dropped_one_ends_it() {
    let folder = tempfile::tempdir().unwrap();
    let (path, mut writer) = pipe(folder.path());
    let (batches, mut received) = mpsc::channel(1);
    let reader = KmsgReader::spawn(config(path), batches).unwrap();
    assert!(received.blocking_recv().unwrap().caught_up);
    for seq in 1..4 {
        writer.write_all(format!("4,{seq},1,-;oom\n").as_bytes()).unwrap();
    }
    assert_eq!(received.blocking_recv().unwrap().records[0].record.seq, 1);
    drop(received);
    reader.join().unwrap();
}

#[test]
fn a_refused_device_names_the_privilege_that_opens_it() {
    let why = Blind::new(Path::new("/dev/kmsg"), Errno::PERM);
    assert_eq!(why.to_string(), "not permitted to open /dev/kmsg");
    assert!(why.remedy().contains("CAP_SYSLOG"));
}
