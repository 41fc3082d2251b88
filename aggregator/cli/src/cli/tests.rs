use clap::Parser;
use inquest_shared::clock::UnixNanos;

use super::*;

fn incidents(arguments: &[&str]) -> IncidentsArgs {
    let all = ["inquest", "incidents"].iter().chain(arguments);
    match Cli::try_parse_from(all).unwrap().command {
        Command::Incidents(args) => args,
        other => panic!("{other:?}"),
    }
}

#[test]
fn the_grammar_has_no_contradictions() {
    grammar("inquest").debug_assert();
}

#[test]
fn a_filter_asks_for_exactly_what_was_typed() {
    let typed = [
        "-n",
        "shop",
        "--cause",
        "oom_limit",
        "--min-severity",
        "high",
        "--since",
        "2h",
        "--node",
        "n1",
    ];
    let filter = incidents(&typed).list.filter.to_wire(UnixNanos::from_secs(10_000));
    assert_eq!(
        (filter.namespace.as_str(), filter.cause.as_str(), filter.node.as_str()),
        ("shop", "oom_limit", "n1")
    );
    assert_eq!(
        (filter.min_severity, filter.since_ns),
        (Severity::High.number(), 2_800_000_000_000)
    );
    let nothing = incidents(&[]).list.filter.to_wire(UnixNanos::from_secs(10_000));
    assert_eq!(nothing, inquest_proto::query::v1::Filter::default());
}

#[test]
fn a_wrong_value_is_answered_with_what_is_right() {
    let said = |arguments: &[&str]| Cli::try_parse_from(arguments).unwrap_err().to_string();
    assert!(said(&["inquest", "incidents", "--cause", "oom"]).contains("oom_limit"));
    assert!(said(&["inquest", "incidents", "--since", "2"]).contains("such as 90s, 2h or 1d"));
    assert!(said(&["inquest", "nodes", "--lang", "fr"]).contains("en, zh"));
    assert!(said(&["inquest", "nodes", "--server", "https://x:1"]).contains("no TLS yet"));
    assert!(said(&["inquest", "nodes", "--server", "http://x"]).contains("such as http://127.0.0.1:7441"));
}

#[test]
fn an_address_may_leave_out_the_scheme() {
    let server = |text: &str| value::server(text).map(|server| server.url().to_owned());
    assert_eq!(server("localhost:7441").as_deref(), Ok("http://localhost:7441"));
    assert_eq!(server("http://[::1]:7441/").as_deref(), Ok("http://[::1]:7441"));
    for wrong in [
        "",
        "http://",
        "http://a:7441/path",
        "http://u@h:1",
        "a b:1",
        "http://a:99999",
    ] {
        assert!(server(wrong).is_err(), "{wrong}");
    }
}

#[test]
fn as_a_kubectl_plugin_the_help_shows_what_to_type() {
    let name = program_name(Path::new("/usr/local/bin/kubectl-inquest"));
    let mut grammar = grammar(name);
    grammar.build();
    let help = grammar.render_long_help().to_string();
    assert!(help.contains("Usage: kubectl inquest"), "{help}");
    assert!(help.contains("  kubectl inquest demo\n"), "{help}");
    let below = grammar
        .find_subcommand_mut("incidents")
        .unwrap()
        .render_help()
        .to_string();
    assert!(below.contains("Usage: kubectl inquest incidents"), "{below}");
    assert!(
        below.contains("kubectl inquest incidents --open") && !below.contains("{bin}"),
        "{below}"
    );
}

#[test]
fn any_other_file_name_is_inquest() {
    assert_eq!(program_name(Path::new("target/debug/inquest")), "inquest");
    assert_eq!(program_name(Path::new("")), "inquest");
}
