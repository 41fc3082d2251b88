//! The kernel log as a source: bridges the reader's thread to the observations.

pub mod counters;

use std::sync::{Arc, atomic::Ordering};

use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use super::{SourceHealth, SourceState, Statuses};
use crate::{
    detect::oom::line::OomLine,
    host::{
        kmsg::{Batch, KmsgReader, ReaderStats, Stamped, Status},
        paths::HostPaths,
        procfs,
    },
    observation::Observation,
};

/// Name of the source in statuses and metrics.
pub const NAME: &str = "kernel log";

/// Forwards batches as observations until the token ends or the reader stops, and publishes the reader's state.
/// Overflow policy: a full observation queue blocks here, then the reader's thread, then the kernel's ring counts the loss.
pub async fn run(
    reader: KmsgReader,
    mut batches: mpsc::Receiver<Batch>,
    out: mpsc::Sender<Observation>,
    paths: HostPaths,
    statuses: Statuses,
    token: CancellationToken,
) {
    let mut status = reader.status();
    // The first state may be older than this task; it is news here.
    status.mark_changed();
    loop {
        let observations = tokio::select! {
            () = token.cancelled() => break,
            changed = status.changed() => {
                if changed.is_err() { break }
                let now = status.borrow_and_update().clone();
                publish(&now, &reader.stats, &statuses);
                vec![Observation::KernelLog { live: !matches!(now, Status::Blind(_)) }]
            }
            batch = batches.recv() => {
                let Some(batch) = batch else { break };
                if batch.gap.is_some() {
                    publish(&Status::Live, &reader.stats, &statuses);
                }
                let records = batch.records.into_iter().map(|record| {
                    let victim_cgroup = victim_cgroup(&record, &paths);
                    Observation::Kernel { record, victim_cgroup }
                });
                let through = Observation::KernelThrough(batch.through_seq);
                batch.gap.map(Observation::KernelGap).into_iter().chain(records).chain([through]).collect()
            }
        };
        for observation in observations {
            if out.send(observation).await.is_err() {
                return;
            }
        }
    }
    reader.stop();
}

/// The kernel limits how often it prints the head of a report, which names the cgroup, but never the kill line
/// (`mm/oom_kill.c`). Until its parent has waited for it, a killed process still shows its cgroup.
fn victim_cgroup(record: &Stamped, paths: &HostPaths) -> Option<String> {
    if record.backlog {
        return None;
    }
    let OomLine::Kill { victim, .. } = OomLine::parse(&record.record.text)? else {
        return None;
    };
    procfs::memory_cgroup(paths, victim.pid).ok().filter(|path| path != "/")
}

fn publish(status: &Status, stats: &Arc<ReaderStats>, statuses: &Statuses) {
    let health = match status {
        Status::Opening => return,
        Status::Live => SourceHealth::live("/dev/kmsg"),
        Status::Blind(why) => SourceHealth::not(SourceState::Blind, why.to_string(), why.remedy()),
    };
    statuses.set(
        NAME,
        SourceHealth {
            lost: stats.lost.load(Ordering::Relaxed),
            ..health
        },
    );
}
