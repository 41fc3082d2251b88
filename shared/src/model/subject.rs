//! Which container a fact is about.

/// Longest name kept; a DNS subdomain as Kubernetes allows has 253 bytes.
pub const MAX_NAME_BYTES: usize = 253;

/// The workload that owns a pod.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Owner {
    /// Kubernetes kind, such as Deployment; "Pod" when nothing owns it; "Container" outside Kubernetes; "Node".
    pub kind: String,
    /// Its name.
    pub name: String,
}

/// Which container, as the node knows it. Empty fields are unknown; all names are cleaned by [`clean_name`].
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Default)]
pub struct Subject {
    /// Kubernetes namespace.
    pub namespace: String,
    /// Pod name.
    pub pod: String,
    /// Pod uid; 32 hexadecimal digits without dashes for static pods.
    pub pod_uid: String,
    /// Container name.
    pub container: String,
    /// One run of one container: CRI container id; Docker id + StartedAt; containerd namespace + id + created_at.
    pub instance: String,
    /// Image reference as the runtime was asked for it.
    pub image: String,
    /// containerd, docker, crio.
    pub runtime: String,
    /// Restart count as the kubelet numbers it, from 0.
    pub attempt: u32,
    /// Guess from labels until the apiserver says better.
    pub owner: Owner,
    /// Whether the apiserver named the owner.
    pub owner_confirmed: bool,
    /// Memory cgroup path as the kernel names it.
    pub cgroup: String,
}

impl Subject {
    /// Unites two views of one subject: a known field wins over an unknown one, and of two known ones the greater, so
    /// that the result does not depend on the order. An owner that the apiserver named wins over every guess.
    pub fn merge(&mut self, other: &Self) {
        let pairs = [
            (&mut self.namespace, &other.namespace),
            (&mut self.pod, &other.pod),
            (&mut self.pod_uid, &other.pod_uid),
            (&mut self.container, &other.container),
            (&mut self.instance, &other.instance),
            (&mut self.image, &other.image),
            (&mut self.runtime, &other.runtime),
            (&mut self.cgroup, &other.cgroup),
        ];
        for (mine, theirs) in pairs {
            if theirs > mine {
                mine.clone_from(theirs);
            }
        }
        self.attempt = self.attempt.max(other.attempt);
        if (other.owner_confirmed, &other.owner) > (self.owner_confirmed, &self.owner) {
            self.owner.clone_from(&other.owner);
            self.owner_confirmed = other.owner_confirmed;
        }
    }
}

/// Keeps printable ASCII and at most [`MAX_NAME_BYTES`]; anything else becomes `_`. Names of Kubernetes objects pass
/// unchanged; forged ones lose their teeth.
#[must_use]
pub fn clean_name(text: &str) -> String {
    text.chars()
        .take(MAX_NAME_BYTES)
        .map(|c| if c.is_ascii_graphic() { c } else { '_' })
        .collect()
}

/// Guesses the owner of a pod from what the node sees: ReplicaSet pods carry `pod-template-hash`, StatefulSet and
/// DaemonSet pods `controller-revision-hash`, Job pods `job-name`. The apiserver's answer replaces the guess.
#[must_use]
pub fn guess_owner(pod: &str, label: impl Fn(&str) -> Option<String>) -> Owner {
    let owner = |kind: &str, name: &str| Owner {
        kind: kind.to_owned(),
        name: clean_name(name),
    };
    if let Some(job) = label("batch.kubernetes.io/job-name").or_else(|| label("job-name")) {
        return owner("Job", &job);
    }
    let of_hash = |hash: String| {
        pod.rsplit_once(&format!("-{hash}-"))
            .map(|(name, _)| owner("Deployment", name))
    };
    if let Some(deployment) = label("pod-template-hash").and_then(of_hash) {
        return deployment;
    }
    if let Some(stem) = label("statefulset.kubernetes.io/pod-name")
        .as_deref()
        .and_then(|n| n.rsplit_once('-'))
    {
        return owner("StatefulSet", stem.0);
    }
    if let (Some(_), Some((name, _))) = (label("controller-revision-hash"), pod.rsplit_once('-')) {
        return owner("DaemonSet", name);
    }
    owner("Pod", pod)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn guess(pod: &str, labels: &[(&str, &str)]) -> (String, String) {
        let owner = guess_owner(pod, |key| {
            labels.iter().find(|(k, _)| *k == key).map(|(_, v)| (*v).to_owned())
        });
        (owner.kind, owner.name)
    }

    #[test]
    fn pods_of_one_workload_share_one_owner() {
        type Labels = &'static [(&'static str, &'static str)];
        let table: &[(&str, Labels, &str, &str)] = &[
            (
                "web-7d4b9c-abcde",
                &[("pod-template-hash", "7d4b9c")],
                "Deployment",
                "web",
            ),
            (
                "db-0",
                &[
                    ("statefulset.kubernetes.io/pod-name", "db-0"),
                    ("controller-revision-hash", "db-66"),
                ],
                "StatefulSet",
                "db",
            ),
            (
                "proxy-x2x4z",
                &[("controller-revision-hash", "79f")],
                "DaemonSet",
                "proxy",
            ),
            ("tidy-28-zzz", &[("job-name", "tidy-28")], "Job", "tidy-28"),
            ("alone", &[], "Pod", "alone"),
        ];
        for (pod, labels, kind, name) in table {
            assert_eq!(guess(pod, labels), ((*kind).to_owned(), (*name).to_owned()), "{pod}");
        }
    }

    #[test]
    fn a_forged_name_loses_its_teeth() {
        assert_eq!(clean_name("a\n\u{1b}[31mb c"), "a__[31mb_c");
        assert_eq!(clean_name(&"x".repeat(999)).len(), MAX_NAME_BYTES);
    }

    #[test]
    fn merging_subjects_does_not_depend_on_the_order() {
        let a = Subject {
            namespace: "shop".into(),
            attempt: 2,
            ..Subject::default()
        };
        let b = Subject {
            pod: "web-1".into(),
            namespace: "shoq".into(),
            ..Subject::default()
        };
        let (mut ab, mut ba) = (a.clone(), b.clone());
        ab.merge(&b);
        ba.merge(&a);
        assert_eq!(ab, ba);
        assert_eq!(
            (ab.namespace.as_str(), ab.pod.as_str(), ab.attempt),
            ("shoq", "web-1", 2)
        );
    }
}
