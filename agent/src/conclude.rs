//! The loop between sources and spool: feeds observations to detection, spools what it concludes, moves the cursor.

#[cfg(test)]
mod outage;
mod worth;

use std::{sync::Arc, time::Duration};

use inquest_proto::ingest::v1 as pb;
use inquest_shared::{
    clock::Clock,
    failpoint::{self, Point},
    model::Finding,
};
use prometheus_client::metrics::counter::Counter;
use prost::Message as _;
use tokio::{
    sync::mpsc,
    time::{Instant, sleep_until},
};
use tokio_util::sync::CancellationToken;

use crate::{
    detect::{Fusion, Moment},
    observation::Observation,
    outgoing::Outgoing,
    state::StateFile,
};
pub use worth::Told;
use worth::without_log;

/// How often the kernel cursor reaches the disk at most; a lost cursor only means reading again.
const SAVE_EVERY: Duration = Duration::from_secs(10);
/// Most observations taken at once: a report of the kernel is about 100 of them.
const AT_ONCE: usize = 128;

/// What the loop works with.
pub struct Conclude {
    /// The joining state.
    pub fusion: Fusion,
    /// Where findings go.
    pub findings: Outgoing,
    /// Cursor and beginning.
    pub state: StateFile,
    /// Last kernel record that detection was given; `None` before the first.
    pub through: Option<u64>,
    /// Wall time.
    pub clock: Arc<dyn Clock>,
    /// Findings made, each version counted.
    pub made: Counter,
    /// What detection forgot before its time since a table was full.
    pub forgotten: Counter,
    /// What was spooled lately.
    pub told: Told,
}

impl Conclude {
    /// Runs until the token ends.
    pub async fn run(mut self, mut observations: mpsc::Receiver<Observation>, token: CancellationToken) {
        let begun = Instant::now();
        let mut save_at = begun + SAVE_EVERY;
        let mut taken = Vec::with_capacity(AT_ONCE);
        self.save();
        loop {
            let due = self.fusion.next_deadline().map(|us| begun + Duration::from_micros(us));
            // While something is half read the cursor stays: its turn comes at the first quiet moment after its time.
            let wake = due.unwrap_or(save_at);
            tokio::select! {
                biased;
                () = token.cancelled() => break,
                // Closed when every source is switched off: then only the timers are left.
                1.. = observations.recv_many(&mut taken, AT_ONCE) => {}
                () = sleep_until(wake) => {}
            }
            failpoint::reach(Point::AgentObserved);
            let now = self.moment(begun);
            let mut findings = Vec::new();
            for observation in taken.drain(..) {
                if let Observation::KernelThrough(seq) = observation {
                    self.through = Some(seq);
                }
                findings.extend(self.fusion.observe(observation, now));
            }
            // Once for all of them: the timers are searched, which one line of a report is not worth.
            findings.extend(self.fusion.tick(now));
            self.forgotten.inc_by(self.fusion.take_forgotten());
            self.spool(&findings);
            if self.fusion.is_idle() && Instant::now() >= save_at {
                save_at = Instant::now() + SAVE_EVERY;
                self.save();
            }
        }
        self.save();
    }

    fn moment(&self, begun: Instant) -> Moment {
        let mono_us = u64::try_from(begun.elapsed().as_micros()).unwrap_or(u64::MAX);
        Moment {
            wall: self.clock.now(),
            mono_us,
        }
    }

    fn spool(&mut self, findings: &[Finding]) {
        for finding in findings {
            self.made.inc();
            spool_one(&self.findings, &mut self.told, finding);
        }
    }

    /// Moves the cursor over what detection has dealt with, and only while nothing is half read: a report that is open
    /// would otherwise lose its head.
    fn save(&mut self) {
        if let (true, Some(seq)) = (self.fusion.is_idle(), self.through) {
            self.state.note_kmsg(seq);
        }
        if let Err(error) = self.state.save() {
            tracing::warn!(%error, cause = %error.source, "a restart will read the kernel log again");
        }
    }
}

/// Spools a finding. While the spool fills up, the lines of its log go into a record of their own that may be given up
/// alone; the aggregator unites both.
fn spool_one(outgoing: &Outgoing, told: &mut Told, finding: &Finding) {
    let bare = if outgoing.is_filling() {
        without_log(finding)
    } else {
        None
    };
    for version in bare.iter().chain([finding]) {
        let class = told.class(version);
        let payload = pb::Finding::from(version).encode_to_vec();
        if let Err(error) = outgoing.append(&payload, class) {
            // Counted by the spool under its reason; said here so that the key can be found.
            tracing::warn!(key = %version.key, %error, class = class.name(), "a finding was not spooled");
        }
    }
}

#[cfg(test)]
mod tests {
    use inquest_shared::clock::{FakeClock, UnixNanos};

    use super::*;
    use crate::{
        spool::{Limits, Spool},
        state::StateFile,
    };

    async fn cursor_after(observations: Vec<Observation>) -> Option<u64> {
        let dir = tempfile::tempdir().unwrap();
        let (spool, _) = Spool::open(&dir.path().join("spool"), Limits::of(1 << 20)).unwrap();
        let conclude = Conclude {
            fusion: Fusion::new("boot".to_owned(), UnixNanos(5), "/", 4096),
            findings: Outgoing::new(spool),
            state: StateFile::open(dir.path(), "boot", UnixNanos(5)),
            through: None,
            clock: Arc::new(FakeClock::at(UnixNanos(9))),
            made: Counter::default(),
            forgotten: Counter::default(),
            told: Told::default(),
        };
        let (queue, waiting) = mpsc::channel(8);
        let token = CancellationToken::new();
        let running = conclude.run(waiting, token.clone());
        let feeding = async {
            for observation in observations {
                queue.send(observation).await.unwrap();
            }
            while queue.capacity() < queue.max_capacity() {
                tokio::task::yield_now().await;
            }
            token.cancel();
        };
        tokio::join!(running, feeding);
        StateFile::open(dir.path(), "boot", UnixNanos(6)).state().kmsg_seq
    }

    /// A kill of the agent between reading and concluding must not lose a death: the next start reads it again.
    #[tokio::test]
    async fn the_cursor_follows_what_was_concluded_and_not_what_was_read() {
        assert_eq!(cursor_after(vec![]).await, None);
        assert_eq!(cursor_after(vec![Observation::KernelThrough(7)]).await, Some(7));
    }
}
