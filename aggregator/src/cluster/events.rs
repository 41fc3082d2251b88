//! Warnings of the last half hour.
//!
//! Owns the rings, one for each object, and their limits. A warning that is seen again with a higher count is news. Must not
//! know connections or incidents.

use std::{
    collections::{BTreeMap, HashMap},
    sync::Arc,
    time::Duration,
};

use inquest_shared::clock::UnixNanos;

use super::{
    id::{Uid, bounded},
    owner::MAX_MESSAGE,
    pool::Pool,
    wire::{EventWire, either, time},
};

/// Warnings kept of one object; the oldest go first.
const PER_OBJECT: usize = 50;
/// How long they are kept.
const KEEP: Duration = Duration::from_secs(30 * 60);
/// What all of them may take together, by [`Warning::cost`]; the oldest go first.
const MAX_BYTES: usize = 16 * 1024 * 1024;

/// An event of type Warning.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Warning {
    /// Uid of the event itself.
    pub event: Uid,
    /// Kind of the object it is about.
    pub kind: Arc<str>,
    /// Namespace of the object; empty for nodes.
    pub namespace: Arc<str>,
    /// Name of the object.
    pub name: Box<str>,
    /// Uid of the object, as the reporter gave it: for a node its name, for a static pod its configuration hash.
    pub object: Uid,
    /// Part of the object, for example `spec.containers{main}`.
    pub part: Box<str>,
    /// For example `BackOff`.
    pub reason: Arc<str>,
    /// At most 512 bytes.
    pub message: Box<str>,
    /// How often it was reported.
    pub count: u32,
    /// Who reported it.
    pub reporter: Arc<str>,
    /// First time, by the reporter's clock.
    pub first: Option<UnixNanos>,
    /// Last time, by the reporter's clock.
    pub last: Option<UnixNanos>,
}

impl Warning {
    pub(super) fn read(wire: &EventWire, pool: &mut Pool) -> Self {
        let series = wire.series.as_ref();
        let last = series.and_then(|series| time(series.last_observed_time.as_ref()));
        let at = time(wire.event_time.as_ref());
        let involved = &wire.involved_object;
        Self {
            event: Uid::parse(&wire.metadata.uid),
            kind: pool.text(&involved.kind),
            namespace: pool.text(&involved.namespace),
            name: involved.name.as_str().into(),
            object: Uid::parse(&involved.uid),
            part: bounded(&involved.field_path, MAX_MESSAGE),
            reason: pool.text(&wire.reason),
            message: bounded(&wire.message, MAX_MESSAGE),
            count: series.map_or(wire.count.unwrap_or(1), |series| series.count).max(1),
            reporter: pool.text(either(&wire.reporting_component, &wire.source.component)),
            first: time(wire.first_timestamp.as_ref()).or(at),
            last: last.or(time(wire.last_timestamp.as_ref())).or(at),
        }
    }

    /// Bytes that it takes, without what is shared.
    fn cost(&self) -> usize {
        size_of::<Self>()
            .saturating_add(self.message.len())
            .saturating_add(self.name.len())
            .saturating_add(self.part.len())
    }
}

struct Entry {
    number: u64,
    at: UnixNanos,
    warning: Arc<Warning>,
}

/// The rings of all objects.
#[derive(Default)]
pub(super) struct Rings {
    rings: HashMap<Uid, Vec<Entry>>,
    /// Order of arrival over all objects.
    order: BTreeMap<u64, Uid>,
    next: u64,
    bytes: usize,
}

impl Rings {
    /// Takes a warning that was last reported `at`, by the aggregator's clock. Gives it back if it is news.
    pub(super) fn put(&mut self, warning: Warning, at: UnixNanos, now: UnixNanos) -> Option<Arc<Warning>> {
        self.expire(now);
        if now.since(at) >= KEEP {
            return None;
        }
        let ring = self.rings.entry(warning.object.clone()).or_default();
        let known = ring.iter().position(|entry| entry.warning.event == warning.event);
        let drop = match known {
            Some(at) if same(&ring[at].warning, &warning) => return None,
            Some(at) => Some(ring.remove(at)),
            None if ring.len() >= PER_OBJECT => Some(ring.remove(0)),
            None => None,
        };
        if let Some(entry) = drop {
            self.order.remove(&entry.number);
            self.bytes = self.bytes.saturating_sub(entry.warning.cost());
        }
        let warning = Arc::new(warning);
        let number = self.next;
        self.next = self.next.wrapping_add(1);
        self.bytes = self.bytes.saturating_add(warning.cost());
        self.order.insert(number, warning.object.clone());
        ring.push(Entry {
            number,
            at,
            warning: Arc::clone(&warning),
        });
        while self.bytes > MAX_BYTES && self.drop_oldest() {}
        Some(warning)
    }

    /// Forgets what is too old.
    pub(super) fn expire(&mut self, now: UnixNanos) {
        while let Some((number, object)) = self.order.first_key_value() {
            let ring = self.rings.get(object);
            let entry = ring.and_then(|ring| ring.iter().find(|entry| entry.number == *number));
            if entry.is_some_and(|entry| now.since(entry.at) < KEEP) || !self.drop_oldest() {
                break;
            }
        }
    }

    fn drop_oldest(&mut self) -> bool {
        let Some((number, object)) = self.order.pop_first() else {
            return false;
        };
        if let Some(ring) = self.rings.get_mut(&object) {
            let at = ring.iter().position(|entry| entry.number == number);
            if let Some(entry) = at.map(|at| ring.remove(at)) {
                self.bytes = self.bytes.saturating_sub(entry.warning.cost());
            }
            if ring.is_empty() {
                self.rings.remove(&object);
            }
        }
        true
    }

    /// The warnings about an object, in the order of their arrival.
    pub(super) fn of(&self, object: &Uid, now: UnixNanos) -> Vec<Arc<Warning>> {
        let entries = self.rings.get(object).into_iter().flatten();
        let fresh = entries.filter(|entry| now.since(entry.at) < KEEP);
        fresh.map(|entry| Arc::clone(&entry.warning)).collect()
    }

    /// The warnings about all objects.
    pub(super) fn all(&self, now: UnixNanos) -> impl Iterator<Item = &Arc<Warning>> {
        let fresh = self.rings.values().flatten();
        fresh
            .filter(move |entry| now.since(entry.at) < KEEP)
            .map(|entry| &entry.warning)
    }

    pub(super) fn len(&self) -> usize {
        self.order.len()
    }
}

/// The same report, perhaps under a new resource version.
fn same(old: &Warning, new: &Warning) -> bool {
    old.count == new.count && old.last == new.last && old.message == new.message
}

#[cfg(test)]
mod tests {
    use super::*;

    fn warning(object: &str, event: &str, count: u32) -> Warning {
        let wire = serde_json::json!({
            "metadata": {"uid": event},
            "involvedObject": {"uid": object, "kind": "Pod", "name": "api", "namespace": "shop"},
            "reason": "BackOff", "message": "x".repeat(2_000), "count": count,
        });
        let wire: EventWire = serde_json::from_value(wire).unwrap();
        Warning::read(&wire, &mut Pool::default())
    }

    const NOW: UnixNanos = UnixNanos::from_secs(1_000_000);

    fn minutes(count: u64) -> Duration {
        Duration::from_secs(60 * count)
    }

    #[test]
    fn a_count_that_grows_is_news_and_the_same_report_again_is_not() {
        let mut rings = Rings::default();
        assert_eq!(rings.put(warning("p", "e", 3), NOW, NOW).unwrap().count, 3);
        assert!(rings.put(warning("p", "e", 3), NOW, NOW).is_none());
        assert_eq!(rings.put(warning("p", "e", 40), NOW, NOW).unwrap().count, 40);
        let kept = rings.of(&Uid::parse("p"), NOW);
        assert_eq!(kept.iter().map(|warning| warning.count).collect::<Vec<_>>(), [40]);
    }

    #[test]
    fn an_object_keeps_its_last_fifty_and_nothing_older_than_half_an_hour() {
        let mut rings = Rings::default();
        for index in 0..80 {
            rings.put(warning("p", &format!("e{index}"), 1), NOW, NOW);
        }
        let kept = rings.of(&Uid::parse("p"), NOW);
        assert_eq!((kept.len(), kept[0].event.to_string()), (50, "e30".to_owned()));
        let later = NOW.saturating_add(minutes(30));
        assert!(rings.of(&Uid::parse("p"), later).is_empty());
        rings.expire(later);
        assert_eq!((rings.len(), rings.bytes, rings.rings.len()), (0, 0, 0));
    }

    #[test]
    fn an_old_event_of_the_first_list_is_not_taken_for_a_fresh_one() {
        let mut rings = Rings::default();
        let old = NOW.saturating_sub(minutes(45));
        assert!(rings.put(warning("p", "e", 1), old, NOW).is_none());
    }

    #[test]
    fn a_flood_over_many_objects_stays_within_its_bytes() {
        let mut rings = Rings::default();
        for index in 0..60_000 {
            rings.put(warning(&format!("p{index}"), "e", 1), NOW, NOW);
        }
        assert!(rings.bytes <= MAX_BYTES && rings.len() > 10_000, "{}", rings.len());
        assert!(rings.of(&Uid::parse("p0"), NOW).is_empty());
        assert_eq!(rings.of(&Uid::parse("p59999"), NOW).len(), 1);
    }
}
