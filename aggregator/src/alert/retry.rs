//! What an outcome means for a row: done, given up, or when to try again.
//!
//! Pure: the time is passed in, and jitter follows from the row's id, so a replay waits equally long.

use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::time::Duration;

use inquest_shared::clock::UnixNanos;
use inquest_shared::model::DeliveryState;

use crate::notify::{Outcome, Reason};
use crate::record::OutboxRow;

/// Silence for a receiver that wants fewer messages and does not say for how long.
pub(super) const THROTTLED: Duration = Duration::from_secs(30);
/// First step of the back-off.
const BASE: Duration = Duration::from_secs(1);
/// Longest step of the back-off.
pub(super) const MAX_WAIT: Duration = Duration::from_secs(5 * 60);
/// A notice older than this is not worth another try. Long enough for what broke on a Friday evening and is repaired on
/// Monday.
pub(super) const DEADLINE: Duration = Duration::from_secs(72 * 3600);

/// Writes the outcome of a try into its row. A row that stays pending has its next time set.
pub(super) fn settle(row: &mut OutboxRow, outcome: &Outcome, now: UnixNanos) {
    match outcome {
        Outcome::Delivered => {
            (row.state, row.delivered_at) = (DeliveryState::Delivered, Some(now));
            row.last_error.clear();
        }
        Outcome::Permanent(reason) | Outcome::Oversize(reason) => bury(row, reason),
        Outcome::RetryAfter(Some(wait), reason) | Outcome::Throttled(Some(wait), reason) => {
            postpone(row, *wait, reason, now);
        }
        Outcome::AuthBroken(reason) => postpone(row, MAX_WAIT, reason, now),
        Outcome::Ambiguous(reason) | Outcome::RetryAfter(None, reason) | Outcome::Throttled(None, reason) => {
            let wait = jittered(row);
            postpone(row, wait, reason, now);
        }
    }
}

/// Gives a row up; it is kept for inspection.
pub(super) fn bury(row: &mut OutboxRow, reason: &Reason) {
    row.state = DeliveryState::Dead;
    reason.as_str().clone_into(&mut row.last_error);
}

fn postpone(row: &mut OutboxRow, wait: Duration, reason: &Reason, now: UnixNanos) {
    if now.since(row.planned_at) >= DEADLINE {
        return bury(
            row,
            &Reason::quoting("given up after 3 days", reason.as_str().as_bytes()),
        );
    }
    row.next_at = now.saturating_add(wait);
    reason.as_str().clone_into(&mut row.last_error);
}

/// Full jitter: anything between zero and the doubling step, so that rows which failed together do not return together.
fn jittered(row: &OutboxRow) -> Duration {
    let factor = 1_u32.checked_shl(row.attempts.saturating_sub(1)).unwrap_or(u32::MAX);
    let step = BASE.saturating_mul(factor).min(MAX_WAIT);
    let mut hasher = DefaultHasher::new();
    (row.id.0, row.attempts).hash(&mut hasher);
    let nanos = u64::try_from(step.as_nanos()).unwrap_or(u64::MAX);
    Duration::from_nanos(hasher.finish() % nanos)
}

#[cfg(test)]
mod tests {
    use inquest_shared::model::TransitionKind;
    use ulid::Ulid;

    use super::*;
    use crate::alert::sample::row;

    fn why() -> Reason {
        Reason::new("http 500")
    }

    fn tried(attempts: u32) -> OutboxRow {
        OutboxRow {
            attempts,
            ..row(1, "hook", 1, TransitionKind::Opened)
        }
    }

    #[test]
    fn an_accepted_row_is_done_and_forgets_its_errors() {
        let mut row = OutboxRow {
            last_error: "http 500".to_owned(),
            ..tried(2)
        };
        settle(&mut row, &Outcome::Delivered, UnixNanos(7));
        let expected = (DeliveryState::Delivered, Some(UnixNanos(7)), "");
        assert_eq!((row.state, row.delivered_at, row.last_error.as_str()), expected);
    }

    #[test]
    fn a_refused_row_is_dead_with_its_reason_and_its_notice() {
        let mut row = tried(1);
        settle(&mut row, &Outcome::Permanent(Reason::new("http 400")), UnixNanos(7));
        assert_eq!((row.state, row.last_error.as_str()), (DeliveryState::Dead, "http 400"));
    }

    #[test]
    fn a_receiver_that_names_a_time_is_obeyed() {
        let mut row = tried(1);
        let wait = Duration::from_secs(90);
        settle(&mut row, &Outcome::Throttled(Some(wait), why()), UnixNanos(0));
        assert_eq!(
            (row.state, row.next_at),
            (DeliveryState::Pending, UnixNanos::from_secs(90))
        );
    }

    #[test]
    fn after_three_days_a_row_is_given_up_but_only_after_one_more_try() {
        let mut row = tried(40);
        let late = row.planned_at.saturating_add(DEADLINE);
        settle(&mut row, &Outcome::Ambiguous(Reason::new("timed out")), late);
        assert_eq!(
            (row.state, row.last_error.as_str()),
            (DeliveryState::Dead, "given up after 3 days: timed out")
        );
    }

    proptest::proptest! {
        #[test]
        fn waits_grow_from_a_second_to_five_minutes(id: u128, attempts in 1_u32..100) {
            let row = OutboxRow { id: Ulid(id), ..tried(attempts) };
            let step = Duration::from_secs(1_u64.checked_shl(attempts - 1).unwrap_or(u64::MAX)).min(MAX_WAIT);
            proptest::prop_assert!(jittered(&row) < step.max(BASE));
        }
    }

    #[test]
    fn rows_that_fail_together_do_not_return_together() {
        let waits: std::collections::BTreeSet<Duration> = (0..100)
            .map(|id| {
                jittered(&OutboxRow {
                    id: Ulid(id),
                    ..tried(9)
                })
            })
            .collect();
        assert_eq!(waits.len(), 100);
        assert!(waits.last().is_some_and(|wait| *wait > Duration::from_secs(200)));
    }
}
