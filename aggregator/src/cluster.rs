//! What Kubernetes knows: pods, nodes, owners, rollouts and warnings of each cluster, kept by watches.
//!
//! Owns the index and its watches. Reads are synchronous, cheap and never wait for the apiserver; whether absence proves
//! anything, [`ClusterIndex::synced`] says. Must not know findings, incidents or the store. Nothing here writes to a cluster.
//!
//! Objects are decoded into types of our own that name the fields that are kept, so the rest is skipped while parsing. What is
//! gone is kept for half an hour with its last state.

mod change;
mod clusters;
mod connect;
mod diff;
mod events;
mod expected;
mod id;
mod kept;
mod kind;
mod metrics;
mod node;
mod owner;
mod pod;
mod pods;
mod pool;
mod quantity;
mod rollout;
mod siblings;
mod slots;
mod state;
mod status;
#[cfg(test)]
pub(crate) mod tests;
mod watch;
mod wire;

use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};

use inquest_shared::clock::{Clock, UnixNanos};
use tokio::sync::Notify;

pub use change::{Batch, Change, ClusterChange, Found};
pub use clusters::{Clusters, keep_watching};
pub use connect::{ConnectError, Connection, connect_all};
pub use events::Warning;
pub use expected::{ExitCodes, FailurePolicy};
pub use id::{ContainerId, Uid};
pub use kind::Kind;
pub use metrics::ClusterMetrics;
pub use node::{Condition, Namespace, Node};
pub use owner::{Job, Owner, OwnerRef, ReplicaSet};
pub use pod::{
    Container, ContainerKind, ContainerSpec, Phase, Pod, Rare, RestartPolicy, State as ContainerState, Terminated,
    Trouble, Waiting,
};
pub use pods::PodView;
pub use rollout::Workload;
pub use siblings::{Revision, Siblings};
pub use status::{WatchState, WatchStatus};

use change::Queue;
use state::{Context, Item, State};
use status::Board;

struct Inner {
    name: Arc<str>,
    clock: Arc<dyn Clock>,
    metrics: ClusterMetrics,
    state: RwLock<State>,
    board: Mutex<Board>,
    queue: Mutex<Queue>,
    wake: Notify,
}

/// The index of one cluster. Clones are the same index.
#[derive(Clone)]
pub struct ClusterIndex(Arc<Inner>);

/// Reads. Each takes a lock for the time of a look-up.
impl ClusterIndex {
    /// An empty index that nothing fills yet.
    #[must_use]
    pub fn new(name: &str, clock: Arc<dyn Clock>, metrics: ClusterMetrics) -> Self {
        Self(Arc::new(Inner {
            name: name.into(),
            clock,
            metrics,
            state: RwLock::default(),
            board: Mutex::default(),
            queue: Mutex::default(),
            wake: Notify::new(),
        }))
    }

    /// The name of the cluster.
    #[must_use]
    pub fn name(&self) -> &Arc<str> {
        &self.0.name
    }

    /// The pod with that uid, present or gone.
    #[must_use]
    pub fn pod(&self, uid: &str) -> Option<PodView> {
        self.read(|state| state.pods.by_uid(&Uid::parse(uid)))
    }

    /// The pod of a container instance and the name of the container. The instance may run, or be the last one before that;
    /// older ones the API does not name. The id may carry its runtime (`containerd://…`) or not.
    #[must_use]
    pub fn pod_of_container(&self, container_id: &str) -> Option<(PodView, Box<str>)> {
        let id = ContainerId::parse(container_id)?;
        self.read(|state| state.pods.by_container(&id))
    }

    /// The present pod of that name, else the last one that had it.
    #[must_use]
    pub fn pod_named(&self, namespace: &str, name: &str) -> Option<PodView> {
        self.read(|state| state.pods.by_name(namespace, name))
    }

    /// The present pods of a node.
    #[must_use]
    pub fn pods_on(&self, node: &str) -> Vec<PodView> {
        self.read(|state| state.pods.by_node(node).collect())
    }

    /// The present pods that are meant: a walk over all of them.
    #[must_use]
    pub fn pods_that(&self, meant: impl Fn(&Pod) -> bool) -> Vec<PodView> {
        self.read(|state| state.pods_that(meant))
    }

    /// Every present node.
    #[must_use]
    pub fn nodes(&self) -> Vec<Arc<Node>> {
        self.read(State::nodes)
    }

    /// The present deployments, stateful sets and daemon sets that are meant.
    #[must_use]
    pub fn workloads_that(&self, meant: impl Fn(&Workload) -> bool) -> Vec<Arc<Workload>> {
        self.read(|state| state.workloads_that(meant))
    }

    /// The present jobs that are meant, with their uids.
    #[must_use]
    pub fn jobs_that(&self, meant: impl Fn(&Job) -> bool) -> Vec<(Uid, Arc<Job>)> {
        self.read(|state| state.jobs_that(meant))
    }

    /// The warnings of the last half hour that are meant, whatever they are about.
    #[must_use]
    pub fn warnings_that(&self, meant: impl Fn(&Warning) -> bool) -> Vec<Arc<Warning>> {
        let now = self.0.clock.now();
        self.read(|state| state.warnings_that(meant, now))
    }

    /// The node of that name, if it is present.
    #[must_use]
    pub fn node(&self, name: &str) -> Option<Arc<Node>> {
        self.read(|state| state.node(name).cloned())
    }

    /// The namespace with its labels and annotations, if it is present.
    #[must_use]
    pub fn namespace(&self, name: &str) -> Option<Arc<Namespace>> {
        self.read(|state| state.namespace(name).cloned())
    }

    /// The workload that a pod belongs to: replica set to deployment, job to cron job, else the direct controller. A pod
    /// without one, and a static pod (whose controller is its node), is its own workload. `resolved` is false while the
    /// replica set or job is not known.
    #[must_use]
    pub fn root_owner(&self, pod: &Pod) -> Owner {
        self.read(|state| state.root_owner(pod))
    }

    /// The end of the way from an object that controls pods, as [`ClusterIndex::root_owner`] goes it from a pod.
    #[must_use]
    pub fn root_of(&self, direct: &OwnerRef) -> Owner {
        self.read(|state| state.root_of(direct))
    }

    /// A replica set, present or gone.
    #[must_use]
    pub fn replica_set(&self, uid: &Uid) -> Option<Arc<ReplicaSet>> {
        self.read(|state| state.replica_set(uid).cloned())
    }

    /// A job, present or gone.
    #[must_use]
    pub fn job(&self, uid: &Uid) -> Option<Arc<Job>> {
        self.read(|state| state.job(uid).cloned())
    }

    /// The rollout of a deployment, stateful set or daemon set, named by its kind as in an owner (`Deployment`).
    #[must_use]
    pub fn workload(&self, kind: &str, namespace: &str, name: &str) -> Option<Arc<Workload>> {
        let kind = match kind {
            "Deployment" => Kind::Deployments,
            "StatefulSet" => Kind::StatefulSets,
            "DaemonSet" => Kind::DaemonSets,
            _ => return None,
        };
        self.read(|state| state.workload(kind, namespace, name).cloned())
    }

    /// The present pods of a workload, counted by revision. `owner` is the uid of a deployment or of a direct controller;
    /// an end counts as a crash if it came at or after `since`, by the node's clock.
    #[must_use]
    pub fn siblings(&self, owner: &Uid, since: UnixNanos) -> Siblings {
        self.siblings_knowing(owner, since, |_| false)
    }

    /// The same, when more deaths are known than the apiserver has heard of: kubelets report them seconds later.
    #[must_use]
    pub fn siblings_knowing(&self, owner: &Uid, since: UnixNanos, dead: impl Fn(&Uid) -> bool) -> Siblings {
        self.read(|state| state.siblings(owner, since, dead))
    }

    /// The replica sets of a deployment, present and gone.
    #[must_use]
    pub fn replica_sets_of(&self, deployment: &Uid) -> Vec<Arc<ReplicaSet>> {
        self.read(|state| state.replica_sets_of(deployment))
    }

    /// Warnings of the last half hour about an object, at most 50. The kubelet reports on its node under the node's name, and
    /// on a static pod under its hash: ask with those.
    #[must_use]
    pub fn events_of(&self, object: &Uid) -> Vec<Arc<Warning>> {
        let now = self.0.clock.now();
        self.read(|state| state.warnings(object, now))
    }

    /// Whether everything of a kind is known, so that absence means something.
    #[must_use]
    pub fn synced(&self, kind: Kind) -> bool {
        status::synced(&self.board(), kind)
    }

    /// Whether what is known of a kind is up to date: complete, and followed at present.
    #[must_use]
    pub fn live(&self, kind: Kind) -> bool {
        status::live(&self.board(), kind)
    }

    /// The state of every watch.
    #[must_use]
    pub fn status(&self) -> Vec<WatchStatus> {
        self.board().values().cloned().collect()
    }

    /// One line about what cannot be seen at present; `None` if all watches are live.
    #[must_use]
    pub fn complaint(&self) -> Option<String> {
        status::complaint(&self.board())
    }

    fn read<T>(&self, look: impl FnOnce(&State) -> T) -> T {
        look(&self.0.state.read().unwrap_or_else(PoisonError::into_inner))
    }

    fn board(&self) -> MutexGuard<'_, Board> {
        self.0.board.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The stream of changes.
impl ClusterIndex {
    /// Starts to keep changes. Before that there is no queue; what was missed shows as `resync` in the first batch.
    pub fn listen(&self) {
        self.queue().listen();
        self.0.wake.notify_one();
    }

    /// Waits for changes and takes at most `max`. For one reader: a second one would take what the first waits for.
    pub async fn changes(&self, max: usize) -> Batch {
        loop {
            let batch = self.queue().take(max);
            match batch {
                Some(batch) => return batch,
                None => self.0.wake.notified().await,
            }
        }
    }

    fn queue(&self) -> MutexGuard<'_, Queue> {
        self.0.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn tell(&self, changes: Vec<ClusterChange>) {
        if changes.is_empty() {
            return;
        }
        let pushed = self.queue().push(changes);
        self.0.metrics.pushed(&self.0.name, pushed);
        self.0.wake.notify_one();
    }
}

/// Writes, for the watches only.
impl ClusterIndex {
    fn next_epoch(&self) -> u32 {
        self.write(|state, _| state.next_epoch())
    }

    fn put(&self, items: &[Item], epoch: u32, found: Found) {
        let context = self.context(epoch, found);
        self.write(|state, out| items.iter().for_each(|item| state.put(item, context, out)));
    }

    fn remove(&self, item: &Item, epoch: u32, found: Found) {
        let context = self.context(epoch, found);
        self.write(|state, out| state.remove(item, context, out));
    }

    fn finish(&self, kind: Kind, namespace: Option<&str>, epoch: u32, found: Found) {
        let context = self.context(epoch, found);
        self.write(|state, out| state.finish(kind, namespace, context, out));
    }

    /// A watch begins: until its list is complete it sees nothing.
    fn announce(&self, kind: Kind, namespace: Option<&Arc<str>>) {
        let status = WatchStatus {
            kind,
            namespace: namespace.cloned(),
            state: WatchState::Blind,
            reason: "not listed yet".to_owned(),
            since: self.0.clock.now(),
            progress: None,
            version: None,
        };
        self.board().insert((kind, namespace.cloned()), status);
    }

    /// All watches are to be started anew.
    fn forget_watches(&self) {
        self.board().clear();
    }

    /// The server said something on a complete watch.
    fn heard(&self, kind: Kind, namespace: Option<&Arc<str>>, version: Option<&str>) {
        let now = self.0.clock.now();
        self.note(kind, namespace, |status| {
            if status.state != WatchState::Live {
                (status.state, status.since) = (WatchState::Live, now);
                status.reason.clear();
            }
            status.progress = Some(now);
            if status.version.as_deref() != version {
                status.version = version.map(Into::into);
            }
        });
    }

    /// A watch ended.
    fn lost(&self, kind: Kind, namespace: Option<&Arc<str>>, state: WatchState, why: &dyn std::fmt::Display) {
        let now = self.0.clock.now();
        let reason = why.to_string();
        self.note(kind, namespace, |status| {
            if (status.state, &status.reason) == (state, &reason) {
                return;
            }
            let cluster = &*self.0.name;
            tracing::warn!(cluster, %kind, namespace = namespace.map(|name| &**name), %state, reason, "cluster watch");
            if status.state != state {
                status.since = now;
            }
            (status.state, status.reason) = (state, reason);
        });
    }

    fn note(&self, kind: Kind, namespace: Option<&Arc<str>>, change: impl FnOnce(&mut WatchStatus)) {
        if let Some(status) = self.board().get_mut(&(kind, namespace.cloned())) {
            change(status);
        }
    }

    fn restarted(&self, kind: Kind, cause: &'static str) {
        self.0.metrics.restarted(&self.0.name, kind, cause);
    }

    fn unreadable(&self, kind: Kind) {
        self.0.metrics.unreadable(&self.0.name, kind);
    }

    /// Forgets what is old, and brings the metrics up to date.
    fn tidy(&self) {
        let now = self.0.clock.now();
        let counts = self.write(|state, _| {
            state.tidy(now);
            state::counts(state)
        });
        for (kind, count) in counts {
            self.0.metrics.objects(&self.0.name, kind, count);
        }
        let board = self.board();
        for kind in Kind::ALL {
            let of_kind = || board.values().filter(|status| status.kind == kind);
            let down = of_kind().filter(|status| status.state != WatchState::Live).count();
            let progress = of_kind().filter_map(|status| status.progress).min();
            let secs = progress.map_or(0, UnixNanos::as_secs);
            self.0.metrics.watches(&self.0.name, kind, down, secs);
        }
    }

    fn context(&self, epoch: u32, found: Found) -> Context {
        let now = self.0.clock.now();
        Context { epoch, found, now }
    }

    fn write<T>(&self, change: impl FnOnce(&mut State, &mut Vec<ClusterChange>) -> T) -> T {
        let mut out = Vec::new();
        let result = {
            let mut state = self.0.state.write().unwrap_or_else(PoisonError::into_inner);
            change(&mut state, &mut out)
        };
        self.tell(out);
        result
    }
}
