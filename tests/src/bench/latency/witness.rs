//! Where a death begins: in the kernel's report, or in the runtime's record of the exit.

use anyhow::Result;

use crate::bench::{
    clocks::KernelClock,
    kernel_log::{KernelLog, Kill},
    runtime::Runtime,
    victims::{Death, Victim},
};

/// Where deaths begin.
pub(super) struct Witness {
    /// The bare reader, for kills.
    kernel: Option<(KernelLog, KernelClock)>,
}

/// Begin of a death on `CLOCK_MONOTONIC`, and what the bare reader saw of it; nanoseconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Begin {
    pub(super) at: u64,
    pub(super) kernel: Option<Kill>,
}

impl Witness {
    pub(super) fn of(death: Death) -> Result<Self> {
        let kernel = match death {
            Death::OutOfMemory => Some((KernelLog::open()?, KernelClock::default())),
            Death::Exit => None,
        };
        Ok(Self { kernel })
    }

    pub(super) async fn calibrate(&mut self) -> Result<()> {
        match &mut self.kernel {
            Some((log, clock)) => clock.calibrate(log).await,
            None => Ok(()),
        }
    }

    /// Begin of a victim's death; none when the kernel or the runtime does not know it.
    pub(super) async fn begin(&self, runtime: &Runtime, victim: &Victim, wall_offset: i64) -> Result<Option<Begin>> {
        if let Some((log, clock)) = &self.kernel {
            let Some(kill) = log.kill(&victim.container.id) else {
                return Ok(None);
            };
            let begin = |at| Begin { at, kernel: Some(kill) };
            return Ok(clock.monotonic(kill.first_us).map(begin));
        }
        // The runtime publishes the exit before its own status shows it.
        let ended = runtime.ended_at(&victim.container).await?;
        let at = ended.and_then(|at| u64::try_from(at.saturating_sub(wall_offset)).ok());
        Ok(at.map(|at| Begin { at, kernel: None }))
    }

    /// What is said about the clock and the log, after `ours` deaths.
    pub(super) fn notes(&self, ours: usize) -> Vec<String> {
        let Some((log, clock)) = &self.kernel else {
            return Vec::new();
        };
        let (foreign, overruns) = (log.victims().saturating_sub(ours), log.overruns());
        let others = (foreign > 0).then(|| {
            format!("{foreign} other kills in the kernel log: above ten in 5 s the kernel keeps its reports back")
        });
        let lost = (overruns > 0).then(|| format!("the bare reader lost records {overruns} times"));
        [clock.quality()].into_iter().chain(others).chain(lost).collect()
    }
}
