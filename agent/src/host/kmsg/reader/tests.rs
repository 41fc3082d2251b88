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
    let last_seq = reader.last_seq();
    reader.join().unwrap();
    assert!(last_seq.borrow().is_some_and(|seq| seq <= 9));
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
