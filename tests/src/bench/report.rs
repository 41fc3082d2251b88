//! What the lines of one run have in common. Owns nothing that is measured.

use std::path::Path;

use anyhow::Result;

use super::{
    line::{Line, Lost, Target, met},
    machine::{self, MAX_STEAL_PERCENT, Machine, Ticks},
    statistics::{Figures, plain},
};

/// The machine, the configuration and what is to be said about a run.
pub(super) struct Report {
    machine: Machine,
    begun: Ticks,
    config: String,
    /// Conditions and doubts.
    pub(super) notes: Vec<String>,
}

impl Report {
    /// Looks at the machine before anything is started.
    ///
    /// # Errors
    /// When `/proc` cannot be read.
    pub(super) async fn before(dir: &Path) -> Result<Self> {
        let machine = Machine::before(dir).await?;
        let notes = machine.doubts();
        let begun = Ticks::now()?;
        Ok(Self {
            machine,
            begun,
            config: String::new(),
            notes,
        })
    }

    /// Notes which configuration ran, and what the hypervisor took.
    ///
    /// # Errors
    /// When `/proc` cannot be read.
    pub(super) fn close(&mut self, config: &str) -> Result<()> {
        config.clone_into(&mut self.config);
        self.machine.steal_percent = Ticks::now()?.steal_percent_since(self.begun);
        if self.machine.steal_percent > MAX_STEAL_PERCENT {
            self.notes.push(format!(
                "the hypervisor took more than {MAX_STEAL_PERCENT} % of the time"
            ));
        }
        Ok(())
    }

    /// One line.
    pub(super) fn line(
        &self,
        name: &'static str,
        values: &[f64],
        unit: &'static str,
        target: Target,
        missing: usize,
    ) -> Line {
        let figures: Figures = plain(values);
        let lost = Lost {
            missing,
            ..Lost::default()
        };
        Line {
            name,
            figures,
            unit,
            target: Some(target),
            met: met(target, &figures, lost),
            lost,
            discarded: 0,
            commit: machine::commit(),
            config: self.config.clone(),
            machine: self.machine.clone(),
            notes: self.notes.clone(),
        }
    }
}
