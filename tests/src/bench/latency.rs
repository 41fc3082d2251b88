//! From a death to the first byte of its alert: `kill-to-webhook` and `exit-to-webhook`.
//!
//! Owns their course. They begin at the kernel's stamp on the first record of its report, and at the time of exit that
//! the runtime recorded; both end when the receiver has the first byte of the body.

mod plan;
mod tally;
mod witness;

use anyhow::{Result, ensure};

use super::{
    args::Bench,
    installation::Installation,
    line::{Line, Lost, met},
    machine::{self, MAX_STEAL_PERCENT, Machine, Ticks},
    printk::Printk,
    receiver::{Arrival, Receiver},
    rounds::{self, Round},
    runtime::Runtime,
    say,
    statistics::{Figures, milliseconds},
    victims::{Death, Group, Told, Victim},
};
use crate::TestDir;
use plan::Plan;
use tally::{Stages, Tally};
use witness::{Begin, Witness};

/// Runs one of the two benches.
///
/// # Errors
/// When the programs do not come up, or the bench cannot measure here.
pub(super) async fn run(bench: &Bench) -> Result<Vec<Line>> {
    let Some(plan) = Plan::of(bench.what) else {
        return Ok(Vec::new());
    };
    let dir = TestDir::new("bench")?;
    let mut machine = Machine::before(dir.path()).await?;
    let kernel = plan.death == Death::OutOfMemory;
    let _settings = kernel.then(|| Printk::prepare(plan.console_default)).transpose()?;
    let disk = machine::sync_cost(dir.path())?;
    let mut course = Course::begin(plan)?;
    let installation = Installation::start(dir.path(), course.receiver.url(), plan.docker).await?;
    let before = Ticks::now()?;
    course.rounds(installation.runtime()).await?;
    machine.steal_percent = Ticks::now()?.steal_percent_since(before);
    let tally = &course.tally;
    ensure!(
        !tally.alerts.is_empty(),
        "no death was measured ({:?})\n{}",
        tally.lost,
        installation.logs()
    );
    let notes = course.notes(&machine, disk);
    let config = installation.config().to_owned();
    installation.stop().await?;
    Ok(course.lines(machine, &config, notes))
}

/// A bench under way.
struct Course {
    plan: Plan,
    receiver: Receiver,
    witness: Witness,
    tally: Tally,
}

impl Course {
    fn begin(plan: Plan) -> Result<Self> {
        let (receiver, witness) = (Receiver::start()?, Witness::of(plan.death)?);
        Ok(Self {
            plan,
            receiver,
            witness,
            tally: Tally::default(),
        })
    }

    /// Plays rounds until there are enough samples, at most twice as many as a quiet machine needs.
    async fn rounds(&mut self, runtime: &Runtime) -> Result<()> {
        let most = self.plan.samples.div_ceil(rounds::SIZE).saturating_mul(2);
        for round in 1..=u32::try_from(most)? {
            let left = self.plan.samples.saturating_sub(self.tally.alerts.len());
            if left == 0 {
                break;
            }
            self.round(runtime, round, left.min(rounds::SIZE)).await?;
        }
        self.tally.lost.repeated = self.receiver.repeated();
        Ok(())
    }

    async fn round(&mut self, runtime: &Runtime, round: u32, size: usize) -> Result<()> {
        let group = Group::make(runtime, self.plan.death, self.plan.newborn, round, size).await?;
        self.witness.calibrate().await?;
        let played = rounds::play(runtime, &mut self.receiver, &group, self.plan.pace).await?;
        self.witness.calibrate().await?;
        let begins = self.begins(runtime, &group, &played).await?;
        let quiet = played.steal_percent <= MAX_STEAL_PERCENT;
        self.tally.discarded += usize::from(!quiet);
        let death = self.plan.death;
        for (victim, begin) in group.victims.iter().zip(begins) {
            let arrival = self.receiver.arrival(&victim.name);
            tell_oddity(death, victim, begin, arrival);
            let told = arrival.map(|arrival| (arrival.at, death.judge(&arrival.cause)));
            self.tally.add(begin, told, quiet);
        }
        let (samples, lost) = (self.tally.alerts.len(), self.tally.lost);
        say(&format!(
            "round {round}: {samples} samples, {lost:?}, steal {} %",
            played.steal_percent
        ));
        group.remove(runtime).await
    }

    async fn begins(&self, runtime: &Runtime, group: &Group, played: &Round) -> Result<Vec<Option<Begin>>> {
        let mut begins = Vec::new();
        for (victim, wall_offset) in group.victims.iter().zip(&played.wall_offsets) {
            begins.push(self.witness.begin(runtime, victim, *wall_offset).await?);
        }
        Ok(begins)
    }

    fn notes(&self, machine: &Machine, disk: String) -> Vec<String> {
        let mut notes = machine.doubts();
        notes.extend(self.plan.conditions());
        notes.push(disk);
        let refused = self.receiver.refused();
        notes.extend((refused > 0).then(|| format!("the receiver refused {refused} requests")));
        notes.extend(self.witness.notes(self.tally.deaths));
        notes.extend(Stages::notes(&self.tally.stages));
        notes
    }

    fn lines(&self, machine: Machine, config: &str, notes: Vec<String>) -> Vec<Line> {
        let (tally, target) = (&self.tally, self.plan.target());
        let figures = milliseconds(&tally.alerts);
        let alerts = Line {
            name: self.plan.name(),
            figures,
            unit: "ms",
            target: Some(target),
            met: met(target, &figures, tally.lost),
            lost: tally.lost,
            discarded: tally.discarded,
            commit: machine::commit(),
            config: config.to_owned(),
            machine,
            notes,
        };
        let floor = floor(&alerts, Stages::figures(&tally.stages, |stages| stages.read));
        std::iter::once(alerts).chain(floor).collect()
    }
}

/// Says which death was not told as it should, so that its logs can be looked at.
fn tell_oddity(death: Death, victim: &Victim, begin: Option<Begin>, arrival: Option<&Arrival>) {
    let name = &victim.name;
    match (begin, arrival) {
        (_, None) => say(&format!("{name}: no alert")),
        (None, Some(arrival)) => say(&format!(
            "{name}: told as {}, but its begin is not known",
            arrival.cause
        )),
        (Some(begin), Some(arrival)) if arrival.at < begin.at => {
            say(&format!(
                "{name}: told {} us before its begin",
                (begin.at - arrival.at) / 1000
            ));
        }
        (_, Some(arrival)) if death.judge(&arrival.cause) != Told::Right => {
            say(&format!("{name}: told as {}", arrival.cause))
        }
        _ => {}
    }
}

/// The floor beside a bench: the same kills, seen by the bare reader.
fn floor(alerts: &Line, figures: Figures) -> Option<Line> {
    (figures.n > 0).then(|| Line {
        name: "kill-to-bare-reader",
        figures,
        target: None,
        met: None,
        lost: Lost::default(),
        ..alerts.clone()
    })
}
