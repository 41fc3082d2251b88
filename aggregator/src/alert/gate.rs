//! Whether anything may go to a receiver now: circuit breaker and the receiver's own wish for silence.
//!
//! Pure: the time is passed in.

use std::time::Duration;

use tokio::time::Instant;
use ulid::Ulid;

/// Consecutive failures after which a receiver counts as broken.
pub(super) const MAX_FAILURES: u32 = 5;
/// A broken receiver gets one message per this time, until one goes through.
pub(super) const PROBE_INTERVAL: Duration = Duration::from_secs(30);

/// What may be sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Admission {
    /// Everything that is due.
    All,
    /// One message, due or not, to find out whether the receiver is back.
    Probe,
    /// Nothing before the given time.
    NotBefore(Instant),
    /// Nothing before the probe in flight comes back.
    Probing,
}

/// State of one receiver.
#[derive(Debug, Default)]
pub(super) struct Gate {
    failures: u32,
    next_probe: Option<Instant>,
    probe: Option<Ulid>,
    silent_until: Option<Instant>,
}

impl Gate {
    /// What may be sent now.
    pub(super) fn admission(&self, now: Instant) -> Admission {
        match (self.silent_until, self.next_probe) {
            (Some(until), _) if now < until => Admission::NotBefore(until),
            (_, None) => Admission::All,
            _ if self.probe.is_some() => Admission::Probing,
            (_, Some(at)) if now < at => Admission::NotBefore(at),
            _ => Admission::Probe,
        }
    }

    /// Notes which row is the probe.
    pub(super) const fn begin_probe(&mut self, row: Ulid) {
        self.probe = Some(row);
    }

    /// True while the receiver counts as broken.
    pub(super) const fn is_broken(&self) -> bool {
        self.next_probe.is_some()
    }

    /// The receiver answered as it should.
    pub(super) fn succeeded(&mut self) {
        let silent_until = self.silent_until;
        *self = Self {
            silent_until,
            ..Self::default()
        };
    }

    /// It did not, `weight` times as bad as a single failure.
    pub(super) fn failed(&mut self, row: Ulid, weight: u32, now: Instant) {
        self.failures = self.failures.saturating_add(weight);
        if self.probe == Some(row) {
            self.probe = None;
        }
        if self.failures >= MAX_FAILURES {
            self.next_probe = Some(now + PROBE_INTERVAL);
        }
    }

    /// It wants silence, which says nothing about its health.
    pub(super) fn silence(&mut self, row: Ulid, until: Instant) {
        self.silent_until = self.silent_until.max(Some(until));
        if self.probe == Some(row) {
            self.probe = None;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ROW: Ulid = Ulid(1);

    #[test]
    fn a_broken_receiver_gets_one_probe_at_a_time_and_returns_with_the_first_success() {
        let (mut gate, now) = (Gate::default(), Instant::now());
        for _ in 0..4 {
            gate.failed(ROW, 1, now);
        }
        assert_eq!(gate.admission(now), Admission::All);
        gate.failed(ROW, 1, now);
        let later = now + PROBE_INTERVAL;
        assert_eq!(
            (gate.admission(now), gate.is_broken()),
            (Admission::NotBefore(later), true)
        );
        assert_eq!(gate.admission(later), Admission::Probe);
        gate.begin_probe(ROW);
        assert_eq!(gate.admission(later), Admission::Probing);
        gate.failed(Ulid(2), 1, later);
        assert_eq!(
            gate.admission(later),
            Admission::Probing,
            "a straggler is not the probe"
        );
        gate.failed(ROW, 1, later);
        assert_eq!(gate.admission(later), Admission::NotBefore(later + PROBE_INTERVAL));
        gate.succeeded();
        assert_eq!((gate.admission(later), gate.is_broken()), (Admission::All, false));
    }

    #[test]
    fn silence_ends_by_itself_and_the_longest_wish_counts() {
        let (mut gate, now) = (Gate::default(), Instant::now());
        gate.silence(ROW, now + Duration::from_secs(9));
        gate.silence(ROW, now + Duration::from_secs(3));
        assert_eq!(gate.admission(now), Admission::NotBefore(now + Duration::from_secs(9)));
        assert_eq!(gate.admission(now + Duration::from_secs(9)), Admission::All);
        assert!(!gate.is_broken());
    }
}
