//! Ports of the loopback interface for the demo's programs.

use std::net::{Ipv4Addr, TcpListener};

use super::DemoError;

/// Port that the command line asks when nothing else is said.
pub(super) const API: u16 = 7441;

/// One port for each listener.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Ports {
    /// Agents.
    pub(super) ingest: u16,
    /// API and pages.
    pub(super) api: u16,
    /// The aggregator's metrics and health.
    pub(super) aggregator: u16,
    /// The agent's metrics and health.
    pub(super) agent: u16,
}

impl Ports {
    /// The usual ports, each replaced by a free one when it is taken.
    pub(super) fn usual() -> Result<Self, DemoError> {
        Self::take([7440, API, 7442, 7443])
    }

    /// Free ports.
    pub(super) fn free() -> Result<Self, DemoError> {
        Self::take([0; 4])
    }

    fn take(wanted: [u16; 4]) -> Result<Self, DemoError> {
        // All are held until all are known, so that none is given twice.
        let mut held = Vec::new();
        for port in wanted {
            let bind = |port| TcpListener::bind((Ipv4Addr::LOCALHOST, port));
            held.push(bind(port).or_else(|_| bind(0)).map_err(DemoError::NoPort)?);
        }
        let mut ports = [0; 4];
        for (port, listener) in ports.iter_mut().zip(&held) {
            *port = listener.local_addr().map_err(DemoError::NoPort)?.port();
        }
        let [ingest, api, aggregator, agent] = ports;
        Ok(Self {
            ingest,
            api,
            aggregator,
            agent,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_taken_port_is_replaced_and_no_port_is_given_twice() {
        let other = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let taken = other.local_addr().unwrap().port();
        let ports = Ports::take([taken, 0, 0, 0]).unwrap();
        let mut all = vec![taken, ports.ingest, ports.api, ports.aggregator, ports.agent];
        all.sort_unstable();
        all.dedup();
        assert_eq!(all.len(), 5);
    }
}
