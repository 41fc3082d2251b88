//! One batch: findings and stored versions in, changes out. No input or output.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    sync::Arc,
};

use inquest_shared::{clock::UnixNanos, model::Key};
use tokio::time::{Duration, Instant};

use super::{AckSink, Ids, lanes::Item};
use crate::{
    engine::{Delta, Engine, Event, Rules, Standing},
    record::{NodeIdentity, StoredOccurrence},
};

/// Work in one batch, so that an opener that arrives meanwhile does not wait longer.
const BUDGET: Duration = Duration::from_millis(5);

/// Primary key of a finding.
pub(super) type PrimaryKey = (NodeIdentity, Key);

/// What holds at present, by cluster.
pub type Standings = BTreeMap<String, Standing>;

/// What the engine is to learn with a batch, beside findings.
#[derive(Debug, Clone, Default)]
pub(super) struct News {
    pub rules: Option<Rules>,
    pub standing: Standings,
}

/// What a batch did.
pub(super) struct Folded {
    pub delta: Delta,
    /// How many findings of the batch it covers, from the front.
    pub taken: usize,
    /// How many of them were never stored before.
    pub fresh: usize,
}

/// What the fold has to know of the store: each finding of the batch and the kills that it cites, each once.
pub(super) fn keys_of(work: &[Item]) -> Vec<PrimaryKey> {
    let node = |item: &Item| NodeIdentity::clone(&item.node);
    let cited = |item: &Item| {
        item.received
            .finding
            .cites
            .iter()
            .map(|key| (node(item), *key))
            .collect::<Vec<_>>()
    };
    let own = work.iter().map(|item| (node(item), item.received.finding.key));
    let keys: BTreeSet<PrimaryKey> = own.chain(work.iter().flat_map(cited)).collect();
    keys.into_iter().collect()
}

/// Folds as much of `work` as the budget of time allows, at least one finding; then the clock.
pub(super) fn fold(
    engine: &Engine,
    work: &[Item],
    stored: Vec<StoredOccurrence>,
    news: News,
    now: UnixNanos,
    ids: &mut Ids,
) -> Folded {
    let start = Instant::now();
    let mut batch = engine.batch();
    // By node uid: the name of a node may change under the same identity.
    let mut seen: BTreeSet<(String, Key)> = stored.iter().map(|s| (s.node.uid.clone(), s.finding.key)).collect();
    stored.into_iter().for_each(|version| batch.recall(version));
    if let Some(rules) = news.rules {
        batch.fold(Event::Rules(rules), now, ids);
    }
    let (mut taken, mut fresh) = (0_usize, 0_usize);
    for item in work {
        if taken > 0 && start.elapsed() >= BUDGET {
            break;
        }
        let finding = &item.received.finding;
        fresh = fresh.saturating_add(usize::from(seen.insert((item.node.uid.clone(), finding.key))));
        batch.arrive(&item.node, finding, now, ids);
        taken = taken.saturating_add(1);
    }
    for (cluster, standing) in news.standing {
        let event = Event::Standing { cluster, now: standing };
        batch.fold(event, now, ids);
    }
    batch.fold(Event::Tick, now, ids);
    Folded {
        delta: batch.into_delta(),
        taken,
        fresh,
    }
}

/// What one stream has in a batch.
pub(super) struct Part {
    pub node: Arc<NodeIdentity>,
    pub sink: Arc<AckSink>,
    pub seqs: BTreeSet<u64>,
    pub bytes: u64,
}

/// Groups findings by their stream.
pub(super) fn parts_of(work: &[Item]) -> Vec<Part> {
    let mut parts: Vec<Part> = Vec::new();
    let mut places: HashMap<*const AckSink, usize> = HashMap::new();
    let streamed = work.iter().filter_map(|item| Some((item, item.sink.as_ref()?)));
    for (item, sink) in streamed {
        let next = parts.len();
        let place = *places.entry(Arc::as_ptr(sink)).or_insert(next);
        if place == next {
            let (node, sink) = (Arc::clone(&item.node), Arc::clone(sink));
            parts.push(Part {
                node,
                sink,
                seqs: BTreeSet::new(),
                bytes: 0,
            });
        }
        if let Some(part) = parts.get_mut(place) {
            part.seqs.insert(item.received.seq);
            part.bytes = part.bytes.saturating_add(item.received.bytes);
        }
    }
    parts
}
