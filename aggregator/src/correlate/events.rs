//! The last warnings about a pod, as people read them.

use std::{sync::Arc, time::Duration};

use inquest_shared::{
    clock::UnixNanos,
    model::{MAX_EVENTS, PodEvent, Untrusted},
};

use crate::cluster::Warning;

/// Warnings older than this belong to another story.
const STORY: Duration = Duration::from_secs(10 * 60);
/// Longest message taken over.
const MAX_MESSAGE: usize = 256;
/// Longest reason taken over.
const MAX_REASON: usize = 64;

/// The newest warnings of the story that ended at `end`, the newest first; equal ones are one, with their counts added up.
pub(super) fn newest(warnings: &[Arc<Warning>], end: UnixNanos, most: usize) -> Vec<PodEvent> {
    let mut events: Vec<PodEvent> = Vec::new();
    for warning in warnings {
        let Some(last_at) = warning.last.or(warning.first).filter(|at| end.since(*at) < STORY) else {
            continue;
        };
        let message = Untrusted::bounded(&warning.message, MAX_MESSAGE);
        let same = |event: &&mut PodEvent| event.reason.raw() == &*warning.reason && event.message == message;
        if let Some(event) = events.iter_mut().find(same) {
            event.count = event.count.saturating_add(warning.count);
            event.last_at = event.last_at.max(last_at);
        } else {
            events.push(PodEvent {
                reason: Untrusted::bounded(&warning.reason, MAX_REASON),
                message,
                count: warning.count,
                last_at,
            });
        }
    }
    events.sort_by_key(|event| std::cmp::Reverse(event.last_at));
    events.truncate(most.min(MAX_EVENTS));
    events
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cluster::Uid;

    const NOW: UnixNanos = UnixNanos::from_secs(1_000_000);

    fn warning(number: u64, message: &str, count: u32) -> Arc<Warning> {
        Arc::new(Warning {
            event: Uid::parse(&number.to_string()),
            kind: "Pod".into(),
            namespace: "shop".into(),
            name: "api".into(),
            object: Uid::parse("p"),
            part: "".into(),
            reason: "BackOff".into(),
            message: message.into(),
            count,
            reporter: "kubelet".into(),
            first: None,
            last: Some(NOW.saturating_sub(Duration::from_secs(number))),
        })
    }

    #[test]
    fn of_twelve_warnings_the_newest_five_are_told_and_equal_ones_are_one() {
        let mut all: Vec<_> = (1..=9).map(|n| warning(n * 10, &n.to_string(), 1)).collect();
        all.extend([warning(5, "same", 2), warning(15, "same", 3), warning(25, "same", 4)]);
        all.push(warning(4_000, "long ago", 1));
        let told = newest(&all, NOW, 5);
        let told: Vec<_> = told.iter().map(|event| (event.message.raw(), event.count)).collect();
        assert_eq!(told, [("same", 9), ("1", 1), ("2", 1), ("3", 1), ("4", 1)]);
    }
}
