//! `inquest install --print` and `inquest uninstall --print`: the manifests that this version was made with.
//!
//! Nothing here talks to a cluster: what is printed can be read, kept and applied by whoever may.

use crate::{
    cli::{InstallArgs, Profile},
    error::{CliError, Status},
    output,
};

/// Between two objects.
const NEXT: &str = "\n---\n";
/// Objects that hold what was learnt, and the authority; who wants them gone deletes them by name.
const KEPT: [&str; 2] = ["kind: Namespace", "kind: PersistentVolumeClaim"];

const fn manifests(profile: Profile) -> &'static str {
    match profile {
        Profile::Minimal => include_str!("../../../../deploy/kubernetes/minimal.yaml"),
        Profile::Standard => include_str!("../../../../deploy/kubernetes/standard.yaml"),
        Profile::Privileged => include_str!("../../../../deploy/kubernetes/privileged.yaml"),
    }
}

/// Prints all objects, in the order in which they can be applied.
pub(super) fn install(args: &InstallArgs) -> Result<Status, CliError> {
    output::print(manifests(args.profile))?;
    Ok(Status::Success)
}

/// Prints the objects that `kubectl delete` is to take away; the database and the authority stay.
pub(super) fn uninstall(args: &InstallArgs) -> Result<Status, CliError> {
    output::print(&without_data(manifests(args.profile)))?;
    Ok(Status::Success)
}

fn without_data(manifests: &str) -> String {
    let objects = manifests.split(NEXT);
    let goes = |object: &&str| !object.lines().any(|line| KEPT.contains(&line));
    objects.filter(goes).collect::<Vec<_>>().join(NEXT)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn kinds(manifests: &str) -> Vec<&str> {
        manifests
            .lines()
            .filter_map(|line| line.strip_prefix("kind: "))
            .collect()
    }

    #[test]
    fn an_uninstall_takes_away_all_but_what_was_learnt() {
        for profile in [Profile::Minimal, Profile::Standard, Profile::Privileged] {
            let (all, gone) = (manifests(profile), without_data(manifests(profile)));
            let mut expected = kinds(all);
            assert!(expected.contains(&"DaemonSet") && expected.contains(&"PersistentVolumeClaim"));
            expected.retain(|kind| !["Namespace", "PersistentVolumeClaim"].contains(kind));
            assert_eq!(kinds(&gone), expected);
        }
    }
}
