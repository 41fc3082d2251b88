mod torn;

use std::os::unix::fs::FileExt;

use proptest::prelude::*;
use tempfile::TempDir;

use super::*;

const SMALL: Limits = Limits {
    max_bytes: 4096,
    segment_bytes: 512,
};
const LARGE: Limits = Limits {
    max_bytes: 1 << 20,
    segment_bytes: 1 << 18,
};

fn open(dir: &TempDir, limits: Limits) -> (Spool, Recovery) {
    Spool::open(&dir.path().join("spool"), limits).unwrap()
}

fn drain(spool: &mut Spool) -> Vec<(Seq, Vec<u8>)> {
    let mut reader = spool.unacked(0);
    let mut records = Vec::new();
    while let Some(record) = spool.read(&mut reader).unwrap() {
        records.push((record.seq, record.payload));
    }
    records
}

fn payloads(spool: &mut Spool) -> Vec<Vec<u8>> {
    drain(spool).into_iter().map(|(_, payload)| payload).collect()
}

fn only_segment(dir: &TempDir) -> PathBuf {
    let files = fs::read_dir(dir.path().join("spool"))
        .unwrap()
        .map(|entry| entry.unwrap().path());
    files
        .into_iter()
        .find(|path| path.extension().is_some_and(|ending| ending == "seg"))
        .unwrap()
}

fn shed_total(spool: &Spool) -> u64 {
    spool.stats().shed.values().sum()
}

#[test]
fn records_come_back_in_order_after_a_restart_whatever_their_class() {
    let dir = TempDir::new().unwrap();
    let (mut spool, recovery) = open(&dir, LARGE);
    assert!(recovery.created);
    let epoch = spool.epoch();
    let classes = [
        Shed::High,
        Shed::Detail,
        Shed::Normal,
        Shed::Low,
        Shed::High,
        Shed::Detail,
    ];
    for (number, class) in (0_u8..).zip(classes) {
        spool.append(&[number], class).unwrap();
    }
    spool.sync().unwrap();
    drop(spool);
    let (mut spool, recovery) = open(&dir, LARGE);
    assert_eq!((recovery.created, recovery.records, spool.epoch()), (false, 6, epoch));
    assert_eq!(
        payloads(&mut spool),
        (0_u8..6).map(|number| vec![number]).collect::<Vec<_>>()
    );
}

#[test]
fn a_number_is_never_used_twice_even_after_everything_was_acknowledged() {
    let dir = TempDir::new().unwrap();
    let mut highest = 0;
    for _ in 0..3 {
        let (mut spool, _) = open(&dir, LARGE);
        let seq = spool.append(b"x", Shed::Normal).unwrap();
        assert!(seq > highest);
        highest = seq;
        spool.ack(seq);
        assert_eq!(spool.stats().pending, 0);
        spool.sync().unwrap();
    }
}

#[test]
fn acknowledged_records_are_not_sent_again_and_their_files_go() {
    let dir = TempDir::new().unwrap();
    let (mut spool, _) = open(&dir, SMALL);
    let seqs: Vec<Seq> = (0..20).map(|_| spool.append(&[7; 84], Shed::Normal).unwrap()).collect();
    let before = spool.stats().disk_bytes;
    spool.ack(seqs[11]);
    assert_eq!(spool.stats().pending, 8);
    assert!(spool.stats().disk_bytes < before);
    spool.sync().unwrap();
    drop(spool);
    let (mut spool, recovery) = open(&dir, SMALL);
    assert_eq!(recovery.records, 8);
    assert_eq!(drain(&mut spool).first().map(|(seq, _)| *seq), Some(seqs[12]));
}

#[test]
fn an_acknowledgement_of_what_was_never_sent_changes_nothing_later() {
    let dir = TempDir::new().unwrap();
    let (mut spool, _) = open(&dir, LARGE);
    spool.ack(u64::MAX);
    spool.append(b"later", Shed::High).unwrap();
    assert_eq!(payloads(&mut spool), [b"later"]);
}

#[test]
fn at_the_limit_the_lowest_class_goes_first_and_is_counted() {
    let dir = TempDir::new().unwrap();
    let (mut spool, _) = open(&dir, SMALL);
    spool.append(&[1; 84], Shed::High).unwrap();
    for _ in 0..10 {
        spool.append(&[0; 84], Shed::Detail).unwrap();
    }
    for _ in 0..39 {
        spool.append(&[1; 84], Shed::High).unwrap();
    }
    let stats = spool.stats();
    assert!(stats.disk_bytes <= SMALL.max_bytes);
    assert_eq!(
        stats.shed,
        BTreeMap::from([((Shed::Detail, ShedReason::DiskLimit), 10)])
    );
    assert_eq!(payloads(&mut spool).len(), 40);
    let refused = spool.append(&[0; 84], Shed::Detail).unwrap_err();
    assert!(matches!(refused, SpoolError::Shed { class: Shed::Detail }), "{refused}");
    spool.append(&[2; 84], Shed::High).unwrap();
    assert!(spool.stats().disk_bytes <= SMALL.max_bytes);
}

#[test]
fn a_record_that_can_never_fit_is_refused_and_nothing_else_is_lost() {
    let dir = TempDir::new().unwrap();
    let (mut spool, _) = open(&dir, SMALL);
    spool.append(b"kept", Shed::Low).unwrap();
    let error = spool.append(&[0; 5_000], Shed::High).unwrap_err();
    assert!(matches!(error, SpoolError::TooLarge { bytes: 5_000 }), "{error}");
    assert_eq!(payloads(&mut spool), [b"kept"]);
}

#[test]
fn a_reader_sees_what_is_appended_after_it_started_and_skips_what_was_acknowledged() {
    let dir = TempDir::new().unwrap();
    let (mut spool, _) = open(&dir, LARGE);
    let mut reader = spool.unacked(0);
    assert_eq!(spool.read(&mut reader).unwrap(), None);
    let first = spool.append(b"a", Shed::Normal).unwrap();
    spool.append(b"b", Shed::High).unwrap();
    assert_eq!(spool.read(&mut reader).unwrap().unwrap().payload, b"a");
    let third = spool.append(b"c", Shed::Normal).unwrap();
    spool.ack(third - 1);
    assert!(first < third);
    assert_eq!(spool.read(&mut reader).unwrap().unwrap().payload, b"c");
    assert_eq!(spool.read(&mut reader).unwrap(), None);
}

#[test]
fn one_damaged_half_of_the_identity_costs_nothing() {
    for byte in [9, 20, 28 + 9, 28 + 20] {
        let dir = TempDir::new().unwrap();
        let (mut spool, _) = open(&dir, LARGE);
        let (epoch, seq) = (spool.epoch(), spool.append(b"kept", Shed::High).unwrap());
        drop(spool);
        OpenFile::of(&dir.path().join("spool/spool.id")).flip(byte);
        let (mut spool, recovery) = open(&dir, LARGE);
        assert_eq!((spool.epoch(), recovery.created), (epoch, false));
        assert_eq!(drain(&mut spool), [(seq, b"kept".to_vec())]);
        assert!(spool.append(b"new", Shed::High).unwrap() > seq);
    }
}

#[test]
fn a_full_spool_keeps_answering_while_the_disk_stays_away() {
    let dir = TempDir::new().unwrap();
    let (mut spool, _) = open(&dir, SMALL);
    fs::rename(dir.path().join("spool"), dir.path().join("away")).unwrap();
    for _ in 0..3 {
        let seq = spool.append(b"x", Shed::Normal).unwrap();
        assert!(matches!(spool.mode(), Mode::Memory { .. }));
        assert_eq!(payloads(&mut spool), [b"x"]);
        spool.ack(seq);
    }
}

#[test]
fn a_second_agent_on_the_same_folder_is_refused() {
    let dir = TempDir::new().unwrap();
    let (_spool, _) = open(&dir, LARGE);
    let second = Spool::open(&dir.path().join("spool"), LARGE).unwrap_err();
    assert!(matches!(second, SpoolError::Locked { .. }), "{second}");
}

#[test]
fn a_folder_that_cannot_be_made_means_memory_and_a_reason() {
    let dir = TempDir::new().unwrap();
    fs::write(dir.path().join("file"), b"").unwrap();
    let (mut spool, _) = Spool::open(&dir.path().join("file/spool"), LARGE).unwrap();
    assert!(matches!(spool.mode(), Mode::Memory { reason } if !reason.is_empty()));
    let seq = spool.append(b"kept", Shed::High).unwrap();
    assert_eq!(payloads(&mut spool), [b"kept"]);
    spool.ack(seq);
    assert_eq!(spool.stats().pending, 0);
}

#[test]
fn when_the_disk_fails_records_wait_in_memory_and_return_in_order() {
    let dir = TempDir::new().unwrap();
    let (mut spool, _) = open(&dir, SMALL);
    let home = dir.path().join("spool");
    let away = dir.path().join("away");
    spool.append(b"before", Shed::High).unwrap();
    fs::rename(&home, &away).unwrap();
    // A class without a file needs a new one, which the missing folder refuses.
    spool.append(b"during", Shed::Low).unwrap();
    assert!(matches!(spool.mode(), Mode::Memory { .. }));
    spool.append(b"during too", Shed::High).unwrap();
    assert_eq!(spool.stats().in_memory, 2);
    fs::rename(&away, &home).unwrap();
    spool.append(b"after", Shed::Low).unwrap();
    assert_eq!(spool.mode(), &Mode::Disk);
    assert_eq!(spool.stats().in_memory, 0);
    spool.sync().unwrap();
    drop(spool);
    let (mut spool, _) = open(&dir, SMALL);
    let expected: [&[u8]; 4] = [b"before", b"during", b"during too", b"after"];
    assert_eq!(payloads(&mut spool), expected);
}

#[test]
fn memory_is_bounded_and_keeps_the_important_records() {
    let dir = TempDir::new().unwrap();
    fs::write(dir.path().join("file"), b"").unwrap();
    let (mut spool, _) = Spool::open(&dir.path().join("file/spool"), LARGE).unwrap();
    spool.append(b"important", Shed::High).unwrap();
    for _ in 0..100 {
        spool.append(&[0; 65_536], Shed::Detail).unwrap();
    }
    assert_eq!(
        payloads(&mut spool).first().map(Vec::as_slice),
        Some(b"important".as_slice())
    );
    assert!(spool.stats().in_memory <= 9);
    assert_eq!(shed_total(&spool) + spool.stats().in_memory, 101);
}

#[test]
fn a_log_line_cannot_forge_a_record_behind_a_damaged_one() {
    let dir = TempDir::new().unwrap();
    let (mut spool, _) = open(&dir, LARGE);
    let mut forged = Vec::new();
    record::encode(&mut forged, 0, 2, 4, b"evil");
    spool.append(&forged, Shed::Normal).unwrap();
    spool.append(b"true", Shed::Normal).unwrap();
    drop(spool);
    let file = OpenFile::of(&only_segment(&dir));
    file.flip(0);
    let (mut spool, recovery) = open(&dir, LARGE);
    assert_eq!(payloads(&mut spool), [b"true"]);
    assert_eq!(recovery.damaged, 1);
}

#[test]
fn damage_while_running_costs_one_record_and_is_counted_once() {
    let dir = TempDir::new().unwrap();
    let (mut spool, _) = open(&dir, LARGE);
    for payload in [b"one", b"two", b"six"] {
        spool.append(payload, Shed::Normal).unwrap();
    }
    OpenFile::of(&only_segment(&dir)).flip(19 + 17);
    for _ in 0..2 {
        assert_eq!(payloads(&mut spool), [b"one", b"six"]);
    }
    assert_eq!(spool.stats().damaged, 1);
}

struct OpenFile(File);

impl OpenFile {
    fn of(path: &Path) -> Self {
        Self(fs::OpenOptions::new().read(true).write(true).open(path).unwrap())
    }

    fn flip(&self, bit_at_byte: u64) {
        let mut byte = [0];
        self.0.read_exact_at(&mut byte, bit_at_byte).unwrap();
        byte[0] ^= 1 << (bit_at_byte % 8);
        self.0.write_all_at(&byte, bit_at_byte).unwrap();
    }
}

fn some_payloads() -> impl Strategy<Value = Vec<Vec<u8>>> {
    prop::collection::vec(prop::collection::vec(any::<u8>(), 0..40), 1..12)
}

fn filled(dir: &TempDir, payloads: &[Vec<u8>]) {
    let (mut spool, _) = open(dir, LARGE);
    for payload in payloads {
        spool.append(payload, Shed::Normal).unwrap();
    }
}

/// What a user of the model test does.
#[derive(Debug, Clone)]
enum Step {
    Append(u8, usize),
    Ack(usize),
    Reopen,
    Sync,
    Read,
}

fn some_step() -> impl Strategy<Value = Step> {
    prop_oneof![
        6 => (0..4_u8, prop_oneof![9 => 0..300_usize, 1 => Just(5_000)]).prop_map(|(class, len)| Step::Append(class, len)),
        2 => (0..20_usize).prop_map(Step::Ack),
        1 => Just(Step::Reopen),
        1 => Just(Step::Sync),
        1 => Just(Step::Read),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, ..ProptestConfig::default() })]

    #[test]
    fn a_cut_at_any_byte_leaves_exactly_the_records_before_it(all in some_payloads(), cut in any::<prop::sample::Index>()) {
        let dir = TempDir::new().unwrap();
        filled(&dir, &all);
        let path = only_segment(&dir);
        let length = fs::metadata(&path).unwrap().len();
        let cut = cut.index(usize::try_from(length).unwrap() + 1) as u64;
        OpenFile::of(&path).0.set_len(cut).unwrap();
        let mut end = 0;
        let whole = all.iter().take_while(|payload| { end += payload.len() as u64 + 16; end <= cut }).count();
        let kept: u64 = all[..whole].iter().map(|payload| payload.len() as u64 + 16).sum();
        let (mut spool, recovery) = open(&dir, LARGE);
        prop_assert_eq!(recovery.torn_bytes, cut - kept);
        prop_assert_eq!(payloads(&mut spool), all[..whole].to_vec());
        spool.append(b"goes on", Shed::Normal).unwrap();
        prop_assert_eq!(payloads(&mut spool).len(), whole + 1);
    }

    #[test]
    fn a_flipped_bit_anywhere_costs_at_most_the_record_it_hits(all in some_payloads(), at in any::<prop::sample::Index>()) {
        let dir = TempDir::new().unwrap();
        filled(&dir, &all);
        let path = only_segment(&dir);
        let length = usize::try_from(fs::metadata(&path).unwrap().len()).unwrap();
        let at = at.index(length);
        OpenFile::of(&path).flip(at as u64);
        let mut end = 0;
        let hit = all.iter().take_while(|payload| { end += payload.len() + 16; end <= at }).count();
        let mut expected = all.clone();
        expected.remove(hit);
        let (mut spool, recovery) = open(&dir, LARGE);
        prop_assert_eq!(payloads(&mut spool), expected);
        prop_assert!(recovery.damaged == 1 || recovery.torn_bytes > 0);
    }

    #[test]
    fn garbage_in_any_file_never_panics(garbage in prop::collection::vec(any::<u8>(), 0..200), which in 0..3_usize) {
        let dir = TempDir::new().unwrap();
        filled(&dir, &[b"x".to_vec()]);
        let name = ["spool.id", "spool.ack", "high-00000000000000000001.seg"][which];
        fs::write(dir.path().join("spool").join(name), garbage).unwrap();
        let (mut spool, _) = open(&dir, LARGE);
        spool.append(b"goes on", Shed::High).unwrap();
        prop_assert_eq!(payloads(&mut spool).pop(), Some(b"goes on".to_vec()));
    }

    #[test]
    fn nothing_is_lost_doubled_or_unaccounted(steps in prop::collection::vec(some_step(), 1..80)) {
        let dir = TempDir::new().unwrap();
        let (mut spool, _) = open(&dir, SMALL);
        let (mut appended, mut acked, mut shed) = (Vec::new(), 0, 0);
        for step in steps {
            match step {
                Step::Append(class, len) => {
                    let class = Shed::ALL[usize::from(class)];
                    if let Ok(seq) = spool.append(&vec![class as u8; len], class) {
                        prop_assert!(appended.last().is_none_or(|last| *last < seq));
                        appended.push(seq);
                    }
                }
                Step::Ack(back) => {
                    let Some(seq) = appended.iter().rev().nth(back).copied() else { continue };
                    spool.ack(seq);
                    acked = acked.max(seq);
                }
                Step::Reopen => {
                    spool.sync().unwrap();
                    shed += shed_total(&spool);
                    drop(spool);
                    spool = open(&dir, SMALL).0;
                }
                Step::Sync => spool.sync().unwrap(),
                Step::Read => drop(drain(&mut spool)),
            }
            let stats = spool.stats();
            let settled = stats.acknowledged + stats.pending + shed_total(&spool);
            prop_assert_eq!(stats.recovered + stats.observed, settled, "{:?}", stats);
            prop_assert!(stats.disk_bytes <= SMALL.max_bytes);
            prop_assert_eq!(stats.damaged, 0);
            let read: Vec<Seq> = drain(&mut spool).into_iter().map(|(seq, _)| seq).collect();
            prop_assert_eq!(read.len() as u64, stats.pending);
            prop_assert!(read.iter().all(|seq| *seq > acked && appended.contains(seq)));
            let unacked = appended.iter().filter(|seq| **seq > acked).count() as u64;
            prop_assert!(unacked <= stats.pending + shed + shed_total(&spool));
        }
    }
}
