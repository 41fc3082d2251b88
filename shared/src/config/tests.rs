use std::fs;

use super::*;

fn agent(text: &str, inputs: &Inputs) -> Result<Loaded<AgentConfig>, ConfigError> {
    load_text(text, inputs)
}

fn env(pairs: &[(&str, &str)]) -> Inputs {
    let env = pairs
        .iter()
        .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
        .collect();
    Inputs {
        env,
        ..Inputs::default()
    }
}

#[test]
fn every_broken_file_gets_exactly_the_expected_message() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/fixtures/config/broken");
    let mut files: Vec<_> = fs::read_dir(&folder)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .collect();
    files.retain(|path| path.extension().is_some_and(|ending| ending == "yaml"));
    assert!(files.len() >= 24, "the folder of broken files is incomplete");
    let mut wrong = Vec::new();
    for path in files {
        let expected = fs::read_to_string(path.with_extension("txt")).unwrap_or_default();
        let name = path.file_name().unwrap().to_str().unwrap();
        let inputs = Inputs {
            file: Some(path.clone()),
            ..Inputs::default()
        };
        let error = if name.starts_with("agent") {
            load::<AgentConfig>(&inputs).map(drop).expect_err(name)
        } else {
            load::<AggregatorConfig>(&inputs).map(drop).expect_err(name)
        };
        // As somebody sees it who stands in the folder.
        let error = error.to_string().replace(&format!("{}/", folder.display()), "");
        if error.trim_end() != expected.trim_end() {
            wrong.push(format!("=== {name}\n{error}\n"));
        }
    }
    assert!(
        wrong.is_empty(),
        "messages that differ from the .txt file:\n{}",
        wrong.concat()
    );
}

#[test]
fn a_file_with_every_key_is_accepted_and_no_key_keeps_its_default() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/fixtures/config");
    let inputs = |name| Inputs {
        file: Some(folder.join(name)),
        ..Inputs::default()
    };
    let agent = load::<AgentConfig>(&inputs("agent.yaml")).unwrap().effective;
    let aggregator = load::<AggregatorConfig>(&inputs("aggregator.yaml")).unwrap().effective;
    for (path, value, origin) in agent.iter().chain(aggregator.iter()) {
        assert_ne!(origin, &Origin::Default, "{path}: {value}");
    }
    assert!(
        agent.iter().count() > 25 && aggregator.iter().count() > 20,
        "keys are missing"
    );
}

#[test]
fn both_programs_start_without_any_configuration() {
    let agent = agent("", &Inputs::default()).unwrap().value;
    assert_eq!(agent.aggregator.address.to_string(), "127.0.0.1:7440");
    assert_eq!(agent.spool.findings_max, ByteSize::mib(64));
    let aggregator = load_text::<AggregatorConfig>("", &Inputs::default()).unwrap().value;
    assert_eq!(aggregator.sqlite_path, Path::new("/var/lib/inquest/inquest.db"));
    assert_eq!(aggregator.route.receiver, "stdout");
}

#[test]
fn a_flag_beats_the_environment_which_beats_the_file() {
    let text = "log: {level: error}\nstate_dir: /file\nhost: {proc: /file}\n";
    let both = env(&[("INQUEST_LOG_LEVEL", "warn"), ("INQUEST_STATE_DIR", "/env")]);
    let loaded = agent(text, &both.with_flag("log.level", "debug")).unwrap();
    assert_eq!(loaded.value.log.level, LogLevel::Debug);
    assert_eq!(loaded.value.state_dir, Path::new("/env"));
    assert_eq!(loaded.value.host_proc, Path::new("/file"));
}

#[test]
fn every_effective_value_is_shown_with_its_origin() {
    let inputs = Inputs {
        file: Some("agent.yaml".into()),
        ..env(&[("INQUEST_LOG_LEVEL", "warn")])
    };
    let shown = agent("\nstate_dir: /data\n", &inputs).unwrap().effective.to_string();
    let line = |start: &str| shown.lines().find(|line| line.starts_with(start)).unwrap().to_owned();
    assert!(line("state_dir: /data ").ends_with("# agent.yaml:2"), "{shown}");
    assert!(
        line("log.level: warn ").ends_with("# environment INQUEST_LOG_LEVEL"),
        "{shown}"
    );
    assert!(line("spool.findings_max: 64MiB ").ends_with("# default"), "{shown}");
}

#[test]
fn errors_in_variables_and_flags_name_them() {
    let inputs = env(&[("INQUEST_SPOOL_LOGS_MAX", "8")]).with_flag("log.levle", "info");
    let error = agent("", &inputs).unwrap_err().to_string();
    assert!(
        error.contains("environment INQUEST_SPOOL_LOGS_MAX: spool.logs_max: `8` has no unit"),
        "{error}"
    );
    assert!(error.contains("command line: unknown key `log.levle`"), "{error}");
}

#[test]
fn variables_that_kubernetes_adds_for_a_service_are_ignored() {
    let service = env(&[
        ("INQUEST_AGGREGATOR_PORT", "tcp://10.0.0.1:7440"),
        ("INQUEST_AGGREGATOR_SERVICE_HOST", "10.0.0.1"),
    ]);
    assert!(agent("", &service).is_ok());
}

#[test]
fn no_effective_value_shows_a_token() {
    let text = "receivers:\n- name: hook\n  webhook:\n    url: https://u:pw@h.example/SECRET\n    headers: {Authorization: SECRET}\n";
    let loaded = load_text::<AggregatorConfig>(text, &Inputs::default()).unwrap();
    assert!(
        !format!("{}", loaded.effective).contains("SECRET"),
        "{}",
        loaded.effective
    );
    let ReceiverKind::Webhook(hook) = &loaded.value.receivers[0].kind else {
        panic!("not a webhook")
    };
    assert_eq!(hook.headers["Authorization"].expose(), "SECRET");
    assert!(!format!("{:?}", loaded.value).contains("SECRET"));
}

#[test]
fn an_unreadable_or_endless_file_is_named() {
    let read = |path: &str| {
        load::<AgentConfig>(&Inputs {
            file: Some(path.into()),
            ..Inputs::default()
        })
    };
    let missing = read("/nonexistent/agent.yaml").unwrap_err();
    assert_eq!(
        missing.to_string(),
        "cannot read configuration file /nonexistent/agent.yaml"
    );
    assert!(matches!(read("/dev/zero"), Err(ConfigError::TooLarge { .. })));
}

/// S2-17.
#[test]
fn every_single_value_has_an_environment_variable_of_its_own_that_wins() {
    fn check<T: Schema>(example: &str) {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/fixtures/config");
        let inputs = Inputs {
            file: Some(folder.join(example)),
            ..Inputs::default()
        };
        let values: BTreeMap<String, String> = load::<T>(&inputs)
            .unwrap()
            .effective
            .iter()
            .map(|(path, shown, _)| (path.to_owned(), shown.to_owned()))
            .collect();
        let keys = describe::<T>();
        let named: BTreeMap<&str, &Key> = keys.iter().filter_map(|key| Some((key.env.as_deref()?, key))).collect();
        let own = |key: &&Key| key.kind != Kind::Choice && !key.path.contains("[]");
        assert_eq!(
            named.len(),
            keys.iter().filter(own).count(),
            "two keys share a variable, or one has none"
        );
        assert!(named.len() >= 15, "{named:?}");
        let single = |(_, key): &(&str, &Key)| matches!(key.kind, Kind::Scalar(..));
        for (variable, key) in named.into_iter().filter(single) {
            if key.path == "route.receiver" {
                continue; // its values are the names of receivers, which only a file has
            }
            // The example has the secret, which excludes the token.
            let values = |path: &str| match path {
                "enrolment.token_file" => "/run/token".to_owned(),
                path => values[path].clone(),
            };
            let loaded = load_text::<T>("", &env(&[(variable, &values(&key.path))])).unwrap();
            let (_, shown, origin) = loaded.effective.iter().find(|(path, ..)| *path == key.path).unwrap();
            assert_eq!(shown, values(&key.path), "{variable}");
            assert_eq!(origin, &Origin::Environment(variable.to_owned()));
        }
    }
    check::<AgentConfig>("agent.yaml");
    check::<AggregatorConfig>("aggregator.yaml");
    let text = "receivers: [{name: a, stdout: {}}, {name: b, stdout: {}}]";
    let loaded = load_text::<AggregatorConfig>(text, &env(&[("INQUEST_ROUTE_RECEIVER", "b")])).unwrap();
    assert_eq!(loaded.value.route.receiver, "b");
}

/// S2-18.
#[test]
fn a_cluster_without_a_name_is_the_default_cluster() {
    let loaded = load_text::<AggregatorConfig>("", &Inputs::default()).unwrap();
    assert_eq!(loaded.value.cluster_name, "default-cluster");
    let named = load_text::<AggregatorConfig>("", &env(&[("INQUEST_CLUSTER_NAME", "eu-1.prod")])).unwrap();
    assert_eq!(named.value.cluster_name, "eu-1.prod");
    for wrong in ["-a", "a b", "a/b", &"a".repeat(64)] {
        assert!(
            load_text::<AggregatorConfig>("", &env(&[("INQUEST_CLUSTER_NAME", wrong)])).is_err(),
            "{wrong}"
        );
    }
}

#[test]
fn every_key_that_may_change_while_running_exists() {
    fn check<T: Schema>() {
        let keys = describe::<T>();
        for live in T::LIVE {
            assert!(keys.iter().any(|key| key.path.starts_with(live)), "{live}");
        }
    }
    check::<AgentConfig>();
    check::<AggregatorConfig>();
}

proptest::proptest! {
    #[test]
    fn no_text_makes_loading_panic(text in "([a-z_]{1,9}: ?[^\\n]{0,9}\\n){0,5}") {
        drop(agent(&text, &Inputs::default()));
        drop(load_text::<AggregatorConfig>(&text, &Inputs::default()));
    }
}

/// S2-17. A list in the environment replaces that of the file as a whole: one put together from two places surprises everybody.
#[test]
fn every_list_has_an_environment_variable_that_replaces_it_as_a_whole() {
    let text = "receivers: [{name: a, stdout: {}}]\nroute: {receiver: a}\ntls: {names: [one, two]}";
    let receivers =
        "[{name: b, webhook: {url: \"http://127.0.0.1/b\", headers: {X-Team: shop}}}, {name: c, stdout: {}}]";
    let inputs = env(&[
        ("INQUEST_RECEIVERS", receivers),
        ("INQUEST_ROUTE_RECEIVER", "b"),
        ("INQUEST_ROUTE_ROUTES", "[{receiver: c}]"),
        ("INQUEST_TLS_NAMES", "[three]"),
    ]);
    let loaded = load_text::<AggregatorConfig>(text, &inputs).unwrap();
    let names: Vec<&str> = loaded.value.receivers.iter().map(|r| r.name.as_str()).collect();
    assert_eq!(names, ["b", "c"]);
    assert_eq!(loaded.value.tls.names, ["three"]);
    let origin = |wanted: &str| {
        let mut all = loaded.effective.iter();
        let (_, _, origin) = all.find(|(path, ..)| *path == wanted).unwrap();
        origin.clone()
    };
    let of = |variable: &str| Origin::Environment(variable.to_owned());
    assert_eq!(origin("receivers[1].name"), of("INQUEST_RECEIVERS"));
    assert_eq!(origin("receivers[0].webhook.headers.X-Team"), of("INQUEST_RECEIVERS"));
    assert_eq!(origin("route.routes[0].receiver"), of("INQUEST_ROUTE_ROUTES"));
    assert_eq!(origin("tls.names[0]"), of("INQUEST_TLS_NAMES"));
}

#[test]
fn a_list_in_the_environment_that_is_wrong_is_told_with_its_variable_and_its_path() {
    let wrong = |variable: &str, value: &str| {
        let inputs = env(&[(variable, value)]);
        load_text::<AggregatorConfig>("receivers: [{name: a, stdout: {}}]\nroute: {receiver: a}", &inputs)
            .unwrap_err()
            .to_string()
    };
    for (variable, value, expected) in [
        (
            "INQUEST_RECEIVERS",
            "[{nam: a}]",
            "environment INQUEST_RECEIVERS: receivers[0].nam: unknown key",
        ),
        (
            "INQUEST_TLS_NAMES",
            "one",
            "environment INQUEST_TLS_NAMES: tls.names: found a single value; expected a list",
        ),
        ("INQUEST_TLS_NAMES", "[", "environment INQUEST_TLS_NAMES: "),
    ] {
        let error = wrong(variable, value);
        assert!(error.contains(expected), "{error}");
    }
}
