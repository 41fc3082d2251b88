//! A changed configuration, applied to the running parts.
//!
//! Owns the order: everything that can fail first, then the switch, which cannot. Must not know files, or which keys
//! changed by name.

use anyhow::Context as _;
use inquest_shared::{
    config::{AggregatorConfig, EngineConfig, Receiver},
    reload::Changes,
};
use tokio::sync::watch;

use crate::{
    alert::{Dispatcher, Routes},
    engine::Rules,
    notify::{self, Surroundings},
    retention::Keep,
};

/// The parts that follow the configuration.
pub(crate) struct Live {
    /// As configured now.
    pub(crate) receivers: Vec<Receiver>,
    /// What new notifiers are given.
    pub(crate) surroundings: Surroundings,
    /// Who sends.
    pub(crate) dispatcher: Dispatcher,
    /// Whom to tell, for the planner.
    pub(crate) routes: watch::Sender<Routes>,
    /// Rules, for the engine.
    pub(crate) rules: watch::Sender<Rules>,
    /// How much is kept.
    pub(crate) keep: watch::Sender<Keep>,
}

impl Live {
    /// Takes over all live keys, or none of them.
    ///
    /// # Errors
    /// A route or a receiver that cannot be set up. Trying again helps after the configuration or the named file changed.
    pub(crate) fn apply(&mut self, config: AggregatorConfig, changes: &Changes) -> anyhow::Result<()> {
        let routes = Routes::compile(&config.route).context("route")?;
        // Only what is new or different: a receiver that stays keeps its connections and what is known of its health.
        let stays = |receiver: &Receiver| !changes.asked() && self.receivers.contains(receiver);
        let fresh: Vec<Receiver> = config.receivers.iter().filter(|r| !stays(r)).cloned().collect();
        let fresh = notify::build_all(&fresh, &self.surroundings)?;
        self.dispatcher.renew(fresh);
        self.routes.send_replace(routes);
        let names: Vec<&str> = config.receivers.iter().map(|receiver| receiver.name.as_str()).collect();
        self.dispatcher.retire_all_but(&names);
        let rules = rules(&config.engine);
        self.rules
            .send_if_modified(|now| std::mem::replace(now, rules.clone()) != rules);
        self.keep.send_replace(Keep::of(&config));
        self.receivers = config.receivers;
        Ok(())
    }
}

/// The engine's rules as configured.
pub(crate) fn rules(config: &EngineConfig) -> Rules {
    Rules {
        quiet_period: config.quiet_period.0,
        reopen_window: config.reopen_window.0,
        max_open_per_namespace: usize::try_from(config.max_open_per_namespace).unwrap_or(usize::MAX),
        ..Rules::default()
    }
}
