//! A table of objects by a key, with those that are gone.
//!
//! Owns presence: an object is there, or it is gone and kept for a while with its last state. Must not know what is kept.

use std::{
    borrow::Borrow,
    collections::{HashMap, VecDeque},
    hash::Hash,
    sync::Arc,
    time::Duration,
};

use inquest_shared::clock::UnixNanos;

/// How long an object that is gone can still be asked for. An agent that was cut off sends its findings when it comes back.
pub(super) const KEEP_GONE: Duration = Duration::from_secs(30 * 60);
/// Objects of one kind that are gone and kept at most; beyond it the oldest go first.
pub(super) const MAX_GONE: usize = 20_000;

struct Entry<V> {
    value: Arc<V>,
    epoch: u32,
    gone: Option<UnixNanos>,
}

/// Objects of one kind.
pub(super) struct Table<K, V> {
    entries: HashMap<K, Entry<V>>,
    gone: VecDeque<(UnixNanos, K)>,
    present: usize,
}

impl<K, V> Default for Table<K, V> {
    fn default() -> Self {
        Self {
            entries: HashMap::new(),
            gone: VecDeque::new(),
            present: 0,
        }
    }
}

impl<K: Eq + Hash + Clone, V: PartialEq> Table<K, V> {
    /// Puts an object in place and gives back what was there before, if it was present.
    pub(super) fn put(&mut self, key: K, value: Arc<V>, epoch: u32) -> Option<Arc<V>> {
        let entry = Entry {
            value,
            epoch,
            gone: None,
        };
        match self.entries.insert(key, entry) {
            Some(old) if old.gone.is_none() => Some(old.value),
            _ => {
                self.present = self.present.saturating_add(1);
                None
            }
        }
    }

    /// Marks an object as gone.
    pub(super) fn remove(&mut self, key: &K, now: UnixNanos) -> Option<Arc<V>> {
        let entry = self.entries.get_mut(key).filter(|entry| entry.gone.is_none())?;
        entry.gone = Some(now);
        self.present = self.present.saturating_sub(1);
        self.gone.push_back((now, key.clone()));
        Some(Arc::clone(&entry.value))
    }

    /// Marks as gone what a complete list in `scope` did not name.
    pub(super) fn finish(&mut self, scope: impl Fn(&V) -> bool, epoch: u32, now: UnixNanos) -> Vec<Arc<V>> {
        let unseen = |entry: &Entry<V>| entry.gone.is_none() && entry.epoch != epoch && scope(&entry.value);
        let keys: Vec<K> = self
            .entries
            .iter()
            .filter(|(_, entry)| unseen(entry))
            .map(|(key, _)| key.clone())
            .collect();
        keys.iter().filter_map(|key| self.remove(key, now)).collect()
    }

    /// Forgets what has been gone for long enough, and gives it back.
    pub(super) fn expire(&mut self, now: UnixNanos) -> Vec<(K, Arc<V>)> {
        let mut expired = Vec::new();
        while let Some((at, _)) = self.gone.front() {
            if now.since(*at) < KEEP_GONE && self.gone.len() <= MAX_GONE {
                break;
            }
            let Some((at, key)) = self.gone.pop_front() else { break };
            // One that came back, and perhaps went again later, is not meant.
            let meant = self.entries.get(&key).is_some_and(|entry| entry.gone == Some(at));
            if let Some(entry) = meant.then(|| self.entries.remove(&key)).flatten() {
                expired.push((key, entry.value));
            }
        }
        expired
    }

    /// The object, present or gone.
    pub(super) fn get<Q: Eq + Hash + ?Sized>(&self, key: &Q) -> Option<&Arc<V>>
    where
        K: Borrow<Q>,
    {
        self.entries.get(key).map(|entry| &entry.value)
    }

    /// The object, if it is present.
    pub(super) fn present<Q: Eq + Hash + ?Sized>(&self, key: &Q) -> Option<&Arc<V>>
    where
        K: Borrow<Q>,
    {
        let entry = self.entries.get(key).filter(|entry| entry.gone.is_none())?;
        Some(&entry.value)
    }

    /// Every present object with its key.
    pub(super) fn entries(&self) -> impl Iterator<Item = (&K, &Arc<V>)> {
        let present = self.entries.iter().filter(|(_, entry)| entry.gone.is_none());
        present.map(|(key, entry)| (key, &entry.value))
    }

    /// Every present object.
    pub(super) fn all(&self) -> impl Iterator<Item = &Arc<V>> {
        self.entries().map(|(_, value)| value)
    }

    pub(super) const fn len(&self) -> usize {
        self.present
    }
}
