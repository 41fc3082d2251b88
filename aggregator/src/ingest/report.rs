//! One report stream: hello, findings and status in; welcome and acknowledgements out.
//!
//! Owns the conversation and its end. Must not know what happens to findings: the writer settles them.

use std::{collections::BTreeSet, sync::Arc, time::Duration};

use inquest_proto::ingest::v1::{
    self as pb, Ack, FindingBatch, Hello, ReportRequest, ReportResponse, SequencedFinding, Welcome, report_request,
    report_response,
};
use inquest_shared::{
    failpoint::{self, Point},
    model::{EvidenceSource, Finding, Key},
    wire::MAX_FINDING_BYTES,
};
use tokio::{
    sync::mpsc,
    time::{sleep, timeout},
};
use tokio_util::sync::CancellationToken;
use tonic::{Status, Streaming};

use super::{
    Peer, Seat,
    metrics::{Reason, reason_of},
    service::Shared,
    visitor::Visitor,
};
use crate::{
    correlate::ForeignPod,
    pipeline::{AckSink, Overdraw, Received, Stopped, Submission, WINDOW_BYTES, digest},
    record::NodeIdentity,
};

/// Time for the first message.
const HELLO_PATIENCE: Duration = Duration::from_secs(5);
/// A node's clock further off than this is worth a line in the log: people compare times of day.
const CLOCK_TOLERANCE: Duration = Duration::from_secs(1);
/// Time for a slow peer to take the last status.
const FAREWELL: Duration = Duration::from_millis(500);

type Answers = mpsc::Sender<Result<ReportResponse, Status>>;

/// Why a stream ended, with what the peer is told; `None` when the peer ended it in order.
struct End {
    reason: &'static str,
    status: Option<Status>,
}

impl End {
    fn with(reason: &'static str, status: Status) -> Self {
        Self {
            reason,
            status: Some(status),
        }
    }

    fn stopping() -> Self {
        Self::with("stopping", Status::unavailable("the aggregator stops: connect again"))
    }

    const fn peer_left() -> Self {
        Self {
            reason: "peer_left",
            status: None,
        }
    }
}

impl From<Stopped> for End {
    fn from(_: Stopped) -> Self {
        Self::stopping()
    }
}

/// Serves one stream to its end.
pub(super) async fn serve(
    shared: Arc<Shared>,
    peer: Arc<Peer>,
    visitor: Visitor,
    mut inbound: Streaming<ReportRequest>,
    answers: Answers,
) {
    let metrics = &shared.ingest.metrics;
    metrics.streams.inc();
    let validity = peer.not_after.since(shared.ingest.clock.now());
    // All branches are cancel-safe: what was received is with the writer, what was not is sent again.
    let end = tokio::select! {
        end = converse(&shared, &peer.node, &visitor, &mut inbound, &answers) => end.err().unwrap_or_else(End::peer_left),
        () = shared.stop.cancelled() => End::stopping(),
        () = answers.closed() => End::peer_left(),
        () = sleep(validity) => End::with("expired", Status::unauthenticated("the certificate has expired: enrol again")),
    };
    metrics.streams.dec();
    metrics
        .streams_ended
        .get_or_create(&Reason { reason: end.reason })
        .inc();
    if let Some(status) = end.status {
        tracing::info!(
            node = peer.node.name,
            reason = end.reason,
            status = status.message(),
            "a stream was ended"
        );
        // A peer that does not read is gone; it finds the stream closed.
        drop(timeout(FAREWELL, answers.send(Err(status))).await);
    }
}

async fn converse(
    shared: &Shared,
    node: &NodeIdentity,
    visitor: &Visitor,
    inbound: &mut Streaming<ReportRequest>,
    answers: &Answers,
) -> Result<(), End> {
    let hello = hello(inbound).await?;
    visitor.pass.prove();
    let ingest = &shared.ingest;
    let seat = ingest
        .nodes
        .connect(node, visitor.address, &hello, ingest.clock.now())
        .map_err(|full| End::with("nodes_full", Status::resource_exhausted(full.to_string())))?;
    if let Some(other) = seat.other_address() {
        ingest.metrics.two_addresses.inc();
        tracing::warn!(
            node = node.name,
            uid = node.uid,
            now = %visitor.address,
            before = %other,
            "a node connected from a second address while the first was open: if it did not move, its key is stolen"
        );
    }
    let acked = ingest.store.mark(node, hello.epoch).await.map_err(|error| {
        tracing::warn!(node = node.name, %error, "the mark of a node was not read");
        End::with(
            "store",
            Status::unavailable("the store does not answer now: connect again"),
        )
    })?;
    let welcome = Welcome {
        server_id: ingest.server_id.clone(),
        acked_seq: acked,
        credit_bytes: WINDOW_BYTES,
    };
    tell(answers, report_response::Message::Welcome(welcome)).await?;
    let sink = Arc::new(AckSink::new(hello.epoch, acked));
    let stream = Stream {
        shared,
        node: Arc::new(node.clone()),
        seat,
        sink,
    };
    let complete = CancellationToken::new();
    let read = async {
        stream.read(inbound).await?;
        complete.cancel();
        Ok(())
    };
    tokio::select! {
        end = async { tokio::try_join!(read, stream.acknowledge(answers, &complete)) } => end.map(|_| ()),
        () = stream.seat.replaced() => {
            Err(End::with("replaced", Status::aborted("a newer stream of this node took over")))
        }
    }
}

async fn hello(inbound: &mut Streaming<ReportRequest>) -> Result<Hello, End> {
    let late = |_| End::with("no_hello", Status::deadline_exceeded("no hello within 5 s"));
    match timeout(HELLO_PATIENCE, next(inbound)).await.map_err(late)?? {
        Some(report_request::Message::Hello(hello)) => Ok(hello),
        Some(_) => Err(End::with(
            "no_hello",
            Status::failed_precondition("the first message must be hello"),
        )),
        None => Err(End::peer_left()),
    }
}

/// The next message that says something; `None` at the end of the stream.
async fn next(inbound: &mut Streaming<ReportRequest>) -> Result<Option<report_request::Message>, End> {
    loop {
        match inbound.message().await {
            Ok(None) => return Ok(None),
            Ok(Some(ReportRequest { message: Some(message) })) => return Ok(Some(message)),
            // A newer agent may say what this version does not know.
            Ok(Some(ReportRequest { message: None })) => {}
            Err(status) => return Err(end_of(status)),
        }
    }
}

/// A broken connection is the peer's leaving; a message that breaks the rules gets its status back.
fn end_of(status: Status) -> End {
    match status.code() {
        tonic::Code::OutOfRange => End::with("too_large", Status::out_of_range("a message is larger than 256 KiB")),
        tonic::Code::Internal => End::with("malformed", Status::invalid_argument("a message does not decode")),
        _ => End::peer_left(),
    }
}

async fn tell(answers: &Answers, message: report_response::Message) -> Result<(), End> {
    answers
        .send(Ok(ReportResponse { message: Some(message) }))
        .await
        .map_err(|_| End::peer_left())
}

/// What a received finding is worth.
enum Worth {
    /// To be stored, with its digest.
    New(Box<Finding>, Key),
    /// Stored a short while ago, exactly as it is.
    Settled,
    /// Refused, for this reason.
    Nothing(&'static str),
}

struct Stream<'a> {
    shared: &'a Shared,
    node: Arc<NodeIdentity>,
    seat: Seat,
    sink: Arc<AckSink>,
}

impl Stream<'_> {
    /// Reads until the peer closes its half.
    async fn read(&self, inbound: &mut Streaming<ReportRequest>) -> Result<(), End> {
        let mut told = false;
        while let Some(message) = next(inbound).await? {
            let now = self.shared.ingest.clock.now();
            match message {
                report_request::Message::Hello(_) => {
                    return Err(End::with(
                        "second_hello",
                        Status::failed_precondition("hello came twice"),
                    ));
                }
                report_request::Message::Status(status) => {
                    let offset = self.seat.status(status, now);
                    told |= offset.is_some_and(|offset| self.compare_clocks(offset, told));
                }
                report_request::Message::Batch(batch) => {
                    self.seat.seen(now);
                    self.take(batch).await?;
                }
            }
        }
        Ok(())
    }

    /// Counts the offset of the node's clock; says so once when it is far off. Returns whether it is.
    fn compare_clocks(&self, offset: i64, told: bool) -> bool {
        let distance = Duration::from_nanos(offset.unsigned_abs());
        let seconds = distance.as_secs_f64();
        self.shared.ingest.metrics.clock_offset.observe(seconds);
        let far = distance > CLOCK_TOLERANCE;
        if far && !told {
            let direction = if offset > 0 { "ahead" } else { "behind" };
            tracing::warn!(
                node = self.node.name,
                seconds,
                direction,
                "the clock of a node differs from the aggregator's"
            );
        }
        far
    }

    /// Passes a batch on; waits while the ingest budget is spent.
    async fn take(&self, batch: FindingBatch) -> Result<(), End> {
        if batch.epoch != self.sink.epoch() {
            let status = Status::failed_precondition("the batch is of another epoch than hello: connect again");
            return Err(End::with("epoch", status));
        }
        failpoint::reach(Point::IngestReceived);
        let mut findings = self.sift(batch.findings)?;
        if findings.is_empty() {
            return Ok(());
        }
        let sum = findings
            .iter()
            .map(|received| u32::try_from(received.bytes).unwrap_or(u32::MAX))
            .sum();
        // In one piece: streams that each held a part and waited for the rest could block each other for ever.
        let mut budget = self.shared.ingest.intake.reserve(sum).await?;
        for received in &mut findings {
            let bytes = usize::try_from(received.bytes).ok();
            received.permit = bytes.and_then(|bytes| budget.split(bytes));
        }
        let (node, sink) = (Arc::clone(&self.node), Some(Arc::clone(&self.sink)));
        Ok(self
            .shared
            .ingest
            .intake
            .submit(Submission { node, sink, findings })
            .await?)
    }

    /// Checks numbers, credit and meaning of each; what is left is worth storing.
    fn sift(&self, findings: Vec<SequencedFinding>) -> Result<Vec<Received>, End> {
        let mut usable = Vec::with_capacity(findings.len());
        let (mut repeats, mut repeated_bytes) = (BTreeSet::new(), 0_u64);
        for SequencedFinding { seq, finding } in findings {
            let size = finding.as_ref().map_or(0, prost::Message::encoded_len);
            let bytes = u64::try_from(size).unwrap_or(u64::MAX);
            self.sink
                .receive(seq, bytes)
                .map_err(|overdraw| self.broken(overdraw))?;
            match self.judge(finding, size) {
                Worth::New(finding, digest) => usable.push(Received {
                    seq,
                    finding: *finding,
                    digest,
                    bytes,
                    permit: None,
                }),
                Worth::Settled => {
                    repeats.insert(seq);
                    repeated_bytes = repeated_bytes.saturating_add(bytes);
                }
                Worth::Nothing(reason) => self.refuse(seq, bytes, reason),
            }
        }
        if !repeats.is_empty() {
            self.shared.ingest.intake.repeated(repeats.len());
            self.sink.settle(&repeats, repeated_bytes);
        }
        Ok(usable)
    }

    fn judge(&self, finding: Option<pb::Finding>, size: usize) -> Worth {
        let Some(finding) = finding else {
            return Worth::Nothing("missing");
        };
        if size > MAX_FINDING_BYTES {
            return Worth::Nothing("too_large");
        }
        let digest = digest(&self.node, &finding);
        if self.shared.ingest.intake.is_settled(&digest) {
            return Worth::Settled;
        }
        match Finding::try_from(finding) {
            Ok(finding) => self.complete(finding, digest),
            Err(error) => Worth::Nothing(reason_of(&error)),
        }
    }

    /// Adds what Kubernetes knows. An agent that speaks in the apiserver's name is not believed.
    fn complete(&self, mut finding: Finding, digest: Key) -> Worth {
        if finding
            .evidence
            .iter()
            .any(|(source, _, _)| source == EvidenceSource::Kubernetes)
        {
            return Worth::Nothing("forged_source");
        }
        finding.subject.owner_confirmed = false;
        match self.shared.ingest.correlation.complete(&self.node, &mut finding) {
            Ok(()) => Worth::New(Box::new(finding), digest),
            Err(ForeignPod) => Worth::Nothing("foreign_pod"),
        }
    }

    fn broken(&self, overdraw: Overdraw) -> End {
        if matches!(overdraw, Overdraw::NotRising { .. }) {
            self.shared.ingest.metrics.replays.inc();
            return End::with("replay", Status::failed_precondition(overdraw.to_string()));
        }
        End::with("overdraw", Status::resource_exhausted(overdraw.to_string()))
    }

    /// Acknowledged, so that it does not stop what follows: it would be refused for ever.
    fn refuse(&self, seq: u64, bytes: u64, reason: &'static str) {
        self.shared
            .ingest
            .metrics
            .refused
            .get_or_create(&Reason { reason })
            .inc();
        tracing::warn!(node = self.node.name, seq, reason, "a finding was refused");
        self.sink.settle(&[seq].into(), bytes);
    }

    /// Tells the peer what is on disk; ends when it is `complete` and everything is told.
    async fn acknowledge(&self, answers: &Answers, complete: &CancellationToken) -> Result<(), End> {
        while !(complete.is_cancelled() && self.sink.is_idle()) {
            // Cancel-safe: news that were not returned come with the next call.
            let news = tokio::select! {
                news = self.sink.news() => news,
                () = complete.cancelled(), if !complete.is_cancelled() => continue,
            };
            let ack = Ack {
                epoch: self.sink.epoch(),
                acked_seq: news.acked,
                credit_bytes: news.credit,
            };
            failpoint::reach(Point::AckBeforeSend);
            tell(answers, report_response::Message::Ack(ack)).await?;
            failpoint::reach(Point::AckAfterSend);
        }
        Ok(())
    }
}
