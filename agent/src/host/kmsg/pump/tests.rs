use super::*;
use proptest::prelude::*;

const NOW: Now = Now {
    wall: UnixNanos(1_000_000_000_000),
    boot_us: 500_000_000,
};

fn pump(resume_after: Option<u64>) -> Pump {
    let filter = Filter::new(&["oom"], |_| false).unwrap();
    let mut pump = Pump::new(filter, Arc::default(), resume_after);
    pump.opened();
    pump
}

fn read(pump: &mut Pump, seq: u64, text: &str) -> Option<Batch> {
    pump.read(format!("6,{seq},400000000,-;{text}\n").as_bytes(), || NOW)
}

#[test]
fn backlog_gets_its_time_from_its_age_and_live_records_from_the_clock() {
    let mut pump = pump(None);
    assert_eq!(read(&mut pump, 5, "oom a"), None);
    let backlog = pump.drained().unwrap();
    assert!(backlog.caught_up && backlog.records[0].backlog);
    assert_eq!(backlog.records[0].wall, UnixNanos(900_000_000_000), "100 s old");
    read(&mut pump, 6, "oom b");
    let live = pump.drained().unwrap();
    assert!(!live.caught_up && !live.records[0].backlog);
    assert_eq!(live.records[0].wall, NOW.wall);
}

#[test]
fn an_empty_ring_still_says_that_it_is_caught_up_once() {
    let mut pump = pump(None);
    assert!(pump.drained().unwrap().caught_up);
    assert_eq!(pump.drained(), None);
    pump.opened();
    assert!(pump.drained().unwrap().caught_up, "again after the device was reopened");
}

#[test]
fn a_jump_in_the_sequence_is_counted_and_stands_before_the_records_that_follow_it() {
    let mut pump = pump(None);
    read(&mut pump, 5, "oom a");
    let before = read(&mut pump, 9, "oom b").unwrap();
    assert_eq!((before.gap, before.records.len()), (None, 1));
    let after = pump.drained().unwrap();
    assert_eq!(
        after.gap,
        Some(Gap {
            lost: 3,
            after_seq: 5,
            before_seq: 9
        })
    );
    assert_eq!(after.records.len(), 1);
    assert_eq!(pump.stats.lost.load(Ordering::Relaxed), 3);
}

#[test]
fn a_loss_without_any_record_of_interest_is_still_told() {
    let mut pump = pump(None);
    pump.drained();
    read(&mut pump, 1, "usb");
    read(&mut pump, 4, "usb");
    read(&mut pump, 9, "usb");
    let batch = pump.drained().unwrap();
    assert_eq!(
        batch.gap,
        Some(Gap {
            lost: 6,
            after_seq: 1,
            before_seq: 9
        })
    );
    assert_eq!(batch.through_seq, 9);
}

#[test]
fn resuming_skips_what_was_seen_and_tells_what_the_ring_lost_meanwhile() {
    let mut seen = pump(Some(10));
    read(&mut seen, 9, "oom old");
    read(&mut seen, 10, "oom old");
    read(&mut seen, 11, "oom new");
    let batch = seen.drained().unwrap();
    assert_eq!((batch.records.len(), batch.gap), (1, None));

    let mut overtaken = pump(Some(10));
    read(&mut overtaken, 500, "oom new");
    assert_eq!(overtaken.drained().unwrap().gap.map(|gap| gap.lost), Some(489));
}

#[test]
fn what_user_space_wrote_to_the_device_is_never_taken_for_the_kernel() {
    let mut pump = pump(None);
    pump.read(b"12,1,1,-;oom forged", || NOW);
    assert!(pump.drained().unwrap().records.is_empty());
    assert_eq!(pump.stats.records.load(Ordering::Relaxed), 1);
}

#[test]
fn garbage_is_counted() {
    let mut pump = pump(None);
    assert_eq!(pump.read(b"\xff\xfe", || NOW), None);
    assert_eq!(pump.stats.parse_errors.load(Ordering::Relaxed), 1);
}

proptest! {
    #[test]
    fn every_record_is_read_lost_or_known_and_batches_stay_bounded(steps in proptest::collection::vec((1_u64..4, any::<bool>()), 1..900)) {
        let mut pump = pump(Some(0));
        let (mut seq, mut kept, mut gaps) = (0, 0, 0);
        let mut batches = Vec::new();
        for (step, drain) in &steps {
            seq += step;
            batches.extend(read(&mut pump, seq, "oom"));
            if *drain {
                batches.extend(pump.drained());
            }
        }
        batches.extend(pump.drained());
        for batch in &batches {
            prop_assert!(batch.records.len() <= MAX_BATCH);
            kept += batch.records.len() as u64;
            gaps += batch.gap.map_or(0, |gap| gap.lost);
        }
        prop_assert_eq!(kept + gaps, seq);
        prop_assert_eq!(pump.stats.lost.load(Ordering::Relaxed), gaps);
    }
}
