//! The report stream: findings and status upward, acknowledgements and credit downward.

use std::time::Duration;

use inquest_proto::ingest::v1::{
    AgentStatus, Finding, FindingBatch, Hello, ReportRequest, ReportResponse, SequencedFinding, SpoolStatus,
    ingest_service_client::IngestServiceClient, report_request::Message as Up, report_response::Message as Down,
};
use inquest_shared::{
    clock::UnixNanos,
    failpoint::{self, Point},
    telemetry::Condition,
};
use prost::Message as _;
use tokio::{
    sync::mpsc,
    time::{MissedTickBehavior, interval},
};
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Streaming, transport::Channel};

use super::{CONDITION, MAX_MESSAGE, Uplink, UplinkError, lane::Lane};
use crate::spool::{Mode, Record, Shed};

/// Heartbeat; three missed ones make an agent silent.
const HEARTBEAT: Duration = Duration::from_secs(10);
/// Messages between this task and the transport; one batch is in flight at a time, so more would only hide back-pressure.
const QUEUE: usize = 4;

/// Runs one report stream until it ends.
pub(super) async fn run(uplink: &Uplink, channel: Channel) -> Result<(), UplinkError> {
    let (up, messages) = mpsc::channel(QUEUE);
    let started = uplink.clock.now();
    send(&up, Up::Hello(hello(uplink))).await?;
    let mut client = IngestServiceClient::new(channel).max_decoding_message_size(MAX_MESSAGE);
    let mut down = client
        .report(ReceiverStream::new(messages))
        .await
        .map_err(refused)?
        .into_inner();
    let mut lane = welcome(uplink, &mut down).await?;
    uplink.health.set(CONDITION, Condition::Ok);
    let mut appended = uplink.findings.appended();
    let mut changes = uplink.statuses.changes();
    let mut heartbeat = interval(HEARTBEAT);
    heartbeat.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        let batch = lane.next_batch();
        if !batch.is_empty() {
            failpoint::reach(Point::UplinkBeforeSend);
            send(&up, Up::Batch(finding_batch(lane.epoch(), batch))).await?;
            failpoint::reach(Point::UplinkAfterSend);
        }
        tokio::select! {
            message = down.message() => on_message(&mut lane, message.map_err(refused)?)?,
            changed = appended.changed() => changed.map_err(|_| UplinkError::Ended)?,
            _ = heartbeat.tick() => send(&up, Up::Status(status(uplink, started))).await?,
            changed = changes.changed() => {
                changed.map_err(|_| UplinkError::Ended)?;
                send(&up, Up::Status(status(uplink, started))).await?;
            }
        }
    }
}

async fn welcome(uplink: &Uplink, down: &mut Streaming<ReportResponse>) -> Result<Lane, UplinkError> {
    let first = down.message().await.map_err(refused)?.and_then(|m| m.message);
    match first {
        Some(Down::Welcome(welcome)) => Ok(Lane::new(
            uplink.findings.clone(),
            welcome.acked_seq,
            welcome.credit_bytes,
        )),
        _ => Err(UplinkError::Ended),
    }
}

fn on_message(lane: &mut Lane, message: Option<ReportResponse>) -> Result<(), UplinkError> {
    match message.ok_or(UplinkError::Ended)?.message {
        Some(Down::Ack(ack)) if ack.epoch == lane.epoch() => {
            failpoint::reach(Point::UplinkBeforeAck);
            lane.on_ack(ack.acked_seq, ack.credit_bytes);
            failpoint::reach(Point::UplinkAfterAck);
        }
        // Rules, opt-ins and redirects of newer aggregators mean nothing to this release.
        _ => {}
    }
    Ok(())
}

fn hello(uplink: &Uplink) -> Hello {
    let spool = uplink.findings.lock();
    Hello {
        epoch: spool.epoch(),
        agent_version: env!("CARGO_PKG_VERSION").to_owned(),
        first_seq: spool.acked().saturating_add(1),
        boot_id: uplink.config.boot_id.clone(),
        origin: String::new(),
    }
}

fn finding_batch(epoch: u64, batch: Vec<Record>) -> FindingBatch {
    let findings = batch.into_iter().map(|record| SequencedFinding {
        seq: record.seq,
        // A record that no longer decodes still has to be acknowledged; the aggregator counts it as invalid.
        finding: Finding::decode(record.payload.as_slice()).ok(),
    });
    FindingBatch {
        epoch,
        findings: findings.collect(),
    }
}

fn status(uplink: &Uplink, started: UnixNanos) -> AgentStatus {
    AgentStatus {
        at_ns: uplink.clock.now().0,
        started_at_ns: started.0,
        agent_version: env!("CARGO_PKG_VERSION").to_owned(),
        sources: uplink.statuses.to_wire(),
        spool: Some(spool_status(uplink)),
        observed_total: uplink.findings.observed(),
        rules_version: 0,
    }
}

fn spool_status(uplink: &Uplink) -> SpoolStatus {
    let (findings, logs) = (uplink.findings.lock(), uplink.logs.lock());
    let (stats, log_stats) = (findings.stats(), logs.stats());
    let shed = |stats: &crate::spool::Stats, detail: bool| {
        stats
            .shed
            .iter()
            .filter(|((class, _), _)| (*class == Shed::Detail) == detail)
            .map(|(_, n)| *n)
            .sum::<u64>()
    };
    SpoolStatus {
        records: stats.pending.saturating_add(log_stats.pending),
        bytes: stats.disk_bytes.saturating_add(log_stats.disk_bytes),
        limit_bytes: findings.limit_bytes().saturating_add(logs.limit_bytes()),
        in_memory: matches!(findings.mode(), Mode::Memory { .. }),
        shed_detail_total: shed(&stats, true).saturating_add(shed(&log_stats, true)),
        shed_finding_total: shed(&stats, false),
    }
}

async fn send(up: &mpsc::Sender<ReportRequest>, message: Up) -> Result<(), UplinkError> {
    up.send(ReportRequest { message: Some(message) })
        .await
        .map_err(|_| UplinkError::Ended)
}

fn refused(status: tonic::Status) -> UplinkError {
    UplinkError::Refused {
        call: "the report stream",
        status: Box::new(status),
    }
}
