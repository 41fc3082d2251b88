//! What the accounts may do in a real cluster is what the published table says, no more and no less.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::Path,
};

use anyhow::{Context as _, Result, ensure};
use inquest_tests::{Cluster, cluster::Installation};

/// Resource with its group, as kubectl writes it, and the verbs.
type Rights = BTreeMap<String, BTreeSet<String>>;

/// What an account may do in a namespace, by the apiserver's own word.
fn granted(cluster: &Cluster, account: &str, namespace: &str) -> Result<Rights> {
    let account = format!("system:serviceaccount:inquest:{account}");
    let list = [
        "--namespace",
        namespace,
        "auth",
        "can-i",
        "--list",
        "--no-headers",
        "--as",
        &account,
    ];
    let mut rights = Rights::new();
    for line in cluster.kubectl(&list)?.lines() {
        let (resource, verbs) = (line.split_whitespace().next(), line.rsplit_once('['));
        let (Some(resource), Some((_, verbs))) = (resource, verbs) else {
            continue;
        };
        // Paths like /healthz, which everybody may read, have no resource.
        if !resource.starts_with('[') {
            let verbs = verbs.trim_end_matches(']').split_whitespace().map(str::to_owned);
            rights.entry(resource.to_owned()).or_default().extend(verbs);
        }
    }
    Ok(rights)
}

/// The rows of the table that fit, by the column that says when they are granted.
fn published(scope: impl Fn(&str) -> bool, when: impl Fn(&str) -> bool) -> Result<Rights> {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("../deploy/rights.tsv");
    let mut rights = Rights::new();
    for row in fs::read_to_string(file)?.lines().skip(1) {
        let cells: Vec<&str> = row.split('\t').collect();
        let [_, place, group, resources, verbs, condition, ..] = cells[..] else {
            continue;
        };
        if !scope(place) || !when(condition) {
            continue;
        }
        for resource in resources.split(',') {
            let name = if group == "core" {
                resource.to_owned()
            } else {
                format!("{resource}.{group}")
            };
            rights
                .entry(name)
                .or_default()
                .extend(verbs.split(',').map(str::to_owned));
        }
    }
    Ok(rights)
}

#[tokio::test(flavor = "multi_thread")]
async fn the_aggregator_may_do_what_is_published_and_nothing_else() -> Result<()> {
    let cluster = Cluster::shared().await?;
    Installation::of(&cluster).await?;
    for (namespace, leases) in [("inquest", false), ("kube-node-lease", true)] {
        let nobody = granted(&cluster, "nobody", namespace)?;
        let mut may = granted(&cluster, "inquest-aggregator", namespace)?;
        for (resource, verbs) in &nobody {
            let own = may.get_mut(resource).context("less than nobody")?;
            own.retain(|verb| !verbs.contains(verb));
        }
        may.retain(|_, verbs| !verbs.is_empty());
        let here = |scope: &str| leases || scope != "kube-node-lease";
        let (least, most) = (published(here, |when| when == "always")?, published(here, |_| true)?);
        for (resource, verbs) in &least {
            ensure!(
                may.get(resource).is_some_and(|may| verbs.is_subset(may)),
                "{resource} is missing: {may:#?}"
            );
        }
        for (resource, verbs) in &may {
            ensure!(
                most.get(resource).is_some_and(|most| verbs.is_subset(most)),
                "{resource} {verbs:?} is too much"
            );
        }
    }
    Ok(())
}
