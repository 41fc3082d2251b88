use std::fs::write;

use super::*;
use proptest::prelude::*;

#[test]
fn the_unified_hierarchy_tells_kills_own_limit_and_peak() {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name);
    write(
        at("memory.events"),
        "low 0\nhigh 3\nmax 41\noom 2\noom_kill 5\noom_group_kill 1\n",
    )
    .unwrap();
    write(at("memory.events.local"), "low 0\nhigh 0\nmax 1\noom 1\noom_kill 0\n").unwrap();
    write(at("memory.max"), "20971520\n").unwrap();
    write(at("memory.current"), "4096\n").unwrap();
    let memory = read(Version::V2, folder.path()).unwrap();
    assert_eq!(
        memory,
        Memory {
            oom_kill: Some(5),
            oom_local: Some(1),
            limit: Some(20_971_520),
            usage: 4096,
            peak: None
        }
    );
    write(at("memory.peak"), "20971520\n").unwrap();
    assert_eq!(read(Version::V2, folder.path()).unwrap().peak, Some(20_971_520));
}

#[test]
fn the_old_hierarchy_tells_its_own_kills_and_peak() {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name);
    write(
        at("memory.oom_control"),
        "oom_kill_disable 0\nunder_oom 0\noom_kill 2\n",
    )
    .unwrap();
    write(at("memory.limit_in_bytes"), "9223372036854771712\n").unwrap();
    write(at("memory.usage_in_bytes"), "4096\n").unwrap();
    write(at("memory.max_usage_in_bytes"), "8192\n").unwrap();
    let memory = read(Version::V1, folder.path()).unwrap();
    assert_eq!(
        memory,
        Memory {
            oom_kill: Some(2),
            oom_local: None,
            limit: None,
            usage: 4096,
            peak: Some(8192)
        }
    );
}

#[test]
fn a_removed_cgroup_is_gone_and_a_wrong_file_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let mount = MemoryMount {
        version: Version::V2,
        root: folder.path().into(),
    };
    assert!(read_path(&mount, "/kubepods/none").unwrap_err().is_gone());
    assert!(read_path(&mount, "/../x").unwrap_err().is_gone());
    write(folder.path().join("memory.events"), "garbage").unwrap();
    let error = read_path(&mount, "/").unwrap_err();
    assert!(
        error.to_string().ends_with("memory.events holds no memory events"),
        "{error}"
    );
}

#[test]
fn kernels_before_4_13_do_not_count_kills_in_the_old_hierarchy() {
    let control = parse_oom_control("oom_kill_disable 1\nunder_oom 1\n").unwrap();
    assert_eq!(
        control,
        OomControl {
            kill_disabled: true,
            under_oom: true,
            oom_kill: None
        }
    );
}

#[test]
fn limits_of_both_generations_and_none() {
    assert_eq!(parse_limit("max\n"), Some(None));
    assert_eq!(parse_limit("9223372036854771712\n"), Some(None));
    assert_eq!(parse_limit("20971520\n"), Some(Some(20_971_520)));
    assert_eq!(parse_limit("much"), None);
}

#[test]
fn the_node_total_is_not_taken_from_a_longer_name() {
    let folder = tempfile::tempdir().unwrap();
    write(
        folder.path().join("vmstat"),
        "drop_pagecache 2\noom_kill_disable 9\noom_kill 395\n",
    )
    .unwrap();
    let paths = HostPaths {
        proc: folder.path().into(),
        ..HostPaths::default()
    };
    assert_eq!(node_oom_kills(&paths).unwrap(), Some(395));
}

proptest! {
    #[test]
    fn any_text_is_read_without_panic(text in ".{0,200}") {
        prop_assert!(parse_memory_events(&text).is_none() || text.contains("oom_kill "));
        prop_assert!(parse_oom_control(&text).is_none() || text.contains("oom_kill_disable "));
        prop_assert!(parse_limit(&text).is_none() || !text.trim().is_empty());
    }
}
