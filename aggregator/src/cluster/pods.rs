//! All pods of a cluster.
//!
//! Owns the table, its five keys and the pods that are gone. Must not know where pods come from.

use std::{
    collections::{BTreeMap, VecDeque},
    ops::Deref,
    sync::Arc,
};

use inquest_shared::clock::UnixNanos;

use super::{
    id::{ContainerId, Uid},
    kept::{KEEP_GONE, MAX_GONE},
    pod::Pod,
    slots::{Candidates, Slots},
};

/// Slots are added in steps of this many, so that the table is never much larger than its content.
const STEP: usize = 4_096;

/// A pod as it is now, or as it was before it went.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PodView {
    /// The record.
    pub pod: Arc<Pod>,
    /// Since when it is gone, by the aggregator's clock; `None` while it is there.
    pub gone: Option<UnixNanos>,
}

impl Deref for PodView {
    type Target = Pod;

    fn deref(&self) -> &Pod {
        &self.pod
    }
}

struct Slot {
    pod: Option<Arc<Pod>>,
    epoch: u32,
    gone: bool,
}

#[derive(Default)]
pub(super) struct PodTable {
    slots: Vec<Slot>,
    free: Vec<u32>,
    by_uid: Slots,
    by_name: Slots,
    by_container: Slots,
    by_owner: Slots,
    by_node: Slots,
    gone_at: BTreeMap<u32, UnixNanos>,
    order: VecDeque<(UnixNanos, u32)>,
    present: usize,
}

impl PodTable {
    /// Puts a pod in place and gives back what was there before, if it was present.
    pub(super) fn put(&mut self, pod: Arc<Pod>, epoch: u32) -> Option<Arc<Pod>> {
        let Some(at) = self.slot_of(&pod.uid) else {
            self.insert(pod, epoch);
            return None;
        };
        let slot = self.slots.get_mut(at as usize)?;
        let was_gone = std::mem::replace(&mut slot.gone, false);
        slot.epoch = epoch;
        let old = slot.pod.replace(Arc::clone(&pod));
        if let Some(old) = &old {
            self.index(old, at, false);
        }
        self.index(&pod, at, true);
        if was_gone {
            self.gone_at.remove(&at);
            self.present = self.present.saturating_add(1);
            return None;
        }
        old
    }

    fn insert(&mut self, pod: Arc<Pod>, epoch: u32) {
        let at = self.free.pop().unwrap_or_else(|| self.grow());
        self.index(&pod, at, true);
        if let Some(slot) = self.slots.get_mut(at as usize) {
            *slot = Slot {
                pod: Some(pod),
                epoch,
                gone: false,
            };
            self.present = self.present.saturating_add(1);
        }
    }

    /// Adds one empty slot. A table of four thousand million pods does not exist.
    fn grow(&mut self) -> u32 {
        if self.slots.len() == self.slots.capacity() {
            self.slots.reserve_exact(STEP);
        }
        self.slots.push(Slot {
            pod: None,
            epoch: 0,
            gone: false,
        });
        u32::try_from(self.slots.len().saturating_sub(1)).unwrap_or(u32::MAX)
    }

    fn index(&mut self, pod: &Pod, at: u32, present: bool) {
        self.by_uid.set(&pod.uid, at, present);
        self.by_name.set(&(&*pod.namespace, &*pod.name), at, present);
        if let Some(owner) = &pod.owner {
            self.by_owner.set(&owner.uid, at, present);
        }
        if let Some(node) = &pod.node {
            self.by_node.set(&**node, at, present);
        }
        for id in pod.containers.iter().flat_map(|container| container.ids()) {
            self.by_container.set(id, at, present);
        }
    }

    /// Marks a pod as gone.
    pub(super) fn remove(&mut self, uid: &Uid, now: UnixNanos) -> Option<Arc<Pod>> {
        let at = self.slot_of(uid)?;
        self.bury(at, now)
    }

    fn bury(&mut self, at: u32, now: UnixNanos) -> Option<Arc<Pod>> {
        let slot = self.slots.get_mut(at as usize).filter(|slot| !slot.gone)?;
        let pod = slot.pod.clone()?;
        slot.gone = true;
        self.present = self.present.saturating_sub(1);
        self.gone_at.insert(at, now);
        self.order.push_back((now, at));
        Some(pod)
    }

    /// Marks as gone what a complete list of a namespace, or of all, did not name.
    pub(super) fn finish(&mut self, namespace: Option<&str>, epoch: u32, now: UnixNanos) -> Vec<Arc<Pod>> {
        let unseen = |slot: &Slot| {
            let Some(pod) = &slot.pod else { return false };
            let inside = namespace.is_none_or(|name| *pod.namespace == *name);
            inside && !slot.gone && slot.epoch != epoch
        };
        let unseen: Vec<u32> = (0..)
            .zip(&self.slots)
            .filter(|(_, slot)| unseen(slot))
            .map(|(at, _)| at)
            .collect();
        unseen.into_iter().filter_map(|at| self.bury(at, now)).collect()
    }

    /// Forgets what has been gone for long enough.
    pub(super) fn expire(&mut self, now: UnixNanos) {
        while let Some((at, slot)) = self.order.front().copied() {
            if now.since(at) < KEEP_GONE && self.order.len() <= MAX_GONE {
                break;
            }
            self.order.pop_front();
            // One that came back, and perhaps went again later, is not meant.
            if self.gone_at.get(&slot) != Some(&at) {
                continue;
            }
            self.gone_at.remove(&slot);
            if let Some(pod) = self.slots.get_mut(slot as usize).and_then(|slot| slot.pod.take()) {
                self.index(&pod, slot, false);
                self.free.push(slot);
            }
        }
    }

    fn slot_of(&self, uid: &Uid) -> Option<u32> {
        let is = |at: &u32| self.at(*at).is_some_and(|(pod, _)| pod.uid == *uid);
        self.by_uid.of(uid).find(is)
    }

    fn at(&self, at: u32) -> Option<(&Arc<Pod>, bool)> {
        let slot = self.slots.get(at as usize)?;
        Some((slot.pod.as_ref()?, slot.gone))
    }

    fn view(&self, at: u32) -> Option<PodView> {
        let (pod, gone) = self.at(at)?;
        Some(PodView {
            pod: Arc::clone(pod),
            gone: self.gone_at.get(&at).copied().filter(|_| gone),
        })
    }

    /// The pods in those slots that are meant.
    fn found<'a>(
        &'a self,
        slots: Candidates<'a>,
        is: impl Fn(&Pod) -> bool + 'a,
    ) -> impl Iterator<Item = PodView> + 'a {
        slots.filter_map(|at| self.view(at)).filter(move |pod| is(pod))
    }

    pub(super) fn by_uid(&self, uid: &Uid) -> Option<PodView> {
        self.view(self.slot_of(uid)?)
    }

    /// The pod of that name: the present one, else the last that was.
    pub(super) fn by_name(&self, namespace: &str, name: &str) -> Option<PodView> {
        let is = |pod: &Pod| &*pod.namespace == namespace && &*pod.name == name;
        let mut best: Option<PodView> = None;
        for pod in self.found(self.by_name.of(&(namespace, name)), is) {
            // No time at all is the best: it is there.
            let rank = |pod: &PodView| pod.gone.unwrap_or(UnixNanos(i64::MAX));
            if best.as_ref().is_none_or(|best| rank(best) < rank(&pod)) {
                best = Some(pod);
            }
        }
        best
    }

    /// The pod of an instance and the name of its container.
    pub(super) fn by_container(&self, id: &ContainerId) -> Option<(PodView, Box<str>)> {
        self.by_container.of(id).find_map(|at| {
            let pod = self.view(at)?;
            let mut containers = pod.containers.iter();
            let container = containers.find(|container| container.ids().any(|known| known == id))?;
            let name = container.spec.name.clone();
            Some((pod, name))
        })
    }

    /// The pods that an object controls, present and gone.
    pub(super) fn by_owner<'a>(&'a self, owner: &'a Uid) -> impl Iterator<Item = PodView> + 'a {
        let is = |pod: &Pod| pod.owner.as_ref().is_some_and(|known| known.uid == *owner);
        self.found(self.by_owner.of(owner), is)
    }

    /// The present pods of a node.
    pub(super) fn by_node<'a>(&'a self, node: &'a str) -> impl Iterator<Item = PodView> + 'a {
        let is = move |pod: &Pod| pod.node.as_deref() == Some(node);
        let pods = self.found(self.by_node.of(node), is);
        pods.filter(|pod| pod.gone.is_none())
    }

    /// Every pod that is present.
    pub(super) fn all(&self) -> impl Iterator<Item = &Arc<Pod>> {
        let present = self.slots.iter().filter(|slot| !slot.gone);
        present.filter_map(|slot| slot.pod.as_ref())
    }

    pub(super) const fn len(&self) -> usize {
        self.present
    }

    #[cfg(test)]
    pub(super) fn keys(&self) -> usize {
        let slots = [
            &self.by_uid,
            &self.by_name,
            &self.by_container,
            &self.by_owner,
            &self.by_node,
        ];
        slots.iter().map(|slots| slots.len()).sum()
    }
}
