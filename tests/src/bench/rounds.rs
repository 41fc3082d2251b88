//! One round: containers die at a fixed pace while nothing else happens, then everybody waits for the alerts.
//!
//! Owns pace and patience. Making containers is work for the machine, so it is done before and not between the deaths.

use std::time::Duration;

use anyhow::Result;
use tokio::time::{Instant, sleep, sleep_until};

use super::{
    clocks,
    machine::Ticks,
    receiver::Receiver,
    runtime::Runtime,
    victims::{Group, Victim},
};

/// Deaths of one round.
pub(super) const SIZE: usize = 25;
/// Time between making containers and the first death: the agent knows them by then.
const SETTLE: Duration = Duration::from_secs(2);
/// A death without an alert for so long is missing.
const PATIENCE: Duration = Duration::from_secs(30);
/// How often the receiver is asked after the last death.
const POLL: Duration = Duration::from_millis(200);

/// A round that is over; its containers still exist.
pub(super) struct Round {
    /// Wall time less `CLOCK_MONOTONIC` when each victim was told to die.
    pub(super) wall_offsets: Vec<i64>,
    /// Share of the time that the hypervisor took, in percent.
    pub(super) steal_percent: f64,
}

/// Lets the victims of a group die one after another, `pace` apart or as fast as they can be started, and waits until
/// every alert is there or 30 s have passed since the last death.
///
/// # Errors
/// When a victim cannot be told to die, or the receiver is gone.
pub(super) async fn play(runtime: &Runtime, receiver: &mut Receiver, group: &Group, pace: Duration) -> Result<Round> {
    sleep(SETTLE).await;
    let before = Ticks::now()?;
    let mut wall_offsets = Vec::new();
    let mut next = Instant::now();
    for victim in &group.victims {
        sleep_until(next).await;
        next = Instant::now() + pace;
        wall_offsets.push(clocks::wall_offset());
        victim.fire(runtime).await?;
    }
    sleep_until(next).await;
    let steal_percent = Ticks::now()?.steal_percent_since(before);
    wait_alerts(receiver, &group.victims).await?;
    Ok(Round {
        wall_offsets,
        steal_percent,
    })
}

async fn wait_alerts(receiver: &mut Receiver, victims: &[Victim]) -> Result<()> {
    let deadline = Instant::now() + PATIENCE;
    loop {
        receiver.fetch()?;
        let all = victims.iter().all(|victim| receiver.arrival(&victim.name).is_some());
        if all || Instant::now() >= deadline {
            return Ok(());
        }
        sleep(POLL).await;
    }
}
