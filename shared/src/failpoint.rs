//! Points at which a test lets a program die, as kill -9 at that very moment would.
//!
//! Owns the list of points and the dying. Must not know what happens around a point. Active in debug builds only, and
//! there only when `INQUEST_FAILPOINT=<name>[:<nth>]` names a point: the process kills itself with SIGKILL when that
//! point is reached for the nth time. A release build contains neither the names nor the check.

use std::{
    fmt,
    str::FromStr,
    sync::{
        OnceLock,
        atomic::{AtomicU32, Ordering},
    },
};

use rustix::process::{Signal, getpid, kill_process};
use thiserror::Error;

/// Environment variable that arms a point.
pub const VARIABLE: &str = "INQUEST_FAILPOINT";

macro_rules! points {
    ($($(#[doc = $doc:literal])+ $point:ident = $name:literal;)+) => {
        /// Where a program can be told to die.
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        pub enum Point {
            $($(#[doc = $doc])+ $point,)+
        }

        impl Point {
            /// Every point, in the order in which a finding passes them.
            pub const ALL: &[Self] = &[$(Self::$point,)+];

            /// Program and point, as the environment names it.
            #[must_use]
            pub const fn name(self) -> &'static str {
                match self {
                    $(Self::$point => $name,)+
                }
            }
        }
    };
}

points! {
    /// Observations are read from their source and not yet with detection.
    AgentObserved = "agent.observed";
    /// A finding is made and not yet in the spool.
    SpoolBeforeWrite = "agent.spool.before_write";
    /// A file of the spool exists under its name, which is not durable yet.
    SpoolFileMade = "agent.spool.file_made";
    /// A record is in the page cache.
    SpoolAfterWrite = "agent.spool.after_write";
    /// The spool is about to be synced.
    SpoolBeforeSync = "agent.spool.before_sync";
    /// The spool is on disk.
    SpoolAfterSync = "agent.spool.after_sync";
    /// The cursor's new file is written and not on disk.
    CursorBeforeSync = "agent.cursor.before_sync";
    /// The cursor's new file is on disk under its temporary name.
    CursorBeforeRename = "agent.cursor.before_rename";
    /// The cursor has moved.
    CursorSaved = "agent.cursor.saved";
    /// A batch leaves the spool and is not yet with the transport.
    UplinkBeforeSend = "agent.uplink.before_send";
    /// A batch is with the transport.
    UplinkAfterSend = "agent.uplink.after_send";
    /// An acknowledgement has arrived and is not yet with the spool.
    UplinkBeforeAck = "agent.uplink.before_ack";
    /// The spool has freed what was acknowledged.
    UplinkAfterAck = "agent.uplink.after_ack";
    /// The acknowledgement is about to be noted on disk.
    SpoolBeforeAckNote = "agent.spool.before_ack_note";
    /// The acknowledgement is noted on disk.
    SpoolAfterAckNote = "agent.spool.after_ack_note";
    /// A log tail leaves its spool.
    LogBeforeSend = "agent.log.before_send";
    /// A log tail was acknowledged and is not yet freed.
    LogBeforeAck = "agent.log.before_ack";

    /// A batch has arrived and is not yet with the writer.
    IngestReceived = "aggregator.ingest.received";
    /// A batch is folded and not yet committed.
    BatchBeforeCommit = "aggregator.batch.before_commit";
    /// A batch is committed; memory does not know it, nobody is told, nothing is acknowledged.
    BatchAfterCommit = "aggregator.batch.after_commit";
    /// Notifications are with the dispatcher; nothing is acknowledged.
    HandedOver = "aggregator.batch.handed_over";
    /// Everything about a batch is done but its acknowledgement.
    AckBeforeSend = "aggregator.ack.before_send";
    /// An acknowledgement is with the transport.
    AckAfterSend = "aggregator.ack.after_send";
    /// A notification is about to be sent.
    NotifyBefore = "aggregator.notify.before";
    /// A receiver has answered; the answer is not recorded.
    NotifyAfter = "aggregator.notify.after";
    /// A receiver's answer is recorded.
    OutcomeRecorded = "aggregator.notify.recorded";
    /// A log chunk is stored and not acknowledged.
    LogStored = "aggregator.log.stored";
}

impl fmt::Display for Point {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// The variable says something else than a point and how often it is passed.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("{VARIABLE}={0}: expected <name>[:<nth>], nth from 1")]
pub struct BadFailpoint(String);

/// A point with how often it is still passed before the end.
#[derive(Debug)]
struct Armed {
    point: Point,
    left: AtomicU32,
}

impl FromStr for Armed {
    type Err = BadFailpoint;

    fn from_str(text: &str) -> Result<Self, BadFailpoint> {
        let bad = || BadFailpoint(text.to_owned());
        let (name, nth) = text.split_once(':').unwrap_or((text, "1"));
        let point = Point::ALL.iter().copied().find(|point| point.name() == name);
        let left = nth.parse().ok().filter(|nth| *nth > 0);
        Ok(Self {
            point: point.ok_or_else(bad)?,
            left: AtomicU32::new(left.ok_or_else(bad)?),
        })
    }
}

impl Armed {
    /// Whether this passing is the last one.
    fn is_end(&self, point: Point) -> bool {
        self.point == point && self.left.fetch_sub(1, Ordering::Relaxed) == 1
    }
}

/// Says that the program has come to a point. Does nothing in release builds.
#[inline]
pub fn reach(point: Point) {
    if cfg!(debug_assertions) {
        die_at(point);
    }
}

fn die_at(point: Point) {
    static ARMED: OnceLock<Option<Armed>> = OnceLock::new();
    let armed = ARMED.get_or_init(|| {
        let armed = std::env::var(VARIABLE).ok()?.parse();
        armed.inspect_err(|error| tracing::error!(%error, "no failpoint")).ok()
    });
    if armed.as_ref().is_some_and(|armed| armed.is_end(point)) {
        // A process may always kill itself; if not, the test that waits for its end says so.
        let _alive = kill_process(getpid(), Signal::KILL).is_err();
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn a_point_ends_the_program_the_nth_time_only() {
        let armed: Armed = "agent.spool.after_write:3".parse().unwrap();
        let ends: Vec<_> = (0..5).map(|_| armed.is_end(Point::SpoolAfterWrite)).collect();
        assert_eq!(ends, [false, false, true, false, false]);
        assert!(!armed.is_end(Point::SpoolBeforeWrite));
    }

    #[test]
    fn a_misspelt_point_is_refused() {
        for text in [
            "",
            "agent.spool",
            "agent.spool.after_write:0",
            "agent.spool.after_write:x",
        ] {
            assert_eq!(text.parse::<Armed>().unwrap_err(), BadFailpoint(text.to_owned()));
        }
    }

    #[test]
    fn every_point_has_a_name_of_its_own_that_begins_with_its_program() {
        let names: BTreeSet<_> = Point::ALL.iter().map(|point| point.name()).collect();
        assert_eq!(names.len(), Point::ALL.len());
        assert!(
            names
                .iter()
                .all(|n| n.starts_with("agent.") || n.starts_with("aggregator."))
        );
    }
}
