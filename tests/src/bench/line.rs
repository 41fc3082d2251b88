//! The line that a bench prints. Owns its fields and the judgement whether a target was met.

use std::{
    fs::File,
    io::{self, Write as _},
    path::Path,
};

use anyhow::{Context as _, Result};
use serde::Serialize;

use super::{machine::Machine, statistics::Figures};

/// What a bench should reach. Figures that are not named may be anything.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize)]
pub(super) struct Target {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) p50: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) p99: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) mean: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) max: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) missing: Option<usize>,
    /// What half of the sample has to reach at least: for figures of which more is better.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) least: Option<f64>,
    /// Fewer samples prove nothing.
    pub(super) samples: usize,
}

/// Events that gave no sample, or not a right one.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub(super) struct Lost {
    /// Deaths without an alert within 30 s, those of discarded rounds included.
    pub(super) missing: usize,
    /// Alerts that named another cause; their times are in the figures.
    pub(super) wrong_cause: usize,
    /// Alerts that named the right cause before the kernel had proved it; likewise.
    pub(super) unproved_cause: usize,
    /// Further opening alerts about the same death.
    pub(super) repeated: usize,
    /// Deaths whose beginning is not known, for instance because the kernel kept its report back.
    pub(super) unmeasured: usize,
}

/// One result.
#[derive(Debug, Clone, Serialize)]
pub(super) struct Line {
    pub(super) name: &'static str,
    #[serde(flatten)]
    pub(super) figures: Figures,
    pub(super) unit: &'static str,
    pub(super) target: Option<Target>,
    /// None without a target, with too few samples, or from a debug build.
    pub(super) met: Option<bool>,
    #[serde(flatten)]
    pub(super) lost: Lost,
    /// Rounds that were measured again because the hypervisor took more than 5 % of the time.
    pub(super) discarded: usize,
    pub(super) commit: String,
    /// Hash of both configuration files without ports and paths.
    pub(super) config: String,
    #[serde(flatten)]
    pub(super) machine: Machine,
    pub(super) notes: Vec<String>,
}

/// Whether the figures reach the target; none when they cannot be compared with it.
pub(super) fn met(target: Target, figures: &Figures, lost: Lost) -> Option<bool> {
    let comparable = figures.n >= target.samples && !cfg!(debug_assertions);
    comparable.then(|| reaches(target, figures, lost))
}

fn reaches(target: Target, figures: &Figures, lost: Lost) -> bool {
    let within = |limit: Option<f64>, value: Option<f64>| limit.is_none_or(|limit| value.is_some_and(|v| v <= limit));
    within(target.p50, figures.p50)
        && within(target.p99, figures.p99)
        && within(target.mean, figures.mean)
        && within(target.max, figures.max)
        && target.missing.is_none_or(|most| lost.missing <= most)
        && target
            .least
            .is_none_or(|least| figures.p50.is_some_and(|p50| p50 >= least))
        && lost.wrong_cause == 0
}

impl Line {
    /// Prints the line, and appends it to a file when there is one.
    ///
    /// # Errors
    /// When either cannot be written.
    pub(super) fn publish(&self, out: Option<&Path>) -> Result<()> {
        let text = serde_json::to_string(self)?;
        writeln!(io::stdout(), "{text}").context("cannot print the result")?;
        let Some(path) = out else { return Ok(()) };
        let file = File::options().create(true).append(true).open(path);
        let written = file.and_then(|mut file| writeln!(file, "{text}"));
        written.with_context(|| format!("cannot write {}", path.display()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TARGET: Target = Target {
        p50: Some(5.0),
        p99: Some(20.0),
        mean: None,
        max: None,
        missing: Some(0),
        least: None,
        samples: 300,
    };

    fn figures(p50: f64, p99: f64) -> Figures {
        Figures {
            n: 300,
            p50: Some(p50),
            p90: Some(p99),
            p99: Some(p99),
            max: Some(1000.0),
            mean: None,
        }
    }

    #[test]
    fn a_target_is_reached_only_when_every_part_of_it_is() {
        assert!(reaches(TARGET, &figures(5.0, 20.0), Lost::default()));
        assert!(!reaches(TARGET, &figures(5.1, 20.0), Lost::default()));
        assert!(!reaches(TARGET, &figures(5.0, 20.1), Lost::default()));
        assert!(!reaches(
            TARGET,
            &figures(5.0, 20.0),
            Lost {
                missing: 1,
                ..Lost::default()
            }
        ));
        assert!(!reaches(
            TARGET,
            &figures(5.0, 20.0),
            Lost {
                wrong_cause: 1,
                ..Lost::default()
            }
        ));
        assert!(
            !reaches(TARGET, &Figures::default(), Lost::default()),
            "nothing was measured"
        );
    }

    #[test]
    fn too_few_samples_are_not_compared() {
        let few = Figures {
            n: 299,
            ..figures(1.0, 1.0)
        };
        assert_eq!(met(TARGET, &few, Lost::default()), None);
    }
}
