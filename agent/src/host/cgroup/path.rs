//! Reads pod and container out of a cgroup path. Owns the naming forms of kubelet, runtimes and systemd; pure.
//!
//! Forms: cgroupfs and systemd drivers (`pkg/kubelet/cm/cgroup_manager_linux.go` of Kubernetes), runtime scopes
//! (`cri-containerd-<id>.scope`, `crio-<id>.scope`, …), nested roots such as kind. A container with a writable cgroupfs can
//! make children with forged names, so every pair is kept and the caller's knowledge decides.
use std::fmt;

/// Most pairs kept of one path; an honest path has one, a nested node two.
const MAX_CANDIDATES: usize = 16;
/// Elements looked at; cgroup paths are at most 4096 bytes.
const MAX_ELEMENTS: usize = 128;

/// A pod uid with dashes, or the 32 hex digits of a static pod.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct PodUid(String);

impl PodUid {
    /// The uid as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether this is the configuration hash of a static pod; its mirror pod carries it as `kubernetes.io/config.hash`.
    #[must_use]
    pub fn is_static(&self) -> bool {
        !self.0.contains('-')
    }
}

impl fmt::Display for PodUid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Quality-of-service class as the path tells it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Qos {
    /// Requests equal limits.
    Guaranteed,
    /// Some requests.
    Burstable,
    /// No requests.
    BestEffort,
}

/// What kind of cgroup the path names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Level {
    /// A container, or a child that it made.
    Container,
    /// All containers of a pod.
    Pod,
    /// All pods of a quality-of-service class.
    QosClass,
    /// All pods of the node.
    NodeAllocatable,
    /// A unit of the host, named.
    HostService(String),
    /// Something else.
    Other,
    /// The root: the whole node.
    Node,
}

/// One way to read the path.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Candidate {
    /// The pod above the container.
    pub pod_uid: Option<PodUid>,
    /// Container id as the runtime knows it.
    pub container_id: Option<String>,
    /// Prefix of the scope, such as `cri-containerd`.
    pub runtime_prefix: Option<&'static str>,
    /// Class of the pod.
    pub qos: Option<Qos>,
}

/// How sure a choice is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Confidence {
    /// The runtime knows the container.
    Known,
    /// The last pair of the path; the names below a container can be forged by it.
    Guess,
}

/// A parsed path. Pod, container, class and prefix are those of the last pair.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Located {
    /// The pod.
    pub pod_uid: Option<PodUid>,
    /// The container.
    pub container_id: Option<String>,
    /// Class of the pod.
    pub qos: Option<Qos>,
    /// Prefix of the scope.
    pub runtime_prefix: Option<&'static str>,
    /// What the path names.
    pub level: Level,
    /// Every way to read the path, outermost first.
    pub candidates: Vec<Candidate>,
}

impl Located {
    /// The outermost pair whose container the caller knows, else the last pair. Outer names win because a container can only
    /// forge names below its own.
    #[must_use]
    pub fn choose(&self, known: impl Fn(&str) -> bool) -> Option<(&Candidate, Confidence)> {
        let sure = self
            .candidates
            .iter()
            .find(|c| c.container_id.as_deref().is_some_and(&known));
        sure.map(|c| (c, Confidence::Known))
            .or_else(|| self.candidates.last().map(|c| (c, Confidence::Guess)))
    }
}

/// Reader of cgroup paths.
#[derive(Debug)]
pub struct CgroupPath;

impl CgroupPath {
    /// Reads a path as kernel or procfs write it. Never fails: what is not understood is [`Level::Other`].
    #[must_use]
    pub fn parse(path: &str) -> Located {
        let elements: Vec<&str> = path
            .split('/')
            .filter(|e| !e.is_empty() && *e != "..")
            .take(MAX_ELEMENTS)
            .collect();
        let candidates = candidates(&elements);
        let last = candidates.last().cloned();
        let level = level(&elements, last.as_ref());
        let last = last.unwrap_or(Candidate {
            pod_uid: None,
            container_id: None,
            runtime_prefix: None,
            qos: None,
        });
        Located {
            pod_uid: last.pod_uid,
            container_id: last.container_id,
            qos: last.qos.or_else(|| qos_of_class(&elements, &level)),
            runtime_prefix: last.runtime_prefix,
            level,
            candidates,
        }
    }
}

/// What one element names.
#[derive(Default)]
struct Named {
    pod: Option<PodUid>,
    container: Option<(String, Option<&'static str>)>,
}

fn named(element: &str, in_pod: bool) -> Named {
    // a systemd-style path given to the cgroupfs driver is one element `slice:prefix:id`
    let mut parts = element.rsplitn(3, ':');
    match (parts.next(), parts.next(), parts.next()) {
        (Some(id), Some(prefix), Some(slice)) => {
            let prefix = PREFIXES.into_iter().find(|known| *known == prefix);
            let container = (is_hex(id, 32) && prefix.is_some()).then(|| (id.to_owned(), prefix));
            Named {
                pod: pod_of(slice),
                container,
            }
        }
        _ => Named {
            pod: pod_of(element),
            container: container_of(element, in_pod),
        },
    }
}

fn pod_of(element: &str) -> Option<PodUid> {
    let name = element.strip_suffix(".slice").unwrap_or(element);
    let (before, uid) = name.rsplit_once("pod")?;
    let starts = before.is_empty() || before.ends_with('-');
    (starts && (is_uid(uid) || is_hex(uid, 32) && uid.len() == 32)).then(|| PodUid(uid.replace('_', "-")))
}

fn is_uid(text: &str) -> bool {
    let shape = [8, 4, 4, 4, 12];
    let groups: Vec<&str> = text.split(['-', '_']).collect();
    groups.len() == shape.len() && groups.iter().zip(shape).all(|(g, n)| g.len() == n && is_hex(g, n))
}

fn is_hex(text: &str, least: usize) -> bool {
    (least..=64).contains(&text.len()) && text.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'))
}

const PREFIXES: [&str; 5] = ["cri-containerd", "docker", "crio", "libpod", "nerdctl"];

/// A full id is 64 digits. Shorter ones count only where nothing else is meant: below a pod or behind a runtime's prefix.
fn container_of(element: &str, in_pod: bool) -> Option<(String, Option<&'static str>)> {
    let name = element.strip_suffix(".scope").unwrap_or(element);
    if is_hex(name, if in_pod { 32 } else { 64 }) {
        return Some((name.to_owned(), None));
    }
    let (prefix, id) = name.rsplit_once('-')?;
    let prefix = PREFIXES.into_iter().find(|known| *known == prefix)?;
    is_hex(id, 32).then(|| (id.to_owned(), Some(prefix)))
}

fn candidates(elements: &[&str]) -> Vec<Candidate> {
    let mut pods: Vec<(PodUid, Qos)> = Vec::new();
    let mut found = Vec::new();
    for (index, element) in elements.iter().enumerate() {
        let named = named(element, !pods.is_empty());
        if let Some(pod) = named.pod
            && pods.len() < MAX_CANDIDATES
        {
            let qos = qos_above(elements.get(..=index).unwrap_or_default());
            found.push(Candidate {
                pod_uid: Some(pod.clone()),
                container_id: None,
                runtime_prefix: None,
                qos: Some(qos),
            });
            pods.push((pod, qos));
        }
        if let Some((id, prefix)) = named.container {
            add_pairs(&mut found, &pods, &id, prefix);
        }
    }
    let paired =
        |pod: &Option<PodUid>, all: &[Candidate]| all.iter().any(|c| c.container_id.is_some() && c.pod_uid == *pod);
    let all = found.clone();
    found.retain(|c| c.container_id.is_some() || !paired(&c.pod_uid, &all));
    found
}

/// A container pairs with every pod above it, the innermost last.
fn add_pairs(found: &mut Vec<Candidate>, pods: &[(PodUid, Qos)], id: &str, prefix: Option<&'static str>) {
    let pair = |pod: Option<&(PodUid, Qos)>| Candidate {
        pod_uid: pod.map(|(uid, _)| uid.clone()),
        container_id: Some(id.to_owned()),
        runtime_prefix: prefix,
        qos: pod.map(|(_, qos)| *qos),
    };
    let room = MAX_CANDIDATES.saturating_sub(found.len());
    if pods.is_empty() {
        found.extend(std::iter::once(pair(None)).take(room));
    } else {
        found.extend(pods.iter().take(room).map(|pod| pair(Some(pod))));
    }
}

fn qos_above(elements: &[&str]) -> Qos {
    let says = |word: &str| {
        elements
            .iter()
            .any(|e| bare(e) == word || e.split('-').any(|part| bare(part) == word))
    };
    if says("besteffort") {
        Qos::BestEffort
    } else if says("burstable") {
        Qos::Burstable
    } else {
        Qos::Guaranteed
    }
}

fn qos_of_class(elements: &[&str], level: &Level) -> Option<Qos> {
    (*level == Level::QosClass).then(|| qos_above(elements))
}

fn bare(element: &str) -> &str {
    element.strip_suffix(".slice").unwrap_or(element)
}

fn level(elements: &[&str], last: Option<&Candidate>) -> Level {
    let Some(end) = elements.last() else { return Level::Node };
    match last {
        Some(Candidate {
            container_id: Some(_),
            pod_uid,
            ..
        }) if pod_uid.is_some() || !ends_in_kubepods(elements) => Level::Container,
        Some(Candidate { pod_uid: Some(_), .. }) => Level::Pod,
        _ => class_or_host(end, elements),
    }
}

/// A path of a nested node (kind) goes through the node's container, but names the node's pods.
fn ends_in_kubepods(elements: &[&str]) -> bool {
    elements
        .last()
        .is_some_and(|end| is_kubepods(bare(end)) || is_class(end, elements))
}

fn is_kubepods(name: &str) -> bool {
    name == "kubepods" || name.ends_with("-kubepods")
}

fn is_class(end: &str, elements: &[&str]) -> bool {
    let name = bare(end);
    let above = elements
        .iter()
        .rev()
        .nth(1)
        .is_some_and(|parent| is_kubepods(bare(parent)));
    let prefix = name
        .strip_suffix("burstable")
        .or_else(|| name.strip_suffix("besteffort"));
    above && prefix.is_some_and(|prefix| prefix.is_empty() || prefix.ends_with('-'))
}

fn class_or_host(end: &str, elements: &[&str]) -> Level {
    if is_kubepods(bare(end)) {
        return Level::NodeAllocatable;
    }
    if is_class(end, elements) {
        return Level::QosClass;
    }
    let service = elements.iter().rev().find(|e| e.ends_with(".service"));
    let unit = service.or_else(|| {
        elements
            .iter()
            .rev()
            .find(|e| e.ends_with(".scope") || e.ends_with(".slice"))
    });
    unit.map_or(Level::Other, |unit| Level::HostService((*unit).to_owned()))
}

#[cfg(test)]
mod tests;
