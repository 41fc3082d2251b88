//! Says, like a source, whether findings and logs reach the disk: a spool that waits in memory is a blind spot to come.
//!
//! Owns the words. Must not know how a spool works.

use std::time::Duration;

use tokio::time::sleep;
use tokio_util::sync::CancellationToken;

use crate::{
    outgoing::Outgoing,
    source::{SourceHealth, SourceState, Statuses},
    spool::{Mode, Stats},
};

/// Name in the agent's status.
pub const NAME: &str = "spool";
/// How often the spools are looked at.
const EVERY: Duration = Duration::from_secs(2);

/// Publishes the state of both spools until the token ends.
pub async fn follow(findings: Outgoing, logs: Outgoing, statuses: Statuses, token: CancellationToken) {
    loop {
        let look = |spool: &Outgoing| {
            let spool = spool.lock();
            (spool.mode().clone(), spool.stats())
        };
        statuses.set(NAME, health(&[look(&findings), look(&logs)]));
        if token.run_until_cancelled(sleep(EVERY)).await.is_none() {
            return;
        }
    }
}

fn health(spools: &[(Mode, Stats); 2]) -> SourceHealth {
    let sum = |figure: fn(&Stats) -> u64| spools.iter().map(|(_, stats)| figure(stats)).sum::<u64>();
    let reason = spools.iter().find_map(|(mode, _)| match mode {
        Mode::Memory { reason } => Some(reason),
        Mode::Disk => None,
    });
    let mut health = match (reason, sum(|stats| stats.sync_failures), sum(|stats| stats.damaged)) {
        (Some(reason), ..) => SourceHealth::not(
            SourceState::Degraded,
            format!("records wait in memory, at most 512 KiB of each kind: {reason}"),
            "free space in state_dir, or mount it writable; the agent goes back to disk by itself",
        ),
        (None, 0, 0) => SourceHealth::live("disk"),
        (None, failures, damaged) => SourceHealth::not(
            SourceState::Degraded,
            format!("{failures} failed syncs and {damaged} damaged places since the start"),
            "check the disk of state_dir; restart the agent when it is sound",
        ),
    };
    health.lost = sum(|stats| stats.shed.values().sum());
    health
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::spool::{Shed, ShedReason};

    fn stats() -> Stats {
        Stats {
            recovered: 0,
            observed: 0,
            acknowledged: 0,
            pending: 0,
            in_memory: 0,
            disk_bytes: 0,
            damaged: 0,
            sync_failures: 0,
            shed: BTreeMap::new(),
        }
    }

    #[test]
    fn a_full_disk_is_told_with_its_reason_and_its_remedy() {
        let full = Mode::Memory {
            reason: "No space left on device (os error 28)".to_owned(),
        };
        let told = health(&[(Mode::Disk, stats()), (full, stats())]);
        assert_eq!(told.state, SourceState::Degraded);
        assert!(told.detail.contains("No space left") && told.remedy.contains("state_dir"));
    }

    #[test]
    fn what_was_given_up_and_what_was_damaged_is_told() {
        let mut lossy = stats();
        lossy.shed.insert((Shed::Detail, ShedReason::DiskLimit), 4);
        assert_eq!(health(&[(Mode::Disk, lossy), (Mode::Disk, stats())]).lost, 4);
        let mut torn = stats();
        torn.damaged = 2;
        let told = health(&[(Mode::Disk, torn), (Mode::Disk, stats())]);
        assert!(told.detail.contains("2 damaged places"), "{}", told.detail);
    }
}
