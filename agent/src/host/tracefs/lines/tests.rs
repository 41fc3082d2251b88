//! What a real kernel printed, and what a process with a hostile name could make of it.
use proptest::prelude::*;

use super::*;
use crate::host::tracefs::{
    event::{SignalEvent, VictimEvent},
    format::Format,
};

const SIGNAL: &str = include_str!("../../../../../tests/fixtures/trace/6.18/signal_generate.format");
const VICTIM: &str = include_str!("../../../../../tests/fixtures/trace/6.18/mark_victim.format");
const OLD_VICTIM: &str = include_str!("../../../../../tests/fixtures/trace/6.1/mark_victim.format");
const RECORDED: &[u8] = include_bytes!("../../../../../tests/fixtures/trace/6.18/signals.txt");
const OLD_RECORDED: &[u8] = include_bytes!("../../../../../tests/fixtures/trace/6.1/victim.txt");

fn lines(victim: &str) -> Lines {
    Lines::new(Formats {
        signal: Format::parse(SIGNAL).unwrap(),
        victim: Some(Format::parse(victim).unwrap()),
    })
}

fn signals(items: &[Item]) -> Vec<&SignalEvent> {
    let signal = |item| match item {
        &Item::Event(TraceEvent::Signal(ref signal)) => Some(signal),
        _ => None,
    };
    items.iter().filter_map(signal).collect()
}

fn victims(items: &[Item]) -> Vec<&VictimEvent> {
    let victim = |item| match item {
        &Item::Event(TraceEvent::Victim(ref victim)) => Some(victim),
        _ => None,
    };
    items.iter().filter_map(victim).collect()
}

#[test]
fn a_recorded_kill_names_sender_and_target() {
    let items = lines(VICTIM).push(RECORDED);
    let first = signals(&items)[0];
    assert_eq!((first.sender.pid, first.sender.comm.as_slice()), (5276, &b"bash"[..]));
    assert_eq!((first.target.pid, first.target.comm.as_slice()), (5277, &b"sleep"[..]));
    assert_eq!((first.signal, first.code, first.group, first.result), (9, 0, true, 0));
    assert_eq!(first.at_us, 38_110_048_071);
    let all: Vec<_> = signals(&items)
        .iter()
        .map(|s| (s.signal, s.code, s.sender.pid, s.target.pid))
        .collect();
    assert_eq!(
        all,
        [
            (9, 0, 5276, 5277),
            (15, 0, 5278, 5279),
            (9, 0, 5280, 5327),
            (11, 1, 5330, 5330),
            (6, -6, 5331, 5331),
            (9, 128, 5335, 5335)
        ]
    );
}

#[test]
fn a_name_with_line_feeds_and_forged_fields_stays_a_name() {
    let items = lines(VICTIM).push(RECORDED);
    let hostile = signals(&items)[2];
    assert_eq!(hostile.sender.comm, b"x pid=1 \xff\n res=");
    assert_eq!(hostile.target.comm, b"a b-1 [0] : p\n");
}

#[test]
fn a_victim_brings_its_memory_where_the_kernel_prints_it() {
    let items = lines(VICTIM).push(RECORDED);
    let [victim] = victims(&items)[..] else {
        panic!("{items:?}")
    };
    assert_eq!(
        (victim.pid, victim.comm.as_slice(), victim.anon_kb),
        (5335, &b"tail"[..], Some(9600))
    );
    assert_eq!(victim.trigger.pid, 5335);
    let items = lines(OLD_VICTIM).push(OLD_RECORDED);
    let [victim] = victims(&items)[..] else {
        panic!("{items:?}")
    };
    assert_eq!(
        (victim.pid, victim.comm.as_slice(), victim.anon_kb),
        (5335, &b""[..], None)
    );
}

#[test]
fn what_the_ring_lost_is_said_and_what_is_no_event_is_counted() {
    let mut lines = lines(VICTIM);
    let items = lines.push(b"CPU:1 [LOST 234 EVENTS]\nCPU:0 [LOST EVENTS]\nhello\n");
    assert_eq!(items, [Item::Lost(234), Item::Lost(1)]);
    assert_eq!(signals(&lines.push(RECORDED)).len(), 6, "junk costs no event");
    assert_eq!(lines.take_unreadable(), 1);
}

#[test]
fn a_forgotten_sender_has_no_name() {
    let line = b"           <...>-77      [001] d..1. 5.000001: signal_generate: sig=9 errno=0 code=0 comm=a pid=8 grp=1 res=0\n";
    let items = lines(VICTIM).push(line);
    assert_eq!(
        signals(&items)[0].sender,
        Task {
            pid: 77,
            comm: Vec::new()
        }
    );
}

/// As `%16s-%-7d [%03d] d..1. %s: signal_generate: …` prints it.
fn printed(sender: &[u8], target: &[u8], pids: (u32, u32)) -> Vec<u8> {
    let mut line = vec![b' '; 16_usize.saturating_sub(sender.len())];
    line.extend_from_slice(sender);
    line.extend_from_slice(
        format!(
            "-{:<7} [003] d..1. 12.345678: signal_generate: sig=9 errno=0 code=0 comm=",
            pids.0
        )
        .as_bytes(),
    );
    line.extend_from_slice(target);
    line.extend_from_slice(format!(" pid={} grp=1 res=0\n", pids.1).as_bytes());
    line
}

/// Names that processes can have: no zero, at most 15 bytes, with what could break a line.
fn name() -> impl Strategy<Value = Vec<u8>> {
    let byte = prop_oneof![1..=255_u8, prop::sample::select(b"\n -:[]=0123456789<>.".to_vec())];
    prop_oneof![
        prop::collection::vec(byte, 0..16),
        prop::sample::select(vec![
            b": mark_victim: ".to_vec(),
            b"\n-1 [0] 1.0: x:".to_vec(),
            b"a\n\n\n".to_vec()
        ]),
    ]
}

proptest! {
    /// Whoever kills must not be able to put it on somebody else, nor to hide the next line.
    #[test]
    fn no_pair_of_names_forges_or_swallows_an_event(names in prop::collection::vec((name(), name(), 1..4_000_000_u32, 1..4_000_000_u32), 1..6), cut in 1..40_usize) {
        let text: Vec<u8> = names.iter().flat_map(|(s, t, a, b)| printed(s, t, (*a, *b))).collect();
        let mut lines = lines(VICTIM);
        let items: Vec<Item> = text.chunks(cut).flat_map(|part| lines.push(part)).collect();
        let told: Vec<_> = signals(&items).iter().map(|s| (s.sender.pid, s.target.comm.clone(), s.target.pid)).collect();
        let sent: Vec<_> = names.iter().map(|(_, t, a, b)| (*a, t.clone(), *b)).collect();
        prop_assert_eq!(told, sent);
        prop_assert_eq!(lines.take_unreadable(), 0);
    }

    #[test]
    fn any_bytes_are_read_without_panic_and_without_growing(parts in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..900), 0..8)) {
        let mut lines = lines(VICTIM);
        for part in parts {
            lines.push(&part);
            prop_assert!(lines.rest.len() <= MAX_EVENT && lines.pending.len() <= 2 * MAX_EVENT + 2);
        }
    }
}
