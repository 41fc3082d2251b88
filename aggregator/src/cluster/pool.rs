//! Values that many records share, kept once.
//!
//! Owns the sets and the sweep of what nobody refers to any more. Must not know records.

use std::{collections::HashSet, hash::Hash, sync::Arc};

use super::{owner::OwnerRef, pod::ContainerSpec};

/// Names of namespaces and nodes, reasons, hashes; owners; what containers of one template have in common.
#[derive(Default)]
pub(super) struct Pool {
    texts: HashSet<Arc<str>>,
    owners: HashSet<Arc<OwnerRef>>,
    specs: HashSet<Arc<ContainerSpec>>,
}

impl Pool {
    pub(super) fn text(&mut self, text: &str) -> Arc<str> {
        if let Some(known) = self.texts.get(text) {
            return Arc::clone(known);
        }
        let shared: Arc<str> = text.into();
        self.texts.insert(Arc::clone(&shared));
        shared
    }

    /// `None` for an empty text, as the API means it.
    pub(super) fn given(&mut self, text: &str) -> Option<Arc<str>> {
        (!text.is_empty()).then(|| self.text(text))
    }

    pub(super) fn owner(&mut self, owner: OwnerRef) -> Arc<OwnerRef> {
        share(&mut self.owners, owner)
    }

    pub(super) fn spec(&mut self, spec: ContainerSpec) -> Arc<ContainerSpec> {
        share(&mut self.specs, spec)
    }

    /// Forgets what no record refers to; the values that hold others go first.
    pub(super) fn sweep(&mut self) {
        sweep(&mut self.owners);
        sweep(&mut self.specs);
        sweep(&mut self.texts);
    }

    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        self.texts.len() + self.owners.len() + self.specs.len()
    }
}

fn share<T: Eq + Hash>(set: &mut HashSet<Arc<T>>, value: T) -> Arc<T> {
    if let Some(known) = set.get(&value) {
        return Arc::clone(known);
    }
    let shared = Arc::new(value);
    set.insert(Arc::clone(&shared));
    shared
}

fn sweep<T: ?Sized + Eq + Hash>(set: &mut HashSet<Arc<T>>) {
    set.retain(|value| Arc::strong_count(value) > 1);
    if set.len() < set.capacity() / 4 {
        set.shrink_to_fit();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_workloads_that_went_away_do_not_pile_up() {
        let mut pool = Pool::default();
        let kept = pool.text("kept");
        assert!(Arc::ptr_eq(&kept, &pool.text("kept")));
        for index in 0..1_000 {
            pool.text(&format!("gone-{index}"));
        }
        pool.sweep();
        assert_eq!(pool.len(), 1);
    }
}
