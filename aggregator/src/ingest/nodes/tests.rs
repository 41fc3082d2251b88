use super::*;

fn node() -> NodeIdentity {
    NodeIdentity {
        cluster: "c".to_owned(),
        uid: "u".to_owned(),
        name: "n".to_owned(),
    }
}

fn connect(nodes: &Nodes, at: i64) -> Seat {
    nodes
        .connect(&node(), IpAddr::from([10, 0, 0, 1]), &Hello::default(), UnixNanos(at))
        .unwrap()
}

#[test]
fn the_newest_stream_wins_and_the_end_of_an_older_one_changes_nothing() {
    let nodes = Nodes::default();
    let first = connect(&nodes, 1);
    let second = connect(&nodes, 2);
    assert!(first.replaced.is_cancelled() && !second.replaced.is_cancelled());
    drop(first);
    assert!(nodes.snapshot()[0].connected);
    drop(second);
    assert!(!nodes.snapshot()[0].connected);
}

#[test]
fn a_second_address_is_noticed_only_while_the_first_is_connected() {
    let nodes = Nodes::default();
    let from = |last: u8| {
        let address = IpAddr::from([10, 0, 0, last]);
        nodes
            .connect(&node(), address, &Hello::default(), UnixNanos(0))
            .unwrap()
    };
    let first = from(1);
    let again = from(1);
    assert_eq!(again.other_address(), None);
    let second = from(2);
    assert_eq!(second.other_address(), Some(IpAddr::from([10, 0, 0, 1])));
    drop((first, again, second));
    assert_eq!(from(3).other_address(), None);
}

#[test]
fn heartbeats_are_written_once_a_minute_and_changed_sources_at_once() {
    let nodes = Nodes::default();
    let seat = connect(&nodes, 0);
    let second = |n: i64| UnixNanos::from_secs(1_000 + n);
    seat.status(AgentStatus::default(), second(0));
    assert_eq!(nodes.take_due(second(0)).len(), 1);
    seat.status(
        AgentStatus {
            at_ns: 10,
            ..AgentStatus::default()
        },
        second(10),
    );
    assert_eq!(nodes.take_due(second(10)).len(), 0);
    let sources = vec![inquest_proto::ingest::v1::SourceStatus::default()];
    seat.status(
        AgentStatus {
            sources,
            ..AgentStatus::default()
        },
        second(20),
    );
    assert_eq!(nodes.take_due(second(20)).len(), 1);
    seat.seen(second(81));
    assert_eq!(nodes.take_due(second(81)).len(), 1);
}

/// Somebody with the bootstrap secret must not fill memory and disk with nodes.
#[test]
fn nodes_beyond_the_limit_are_refused_until_old_ones_are_forgotten() {
    let nodes = Nodes::default();
    let named = |n: usize| NodeIdentity {
        uid: n.to_string(),
        ..node()
    };
    for n in 0..MAX_NODES {
        nodes.admit(&named(n), UnixNanos(5)).unwrap();
    }
    assert_eq!(nodes.admit(&named(MAX_NODES), UnixNanos(9)), Err(NodesFull));
    let connect = |n, at| nodes.connect(&named(n), IpAddr::from([10, 0, 0, 1]), &Hello::default(), UnixNanos(at));
    assert!(connect(MAX_NODES, 9).is_err());
    let seat = connect(0, 5).unwrap();
    nodes.forget(UnixNanos(6));
    assert_eq!(nodes.snapshot().len(), 1, "only the connected one is left");
    nodes.admit(&named(MAX_NODES), UnixNanos(9)).unwrap();
    drop(seat);
}

#[test]
fn a_status_that_is_too_large_does_not_stay_in_memory() {
    let nodes = Nodes::default();
    let seat = connect(&nodes, 0);
    let status = AgentStatus {
        agent_version: "x".repeat(MAX_STATUS),
        ..AgentStatus::default()
    };
    seat.status(status, UnixNanos(7));
    let view = nodes.snapshot().remove(0);
    assert_eq!((view.status, view.last_seen), (None, UnixNanos(7)));
}

#[test]
fn a_node_whose_clock_is_ahead_is_shown_so_until_it_connects_anew() {
    let nodes = Nodes::default();
    let seat = connect(&nodes, 0);
    assert_eq!(nodes.snapshot()[0].clock_offset, None);
    let status = |at_ns| AgentStatus {
        at_ns,
        ..AgentStatus::default()
    };
    assert_eq!(seat.status(status(190), UnixNanos(100)), Some(90));
    assert_eq!(nodes.snapshot()[0].clock_offset, Some(90));
    drop(seat);
    assert_eq!(nodes.snapshot()[0].clock_offset, Some(90), "the last that is known");
    let _seat = connect(&nodes, 200);
    assert_eq!(nodes.snapshot()[0].clock_offset, None);
}

#[test]
fn a_version_text_cannot_forge_a_log_line() {
    let nodes = Nodes::default();
    let hello = Hello {
        agent_version: "1\nerror".to_owned(),
        ..Hello::default()
    };
    let _seat = nodes
        .connect(&node(), IpAddr::from([10, 0, 0, 1]), &hello, UnixNanos(0))
        .unwrap();
    assert_eq!(nodes.snapshot()[0].agent_version, "1\\u{a}error");
}

#[test]
fn a_node_is_silent_after_three_missed_heartbeats_and_speaks_again_at_once() {
    let nodes = Nodes::default();
    let second = UnixNanos::from_secs;
    let seat = connect(&nodes, second(0).0);
    let silent = |at| (nodes.listen(second(at)).silent, nodes.snapshot()[0].silent);
    assert_eq!(silent(29), (0, false));
    // Its stream is still open: a frozen agent says nothing either.
    let census = nodes.listen(second(30));
    assert_eq!((census.silent, census.fell_silent), (1, vec!["n".to_owned()]));
    assert_eq!(nodes.listen(second(31)).fell_silent, Vec::<String>::new(), "told once");
    seat.seen(second(32));
    assert!(!nodes.snapshot()[0].silent);
    drop(seat);
    assert_eq!(silent(61), (0, false));
    assert_eq!(silent(62), (1, true));
    let _seat = connect(&nodes, second(70).0);
    assert_eq!(silent(71), (0, false));
}

/// All nodes are away while the aggregator is; that is not their silence.
#[test]
fn after_a_restart_nodes_have_time_to_come_back_before_they_count_as_silent() {
    let stored = StoredNode {
        node: node(),
        enrolled_at: UnixNanos(0),
        last_seen: UnixNanos(0),
        status: Vec::new(),
    };
    let nodes = Nodes::load(vec![stored], UnixNanos::from_secs(1_000));
    assert_eq!(nodes.listen(UnixNanos::from_secs(1_029)).silent, 0);
    assert_eq!(nodes.listen(UnixNanos::from_secs(1_030)).silent, 1);
}

#[test]
fn agents_of_another_version_are_counted_by_direction() {
    let nodes = Nodes::default();
    let mut seats = Vec::new();
    for (n, version) in ["0.0.1", env!("CARGO_PKG_VERSION"), "999.0.0", "by hand"]
        .iter()
        .enumerate()
    {
        let node = NodeIdentity {
            uid: n.to_string(),
            ..node()
        };
        let hello = Hello {
            agent_version: (*version).to_owned(),
            ..Hello::default()
        };
        seats.push(
            nodes
                .connect(&node, IpAddr::from([10, 0, 0, 1]), &hello, UnixNanos(0))
                .unwrap(),
        );
    }
    let skews = nodes.listen(UnixNanos(0)).skews;
    assert_eq!(skews.into_values().collect::<Vec<_>>(), [1, 1, 1, 1]);
    assert_eq!(nodes.snapshot()[0].skew, Skew::Older);
}
