//! All records of one cluster.
//!
//! Owns the tables and how an object of the API gets into them or out of them. Must not know connections, locks or queues.

use std::{
    collections::{BTreeSet, HashMap},
    sync::Arc,
};

use inquest_shared::clock::UnixNanos;

use super::{
    change::{Change, ClusterChange, Found},
    diff,
    events::{Rings, Warning},
    id::Uid,
    kept::Table,
    kind::Kind,
    node::{Namespace, Node},
    owner::{Job, Owner, OwnerRef, ReplicaSet},
    pod::Pod,
    pods::{PodTable, PodView},
    pool::Pool,
    rollout::Workload,
    siblings::{self, Siblings},
    wire::{EventWire, JobWire, MetaWire, NamespaceWire, NodeWire, PodWire, WorkloadWire},
};

/// An object as it came from the API.
#[derive(Debug)]
pub(super) enum Item {
    Pod(Box<PodWire>),
    Node(Box<NodeWire>),
    Namespace(Box<NamespaceWire>),
    ReplicaSet(Box<MetaWire>),
    Job(Box<JobWire>),
    Workload(Kind, Box<WorkloadWire>),
    Event(Box<EventWire>),
}

impl Item {
    /// Version of the object, where a watch can go on.
    pub(super) fn version(&self) -> &str {
        let meta = match self {
            Self::Namespace(wire) => return &wire.metadata.resource_version,
            Self::Pod(wire) => &wire.metadata,
            Self::Node(wire) => &wire.metadata,
            Self::ReplicaSet(wire) => &wire.metadata,
            Self::Job(wire) => &wire.metadata,
            Self::Workload(_, wire) => &wire.metadata,
            Self::Event(wire) => &wire.metadata,
        };
        &meta.resource_version
    }
}

/// What an object is taken for: part of a list with its number, or of the watch that followed.
#[derive(Debug, Clone, Copy)]
pub(super) struct Context {
    /// Number of the list. What carries another one at its end is gone.
    pub(super) epoch: u32,
    pub(super) found: Found,
    pub(super) now: UnixNanos,
}

type WorkloadKey = (Kind, Arc<str>, Arc<str>);

#[derive(Default)]
pub(super) struct State {
    pub(super) pool: Pool,
    pub(super) pods: PodTable,
    nodes: Table<Arc<str>, Node>,
    namespaces: Table<Arc<str>, Namespace>,
    replica_sets: Table<Uid, ReplicaSet>,
    /// Replica sets by their deployment.
    families: BTreeSet<(Uid, Uid)>,
    jobs: Table<Uid, Job>,
    workloads: Table<WorkloadKey, Workload>,
    warnings: Rings,
    epoch: u32,
}

impl State {
    /// A number for a new list.
    pub(super) const fn next_epoch(&mut self) -> u32 {
        self.epoch = self.epoch.wrapping_add(1);
        self.epoch
    }

    /// Takes an object as it is now.
    pub(super) fn put(&mut self, item: &Item, context: Context, out: &mut Vec<ClusterChange>) {
        let Context { epoch, found, now } = context;
        match item {
            Item::Pod(wire) => {
                let pod = Arc::new(Pod::read(wire, &mut self.pool));
                let old = self.pods.put(Arc::clone(&pod), epoch);
                out.extend(diff::pod(old.as_deref(), &pod, found));
            }
            Item::Node(wire) => {
                let node = Arc::new(Node::read(wire, &mut self.pool));
                let old = self.nodes.put(Arc::clone(&node.name), Arc::clone(&node), epoch);
                out.extend(diff::node(old.as_deref(), &node, found));
            }
            Item::Namespace(wire) => {
                let namespace = Arc::new(Namespace::read(wire, &mut self.pool));
                self.namespaces.put(Arc::clone(&namespace.name), namespace, epoch);
            }
            Item::ReplicaSet(wire) => self.put_replica_set(wire, epoch),
            Item::Job(wire) => {
                let job = Job::read(wire, &mut self.pool);
                self.jobs.put(Uid::parse(&wire.metadata.uid), Arc::new(job), epoch);
            }
            Item::Workload(kind, wire) => {
                let workload = Arc::new(Workload::read(*kind, wire, &mut self.pool));
                let old = self.workloads.put(key(&workload), Arc::clone(&workload), epoch);
                out.extend(diff::workload(old.as_deref(), &workload, found));
            }
            Item::Event(wire) => {
                let warning = Warning::read(wire, &mut self.pool);
                let reported = warning.last.filter(|_| found != Found::Live);
                let at = reported.unwrap_or(now).min(now);
                let news = self.warnings.put(warning, at, now).map(Change::Warning);
                out.extend(news.map(|what| ClusterChange { found, what }));
            }
        }
    }

    fn put_replica_set(&mut self, wire: &MetaWire, epoch: u32) {
        let set = ReplicaSet::read(&wire.metadata, &mut self.pool);
        let uid = Uid::parse(&wire.metadata.uid);
        if let Some(owner) = &set.owner {
            self.families.insert((owner.uid.clone(), uid.clone()));
        }
        self.replica_sets.put(uid, Arc::new(set), epoch);
    }

    /// Takes an object that is gone, in its last state.
    pub(super) fn remove(&mut self, item: &Item, context: Context, out: &mut Vec<ClusterChange>) {
        let now = context.now;
        match item {
            Item::Pod(wire) => {
                // The last state may be the only one that tells how the containers ended.
                self.put(item, context, out);
                if let Some(pod) = self.pods.remove(&Uid::parse(&wire.metadata.uid), now) {
                    out.push(diff::gone(&pod, now, context.found));
                }
            }
            Item::Node(wire) => drop(self.nodes.remove(&wire.metadata.name.as_str().into(), now)),
            Item::Namespace(wire) => drop(self.namespaces.remove(&wire.metadata.name.as_str().into(), now)),
            Item::ReplicaSet(wire) => drop(self.replica_sets.remove(&Uid::parse(&wire.metadata.uid), now)),
            Item::Job(wire) => drop(self.jobs.remove(&Uid::parse(&wire.metadata.uid), now)),
            Item::Workload(kind, wire) => {
                let key = (
                    *kind,
                    wire.metadata.namespace.as_str().into(),
                    wire.metadata.name.as_str().into(),
                );
                self.workloads.remove(&key, now);
            }
            // The apiserver forgets events after an hour; the rings have their own time.
            Item::Event(_) => {}
        }
    }

    /// Ends a complete list: what it did not name is gone.
    pub(super) fn finish(
        &mut self,
        kind: Kind,
        namespace: Option<&str>,
        context: Context,
        out: &mut Vec<ClusterChange>,
    ) {
        let Context { epoch, found, now } = context;
        let inside = |name: &Arc<str>| namespace.is_none_or(|namespace| **name == *namespace);
        match kind {
            Kind::Pods => {
                let gone = self.pods.finish(namespace, epoch, now);
                out.extend(gone.iter().map(|pod| diff::gone(pod, now, found)));
            }
            Kind::Nodes => drop(self.nodes.finish(|_| true, epoch, now)),
            Kind::Namespaces => drop(self.namespaces.finish(|_| true, epoch, now)),
            Kind::ReplicaSets => drop(self.replica_sets.finish(|set| inside(&set.namespace), epoch, now)),
            Kind::Jobs => drop(self.jobs.finish(|job| inside(&job.namespace), epoch, now)),
            Kind::Deployments | Kind::StatefulSets | Kind::DaemonSets => {
                let scope = |workload: &Workload| workload.kind == kind && inside(&workload.namespace);
                drop(self.workloads.finish(scope, epoch, now));
            }
            Kind::Events => {}
        }
    }

    /// Forgets what is gone or old for long enough.
    pub(super) fn tidy(&mut self, now: UnixNanos) {
        self.pods.expire(now);
        self.nodes.expire(now);
        self.namespaces.expire(now);
        self.jobs.expire(now);
        self.workloads.expire(now);
        for (uid, set) in self.replica_sets.expire(now) {
            if let Some(owner) = &set.owner {
                self.families.remove(&(owner.uid.clone(), uid));
            }
        }
        self.warnings.expire(now);
        self.pool.sweep();
    }

    /// How many objects of a kind are present.
    pub(super) fn count(&self, kind: Kind) -> usize {
        match kind {
            Kind::Pods => self.pods.len(),
            Kind::Nodes => self.nodes.len(),
            Kind::Namespaces => self.namespaces.len(),
            Kind::ReplicaSets => self.replica_sets.len(),
            Kind::Jobs => self.jobs.len(),
            Kind::Deployments | Kind::StatefulSets | Kind::DaemonSets => {
                self.workloads.all().filter(|workload| workload.kind == kind).count()
            }
            Kind::Events => self.warnings.len(),
        }
    }

    pub(super) fn node(&self, name: &str) -> Option<&Arc<Node>> {
        self.nodes.present(name)
    }

    pub(super) fn namespace(&self, name: &str) -> Option<&Arc<Namespace>> {
        self.namespaces.present(name)
    }

    pub(super) fn job(&self, uid: &Uid) -> Option<&Arc<Job>> {
        self.jobs.get(uid)
    }

    pub(super) fn replica_set(&self, uid: &Uid) -> Option<&Arc<ReplicaSet>> {
        self.replica_sets.get(uid)
    }

    pub(super) fn workload(&self, kind: Kind, namespace: &str, name: &str) -> Option<&Arc<Workload>> {
        self.workloads.present(&(kind, namespace.into(), name.into()))
    }

    pub(super) fn warnings(&self, object: &Uid, now: UnixNanos) -> Vec<Arc<Warning>> {
        self.warnings.of(object, now)
    }

    /// The workload of a pod: past replica sets and jobs to what made them.
    pub(super) fn root_owner(&self, pod: &Pod) -> Owner {
        let Some(direct) = pod.owner.as_deref().filter(|_| !pod.is_static()) else {
            return Owner {
                kind: "Pod".into(),
                name: pod.name.as_ref().into(),
                uid: pod.uid.clone(),
                resolved: true,
            };
        };
        self.root_of(direct)
    }

    /// Past a replica set or job to what made it.
    pub(super) fn root_of(&self, direct: &OwnerRef) -> Owner {
        let above = match &*direct.kind {
            "ReplicaSet" => self.replica_sets.get(&direct.uid).map(|set| &set.owner),
            "Job" => self.jobs.get(&direct.uid).map(|job| &job.owner),
            _ => return Owner::of(direct, true),
        };
        match above {
            Some(Some(owner)) => Owner::of(owner, true),
            Some(None) => Owner::of(direct, true),
            None => Owner::of(direct, false),
        }
    }

    /// The present pods below an owner, directly or through replica sets, told apart by revision.
    pub(super) fn siblings(&self, owner: &Uid, since: UnixNanos, dead: impl Fn(&Uid) -> bool) -> Siblings {
        let mut siblings = Siblings::default();
        let direct = self.pods.by_owner(owner).map(|pod| (pod, None));
        let below = self.family(owner).flat_map(|set| {
            let revision = self.replica_sets.get(set).and_then(|set| set.revision);
            self.pods.by_owner(set).map(move |pod| (pod, revision))
        });
        for (view, revision) in direct.chain(below) {
            if view.gone.is_none() {
                let crashed = dead(&view.uid) || siblings::crashed(&view, since);
                siblings.count(&view.pod, revision, crashed);
            }
        }
        siblings
    }

    /// The replica sets of a deployment, present and gone.
    pub(super) fn replica_sets_of(&self, deployment: &Uid) -> Vec<Arc<ReplicaSet>> {
        let sets = self.family(deployment);
        sets.filter_map(|set| self.replica_sets.get(set).cloned()).collect()
    }

    fn family<'a>(&'a self, deployment: &'a Uid) -> impl Iterator<Item = &'a Uid> {
        let lowest = Uid::Uuid([0; 16]);
        let sets = self.families.range((deployment.clone(), lowest)..);
        sets.take_while(move |(parent, _)| parent == deployment)
            .map(|(_, set)| set)
    }

    /// The present pods that are meant.
    pub(super) fn pods_that(&self, meant: impl Fn(&Pod) -> bool) -> Vec<PodView> {
        let view = |pod: &Arc<Pod>| PodView {
            pod: Arc::clone(pod),
            gone: None,
        };
        self.pods.all().filter(|pod| meant(pod)).map(view).collect()
    }

    pub(super) fn nodes(&self) -> Vec<Arc<Node>> {
        self.nodes.all().cloned().collect()
    }

    pub(super) fn workloads_that(&self, meant: impl Fn(&Workload) -> bool) -> Vec<Arc<Workload>> {
        self.workloads
            .all()
            .filter(|workload| meant(workload))
            .cloned()
            .collect()
    }

    pub(super) fn jobs_that(&self, meant: impl Fn(&Job) -> bool) -> Vec<(Uid, Arc<Job>)> {
        let meant = self.jobs.entries().filter(|(_, job)| meant(job));
        meant.map(|(uid, job)| (uid.clone(), Arc::clone(job))).collect()
    }

    pub(super) fn warnings_that(&self, meant: impl Fn(&Warning) -> bool, now: UnixNanos) -> Vec<Arc<Warning>> {
        self.warnings
            .all(now)
            .filter(|warning| meant(warning))
            .cloned()
            .collect()
    }

    /// Everything that is present, as text: two indexes of the same cluster say the same.
    #[cfg(test)]
    pub(super) fn dump(&self) -> std::collections::BTreeMap<String, String> {
        let mut dump = std::collections::BTreeMap::new();
        let mut say = |key: String, value: String| drop(dump.insert(key, value));
        for pod in self.pods.all() {
            say(format!("pod {}", pod.uid), format!("{pod:?}"));
        }
        for node in self.nodes.all() {
            say(format!("node {}", node.name), format!("{node:?}"));
        }
        for set in self.replica_sets.all() {
            say(format!("set {}/{}", set.namespace, set.name), format!("{set:?}"));
        }
        for workload in self.workloads.all() {
            say(
                format!("{:?} {}/{}", workload.kind, workload.namespace, workload.name),
                format!("{workload:?}"),
            );
        }
        dump
    }
}

fn key(workload: &Workload) -> WorkloadKey {
    (
        workload.kind,
        Arc::clone(&workload.namespace),
        workload.name.as_ref().into(),
    )
}

/// Present objects by kind.
pub(super) fn counts(state: &State) -> HashMap<Kind, usize> {
    Kind::ALL.into_iter().map(|kind| (kind, state.count(kind))).collect()
}
