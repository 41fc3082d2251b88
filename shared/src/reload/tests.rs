use std::path::PathBuf;
use std::sync::{Arc, Mutex};

use super::*;
use crate::config::{AgentConfig, AggregatorConfig, load};

struct Fixture {
    reload: Reload,
    shown: Shown,
    health: Health,
    registry: Registry,
    file: PathBuf,
    _folder: tempfile::TempDir,
}

fn start(text: &str) -> Fixture {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("agent.yaml");
    std::fs::write(&file, text).unwrap();
    let inputs = Inputs {
        file: Some(file.clone()),
        ..Inputs::default()
    };
    let effective = load::<AgentConfig>(&inputs).unwrap().effective;
    let registry = Registry::new("test", "0");
    let health = Health::new(&registry);
    Fixture {
        reload: Reload::new(inputs, text.to_owned(), &effective, LevelHandle::default()),
        shown: Shown::new(&registry, &health),
        health,
        registry,
        file,
        _folder: folder,
    }
}

impl Fixture {
    /// The state after the file has this text.
    fn read(&mut self, text: &str, asked: bool) -> Option<Changes> {
        std::fs::write(&self.file, text).unwrap();
        let mut applied = None;
        let verdict = self.reload.judge::<AgentConfig>(read_file(&self.file), asked);
        let mut apply = |_, changes: &Changes| {
            applied = Some(changes.clone());
            Ok(())
        };
        self.reload.settle(verdict, &mut apply, &self.shown);
        applied
    }

    fn metric(&self, line: &str) -> bool {
        self.registry.encode().unwrap().lines().any(|l| l == line)
    }
}

#[test]
fn a_live_key_is_applied_and_another_waits_for_the_next_start() {
    let mut fixture = start("log: {level: info}\n");
    let changes = fixture
        .read("log: {level: debug}\nstate_dir: /elsewhere\n", false)
        .unwrap();
    assert!(changes.touch("log.level") && !changes.touch("state_dir"));
    assert_eq!(changes.restart(), ["state_dir"]);
    assert!(fixture.metric("inquest_config_restart_pending 1"));
    let back = fixture.read("log: {level: debug}\n", false).unwrap();
    assert!(back.live().is_empty() && back.restart().is_empty(), "{back:?}");
    assert!(fixture.metric("inquest_config_restart_pending 0"));
}

#[test]
fn a_broken_file_changes_nothing_and_is_told_until_it_is_mended() {
    let mut fixture = start("");
    for broken in ["log: {levle: debug}\n", "redaction: {patterns: ['(']}\n", "a: [\n"] {
        assert_eq!(fixture.read(broken, false), None, "{broken}");
        assert!(fixture.metric("inquest_config_reload_failed 1"));
        assert!(fixture.health.is_ready(), "the values in force are valid");
        assert!(
            fixture.health.report().contains("agent.yaml:1:"),
            "{}",
            fixture.health.report()
        );
    }
    assert!(fixture.read("", false).is_some());
    assert!(fixture.metric("inquest_config_reload_failed 0"));
    assert_eq!(fixture.health.get(CONDITION), Some(Condition::Ok));
}

#[test]
fn a_file_that_is_gone_leaves_the_old_values_in_force() {
    let mut fixture = start("");
    std::fs::remove_file(&fixture.file).unwrap();
    let verdict = fixture.reload.judge::<AgentConfig>(read_file(&fixture.file), false);
    assert!(
        matches!(&verdict, Verdict::Broken(words) if words.contains("No such file")),
        "{verdict:?}"
    );
}

#[test]
fn one_state_of_the_file_is_judged_once_unless_somebody_asks() {
    let mut fixture = start("log: {level: info}\n");
    assert_eq!(fixture.read("log: {level: info}\n", false), None);
    let asked = fixture.read("log: {level: info}\n", true).unwrap();
    assert!(asked.asked() && asked.live().is_empty());
}

#[test]
fn what_the_program_cannot_apply_counts_as_broken_and_nothing_is_noted() {
    let mut fixture = start("");
    std::fs::write(&fixture.file, "log: {level: debug}\n").unwrap();
    let verdict = fixture.reload.judge::<AgentConfig>(read_file(&fixture.file), false);
    let mut refuse = |_, _: &Changes| Err(anyhow::anyhow!("no secret"));
    fixture.reload.settle(verdict, &mut refuse, &fixture.shown);
    assert!(fixture.metric("inquest_config_reload_failed 1"));
    let again = fixture.read("log: {level: debug}\n", true).unwrap();
    assert!(again.touch("log.level"), "it was never in force");
}

#[test]
fn a_new_token_in_an_address_is_a_change_although_nobody_sees_it() {
    let text = |token: &str| {
        format!("receivers:\n- name: a\n  webhook: {{url: 'https://h.example/{token}', headers: {{x: {token}}}}}\n")
    };
    let of = |text: &str| {
        load_text::<AggregatorConfig>(text, &Inputs::default())
            .unwrap()
            .effective
    };
    let marks = Marks::of(&of(&text("one")));
    let changes = marks.changes(&of(&text("two")), AggregatorConfig::LIVE, false);
    assert_eq!(
        changes.live(),
        ["receivers[0].webhook.headers.x", "receivers[0].webhook.url"]
    );
    assert!(!format!("{changes:?}").contains("two"));
}

/// The way of the kubelet: a new folder, a new symlink, renamed over `..data`.
#[tokio::test]
async fn the_swap_of_a_mounted_config_map_is_noticed() {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path();
    let publish = |version: &str, text: &str| {
        std::fs::create_dir(root.join(version)).unwrap();
        std::fs::write(root.join(version).join("agent.yaml"), text).unwrap();
        std::os::unix::fs::symlink(version, root.join("..data_tmp")).unwrap();
        std::fs::rename(root.join("..data_tmp"), root.join("..data")).unwrap();
    };
    publish("..one", "log: {level: info}\n");
    let file = root.join("agent.yaml");
    std::os::unix::fs::symlink("..data/agent.yaml", &file).unwrap();
    let inputs = Inputs {
        file: Some(file),
        ..Inputs::default()
    };
    let effective = load::<AgentConfig>(&inputs).unwrap().effective;
    let reload = Reload::new(
        inputs,
        "log: {level: info}\n".to_owned(),
        &effective,
        LevelHandle::default(),
    );
    let registry = Registry::new("test", "0");
    let shown = Shown::new(&registry, &Health::new(&registry));
    let (stop, applied) = (CancellationToken::new(), Arc::new(Mutex::new(Vec::new())));
    let (ended, list) = (stop.clone(), Arc::clone(&applied));
    let apply = move |config: AgentConfig, _: &Changes| {
        list.lock().unwrap().push(config.log.level);
        ended.cancel();
        Ok(())
    };
    let following = reload.follow(apply, shown, stop);
    let swapping = async {
        // The watch begins with the first poll of the other side.
        tokio::task::yield_now().await;
        publish("..two", "log: {level: debug}\n");
    };
    let both = async { tokio::join!(following, swapping).0 };
    tokio::time::timeout(std::time::Duration::from_secs(60), both)
        .await
        .unwrap()
        .unwrap();
    assert_eq!(*applied.lock().unwrap(), [crate::telemetry::LogLevel::Debug]);
}
