//! A pod as the index keeps it.
//!
//! Owns the record and how it is read from an object of the API. Must not know tables. What most pods do not have lies behind
//! a pointer, what pods share is shared: a healthy pod with one container takes some 400 bytes with its keys.

use std::sync::Arc;

use inquest_shared::clock::UnixNanos;

use super::{
    expected::{ExitCodes, restart_rules},
    id::{ContainerId, Uid, bounded},
    owner::{MAX_MESSAGE, OwnerRef, controller},
    pool::Pool,
    quantity,
    wire::{ContainerState, ContainerStatus, Meta, PodWire, SpecContainer, TerminatedState, either, time},
};

/// Most containers kept of one pod; a guard against an object made to be large.
const MAX_CONTAINERS: usize = 256;

/// A pod.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pod {
    /// Namespace.
    pub namespace: Arc<str>,
    /// Name.
    pub name: Box<str>,
    /// Uid.
    pub uid: Uid,
    /// The node it runs on; none before it is scheduled.
    pub node: Option<Arc<str>>,
    /// Its controller.
    pub owner: Option<Arc<OwnerRef>>,
    /// Label `pod-template-hash` or `controller-revision-hash`.
    pub revision: Option<Arc<str>>,
    /// When it was made, by the apiserver's clock.
    pub created: UnixNanos,
    /// Containers of all kinds.
    pub containers: Box<[Container]>,
    /// What few pods have.
    pub rare: Option<Box<Rare>>,
    /// Phase.
    pub phase: Phase,
    /// Condition `Ready`.
    pub ready: bool,
    /// `terminationGracePeriodSeconds`; a longer one than 18 hours counts as that.
    pub grace_seconds: u16,
}

/// What few pods have.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Rare {
    /// `deletionTimestamp`: when the pod is to be gone. The deletion was asked for `grace` earlier.
    pub deletion: Option<UnixNanos>,
    /// `deletionGracePeriodSeconds`.
    pub grace_seconds: i64,
    /// `status.reason`, for example `Evicted`.
    pub status_reason: Option<Arc<str>>,
    /// `status.message`, at most 512 bytes.
    pub status_message: Option<Box<str>>,
    /// Reason of the condition `DisruptionTarget`, for example `EvictionByEvictionAPI`.
    pub disruption: Option<Arc<str>>,
    /// Message of the condition `PodScheduled` while the scheduler finds no node, at most 512 bytes.
    pub unscheduled: Option<Box<str>>,
    /// Annotation `kubernetes.io/config.hash` or `config.mirror`: the pod is static, and its node knows it by this uid.
    pub static_hash: Option<Box<str>>,
}

/// Where a pod is in its life.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Phase {
    /// Not all containers have started.
    Pending,
    /// At least one container runs or starts.
    Running,
    /// All containers ended well.
    Succeeded,
    /// All containers ended, at least one badly.
    Failed,
    /// The node cannot be asked.
    #[default]
    Unknown,
}

/// One container.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Container {
    /// What it has in common with its peers.
    pub spec: Arc<ContainerSpec>,
    /// Id of the instance that runs, or ran last.
    pub id: Option<ContainerId>,
    /// What is wrong, or was.
    pub trouble: Option<Box<Trouble>>,
    /// `restartCount`.
    pub restarts: u32,
    /// What it does now.
    pub state: State,
}

/// The part of a container that its template decides.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct ContainerSpec {
    /// Name within the pod.
    pub name: Box<str>,
    /// Image as the template names it.
    pub image: Arc<str>,
    /// Image as the node resolved it, by digest.
    pub image_id: Option<Arc<str>>,
    /// Memory limit in bytes.
    pub memory_limit: Option<u64>,
    /// Role.
    pub kind: ContainerKind,
    /// When it is started again.
    pub restart: RestartPolicy,
    /// Codes after which it is started again by a rule of its own; mostly none.
    pub restart_rules: Box<[ExitCodes]>,
    /// Whether it has a liveness probe.
    pub liveness: bool,
    /// Whether it has a readiness probe.
    pub readiness: bool,
    /// Whether it has a startup probe.
    pub startup: bool,
}

/// Role of a container.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ContainerKind {
    /// Of `containers`.
    Main,
    /// Of `initContainers`.
    Init,
    /// Of `initContainers` with the restart policy `Always`.
    Sidecar,
    /// Of `ephemeralContainers`.
    Ephemeral,
}

/// When a container is started again.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum RestartPolicy {
    /// However it ended.
    Always,
    /// After an exit code other than zero.
    OnFailure,
    /// Never.
    Never,
}

/// What a container does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum State {
    /// The kubelet has not reported on it.
    Unreported,
    /// It waits; the reason is in [`Trouble::waiting`].
    Waiting,
    /// It runs.
    Running,
    /// It ended; how is in [`Trouble::terminated`].
    Terminated,
}

/// Why a container does not run, and how it ended.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Trouble {
    /// What it waits for.
    pub waiting: Option<Waiting>,
    /// How the present instance ended.
    pub terminated: Option<Terminated>,
    /// How the instance before it ended.
    pub last: Option<Terminated>,
}

/// What a container waits for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Waiting {
    /// For example `CrashLoopBackOff`.
    pub reason: Arc<str>,
    /// At most 512 bytes.
    pub message: Box<str>,
}

impl Waiting {
    /// Whether this is more than the ordinary way to a start. Source: the two reasons that the kubelet gives a healthy
    /// container before it runs, `kubernetes/pkg/kubelet/kubelet_pods.go`.
    #[must_use]
    pub fn is_failure(&self) -> bool {
        !matches!(&*self.reason, "ContainerCreating" | "PodInitializing" | "")
    }
}

/// The end of one instance, as the kubelet reports it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Terminated {
    /// The instance.
    pub id: Option<ContainerId>,
    /// Exit code.
    pub exit_code: i32,
    /// Signal, where the runtime reports one; 0 otherwise.
    pub signal: i32,
    /// For example `OOMKilled`.
    pub reason: Option<Arc<str>>,
    /// When it started, by the node's clock.
    pub started: Option<UnixNanos>,
    /// When it ended, by the node's clock.
    pub finished: Option<UnixNanos>,
    /// The termination message, at most 512 bytes.
    pub message: Box<str>,
}

impl Terminated {
    /// Whether it ended badly.
    #[must_use]
    pub const fn is_failure(&self) -> bool {
        self.exit_code != 0 || self.signal != 0
    }
}

impl Pod {
    /// When its deletion was asked for: `deletionTimestamp` without the grace period.
    #[must_use]
    pub fn deletion_requested(&self) -> Option<UnixNanos> {
        let rare = self.rare.as_deref()?;
        let grace = std::time::Duration::from_secs(u64::try_from(rare.grace_seconds).unwrap_or(0));
        Some(rare.deletion?.saturating_sub(grace))
    }

    /// The container of that name.
    #[must_use]
    pub fn container(&self, name: &str) -> Option<&Container> {
        self.containers.iter().find(|container| &*container.spec.name == name)
    }

    /// Whether a file on its node made it, and not the API.
    #[must_use]
    pub fn is_static(&self) -> bool {
        self.rare.as_ref().is_some_and(|rare| rare.static_hash.is_some())
    }

    pub(super) fn read(wire: &PodWire, pool: &mut Pool) -> Self {
        let meta = &wire.metadata;
        let revision = either(&meta.labels.pod_template_hash, &meta.labels.controller_revision_hash);
        let ready = wire.status.conditions.iter().find(|c| c.r#type == "Ready");
        Self {
            namespace: pool.text(&meta.namespace),
            name: meta.name.as_str().into(),
            uid: Uid::parse(&meta.uid),
            node: pool.given(&wire.spec.node_name),
            owner: controller(meta, pool),
            revision: pool.given(revision),
            created: time(meta.creation_timestamp.as_ref()).unwrap_or_default(),
            containers: containers(wire, pool),
            rare: Rare::read(wire, meta, pool),
            phase: Phase::read(&wire.status.phase),
            ready: ready.is_some_and(|condition| condition.status == "True"),
            grace_seconds: spec_grace(wire.spec.termination_grace_period_seconds),
        }
    }
}

/// Source: kubernetes.io, "Pod Lifecycle", Termination of Pods: 30 s where the pod names none.
fn spec_grace(given: Option<i64>) -> u16 {
    let seconds = given.unwrap_or(30).max(0);
    u16::try_from(seconds).unwrap_or(u16::MAX)
}

impl Phase {
    fn read(text: &str) -> Self {
        match text {
            "Pending" => Self::Pending,
            "Running" => Self::Running,
            "Succeeded" => Self::Succeeded,
            "Failed" => Self::Failed,
            _ => Self::Unknown,
        }
    }
}

impl Rare {
    fn read(wire: &PodWire, meta: &Meta, pool: &mut Pool) -> Option<Box<Self>> {
        let hash = either(&meta.annotations.config_mirror, &meta.annotations.config_hash);
        let target = |c: &&super::wire::Condition| c.r#type == "DisruptionTarget" && c.status == "True";
        let disruption = wire.status.conditions.iter().find(target);
        // Source: API reference, `PodCondition`; a pod that is gated waits for somebody, not for a node.
        let unscheduled = |c: &&super::wire::Condition| {
            c.r#type == "PodScheduled" && c.status == "False" && c.reason == "Unschedulable"
        };
        let unscheduled = wire.status.conditions.iter().find(unscheduled);
        let rare = Self {
            unscheduled: unscheduled.map(|condition| bounded(&condition.message, MAX_MESSAGE)),
            deletion: time(meta.deletion_timestamp.as_ref()),
            grace_seconds: meta.deletion_grace_period_seconds.unwrap_or(0),
            status_reason: pool.given(&wire.status.reason),
            status_message: message(&wire.status.message),
            disruption: disruption.map(|condition| pool.text(&condition.reason)),
            static_hash: message(hash),
        };
        (rare != Self::default()).then(|| Box::new(rare))
    }
}

fn message(text: &str) -> Option<Box<str>> {
    (!text.is_empty()).then(|| bounded(text, MAX_MESSAGE))
}

fn containers(wire: &PodWire, pool: &mut Pool) -> Box<[Container]> {
    let (spec, status) = (&wire.spec, &wire.status);
    let groups = [
        (&spec.containers, &status.container_statuses, ContainerKind::Main),
        (
            &spec.init_containers,
            &status.init_container_statuses,
            ContainerKind::Init,
        ),
        (
            &spec.ephemeral_containers,
            &status.ephemeral_container_statuses,
            ContainerKind::Ephemeral,
        ),
    ];
    let mut containers = Vec::new();
    for (specs, statuses, kind) in groups {
        let room = MAX_CONTAINERS.saturating_sub(containers.len());
        containers.extend(specs.iter().take(room).map(|container| {
            let status = statuses.iter().find(|status| status.name == container.name);
            Container::read(container, status, kind, &spec.restart_policy, pool)
        }));
    }
    containers.into_boxed_slice()
}

impl Container {
    fn read(
        spec: &SpecContainer,
        status: Option<&ContainerStatus>,
        kind: ContainerKind,
        policy: &str,
        pool: &mut Pool,
    ) -> Self {
        let image_id = status.map_or("", |status| status.image_id.as_str());
        let spec = ContainerSpec::read(spec, kind, policy, image_id, pool);
        let spec = pool.spec(spec);
        let Some(status) = status else {
            return Self {
                spec,
                id: None,
                trouble: None,
                restarts: 0,
                state: State::Unreported,
            };
        };
        Self {
            spec,
            id: ContainerId::parse(&status.container_id),
            trouble: Trouble::read(status, pool),
            restarts: status.restart_count,
            state: State::read(&status.state),
        }
    }

    /// The instances that the API names: the present one and the one before it.
    pub(super) fn ids(&self) -> impl Iterator<Item = &ContainerId> {
        let trouble = self.trouble.as_deref();
        let ends = trouble.into_iter().flat_map(|t| [&t.terminated, &t.last]);
        let ended = ends.filter_map(|end| end.as_ref()?.id.as_ref());
        self.id.iter().chain(ended)
    }
}

impl ContainerSpec {
    fn read(spec: &SpecContainer, kind: ContainerKind, policy: &str, image_id: &str, pool: &mut Pool) -> Self {
        let kind = match kind {
            ContainerKind::Init if spec.restart_policy == "Always" => ContainerKind::Sidecar,
            kind => kind,
        };
        Self {
            name: spec.name.as_str().into(),
            image: pool.text(&spec.image),
            image_id: pool.given(image_id),
            memory_limit: quantity::units(&spec.resources.limits.memory),
            kind,
            restart: restart(kind, either(&spec.restart_policy, policy)),
            restart_rules: restart_rules(&spec.restart_policy_rules),
            liveness: spec.liveness_probe.is_some(),
            readiness: spec.readiness_probe.is_some(),
            startup: spec.startup_probe.is_some(),
        }
    }
}

/// An init container is tried again unless the policy is `Never`; an ephemeral one never is. Source: kubernetes.io, "Init
/// Containers" and "Ephemeral Containers".
fn restart(kind: ContainerKind, policy: &str) -> RestartPolicy {
    match (kind, policy) {
        (ContainerKind::Ephemeral, _) | (_, "Never") => RestartPolicy::Never,
        (_, "OnFailure") | (ContainerKind::Init, _) => RestartPolicy::OnFailure,
        _ => RestartPolicy::Always,
    }
}

impl State {
    const fn read(state: &ContainerState) -> Self {
        match state {
            ContainerState { running: Some(_), .. } => Self::Running,
            ContainerState {
                terminated: Some(_), ..
            } => Self::Terminated,
            // The API says: none given means waiting.
            _ => Self::Waiting,
        }
    }
}

impl Trouble {
    fn read(status: &ContainerStatus, pool: &mut Pool) -> Option<Box<Self>> {
        let waiting = status.state.waiting.as_ref().map(|waiting| Waiting {
            reason: pool.text(&waiting.reason),
            message: bounded(&waiting.message, MAX_MESSAGE),
        });
        let mut end = |state: &ContainerState| state.terminated.as_ref().map(|end| Terminated::read(end, pool));
        let trouble = Self {
            waiting,
            terminated: end(&status.state),
            last: end(&status.last_state),
        };
        (trouble != Self::default()).then(|| Box::new(trouble))
    }
}

impl Terminated {
    fn read(state: &TerminatedState, pool: &mut Pool) -> Self {
        Self {
            id: ContainerId::parse(&state.container_id),
            exit_code: state.exit_code,
            signal: state.signal,
            reason: pool.given(&state.reason),
            started: time(state.started_at.as_ref()),
            finished: time(state.finished_at.as_ref()),
            message: bounded(&state.message, MAX_MESSAGE),
        }
    }
}
