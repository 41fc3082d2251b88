//! What stays on the machine after a cluster: nothing.

use std::{collections::BTreeSet, fs, path::Path, process::Command};

use anyhow::{Context as _, Result};
use inquest_tests::{
    Cluster,
    cluster::{Options, pod},
};

/// What the kubelet sets for the whole machine (its documentation of `protectKernelDefaults`).
const KERNEL: [&str; 4] = [
    "kernel/panic",
    "kernel/panic_on_oops",
    "vm/overcommit_memory",
    "vm/panic_on_oom",
];

fn kernel_settings() -> Result<Vec<String>> {
    let read = |name: &&str| fs::read_to_string(format!("/proc/sys/{name}"));
    Ok(KERNEL.iter().map(read).collect::<Result<_, _>>()?)
}

/// Links, mounts, cgroups and processes that belong to the cluster in this folder, or to one of this name.
fn traces(home: &Path, prefix: &str) -> Result<BTreeSet<String>> {
    let home = home.display().to_string();
    let mut found = BTreeSet::new();
    let links = Command::new("ip").args(["-oneline", "link"]).output()?;
    let mounts = fs::read_to_string("/proc/self/mountinfo")?;
    let cgroups = Command::new("find")
        .args(["/sys/fs/cgroup", "-maxdepth", "2", "-name", &format!("{prefix}-*")])
        .output()?;
    found.extend(lines_with(
        &String::from_utf8_lossy(&links.stdout),
        &format!(": {prefix}"),
    ));
    found.extend(lines_with(&mounts, &home));
    found.extend(lines_with(&String::from_utf8_lossy(&cgroups.stdout), prefix));
    for entry in fs::read_dir("/proc")?.flatten() {
        // one that ends while it is looked at is none
        let line = fs::read(entry.path().join("cmdline")).unwrap_or_default();
        let line = String::from_utf8_lossy(&line).replace('\0', " ");
        found.extend(lines_with(&line, &home));
    }
    Ok(found)
}

fn lines_with(text: &str, needle: &str) -> Vec<String> {
    text.lines()
        .filter(|line| line.contains(needle))
        .map(str::to_owned)
        .collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_left_of_a_cluster_that_was_taken_down() -> Result<()> {
    // the shared one must not start a kubelet in between, which changes the same settings for a moment
    let _alone = Cluster::alone().await?;
    let before = kernel_settings()?;
    let cluster = Cluster::start(&Options {
        nodes: 1,
        ..Options::default()
    })?;
    assert_eq!(kernel_settings()?, before);

    let home = cluster.home()?;
    let env = fs::read_to_string(home.join("env"))?;
    let prefix = env
        .split("CLUSTER_PREFIX=")
        .nth(1)
        .and_then(|rest| rest.split_whitespace().next());
    let prefix = prefix.context("no name")?.to_owned();
    {
        let namespace = cluster.namespace("left")?;
        namespace.apply(&pod("app", &cluster.image_with_shell(), "exec sleep 1000"))?;
        namespace.wait_ready("app").await?;
    }
    assert_ne!(traces(&home, &prefix)?, BTreeSet::new());

    cluster.down()?;
    assert_eq!(traces(&home, &prefix)?, BTreeSet::new());
    assert!(!home.exists());
    assert_eq!(kernel_settings()?, before);
    Ok(())
}
