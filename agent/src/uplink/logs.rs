//! The log stream: tails of dead containers, apart from findings so that they never delay them.

use inquest_proto::ingest::v1::{SendLogsRequest, SendLogsResponse, ingest_service_client::IngestServiceClient};
use inquest_shared::failpoint::{self, Point};
use prost::Message as _;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::transport::Channel;

use super::{MAX_MESSAGE, Uplink, UplinkError, lane::Lane};
use crate::spool::Record;

/// Messages between this task and the transport.
const QUEUE: usize = 4;
/// The log stream has no credit of its own: one message is in flight until it is acknowledged.
const UNBOUNDED: u64 = u64::MAX;

/// Runs one log stream until it ends.
pub(super) async fn run(uplink: &Uplink, channel: Channel) -> Result<(), UplinkError> {
    let (up, messages) = mpsc::channel(QUEUE);
    let mut client = IngestServiceClient::new(channel).max_decoding_message_size(MAX_MESSAGE);
    let mut appended = uplink.logs.appended();
    let acked = uplink.logs.lock().acked();
    let mut lane = Lane::new(uplink.logs.clone(), acked, UNBOUNDED);
    let mut down = client
        .send_logs(ReceiverStream::new(messages))
        .await
        .map_err(refused)?
        .into_inner();
    loop {
        for record in lane.next_batch() {
            let request = message(lane.epoch(), &record);
            failpoint::reach(Point::LogBeforeSend);
            up.send(request).await.map_err(|_| UplinkError::Ended)?;
        }
        tokio::select! {
            answer = down.message() => on_answer(&mut lane, answer.map_err(refused)?)?,
            changed = appended.changed() => changed.map_err(|_| UplinkError::Ended)?,
        }
    }
}

fn on_answer(lane: &mut Lane, answer: Option<SendLogsResponse>) -> Result<(), UplinkError> {
    let ack = answer.ok_or(UplinkError::Ended)?;
    if ack.epoch == lane.epoch() {
        failpoint::reach(Point::LogBeforeAck);
        lane.on_ack(ack.acked_seq, 0);
    }
    Ok(())
}

/// A record as sent. One that no longer decodes goes empty, so that it is acknowledged and does not block the rest.
fn message(epoch: u64, record: &Record) -> SendLogsRequest {
    let held = SendLogsRequest::decode(record.payload.as_slice()).unwrap_or_default();
    SendLogsRequest {
        epoch,
        seq: record.seq,
        ..held
    }
}

fn refused(status: tonic::Status) -> UplinkError {
    UplinkError::Refused {
        call: "the log stream",
        status: Box::new(status),
    }
}
