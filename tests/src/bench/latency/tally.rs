//! What all rounds gave. Owns the rule of what counts when.

use super::witness::Begin;
use crate::bench::{
    kernel_log::Kill,
    line::Lost,
    statistics::{Figures, milliseconds},
    victims::Told,
};

/// How a report reached the bare reader; nanoseconds since the kernel's first record.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Stages {
    /// The kernel had stamped the record that names the victim.
    pub(super) written: u64,
    /// The reader had the first record.
    pub(super) woken: u64,
    /// The reader had the record that names the victim.
    pub(super) read: u64,
}

impl Stages {
    pub(super) fn of(begin: u64, kill: Kill) -> Option<Self> {
        Some(Self {
            written: kill.last_us.checked_sub(kill.first_us)?.saturating_mul(1000),
            woken: kill.first_read_ns.checked_sub(begin)?,
            read: kill.read_ns.checked_sub(begin)?,
        })
    }

    pub(super) fn figures(all: &[Self], of: impl Fn(&Self) -> u64) -> Figures {
        milliseconds(&all.iter().map(of).collect::<Vec<_>>())
    }

    /// Where the time of the floor went.
    pub(super) fn notes(all: &[Self]) -> Option<String> {
        let (written, woken) = (
            Self::figures(all, |s| s.written).p50?,
            Self::figures(all, |s| s.woken).p50?,
        );
        Some(format!(
            "p50: the kernel wrote its report in {written} ms, the bare reader woke after {woken} ms"
        ))
    }
}

/// What all rounds gave; nanoseconds.
#[derive(Debug, Default)]
pub(super) struct Tally {
    pub(super) alerts: Vec<u64>,
    pub(super) stages: Vec<Stages>,
    pub(super) lost: Lost,
    pub(super) discarded: usize,
    /// All that were caused.
    pub(super) deaths: usize,
}

impl Tally {
    /// Counts one death. What is lost counts in every round, what is measured only in quiet ones.
    pub(super) fn add(&mut self, begin: Option<Begin>, arrival: Option<(u64, Told)>, quiet: bool) {
        self.deaths += 1;
        let Some((at, told)) = arrival else {
            self.lost.missing += 1;
            return;
        };
        self.lost.wrong_cause += usize::from(told == Told::Wrong);
        self.lost.unproved_cause += usize::from(told == Told::Unproved);
        // An alert before its death means that one of the clocks is wrong.
        let Some((begin, took)) = begin.and_then(|begin| Some((begin, at.checked_sub(begin.at)?))) else {
            self.lost.unmeasured += 1;
            return;
        };
        if quiet {
            self.alerts.push(took);
            self.stages
                .extend(begin.kernel.and_then(|kill| Stages::of(begin.at, kill)));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const KILL: Kill = Kill {
        first_us: 1,
        last_us: 2,
        first_read_ns: 1_200,
        read_ns: 1_300,
    };
    const BEGIN: Option<Begin> = Some(Begin {
        at: 1_000,
        kernel: Some(KILL),
    });

    #[test]
    fn a_noisy_round_is_not_measured_but_its_losses_count() {
        let mut tally = Tally::default();
        tally.add(BEGIN, Some((5_000, Told::Right)), false);
        tally.add(BEGIN, None, false);
        assert_eq!((tally.alerts.len(), tally.lost.missing), (0, 1));
        tally.add(BEGIN, Some((5_000, Told::Right)), true);
        assert_eq!(tally.alerts, [4_000]);
        assert_eq!(
            tally.stages,
            [Stages {
                written: 1_000,
                woken: 200,
                read: 300
            }]
        );
    }

    #[test]
    fn a_slow_or_wrong_alert_is_never_left_out() {
        let mut tally = Tally::default();
        tally.add(BEGIN, Some((29_000_001_000, Told::Right)), true);
        tally.add(BEGIN, Some((2_000, Told::Wrong)), true);
        tally.add(BEGIN, Some((3_000, Told::Unproved)), true);
        assert_eq!(tally.alerts, [29_000_000_000, 1_000, 2_000]);
        assert_eq!((tally.lost.wrong_cause, tally.lost.unproved_cause), (1, 1));
    }

    #[test]
    fn a_death_without_a_begin_is_counted_apart() {
        let mut tally = Tally::default();
        tally.add(None, Some((5_000, Told::Right)), true);
        tally.add(BEGIN, Some((999, Told::Right)), true);
        assert_eq!((tally.alerts.len(), tally.lost.unmeasured), (0, 2));
    }
}
