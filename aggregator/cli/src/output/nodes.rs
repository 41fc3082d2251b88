//! Nodes and what each can see.

use inquest_proto::{
    ingest::v1::{SourceState, SourceStatus},
    query::v1::{Node, VersionSkew},
};
use std::time::Duration;

use inquest_shared::{
    clock::UnixNanos,
    text::{Lang, duration, source_state, version_skew},
};

use super::{
    incidents::Look,
    table::{Rows, cell, one_line},
};

/// Shown bytes of what a source says about itself.
const MAX_WORDS: usize = 200;

/// One row for each node; wide, one for each source of each node.
pub(crate) fn table(nodes: &[Node], look: Look) -> String {
    if look.wide {
        by_source(nodes, look)
    } else {
        by_node(nodes, look)
    }
}

fn by_node(nodes: &[Node], look: Look) -> String {
    let mut rows = Rows::new(
        &["NODE", "CLUSTER", "CONNECTED", "SEEN", "CLOCK", "VERSION", "SOURCES"],
        look.paint,
    );
    for node in nodes {
        let status = node.status.clone().unwrap_or_default();
        rows.add(vec![
            cell(&node.name),
            cell(&node.cluster),
            cell(connected(node)),
            cell(&look.age(UnixNanos(node.last_seen_ns))),
            cell(&clock(node.clock_offset_ns, look.lang)),
            cell(&version(&status.agent_version, node.version_skew(), look.lang)),
            cell(&sources(&status.sources, look.lang)),
        ]);
    }
    rows.finish()
}

fn by_source(nodes: &[Node], look: Look) -> String {
    let header = [
        "NODE",
        "CLUSTER",
        "CONNECTED",
        "SOURCE",
        "STATE",
        "FOR",
        "LOST",
        "DETAIL",
        "REMEDY",
    ];
    let mut rows = Rows::new(&header, look.paint);
    for node in nodes {
        let status = node.status.clone().unwrap_or_default();
        for source in &status.sources {
            rows.add(vec![
                cell(&node.name),
                cell(&node.cluster),
                cell(connected(node)),
                cell(&source.name),
                cell(source_state(source.state(), look.lang)),
                cell(&look.age(UnixNanos(source.since_ns))),
                cell(&source.lost_total.to_string()),
                cell(&source.detail),
                cell(&source.remedy),
            ]);
        }
    }
    rows.finish()
}

/// Whether the agent's stream is open. One that is silent may have an open stream and be frozen all the same.
const fn connected(node: &Node) -> &'static str {
    match (node.silent, node.connected) {
        (true, _) => "silent",
        (false, true) => "yes",
        (false, false) => "no",
    }
}

/// The agent's version, with a note when the aggregator has another one.
fn version(version: &str, skew: VersionSkew, lang: Lang) -> String {
    match version_skew(skew, lang) {
        "" => version.to_owned(),
        note => format!("{version} ({note})"),
    }
}

/// How far the node's clock is ahead (+) of the aggregator's or behind (-).
fn clock(offset: Option<i64>, lang: Lang) -> String {
    let words = offset.map(|nanos| {
        let sign = if nanos < 0 { "-" } else { "+" };
        format!("{sign}{}", duration(Duration::from_nanos(nanos.unsigned_abs()), lang))
    });
    words.unwrap_or_default()
}

/// All sources on one line, such as "kernel log: live · cgroups: live (v1)".
pub(crate) fn sources(sources: &[SourceStatus], lang: Lang) -> String {
    let words = sources.iter().map(|source| {
        let state = source_state(source.state(), lang);
        let name = one_line(&source.name, MAX_WORDS);
        match source.detail.as_str() {
            "" => format!("{name}: {state}"),
            detail => format!("{name}: {state} ({})", one_line(detail, MAX_WORDS)),
        }
    });
    words.collect::<Vec<_>>().join(" · ")
}

/// What would open each source that does not give all it could; one line each.
pub(crate) fn remedies(sources: &[SourceStatus]) -> Vec<String> {
    let weak = sources
        .iter()
        .filter(|source| source.state() != SourceState::Live && !source.remedy.is_empty());
    weak.map(|source| {
        format!(
            "{}: {}",
            one_line(&source.name, MAX_WORDS),
            one_line(&source.remedy, MAX_WORDS)
        )
    })
    .collect()
}

#[cfg(test)]
mod tests {
    use inquest_shared::text::Paint;

    use super::*;
    use crate::output::sample;

    fn look(wide: bool) -> Look {
        Look {
            wide,
            lang: Lang::En,
            paint: Paint::Plain,
            now: sample::after(4_000),
        }
    }

    #[test]
    fn a_node_says_what_it_sees() {
        insta::assert_snapshot!(table(&[sample::node()], look(false)), @r#"
        NODE   CLUSTER           CONNECTED   SEEN   CLOCK         VERSION                             SOURCES
        n1     default-cluster   yes         4 s    +1 min 30 s   0.1.0 (older than the aggregator)   cgroups: live (v1) · containerd: absent (no socket) · kernel log: blind (permission denied)
        "#);
    }

    #[test]
    fn a_clock_that_is_behind_says_by_how_much() {
        assert_eq!(clock(Some(-300_000_000_000), Lang::En), "-5 min");
        assert_eq!(clock(Some(i64::MIN), Lang::En).chars().next(), Some('-'));
    }

    #[test]
    fn a_blind_source_says_why_and_what_opens_it() {
        insta::assert_snapshot!(table(&[sample::node()], look(true)), @r#"
        NODE   CLUSTER           CONNECTED   SOURCE       STATE    FOR   LOST   DETAIL              REMEDY
        n1     default-cluster   yes         cgroups      live     4 s   0      v1                  -
        n1     default-cluster   yes         containerd   absent   4 s   0      no socket           set sources.containerd.socket
        n1     default-cluster   yes         kernel log   blind    4 s   0      permission denied   run as root or with CAP_SYSLOG
        "#);
        let status = sample::node().status.unwrap();
        assert_eq!(
            remedies(&status.sources),
            [
                "containerd: set sources.containerd.socket",
                "kernel log: run as root or with CAP_SYSLOG"
            ]
        );
    }

    #[test]
    fn a_node_that_never_reported_is_still_listed() {
        let silent = Node {
            status: None,
            connected: false,
            silent: true,
            version_skew: 0,
            clock_offset_ns: None,
            ..sample::node()
        };
        insta::assert_snapshot!(table(&[silent], look(false)), @r#"
        NODE   CLUSTER           CONNECTED   SEEN   CLOCK   VERSION   SOURCES
        n1     default-cluster   silent      4 s    -       -         -
        "#);
    }
}
