//! What the two benches have of their own: death, pace, name and target.

use std::time::Duration;

use crate::bench::{
    args::{ENOUGH, What},
    line::Target,
    victims::Death,
};

/// One bench of the two.
#[derive(Debug, Clone, Copy)]
pub(super) struct Plan {
    pub(super) death: Death,
    pub(super) samples: usize,
    pub(super) newborn: bool,
    pub(super) docker: bool,
    pub(super) console_default: bool,
    pub(super) pace: Duration,
}

impl Plan {
    pub(super) fn of(what: What) -> Option<Self> {
        match what {
            What::Kill {
                samples,
                newborn,
                console_default,
            } => Some(Self {
                death: Death::OutOfMemory,
                samples,
                newborn,
                docker: false,
                console_default,
                // Faster than ten in five seconds the kernel begins to keep parts of its reports back.
                pace: Duration::from_millis(600),
            }),
            What::Exit {
                samples,
                newborn,
                docker,
            } => {
                let pace = Duration::from_millis(100);
                Some(Self {
                    death: Death::Exit,
                    samples,
                    newborn,
                    docker,
                    console_default: true,
                    pace,
                })
            }
            What::Footprint { .. }
            | What::OomBurst { .. }
            | What::Flood { .. }
            | What::Load { .. }
            | What::Ingest { .. }
            | What::Streams { .. }
            | What::CrashLoops { .. }
            | What::ClusterIndex { .. }
            | What::ClusterLatency { .. } => None,
        }
    }

    pub(super) const fn name(&self) -> &'static str {
        match (self.death, self.newborn, self.docker) {
            (Death::OutOfMemory, false, _) => "kill-to-webhook",
            (Death::OutOfMemory, true, _) => "kill-to-webhook-newborn",
            (Death::Exit, false, false) => "exit-to-webhook",
            (Death::Exit, true, false) => "exit-to-webhook-newborn",
            (Death::Exit, false, true) => "exit-to-webhook-docker",
            (Death::Exit, true, true) => "exit-to-webhook-docker-newborn",
        }
    }

    pub(super) const fn target(&self) -> Target {
        let (p50, p99, missing) = match self.death {
            Death::OutOfMemory => (Some(5.0), 20.0, Some(0)),
            Death::Exit if self.docker => (None, 50.0, Some(0)),
            Death::Exit => (None, 25.0, Some(0)),
        };
        Target {
            p50,
            p99: Some(p99),
            mean: None,
            max: None,
            missing,
            least: None,
            samples: ENOUGH,
        }
    }

    /// What is said about it in every line.
    pub(super) fn conditions(&self) -> Vec<String> {
        let age = match self.newborn {
            true => "each container dies as soon as it is started",
            false => "each container ran for at least 2 s",
        };
        let console = match (self.death, self.console_default) {
            (Death::OutOfMemory, true) => Some("kernel console as configured".to_owned()),
            (Death::OutOfMemory, false) => Some("kernel console silent".to_owned()),
            (Death::Exit, _) => None,
        };
        let pace = format!("{} ms between deaths", self.pace.as_millis());
        [age.to_owned(), pace].into_iter().chain(console).collect()
    }
}
