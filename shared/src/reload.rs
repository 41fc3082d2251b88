//! A configuration that changes while the program runs.
//!
//! Owns when a changed file is taken over, what stays in force when it is broken, and what the operator is told. Must not
//! know what a key is for: the program hands in the function that applies new values.
//!
//! A change is taken over as a whole or not at all. Keys that the schema does not list as [`Schema::LIVE`] keep the value
//! of the start; they are named until the program is started again.

mod difference;
mod watch;

use std::io;

use prometheus_client::metrics::gauge::Gauge;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio_util::sync::CancellationToken;

pub use difference::Changes;
use difference::Marks;
use watch::Watch;

use crate::config::{ConfigError, Effective, Inputs, Schema, load_text, read_file};
use crate::telemetry::{Condition, Health, LevelHandle, Registry};

/// Name of the condition in `/readyz`; informational, since the values in force are valid.
const CONDITION: &str = "configuration";
/// Longest text of what is wrong in one log line, in characters.
const MAX_REASON_CHARS: usize = 1_000;

/// What the start of the program leaves for a later change of its configuration.
#[derive(Debug)]
pub struct Reload {
    inputs: Inputs,
    /// Values in force.
    running: Marks,
    /// What was read last, so that one state of the file is judged once.
    seen: Seen,
    level: LevelHandle,
}

/// What a reading of the file gave; an error by its words.
type Seen = Result<String, String>;

/// The numbers and the condition that show how reloading goes.
#[derive(Debug)]
pub struct Shown {
    failed: Gauge,
    restart: Gauge,
    health: Health,
}

impl Shown {
    /// Registers `config_reload_failed` and `config_restart_pending`.
    #[must_use]
    pub fn new(registry: &Registry, health: &Health) -> Self {
        health.set(CONDITION, Condition::Ok);
        let help = "1 while the configuration file is broken and an older one is in force";
        let failed = registry.register("config_reload_failed", help, Gauge::default());
        let help = "Changed configuration keys that take effect with the next start";
        let restart = registry.register("config_restart_pending", help, Gauge::default());
        Self {
            failed,
            restart,
            health: health.clone(),
        }
    }
}

/// What became of one reading.
#[derive(Debug)]
enum Verdict<T> {
    /// The file is as it was.
    Same,
    /// It is broken, and why.
    Broken(String),
    /// It is valid.
    Valid(T, Changes),
}

impl Reload {
    /// The configuration that the program was started with; `text` is that of its file.
    pub(crate) fn new(inputs: Inputs, text: String, effective: &Effective, level: LevelHandle) -> Self {
        Self {
            inputs,
            running: Marks::of(effective),
            seen: Ok(text),
            level,
        }
    }

    /// Follows the file until the token is cancelled. SIGHUP reads it at once, and again also when it did not change:
    /// what the configuration points at (secret files) may have. `apply` takes everything over or, on an error, nothing.
    ///
    /// # Errors
    /// The signal cannot be listened for; trying again does not help.
    pub async fn follow<T, F>(mut self, mut apply: F, shown: Shown, token: CancellationToken) -> io::Result<()>
    where
        T: Schema,
        F: FnMut(T, &Changes) -> anyhow::Result<()>,
    {
        let mut hangup = signal(SignalKind::hangup())?;
        let Some(path) = self.inputs.file.clone() else {
            return idle(hangup, token).await;
        };
        let mut watch = Watch::new(&path);
        loop {
            // Cancel-safe: all three only wait.
            let asked = tokio::select! {
                () = token.cancelled() => return Ok(()),
                _ = hangup.recv() => true,
                () = watch.changed() => false,
            };
            let seen = watch.settled(|| read_file(&path)).await;
            let verdict = self.judge::<T>(seen, asked);
            self.settle(verdict, &mut apply, &shown);
        }
    }

    fn judge<T: Schema>(&mut self, seen: Result<String, ConfigError>, asked: bool) -> Verdict<T> {
        let outcome = seen.and_then(|text| Ok((load_text::<T>(&text, &self.inputs)?, text)));
        let (seen, verdict) = match outcome {
            Ok((loaded, text)) => {
                let changes = self.running.changes(&loaded.effective, T::LIVE, asked);
                (Ok(text), Verdict::Valid(loaded.value, changes))
            }
            Err(error) => {
                let words = format!("{:#}", anyhow::Error::from(error));
                (Err(words.clone()), Verdict::Broken(words))
            }
        };
        if seen == self.seen && !asked {
            return Verdict::Same;
        }
        self.seen = seen;
        verdict
    }

    fn settle<T, F>(&mut self, verdict: Verdict<T>, apply: &mut F, shown: &Shown)
    where
        T: Schema,
        F: FnMut(T, &Changes) -> anyhow::Result<()>,
    {
        let (value, changes) = match verdict {
            Verdict::Same => return,
            Verdict::Broken(words) => return shown.broken(&words),
            Verdict::Valid(value, changes) => (value, changes),
        };
        let level = value.log().level;
        if let Err(error) = apply(value, &changes) {
            return shown.broken(&format!("{error:#}"));
        }
        self.level.set(level);
        self.running.take_over(&changes);
        shown.taken_over(&changes);
    }
}

/// Without a file there is nothing to read; the signal must still not end the program.
async fn idle(mut hangup: Signal, token: CancellationToken) -> io::Result<()> {
    while token.run_until_cancelled(hangup.recv()).await.is_some() {
        tracing::info!("there is no configuration file to read again");
    }
    Ok(())
}

impl Shown {
    fn broken(&self, words: &str) {
        let words: String = words.replace('\n', "; ").chars().take(MAX_REASON_CHARS).collect();
        self.failed.set(1);
        self.health.set(CONDITION, Condition::degraded(&words));
        tracing::error!(
            problem = words,
            "configuration not reloaded; the old one stays in force"
        );
    }

    fn taken_over(&self, changes: &Changes) {
        self.failed.set(0);
        let pending = i64::try_from(changes.restart().len()).unwrap_or(i64::MAX);
        self.restart.set(pending);
        self.health.set(CONDITION, Condition::Ok);
        let (changed, restart) = (changes.list(changes.live()), changes.list(changes.restart()));
        if pending == 0 {
            tracing::info!(changed, "configuration reloaded");
        } else {
            tracing::warn!(changed, needs_restart = restart, "configuration reloaded in part");
        }
    }
}

#[cfg(test)]
mod tests;
