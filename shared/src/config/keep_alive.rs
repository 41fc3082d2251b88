//! Keep-alive of connections between agents and aggregator: how soon a dead peer is noticed.
//!
//! Owns the two keys, which mean the same on both sides. Must not know a transport.

use super::units::ConfigDuration;
use super::{Section, positive};

/// When a silent connection is asked whether it still lives, and how long the answer may take.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct KeepAlive {
    /// `keep_alive.interval`: silence before the question. Default `20s`.
    pub interval: ConfigDuration,
    /// `keep_alive.timeout`: time for the answer; without one the connection is given up. Default `10s`.
    pub timeout: ConfigDuration,
}

impl KeepAlive {
    /// Reads `keep_alive` of the section.
    pub(super) fn read(section: &mut Section<'_, '_>) -> Self {
        section.section("keep_alive", |s| Self {
            interval: positive(s, "interval", ConfigDuration::from_secs(20)),
            timeout: positive(s, "timeout", ConfigDuration::from_secs(10)),
        })
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use crate::config::{AgentConfig, AggregatorConfig, Inputs, load};

    /// The promise of the handbook: a cut network is noticed within 30 s on both sides.
    #[test]
    fn a_dead_peer_is_noticed_within_thirty_seconds_as_shipped() {
        let agent = load::<AgentConfig>(&Inputs::default())
            .unwrap()
            .value
            .aggregator
            .keep_alive;
        let aggregator = load::<AggregatorConfig>(&Inputs::default()).unwrap().value.keep_alive;
        assert_eq!(agent, aggregator);
        assert_eq!(agent.interval.get() + agent.timeout.get(), Duration::from_secs(30));
    }
}
