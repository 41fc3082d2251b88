use super::*;
use proptest::prelude::*;

/// As `msg_print_ext_body` of the kernel escapes.
fn escape(text: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    for byte in text {
        if *byte < 32 || *byte >= 127 || *byte == b'\\' {
            out.extend_from_slice(format!("\\x{byte:02x}").as_bytes());
        } else {
            out.push(*byte);
        }
    }
    out
}

#[test]
fn a_record_with_device_lines_keeps_text_and_fields_apart() {
    let record = Record::parse(
        b"5,342,1297388,-;virtio_blk virtio1: [vda] new size\n SUBSYSTEM=virtio\n DEVICE=+virtio:virtio1\n",
    )
    .unwrap();
    assert_eq!(
        (record.level, record.facility, record.seq, record.at_us),
        (5, 0, 342, 1_297_388)
    );
    assert_eq!(record.text, "virtio_blk virtio1: [vda] new size");
    assert_eq!(record.fields["SUBSYSTEM"], "virtio");
    assert_eq!(record.fields["DEVICE"], "+virtio:virtio1");
}

#[test]
fn unknown_header_fields_are_skipped_and_the_caller_is_kept() {
    let record = Record::parse(b"12,7,0,-,caller=T12,later=9;user text").unwrap();
    assert_eq!(record.caller.as_deref(), Some("T12"));
    assert_eq!((record.facility, record.level), (1, 4));
    assert!(!record.continued);
}

#[test]
fn fragments_of_a_line_are_marked() {
    assert!(Record::parse(b"6,8,1,c;Task in ").unwrap().continued);
    assert!(Record::parse(b"6,9,1,+;/docker/ab").unwrap().continued);
}

#[test]
fn a_newline_inside_a_process_name_does_not_end_the_text() {
    let record = Record::parse(b"3,1,1,-;Killed process 7 (a\\x0ab\\x5cc\\x1b[31m) x\n").unwrap();
    assert_eq!(record.text, "Killed process 7 (a\nb\\c\u{1b}[31m) x");
}

#[test]
fn what_is_no_record_is_refused_with_the_field_that_is_wrong() {
    assert_eq!(Record::parse(b""), Err(RecordError::NoHeader));
    assert_eq!(
        Record::parse(b"x,1,2,-;t"),
        Err(RecordError::Number { field: "priority" })
    );
    assert_eq!(
        Record::parse(b"6,,2,-;t"),
        Err(RecordError::Number { field: "sequence" })
    );
    assert_eq!(Record::parse(b"6,1;t"), Err(RecordError::Number { field: "time" }));
}

proptest! {
    #[test]
    fn any_bytes_are_read_without_panic(bytes in proptest::collection::vec(any::<u8>(), 0..9000)) {
        if let Ok(record) = Record::parse(&bytes) {
            prop_assert!(record.fields.len() <= MAX_FIELDS);
            // a wrong byte becomes one character of three bytes
            prop_assert!(record.text.len() <= bytes.len() * 3);
        }
    }

    #[test]
    fn any_text_survives_the_kernels_escaping(text in ".{0,200}", seq in any::<u64>(), at in any::<u64>()) {
        let mut bytes = format!("6,{seq},{at},-;").into_bytes();
        bytes.extend(escape(text.as_bytes()));
        bytes.extend(b"\n SUBSYSTEM=x\n");
        let record = Record::parse(&bytes).unwrap();
        prop_assert_eq!(record.text, text);
        prop_assert_eq!((record.seq, record.at_us), (seq, at));
    }
}
